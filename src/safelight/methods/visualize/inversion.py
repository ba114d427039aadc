"""A picture from its features: what a layer still knows of it, and what it has forgotten.

Mahendran and Vedaldi 2015 (``INSPECTOR.paper``).

Phi_0 = Phi(x_0) are the maps that a layer makes of the picture x_0. Among all pictures that have them, a natural one is
sought, starting from noise::

    x* = argmin  || Phi(x) - Phi_0 ||^2 / || Phi_0 ||^2  +  lambda_a R_a(x)  +  lambda_b R_b(x)

    R_a(x) = mean | (x - 1/2) / B |^a                              a = 6: stay within the range, B = 1/2
    R_b(x) = mean ( (dx^2 + dy^2) / V^2 )^(b/2)                    total variation, b = 2, V = B / 6.5

The lower the layer, the nearer x* is to x_0; the higher, the more is invented. The PSNR between them says how much.

Differs from the paper: the picture is written as a sum of waves (``waves.py``), which finds its large parts as fast as
the small ones, where the paper moves the samples; L-BFGS instead of gradient descent with momentum;
both terms are means over the picture, so that the same weights suit each size, and lambda_b follows the receptive field
of the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.core.card import Paper
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput
from safelight.core.options import option
from safelight.core.solver_input import ProgressCallback, SolverProgress
from safelight.features.inspected_network import InspectedNetwork
from safelight.ops.drawing import Section, Tile, enlarged, sheet
from safelight.solvers import fourier_image

B = 0.5  # half of the range of sample values
V = B / 6.5  # how far neighbouring pixels differ in natural pictures
SPREAD = 0.01  # standard deviation of the waves at first
SEARCH = 25  # gradients of one iteration at most; one is the rule
LEAST_TV, MOST_TV = 1e-5, 1e-2  # lambda_b of a layer that sees one pixel, and of any


@dataclass(frozen=True, slots=True)
class Options:
    """Iterations and weight of the image prior."""

    iterations: int = option(60, "steps of the optimisation", low=1, high=100_000)
    tv: float | None = option(None, "lambda_b, the weight of the total variation; more is smoother", low=0, high=10)
    beta: float = option(2.0, "b, the exponent of the total variation", low=1, high=3)
    norm: float = option(1e-3, "lambda_a, the weight of the 6-norm; more stays nearer to gray", low=0, high=10)


def draw(scene: InspectorInput, options: Options, report: ProgressCallback) -> InspectorOutput:
    """Invert the maps of each layer, one after the other."""
    assert scene.picture is not None
    subject = scene.subject
    x0 = subject.prepare(scene.picture)
    factor = max(1, 128 // max(x0.shape[-2:]))
    tiles = [Tile(enlarged(x0[0], factor), "the picture")]
    facts: dict[str, float | int | str | None] = {}
    for count, layer in enumerate(scene.layers):

        def told(step: SolverProgress, count: int = count, layer: str = layer) -> bool:
            fraction = (count + step.fraction) / len(scene.layers)
            return report(SolverProgress(fraction=fraction, x=step.x, remark=f"{layer}, {step.remark}"))

        x, first, last = invert(scene, layer, x0, options, told)
        psnr = -10 * math.log10(max(float((x.clamp(0, 1) - x0).square().mean()), 1e-12))
        facts |= {f"{layer}.psnr": psnr, f"{layer}.distance": last, f"{layer}.distance_at_first": first}
        tiles.append(Tile(enlarged(x[0], factor), f"{layer}: {psnr:.1f} dB"))
    return InspectorOutput(sheet=sheet([Section(tiles, 6, subject.name)]), facts=facts)


def invert(
    scene: InspectorInput, layer: str, x0: Tensor, options: Options, report: ProgressCallback
) -> tuple[Tensor, float, float]:
    """Find a picture whose maps are those of x0.

    Returns:
        It, and the distance of the maps, relative to their norm, at the first and at the last step.
    """
    tv = usual_tv(scene.subject, layer) if options.tv is None else options.tv
    with torch.no_grad():
        phi0 = scene.subject.maps(x0, [layer])[layer]
    norm0 = phi0.square().sum().clamp_min(1e-12)
    size = (x0.shape[-2], x0.shape[-1])
    drawn = torch.Generator().manual_seed(scene.seed)
    z = fourier_image.draw(x0.shape[1], size, SPREAD, drawn).to(x0.device).requires_grad_()
    method = torch.optim.LBFGS(
        [z], max_iter=1, max_eval=SEARCH, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    distances: list[float] = []

    def evaluate() -> Tensor:
        x = fourier_image.picture(z, size)
        distance = (scene.subject.maps(x, [layer])[layer] - phi0).square().sum() / norm0
        distances.append(float(distance.detach()))
        loss = distance + options.norm * alpha_norm(x) + tv * variation(x, options.beta)
        (z.grad,) = torch.autograd.grad(loss, z)
        return loss.detach()

    for step in range(1, options.iterations + 1):
        method.step(evaluate)
        x = fourier_image.picture(z.detach(), size)
        if not report(SolverProgress(fraction=step / options.iterations, x=x, remark=f"distance {distances[-1]:.2e}")):
            break
    return fourier_image.picture(z.detach(), size), distances[0], distances[-1]


def usual_tv(subject: InspectedNetwork, layer: str) -> float:
    """Settle lambda_b where nobody says it: the more pixels a value of the layer sees, the more is left open."""
    field = subject.layer(layer).field
    return MOST_TV if field is None else min(LEAST_TV * field**2, MOST_TV)


def alpha_norm(x: Tensor) -> Tensor:
    """R_a, which is 1 where every sample is black or white."""
    return ((x - 0.5) / B).pow(6).mean()


def variation(x: Tensor, beta: float) -> Tensor:
    """R_b; the small constant keeps its gradient finite where nothing varies."""
    dx = x[..., :-1, 1:] - x[..., :-1, :-1]
    dy = x[..., 1:, :-1] - x[..., :-1, :-1]
    return ((dx.square() + dy.square()) / V**2 + 1e-8).pow(beta / 2).mean()


INSPECTOR = Inspector(
    module=__name__,
    title="Inversion",
    summary="A picture made from its features alone: what a layer knows of it.",
    draw=draw,
    options=Options,
    paper=Paper(
        title="Understanding Deep Image Representations by Inverting Them",
        authors="A. Mahendran, A. Vedaldi",
        venue="CVPR 2015",
        link="https://arxiv.org/abs/1412.0035",
    ),
    accepts=frozenset({"picture", "layers", "size"}),
    needs=frozenset({"picture", "layers"}),
    longest=128,
)
