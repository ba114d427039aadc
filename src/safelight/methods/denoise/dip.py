"""The deep image prior: a random network is fitted to the one picture, and fits what is natural before what is noise.

Ulyanov et al. 2018 (``CARD.paper``). The rule that stops it without knowing the noise is ES-EMV of H. Wang, T. Li, Z.
Zhuang, T. Chen, H. Liang, J. Sun, "Early Stopping for Deep Image Prior", TMLR 2023 (arXiv:2112.06074).

Nothing is learned from other pictures. The prior is the shape of the network f, an hourglass, and z is noise that
never changes (equation 2)::

    theta* = argmin E(f_theta(z); y),    x* = f_theta*(z)

    denoise    E = || x - y ||^2                            stopped before it fits the noise
    upscale    E = || d(x) - y ||^2                         d: Lanczos2 and sampling
    inpaint    E = || (x - y) (1 - mask) ||^2

    z: 32 --> [128, / 2] --> [128, / 2] --> [128, / 2] --> [128, / 2] --> [128, / 2]     down: two 3x3 layers each
                 |4             |4             |4             |4             |4          skip: one 1x1 layer
         C <-- [128, x 2] <-- [128, x 2] <-- [128, x 2] <-- [128, x 2] <-- [128, x 2]     up: a 3x3 and a 1x1 layer

The network's input is perturbed anew in each iteration, and the result is the running average of its outputs.

When it stops: ``discrepancy``, where sigma is told, as soon as the averaged picture is as far from y as the noise is,
|| d(x) - y ||^2 <= N sigma^2; ``variance``, the rule for ``denoise`` where it is not told, when the variance of the
outputs along the iterations has found no new minimum for a third of all iterations: it falls while the picture forms
and rises as noise is fitted, and the picture at the minimum is the result. ``upscale`` and ``inpaint`` without a told
sigma run through. The variance is that around the averaged output, with its decay of
0.99: with the 0.9 of ES-EMV the minimum comes much too early.

Differs from the paper: pictures of any size, by a network for the next multiple of 32 whose output is cut; the
averaged output for all tasks, where the paper averages for denoising alone; the paper leaves the stopping to a number
of iterations; ``inpaint`` gives the known pixels back untouched, and its 11,000 iterations are 3,000 by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight import ops
from safelight.core.card import Card, Optimised, Paper, Score
from safelight.core.options import CardError, option
from safelight.core.solver_input import ProgressCallback, SolverInput, SolverProgress, SolverResult
from safelight.core.task import Task
from safelight.ops import noise

SCALES = 5
DEPTH = 32  # channels of z
AVERAGE = 0.99  # decay of the averaged output
EVERY = 50  # iterations between two looks at the fit
FALL = 5.0  # dB: a fall that undoes the last iterations


@dataclass(frozen=True, slots=True)
class Options:
    """Iterations, size of the network and stopping rule."""

    iterations: int | None = option(
        None,
        "at most so many; auto: 3000, for upscale 2000, or 4000 above x4",
        low=1,
        high=100_000,
    )
    network: Literal["paper", "light"] = option("paper", "channels of a layer: paper 128; light 32, ten times as fast")
    stop: Literal["auto", "discrepancy", "variance", "never"] = option(
        "auto", "auto: by the noise that was told, else by the variance for denoise, else never before the end"
    )
    arithmetic: Literal["float32", "bfloat16"] = option(
        "float32", "bfloat16 takes half the time on processors and GPUs that have it"
    )


@dataclass(frozen=True, slots=True)
class Setup:
    """How the paper fits: Adam's rate, the standard deviation of the noise on z, the iterations."""

    rate: float
    noise: float
    iterations: int


def setup(task: Task, scale: int) -> Setup:
    """Settle what the paper takes for a task."""
    if task == "denoise":
        return Setup(rate=0.01, noise=1 / 30, iterations=3000)
    if task == "inpaint":
        return Setup(rate=0.001, noise=0.03, iterations=3000)
    return Setup(0.01, 0.03, 2000) if scale <= 4 else Setup(0.01, 0.05, 4000)


class Scale(nn.Module):
    """One scale and all below it: (B, C, H, W) to (B, width, H, W), H and W multiples of 2^scales."""

    def __init__(self, channels: int, width: int, scales: int) -> None:
        super().__init__()
        self.skip = layer(channels, 4, 1)
        self.down = layer(channels, width, 3, stride=2)
        self.inner = layer(width, width, 3)
        self.deeper = Scale(width, width, scales - 1) if scales > 1 else nn.Identity()
        self.norm = norm(4 + width)
        self.up = layer(4 + width, width, 3)
        self.mix = layer(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Beside the skip connection, go down, deeper and up again."""
        deep = self.deeper(self.inner(self.down(x)))
        deep = F.interpolate(deep, scale_factor=2, mode="bilinear")
        return self.mix(self.up(self.norm(torch.cat((self.skip(x), deep), dim=1))))


class Hourglass(nn.Module):
    """(B, 32, H, W) to (B, C, H, W) in [0, 1]; H and W are multiples of 32 and at least 64."""

    def __init__(self, channels: int, width: int = 128, scales: int = SCALES) -> None:
        super().__init__()
        self.body = Scale(DEPTH, width, scales)
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Compute the picture from the fixed noise input."""
        return torch.sigmoid(self.last(self.body(z)).float())


def layer(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    """A convolution that mirrors the border, normalisation over the picture, and a leaky rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, padding_mode="reflect"),
        norm(outputs),
        nn.LeakyReLU(0.2, inplace=True),
    )


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation by the statistics of the picture itself, always."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


# --- the fit ----------------------------------------------------------------------------------------------------------


class PriorFit:
    """The state of a network's fit to one picture.

    Args:
        y: The picture, (1, C, h, w).
        known: (1, 1, h, w), 1 where y counts.
        scale: The zoom.
        width: Channels of a layer.
        setup: Rate, noise and iterations.
        seed: Of the weights, z and its perturbation.

    Attributes:
        average: The running average of the outputs, (1, C, h * scale, w * scale).
        fall_backs: How often the fit fell and the weights of the last look were taken again.
    """

    def __init__(self, y: Tensor, known: Tensor, scale: int, width: int, setup: Setup, seed: int) -> None:
        self.y, self.known, self.scale, self.setup = y, known, scale, setup
        self.size = (y.shape[-2] * scale, y.shape[-1] * scale)
        self.drawn = torch.Generator().manual_seed(seed)
        self.network = Hourglass(y.shape[1], width)
        initialise(self.network, self.drawn)
        self.network = self.network.to(y.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        multiple = 2**SCALES  # of a side; below twice that, the deepest scale would be a single pixel
        padded = [max(2 * multiple, multiple * math.ceil(side / multiple)) for side in self.size]
        self.z = 0.1 * torch.rand(1, DEPTH, *padded, generator=self.drawn)
        self.adam = torch.optim.Adam(self.network.parameters(), lr=setup.rate)
        self.average = y.new_zeros(1, y.shape[1], *self.size)
        self.count = 0
        self.fall_backs = 0
        self._looked: tuple[float, list[Tensor]] | None = None

    def step(self, autocast: bool) -> Tensor:
        """Iterate once, and return the output that came before the weights moved."""
        perturbed = self.z + self.setup.noise * torch.randn(self.z.shape, generator=self.drawn)
        with torch.autocast(self.y.device.type, torch.bfloat16, enabled=autocast):
            x = self.network(perturbed.to(self.y.device, memory_format=torch.channels_last))
        x = x[..., : self.size[0], : self.size[1]]
        loss = self.distance(x)
        self.adam.zero_grad()
        loss.backward()
        self._look(float(loss.detach()))
        self.adam.step()
        x = x.detach()
        self.average = torch.lerp(self.average, x, averaging(self.count))
        self.count += 1
        return x

    def distance(self, x: Tensor) -> Tensor:
        """The mean square of d(x) - y over what is known of y."""
        return ((shrink(x, self.scale) - self.y).square() * self.known).sum() / (self.known.sum() * self.y.shape[1])

    def _look(self, loss: float) -> None:
        """Now and then, keep the weights, or take the last ones again if the fit fell (the authors' backtracking)."""
        if self.count % EVERY:
            return
        weights = list(self.network.parameters())
        if self._looked is not None and loss > self._looked[0] * 10 ** (FALL / 10):
            with torch.no_grad():
                for now, before in zip(weights, self._looked[1], strict=True):
                    now.copy_(before)
                    now.grad = None
            self.fall_backs += 1
        else:
            self._looked = loss, [weight.detach().clone() for weight in weights]


def averaging(count: int) -> float:
    """The weight of the next output after ``count`` of them: that of a mean at first, then of a moving average."""
    return max(1 - AVERAGE, 1 / (count + 1))


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights from the generator alone, as torch's layers do: uniform in +-1 / sqrt(inputs of a neuron)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in (module.weight, module.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)


def shrink(x: Tensor, scale: int) -> Tensor:
    """Shrink (1, C, H, W) by a whole factor with the Lanczos2 kernel, the border repeated: the paper's d."""
    if scale == 1:
        return x
    size = (x.shape[-2] // scale, x.shape[-1] // scale)
    return ops.resize(x, size, kernel=ops.LANCZOS2, border="repeated")


# --- when to stop -----------------------------------------------------------------------------------------------------


class Variance:
    """ES-EMV: the exponential moving variance of the outputs, and the averaged picture at its minimum.

    Args:
        patience: Iterations without a new minimum after which it is time to stop.

    Attributes:
        best: The averaged picture at the minimum; before there is one, the last.
        at: Its iteration, from 1.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.at = 0
        self.best: Tensor | None = None
        self._count = 0
        self._least = math.inf
        self._variance = 0.0

    def update(self, x: Tensor, before: Tensor, average: Tensor) -> bool:
        """Take an output, and the running average before and after it; tell whether it is time to stop."""
        rate = averaging(self._count)
        self._count += 1
        self._variance = (1 - rate) * (self._variance + rate * float((x - before).square().mean()))
        forming = self._count <= min(self.patience, 1 / (1 - AVERAGE))  # too few outputs for a variance
        if forming or self._variance < self._least:
            self._least = math.inf if forming else self._variance
            self.best, self.at = average, self._count
        return self._count - self.at >= self.patience


def run(problem: SolverInput, options: Options, report: ProgressCallback) -> SolverResult:
    """Fit the network until the rule or ``report`` says stop.

    Raises:
        CardError: The mask covers the whole picture.
    """
    y, task, notes = problem.y, problem.task, tuple[str, ...]()
    known = torch.ones_like(y[:, :1]) if problem.mask is None else 1 - problem.mask
    if not bool(known.any()):
        raise CardError("expected a mask that leaves some of the picture, got one that covers all; draw it anew")
    if (task == "inpaint" and bool(known.all())) or (task == "denoise" and problem.sigma == 0):
        return SolverResult(x=y, notes=("nothing was to be done: the picture is as it was",))
    how, stop, sigma = setup(task, problem.scale), options.stop, problem.sigma
    if stop == "auto":
        stop = "discrepancy" if sigma is not None else "variance" if task == "denoise" else "never"
    if stop == "discrepancy":
        sigma, notes = noise.given_or_estimated(y, sigma)
    iterations = how.iterations if options.iterations is None else options.iterations
    fit = PriorFit(y, known, problem.scale, 128 if options.network == "paper" else 32, how, problem.seed)
    rule = Variance(patience=math.ceil(iterations / 3))
    best, end = y, f"ran all of {iterations} iterations"
    for count in range(1, iterations + 1):
        before = fit.average
        x = fit.step(options.arithmetic == "bfloat16")
        best, reached = fit.average, False
        if stop == "variance":
            reached = rule.update(x, before, fit.average)
            best = fit.average if rule.best is None else rule.best
            end = f"took iteration {rule.at} of {count}, where the outputs varied least"
        elif stop == "discrepancy" and sigma is not None:
            with torch.no_grad():
                reached = float(fit.distance(fit.average)) <= sigma**2
            if reached:
                end = f"stopped after {count} of {iterations} iterations: what is left is as large as the noise"
        if task == "inpaint":
            best = torch.where(known > 0, y, best)
        if not report(SolverProgress(fraction=count / iterations, x=best, remark=f"iteration {count} of {iterations}")):
            end = f"stopped as asked after {count} of {iterations} iterations"
            break
        if reached:
            break
    return SolverResult(x=best, notes=(*notes, end))


CARD = Card(
    module=__name__,
    title="Deep image prior",
    summary="A network fitted to this one picture, never trained; slow. Removes noise, enlarges, fills holes (2018).",
    paper=Paper(
        title="Deep Image Prior",
        authors="D. Ulyanov, A. Vedaldi, V. Lempitsky",
        venue="CVPR 2018",
        link="https://arxiv.org/abs/1711.10925",
    ),
    method=Optimised(run=run, pixel_bytes=9000),
    options=Options,
    other_tasks=("upscale", "inpaint"),
    accepts=frozenset({"sigma", "mask"}),
    published=(Score(data="Set5", level=4, psnr=29.90),),
)
