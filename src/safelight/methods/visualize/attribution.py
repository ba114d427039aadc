"""Which pixels of the input a patch of a restored picture was made from: local attribution maps.

Gu and Dong 2021 (``INSPECTOR.paper``).

F is the network, I the picture, and D(F(I)) says how much there is to see in a patch of the result: the sum of the
sizes of its gradient. The picture is blurred, step by step less, and what each pixel adds to D on the way is its share:
the integral of the gradients along this path::

    gamma(a) = G_((1 - a) sigma) * I,     a from 0, blurred by sigma, to 1, the picture itself

    LAM_i = sum over k of  dD(F(gamma(a_k))) / dgamma_i  *  (gamma(a_k+) - gamma(a_k-))_i

Detail is what is lost by blurring, so the map shows where the detail of the patch was taken from. The shares sum to
D(F(I)) - D(F(gamma(0))), and no pixel beyond the receptive field has one. How far they are spread is the diffusion
index, 100 (1 - Gini): 0 if a single pixel has it all, 100 if all have the same::

    Gini = sum_ij | g_i - g_j | / (2 n^2 mean(g)),    g = | LAM | summed over the colours, n pixels in the picture

Differs from the paper: the gradients are taken in the middle of each step of the path, so that fewer steps do; the
picture is blurred with its border mirrored; restorers of noise and JPEG artefacts are looked at too. The index depends
on the size of the picture, so compare networks by the same picture and patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight import ops
from safelight.core.card import Paper
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput
from safelight.core.options import CardError, option
from safelight.core.solver_input import ProgressCallback, SolverProgress
from safelight.features.inspected_network import OUTPUT, InspectedNetwork
from safelight.ops.color import rgb_to_ycbcr
from safelight.ops.drawing import Section, Tile, boxed, enlarged, sheet

SIZE = 128  # pixels: the longest side of the part of the picture that is drawn, if nobody says
SEEN = 1e-3  # of the largest share: smaller ones are not drawn
DRAWN = 256  # pixels: near to the side of a tile
CUBIC_REACH = 3  # pixels that the enlargement before some networks looks away, and one for its edge


@dataclass(frozen=True, slots=True)
class Options:
    """The path from the blurred picture to the picture."""

    steps: int = option(32, "steps of the path; more are more exact", low=1, high=10_000)
    sigma: float = option(1.2, "standard deviation of the blur that it begins with, in pixels", low=0.1, high=20)


@dataclass(frozen=True, slots=True)
class Shares:
    """What was found.

    Attributes:
        map: LAM, (C, h, w), of the whole picture.
        detail: D(F(I)).
        blurred: D(F(gamma(0))).
        result: F(I) around the patch, (1, C, H, W).
        corner: (x, y) of the patch in ``result``.
    """

    map: Tensor
    detail: float
    blurred: float
    result: Tensor
    corner: tuple[int, int]


def draw(scene: InspectorInput, options: Options, report: ProgressCallback) -> InspectorOutput:
    """Find the shares of the pixels in one patch, and draw them over the picture."""
    assert scene.picture is not None
    subject, side = scene.subject, scene.side
    picture = scene.picture
    if subject.channels == 1 and picture.shape[1] == 3:
        picture = rgb_to_ycbcr(picture)[:, :1]
    scale = scale_of(subject)
    height, width = (scale * length for length in picture.shape[-2:])
    x, y = ((width - side) // 2, (height - side) // 2) if scene.at is None else scene.at
    if side < 2 or x < 0 or y < 0 or x + side > width or y + side > height:
        raise CardError(
            f"visualize/attribution: expected a square within the result of {width}x{height} pixels, got one of {side} "
            f"at {x},{y}; change --at and --side"
        )
    found = attribute(subject, picture, (x, y), side, options, report)
    shares = found.map.abs().sum(0)
    index = 100 * (1 - gini(shares))
    if not shares.any():
        raise CardError("visualize/attribution: expected a patch with detail, got a flat one; choose another with --at")
    total, expected = float(found.map.sum()), found.detail - found.blurred
    facts: dict[str, float | int | str | None] = {
        "x": x, "y": y, "side": side, "diffusion_index": index, "pixels": int((shares > 0).sum()),
        "sum": total, "detail": found.detail, "detail_of_blurred": found.blurred,
    }  # fmt: skip
    off = abs(total - expected) / max(abs(expected), 0.05 * found.detail)  # a flat patch loses nothing by blurring
    notes = (
        () if off < 0.05 else (f"the shares miss their sum by {off:.0%}; --steps {4 * options.steps} is more exact",)
    )
    heading = f"{subject.name}: a patch of {side}x{side} px at {x},{y}; diffusion index {index:.2g}"
    tiles = _tiles(picture[0].cpu(), shares, found, scale, (x, y), side, scene.size or SIZE)
    return InspectorOutput(sheet=sheet([Section(tiles, 3, heading)]), facts=facts, notes=notes)


def scale_of(subject: InspectedNetwork) -> int:
    """Pixels of the result for one pixel of the input, along a side."""
    return round(subject.zoom / subject.layer(OUTPUT).stride)


def attribute(
    subject: InspectedNetwork,
    picture: Tensor,
    at: tuple[int, int],
    side: int,
    options: Options,
    report: ProgressCallback,
) -> Shares:
    """Integrate the gradients along the path.

    Only the part of the picture that the patch can see is restored; the rest has no share.

    Args:
        subject: The network.
        picture: I, (1, C, h, w), with the network's channels.
        at: (x, y) of the patch in the result.
        side: Of the patch.
        options: The path.
        report: Told how far it is.
    """
    scale, field = scale_of(subject), subject.layer(OUTPUT).field
    height, width = picture.shape[-2:]
    receptive_radius = max(height, width) if field is None else math.ceil((field / 2 + 1) / subject.zoom) + CUBIC_REACH
    left, right, top, bottom = (
        min(max(edge, 0), length)
        for edge, length in (
            (at[0] // scale - receptive_radius, width),
            (math.ceil((at[0] + side) / scale) + receptive_radius, width),
            (at[1] // scale - receptive_radius, height),
            (math.ceil((at[1] + side) / scale) + receptive_radius, height),
        )
    )
    corner = at[0] - scale * left, at[1] - scale * top
    margin = ops.gaussian_radius(options.sigma)  # what the blur sees around the part
    begin, above = max(left - margin, 0), max(top - margin, 0)
    around = picture[..., above : bottom + margin, begin : right + margin]

    def gamma(a: float) -> Tensor:
        sigma = (1 - a) * options.sigma  # below 0.05 no neighbour has a weight
        blurred = around if sigma < 0.05 else ops.gaussian_blur(around, sigma)
        return blurred[..., top - above : bottom - above, left - begin : right - begin].clone()

    def restored(x: Tensor) -> Tensor:
        return subject.maps(subject.prepare(x), [OUTPUT])[OUTPUT]

    def detail(x: Tensor) -> Tensor:
        made = restored(x)[..., corner[1] : corner[1] + side, corner[0] : corner[0] + side]
        return size_of_gradient(made)

    total = torch.zeros_like(picture)
    share = total[..., top:bottom, left:right]
    for k in range(1, options.steps + 1):
        middle = gamma((k - 0.5) / options.steps).requires_grad_()
        (gradient,) = torch.autograd.grad(detail(middle), middle)
        share += gradient * (gamma(k / options.steps) - gamma((k - 1) / options.steps))
        if not report(SolverProgress(fraction=k / options.steps, x=middle.detach())):
            break
    with torch.no_grad():
        ends = float(detail(gamma(1))), float(detail(gamma(0)))
        return Shares(total[0].cpu(), *ends, restored(gamma(1)).cpu(), corner)


def size_of_gradient(patch: Tensor) -> Tensor:
    """D: the sum over a patch of the length of the gradient, by differences of neighbours within it."""
    dx = patch[..., :-1, 1:] - patch[..., :-1, :-1]
    dy = patch[..., 1:, :-1] - patch[..., :-1, :-1]
    return (dx.square() + dy.square() + 1e-12).sqrt().sum()


def gini(shares: Tensor) -> float:
    """Return the Gini coefficient of numbers of at least 0: 0 if all are the same, near 1 if one has it all.

    Example:
        >>> gini(torch.ones(4)), gini(torch.tensor([0.0, 0.0, 0.0, 1.0]))
        (0.0, 0.75)
    """
    values = shares.flatten().double().sort().values
    n = len(values)
    ranks = torch.arange(1, n + 1, dtype=torch.float64)
    return float(((2 * ranks - n - 1) * values).sum() / (n * values.sum().clamp_min(1e-300)))


def _tiles(
    picture: Tensor, shares: Tensor, found: Shares, scale: int, at: tuple[int, int], side: int, size: int
) -> list[Tile]:
    """Draw the part of the picture around the patch, the shares over it, and the patch in the result."""
    height, width = picture.shape[-2:]
    high, wide = min(size, height), min(size, width)
    middle_x, middle_y = (2 * at[0] + side) // (2 * scale), (2 * at[1] + side) // (2 * scale)
    left, top = min(max(middle_x - wide // 2, 0), width - wide), min(max(middle_y - high // 2, 0), height - high)
    seen = Patch(top, left, high, wide)
    rows, columns = ((shares > SEEN * shares.max()).sum(dim).nonzero().flatten() for dim in (1, 0))
    near = Patch(int(rows[0]), int(columns[0]), int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
    # The root lets small shares be seen; red covers a gray picture.
    strength = (near.of(shares) / shares.max()).sqrt()
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    covered = near.of(picture).mean(0) * (1 - strength) + red * strength
    x, y = found.corner
    begin, above = max(x - 2 * side, 0), max(y - 2 * side, 0)
    result = found.result[0, :, above : y + 3 * side, begin : x + 3 * side]
    x, y = x - begin, y - above
    factor = max(1, DRAWN // max(result.shape[-2:]))
    patch = (at[0], at[1], side)
    return [
        Tile(seen.framed(seen.of(picture), patch, scale, (1.0, 0.2, 0.1)), "the picture"),
        Tile(near.framed(covered, patch, scale, (0.1, 0.5, 1.0)), "shares (root)"),
        Tile(boxed(enlarged(result, factor), y * factor, x * factor, side * factor, side * factor), "the result"),
    ]


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of the picture."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: Tensor) -> Tensor:
        """Cut it out of (..., h, w)."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def framed(
        self, part: Tensor, patch: tuple[int, int, int], scale: int, colour: tuple[float, float, float]
    ) -> Tensor:
        """Enlarge the part and draw a frame around the patch, of which x, y and side in the result are given."""
        factor = max(1, DRAWN // max(self.height, self.width))
        left = patch[0] * factor // scale - self.left * factor
        top = patch[1] * factor // scale - self.top * factor
        side = math.ceil(patch[2] * factor / scale)
        return boxed(enlarged(part, factor), top, left, side, side, colour)


INSPECTOR = Inspector(
    module=__name__,
    title="Local attribution",
    summary="Which pixels of the input a patch of the restored picture depends on, and how far they are spread.",
    draw=draw,
    options=Options,
    paper=Paper(
        title="Interpreting Super-Resolution Networks with Local Attribution Maps",
        authors="J. Gu, C. Dong",
        venue="CVPR 2021",
        link="https://arxiv.org/abs/2011.11731",
    ),
    accepts=frozenset({"picture", "at", "side", "size"}),
    needs=frozenset({"picture"}),
    restorers_only=True,
)
