"""Pictures in a grid with labels, and how numbers of any range are made visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.ops.drawing import letters

INK = 0.15
_GAP = 6  # pixels between tiles, and around the sheet; twice as many beside large letters
_LARGE = 120  # pixels: beside tiles of this width, letters are twice as large


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture (C, h, w), C = 1 or 3, with what stands below it; values outside [0, 1] are clipped."""

    picture: Tensor
    label: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Tiles, so many in a row, below a line of text."""

    tiles: Sequence[Tile]
    columns: int
    heading: str = ""


# --- numbers made visible ---------------------------------------------------------------------------------------------


def symmetric(values: Tensor) -> Tensor:
    """Show signed numbers: 0 becomes mid gray, the largest magnitude black or white.

    Example:
        >>> symmetric(torch.tensor([-2.0, 0.0, 1.0]))
        tensor([0.0000, 0.5000, 0.7500])
    """
    most = values.abs().max().clamp_min(1e-12)
    return 0.5 + values / (2 * most)


def stretched(values: Tensor) -> Tensor:
    """Show numbers of any range: the smallest becomes black, the largest white; if all are the same, mid gray.

    Example:
        >>> stretched(torch.tensor([3.0, 4.0, 5.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    low, high = values.min(), values.max()
    if high == low:
        return torch.full_like(values, 0.5)
    return (values - low) / (high - low)


def heat(values: Tensor) -> Tensor:
    """Show numbers in [0, 1], (h, w), as what glows: black, red, yellow, white; (3, h, w)."""
    return torch.stack([3 * values, 3 * values - 1, 3 * values - 2]).clamp(0, 1)


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Repeat each pixel of (..., h, w) so often in both directions."""
    return picture.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def boxed(
    picture: Tensor, top: int, left: int, height: int, width: int, colour: tuple[float, float, float] = (1, 0.2, 0.1)
) -> Tensor:
    """Draw a frame of one pixel around a part of (C, h, w), as far as it lies within; the result is (3, h, w)."""
    drawn = picture.expand(3, -1, -1).clone()
    rows, columns = drawn.shape[-2:]
    first, last = max(top - 1, 0), min(top + height, rows - 1)
    begin, end = max(left - 1, 0), min(left + width, columns - 1)
    ink = torch.tensor(colour, dtype=drawn.dtype)
    for row in (first, last):
        drawn[:, row, begin : end + 1] = ink[:, None]
    for column in (begin, end):
        drawn[:, first : last + 1, column] = ink[:, None]
    return drawn


# --- the grid ---------------------------------------------------------------------------------------------------------


def sheet(sections: Sequence[Section]) -> Tensor:
    """Lay tiles on white paper, section below section; each column is as wide as its widest tile or label.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        ValueError: There is no tile.
    """
    tiles = [tile for section in sections for tile in section.tiles]
    if not tiles:
        raise ValueError("expected tiles for a sheet, got none; give at least one")
    dots = 2 if max(tile.picture.shape[-1] for tile in tiles) >= _LARGE else 1
    blocks = [_block(section, dots) for section in sections if section.tiles]
    wide = max(block.shape[-1] for block in blocks)
    rows = [_grown(block, block.shape[-2], wide) for block in blocks]
    return _padded(torch.cat(_between(rows, -2, _GAP), dim=-2), _GAP).unsqueeze(0).contiguous()


def _block(section: Section, dots: int) -> Tensor:
    """Draw one section, (3, h, w)."""
    cells = [_cell(tile, dots) for tile in section.tiles]
    columns = min(section.columns, len(cells))
    lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    widths = [max(line[place].shape[-1] for line in lines if place < len(line)) for place in range(columns)]
    drawn: list[Tensor] = []
    if section.heading:
        drawn.append(_text(section.heading, dots))
    for line in lines:
        high = max(cell.shape[-2] for cell in line)
        grown = [_grown(cell, high, wide) for cell, wide in zip(line, widths, strict=False)]
        drawn.append(torch.cat(_between(grown, -1, _GAP * dots), dim=-1))
    wide = max(part.shape[-1] for part in drawn)
    return torch.cat(_between([_grown(part, part.shape[-2], wide) for part in drawn], -2, _GAP), dim=-2)


def _cell(tile: Tile, dots: int) -> Tensor:
    picture = tile.picture.detach().float().cpu().clamp(0, 1).expand(3, -1, -1)
    if not tile.label:
        return picture
    label = _text(tile.label, dots)
    wide = max(picture.shape[-1], label.shape[-1])
    parts = (picture, torch.ones(3, 2, 1), label)
    return torch.cat([_grown(part, part.shape[-2], wide) for part in parts], dim=-2)


def _text(text: str, dots: int) -> Tensor:
    ink = enlarged(letters.write(text), dots)
    return (1 - (1 - INK) * ink).expand(3, -1, -1)


def _grown(part: Tensor, height: int, width: int) -> Tensor:
    """Add white below and on the right."""
    grown = part.new_ones(3, height, width)
    grown[:, : part.shape[-2], : part.shape[-1]] = part
    return grown


def _between(parts: Sequence[Tensor], dim: int, width: int) -> list[Tensor]:
    """Put white gaps of ``width`` pixels between parts that are of one size across ``dim``."""
    size = list(parts[0].shape)
    size[dim] = width
    gap = parts[0].new_ones(size)
    return [piece for part in parts for piece in (part, gap)][:-1]


def _padded(part: Tensor, margin: int) -> Tensor:
    padded = part.new_ones(3, part.shape[-2] + 2 * margin, part.shape[-1] + 2 * margin)
    padded[:, margin:-margin, margin:-margin] = part
    return padded
