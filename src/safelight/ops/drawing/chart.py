"""Curves over two axes with a few numbers: all that a page on functions or a profile needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from safelight.ops.drawing import letters
from safelight.ops.drawing.sheet import INK

Colour = tuple[float, float, float]

BLUE: Colour = (0.12, 0.35, 0.75)
RED: Colour = (0.82, 0.2, 0.12)
_GRID = 0.88
_LEFT, _BELOW, _AROUND = 34, 16, 8  # pixels that the numbers at the axes take


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (n,) and (n,), joined by lines."""

    x: Tensor
    y: Tensor
    colour: Colour = BLUE


def chart(
    curves: Sequence[Curve],
    *,
    x: tuple[float, float],
    y: tuple[float, float],
    size: tuple[int, int] = (240, 180),
    ticks: int = 5,
) -> Tensor:
    """Draw curves.

    Args:
        curves: Later ones lie above earlier ones; what leaves the frame is cut.
        x: The range of the horizontal axis.
        y: The range of the vertical one.
        size: Width and height of the whole, in pixels.
        ticks: Numbers at each axis, its ends among them.

    Returns:
        (3, height, width) in [0, 1].

    Example:
        >>> line = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
        >>> tuple(chart([line], x=(0, 1), y=(0, 1)).shape)
        (3, 180, 240)
    """
    width, height = size
    paper = torch.ones(3, height, width)
    top, bottom, left, right = _AROUND, height - _BELOW - 1, _LEFT, width - _AROUND - 1
    for i in range(ticks):
        part = i / (ticks - 1)
        row, column = round(bottom + part * (top - bottom)), round(left + part * (right - left))
        paper[:, row, left : right + 1] = _GRID
        paper[:, top : bottom + 1, column] = _GRID
        across, up = (f"{low + part * (high - low):.3g}" for low, high in (x, y))
        _print(paper, across, bottom + 6, min(column - letters.width(across) // 2, width - letters.width(across)))
        _print(paper, up, row - 3, left - 4 - letters.width(up))
    for low, high, horizontal in ((*y, True), (*x, False)):
        if low < 0 < high:  # the axis itself
            part = -low / (high - low)
            if horizontal:
                paper[:, round(bottom + part * (top - bottom)), left : right + 1] = 0.55
            else:
                paper[:, top : bottom + 1, round(left + part * (right - left))] = 0.55
    inside = paper[:, top : bottom + 1, left : right + 1]
    for curve in curves:
        columns = (curve.x - x[0]) / (x[1] - x[0]) * (right - left)
        rows = (1 - (curve.y - y[0]) / (y[1] - y[0])) * (bottom - top)
        cover = _line(rows, columns, inside.shape[-2], inside.shape[-1])
        ink = torch.tensor(curve.colour)[:, None, None]
        inside.copy_(inside * (1 - cover) + ink * cover)
    return paper


def _print(paper: Tensor, text: str, top: int, left: int) -> None:
    ink = letters.write(text)
    left = max(left, 0)
    part = paper[:, top : top + ink.shape[0], left : left + ink.shape[1]]
    part.copy_(part * (1 - ink) + INK * ink)


def _line(rows: Tensor, columns: Tensor, height: int, width: int, thick: float = 1.8) -> Tensor:
    """How much of each pixel a line through the points covers, from its distance: (height, width)."""
    at = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1).float()
    cover = torch.zeros(height, width)
    points: list[Tensor] = list(torch.stack([rows, columns], dim=-1).float())
    for start, end in pairwise(points):
        # Only what lies near the two points can be covered.
        first = (torch.minimum(start, end).floor().long() - 2).clamp_min(0)
        last = (torch.maximum(start, end).ceil().long() + 3).clamp_min(0)
        near = slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))
        along, away = end - start, at[near] - start
        part = ((away @ along) / (along @ along).clamp_min(1e-9)).clamp(0, 1)
        distance = (away - part[..., None] * along).square().sum(dim=-1).sqrt()
        cover[near] = torch.maximum(cover[near], (thick / 2 + 0.5 - distance).clamp(0, 1))
    return cover
