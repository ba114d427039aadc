"""Make docs/gallery/cnn101.md and its pictures: the layers of a network, computed and drawn by the library itself.

``python tools/make_cnn101.py`` writes them; a test makes them again and compares. No number on the page is typed: each
is computed here, and each formula is held against what torch makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight.features.inspected_network import OUTPUT, InspectedNetwork
from safelight.inference.inspection import load
from safelight.media import image
from safelight.ops.drawing import Curve, Section, Tile, chart, enlarged, sheet, stretched, symmetric
from safelight.ops.drawing.chart import BLUE, RED

HOME = harness.ROOT / "docs/gallery"
TEMPLATE = Path(__file__).with_name("cnn101.md")  # the page without its numbers
SIDE = 64  # of the drawn picture

# --- the picture ------------------------------------------------------------------------------------------------------


def drawn() -> Tensor:
    """Draw a picture with a slope, a disc, bars and a fine pattern: (1, 1, 64, 64)."""
    v, u = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    x = 0.25 + 0.4 * u
    x = torch.where((u - 0.3).square() + (v - 0.35).square() < 0.045, 0.9, x)
    x = torch.where(((u - v).abs() < 0.03) & (u > 0.5), 0.1, x)
    x = torch.where((v > 0.7) & (u < 0.5), 0.5 + 0.35 * torch.sin(2 * math.pi * 12 * u), x)
    return x[None, None]


KERNELS: Mapping[str, Sequence[Sequence[float]]] = {
    "blur": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
    "edges across": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "edges down": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "Laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}


# --- convolution ------------------------------------------------------------------------------------------------------


def out(n: int, k: int, s: int, p: int) -> int:
    """Side of the result of a k x k window that moves by s over n + 2 p pixels."""
    return (n + 2 * p - k) // s + 1


def convolutions() -> Tensor:
    """Draw the picture, four kernels and the maps that they make."""
    x = drawn()
    kernels = {name: torch.tensor(rows, dtype=torch.float32) for name, rows in KERNELS.items()}
    top = [Tile(enlarged(x[0], 2), "the picture")]
    top += [Tile(enlarged(symmetric(kernel)[None], 42), name) for name, kernel in kernels.items()]
    low = [Tile(torch.ones(1, 1, 2 * SIDE))]
    low += [Tile(enlarged(stretched(F.conv2d(x, kernel[None, None])[0]), 2), "its map") for kernel in kernels.values()]
    return sheet([Section([*top, *low], 5)])


def sizes() -> list[str]:
    """Hold the formula of the size against torch's layers."""
    rows = ["| n | k | s | p | floor((n + 2p - k) / s) + 1 | torch |", "| --: | --: | --: | --: | --: | --: |"]
    for n, k, s, p in ((64, 3, 1, 0), (64, 3, 1, 1), (64, 5, 2, 2), (224, 11, 4, 2), (32, 2, 2, 0), (27, 3, 2, 0)):
        made = F.conv2d(torch.zeros(1, 1, n, n), torch.zeros(1, 1, k, k), stride=s, padding=p).shape[-1]
        rows.append(f"| {n} | {k} | {s} | {p} | {out(n, k, s, p)} | {made} |")
    return rows


# --- weights ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """Parameters of three ways to go from n x n pixels of ``inputs`` channels to as many of ``outputs``."""

    full: int
    local: int
    convolution: int


def counts(n: int, k: int, inputs: int, outputs: int) -> Counts:
    """Count weights and biases; the size stays, by padding."""
    one = k * k * inputs + 1
    return Counts((n * n * inputs + 1) * n * n * outputs, n * n * one * outputs, one * outputs)


class Local(nn.Module):
    """A locally connected layer: a kernel of its own for each place."""

    def __init__(self, n: int, k: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.k = k
        self.weight = nn.Parameter(torch.zeros(n * n, outputs, k * k * inputs))
        self.bias = nn.Parameter(torch.zeros(n * n, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Give each place of (1, inputs, n, n) the product of its patch with its own kernel: (1, outputs, n, n)."""
        patches = F.unfold(x, self.k, padding=self.k // 2)[0].T  # a row for each place
        made = torch.einsum("lok,lk->lo", self.weight, patches) + self.bias
        return made.T.reshape(1, -1, *x.shape[-2:])


def size_of(module: nn.Module) -> int:
    """Count the parameters that a layer really has."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameters() -> list[str]:
    """Hold the formulas against layers of torch, where these are small enough to be made."""
    rows = [
        "| from → to | k | fully connected | locally connected | convolution |",
        "| --- | --: | --: | --: | --: |",
    ]
    for n, k, inputs, outputs in ((8, 3, 3, 4), (32, 5, 3, 16), (224, 3, 3, 64)):
        count = counts(n, k, inputs, outputs)
        if n <= 8:
            full = nn.Linear(n * n * inputs, n * n * outputs)
            made = Counts(
                *(size_of(layer) for layer in (full, Local(n, k, inputs, outputs), nn.Conv2d(inputs, outputs, k)))
            )
            assert made == count
        rows.append(
            f"| {n}x{n}x{inputs} → {n}x{n}x{outputs} | {k} | {count.full:,} | {count.local:,} | {count.convolution:,} |"
        )
    return rows


def bars() -> Tensor:
    """Draw the three counts of the middle row, each ten times a line apart."""
    count = counts(32, 5, 3, 16)
    curves: list[Curve] = []
    for at, number in enumerate((count.full, count.local, count.convolution), start=1):
        height = math.log10(number)
        left, right = at - 0.3, at + 0.3
        xs, ys = (left, left, right, right), (0.0, height, height, 0.0)
        curves.append(Curve(torch.tensor(xs), torch.tensor(ys), (RED, (0.8, 0.55, 0.1), BLUE)[at - 1]))
    made = chart(curves, x=(0, 4), y=(0, 8), size=(320, 220))
    return sheet([Section([Tile(made, "full, local, convolution: digits")], 1)])


def ours() -> list[str]:
    """Count the parameters of layers of networks that are shipped."""
    rows = ["| network | layer | (k² Cin + 1) Cout | in the file |", "| --- | --- | --- | --: |"]
    wanted = (("upscale/fsrcnn", "extract.0"), ("upscale/srcnn", "conv1"), ("upscale/srcnn", "conv2"))
    for name, layer in (*wanted, ("upscale/edsr", "head"), ("upscale/edsr", "body.8.conv1")):
        subject = load(name, scale=2, device="cpu")
        outputs, inputs, k, _ = subject.kernels(layer)[1].shape
        module = subject.network.get_submodule(layer)
        assert (k * k * inputs + 1) * outputs == size_of(module)
        said = f"({k}² · {inputs} + 1) · {outputs} = {(k * k * inputs + 1) * outputs:,}"
        rows.append(f"| {name} | {layer} | {said} | {size_of(module):,} |")
    return rows


def moved() -> tuple[float, float]:
    """Move the picture by three pixels: how far the map of a convolution, and of local kernels, is from moved too."""
    generator = torch.Generator().manual_seed(0)
    x = drawn()
    local = Local(SIDE, 3, 1, 1)
    kernel = torch.randn(1, 1, 3, 3, generator=generator)
    inside = (..., slice(4, -4), slice(4, -4))
    distances: list[float] = []
    with torch.no_grad():
        local.weight.copy_(torch.randn(local.weight.shape, generator=generator))

        def convolution(picture: Tensor) -> Tensor:
            return F.conv2d(picture, kernel, padding=1)

        layers: tuple[Callable[[Tensor], Tensor], ...] = (convolution, local.forward)
        for layer in layers:
            away = layer(x.roll(3, -1))[inside] - layer(x).roll(3, -1)[inside]
            distances.append(float(away.abs().max()))
    return distances[0], distances[1]


# --- pooling ----------------------------------------------------------------------------------------------------------


def pools() -> Tensor:
    """Draw the picture pooled by the largest value and by the mean, twice each."""
    x = drawn()
    tiles = [Tile(enlarged(x[0], 3), f"{SIDE}x{SIDE}")]
    for name, pool in (("max", F.max_pool2d), ("mean", F.avg_pool2d)):
        for k in (2, 4):
            made = pool(x, k)
            tiles.append(Tile(enlarged(made[0], 3 * k), f"{name} of {k}x{k}: {made.shape[-1]}x{made.shape[-1]}"))
    return sheet([Section(tiles, 3)])


def pooled_shift() -> tuple[float, float, float]:
    """How much a shift by one pixel changes the picture, and its pooled versions: the mean of the differences."""
    x = drawn()
    looks: tuple[Callable[[Tensor], Tensor], ...] = (
        torch.clone,
        lambda x: F.max_pool2d(x, 4),
        lambda x: F.avg_pool2d(x, 4),
    )
    changes = [float((look(x) - look(x.roll(1, -1))).abs().mean()) for look in looks]
    return changes[0], changes[1], changes[2]


# --- activations ------------------------------------------------------------------------------------------------------


def maxout(x: Tensor) -> Tensor:
    """The largest of two straight lines, which would be learned: here x / 2 and -x / 4 - 1 / 2."""
    return torch.maximum(0.5 * x, -0.25 * x - 0.5)


@dataclass(frozen=True)
class Activation:
    """A function, how it is written, and the range that its chart shows."""

    name: str
    formula: str
    function: Callable[[Tensor], Tensor]
    y: tuple[float, float]


ACTIVATIONS = (
    Activation("sigmoid", "1 / (1 + e^-x)", torch.sigmoid, (0, 1)),
    Activation("tanh", "(e^x - e^-x) / (e^x + e^-x)", torch.tanh, (-1, 1)),
    Activation("ReLU", "max(0, x)", F.relu, (-1, 3)),
    Activation("leaky ReLU", "max(0.1 x, x)", lambda x: F.leaky_relu(x, 0.1), (-1, 3)),
    Activation("maxout", "max(w₁ x + b₁, w₂ x + b₂)", maxout, (-1, 3)),
    Activation("ELU", "x if x > 0, else e^x - 1", F.elu, (-1, 3)),
)


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative, by automatic differentiation."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).sum(), x)
    return gradient


def activations() -> Tensor:
    """Draw the six functions, blue, and their derivatives, red."""
    x = torch.linspace(-4, 4, 161)
    tiles: list[Tile] = []
    for one in ACTIVATIONS:
        curves = [Curve(x, slope(one.function, x), RED), Curve(x, one.function(x), BLUE)]
        tiles.append(Tile(chart(curves, x=(-4, 4), y=one.y, size=(240, 170)), one.name))
    return sheet([Section(tiles, 3)])


def values() -> list[str]:
    """Compute the functions and their derivatives at a few places."""
    at = torch.tensor([-3.0, -1.0, 1.0, 3.0])
    head = " | ".join(f"{x:g}" for x in at)
    rows = [
        f"| function | f(x) | at {head} | slope at -3 | slope at 3 |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for one in ACTIVATIONS:
        numbers = " | ".join(f"{float(value):.3f}" for value in one.function(at))
        slopes = slope(one.function, at)
        rows.append(f"| {one.name} | {one.formula} | {numbers} | {float(slopes[0]):.3f} | {float(slopes[-1]):.3f} |")
    return rows


# --- depth ------------------------------------------------------------------------------------------------------------


def depth() -> list[str]:
    """Measure how far a stack of layers sees."""
    rows = ["| layers | rule | measured |", "| --- | --: | --: |"]
    for count in (1, 2, 5, 10):
        stack = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(count)))
        seen = InspectedNetwork(stack, "stack", channels=1).layer(OUTPUT).field
        rows.append(f"| {count} of 3x3 | 2 · {count} + 1 = {2 * count + 1} | {seen} |")
    pooled = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, padding=1))
    seen = InspectedNetwork(pooled, "stack", channels=1).layer(OUTPUT).field
    rows.append(f"| 3x3, pooling by 2, 3x3 | 3 + 1 + 2 · 2 = {3 + 1 + 2 * 2} | {seen} |")
    return rows


# --- the page ---------------------------------------------------------------------------------------------------------


def pictures() -> dict[str, Tensor]:
    """Draw all of them, by the names of their files."""
    return {
        "convolution.png": convolutions(),
        "parameters.png": bars(),
        "pooling.png": pools(),
        "activations.png": activations(),
    }


def page() -> str:
    """Write the page."""
    with_kernel, with_local = moved()
    plain, by_max, by_mean = pooled_shift()
    tables = {
        name: "\n".join(rows())
        for name, rows in (
            ("sizes", sizes), ("parameters", parameters), ("ours", ours), ("values", values), ("depth", depth),
        )
    }  # fmt: skip
    return TEMPLATE.read_text(encoding="utf-8").format(
        **tables, with_kernel=with_kernel, with_local=with_local, plain=plain, by_max=by_max, by_mean=by_mean
    )


def main() -> None:
    """Write the page and its pictures."""
    parser = harness.parser(__doc__)
    parser.add_argument("--out", type=Path, default=HOME, help="the folder that cnn101.md goes into")
    home: Path = parser.parse_args().out
    (home / "cnn101").mkdir(parents=True, exist_ok=True)
    for name, made in pictures().items():
        image.write(harness.as_picture(made), home / "cnn101" / name, overwrite=True)
    image.write_bytes(page().encode(), home / "cnn101.md", overwrite=True)


if __name__ == "__main__":
    main()
