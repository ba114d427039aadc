"""SOAP, the optimiser of the recipes here: Adam in the eigenbasis of Shampoo's preconditioner.

N. Vyas, D. Morwani, R. Zhao, I. Shapira, D. Brandfonbrener, L. Janson, S. Kakade, "SOAP: Improving and Stabilizing
Shampoo using Adam", ICLR 2025 (arXiv:2409.11321).

A layer's gradient G, laid out as a matrix, has the second moments L = E[G G'] and R = E[G' G]. In their eigenbases
Q_L and Q_R the directions of G are nearly independent, which is what Adam assumes of them::

    G' = Q_L' G Q_R        V = E[G'^2]        M = E[G]        W <- W - rate Q_L (Q_L' M Q_R / sqrt(V)) Q_R'

Enlarging pictures is badly conditioned: nearly all energy of the input lies in smooth directions that are learned at
once, and the detail in all others. ``tools/compare_optimisers.py`` measures what this choice is worth on FSRCNN;
``results/optimisers.json`` has the figures.

Differs from the paper: tensors may have three axes (output channels, input channels, kernel) where the last two
together would be too long for one matrix, and the first gradient's eigenbasis is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


class Soap(Optimizer):
    """SOAP over the parameters of convolutions; vectors (biases, slopes) are left to plain Adam.

    Args:
        parameters: What is optimised.
        lr: The learning rate; about Adam's.
        beta: Decay of all running means.
        every: Steps between refreshes of the eigenbases, each one step of the power iteration and a QR.
        longest: Axes longer than this are split, so that no basis has more than longest^2 numbers.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        *,
        beta: float = 0.95,
        every: int = 10,
        longest: int = 256,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "beta": beta, "every": every, "longest": longest})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # no closure: nothing here needs one
        """Update every parameter that has a gradient. The first call only looks at the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    # The caller may train in bfloat16 by autocast, which would spoil the bases.
                    with torch.autocast(parameter.device.type, enabled=False):
                        _update(parameter, self.state[parameter], group)


def _update(parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    assert parameter.grad is not None
    beta: float = group["beta"]
    gradient = parameter.grad.reshape(_axes(parameter, group["longest"]))
    axes = range(gradient.ndim) if gradient.ndim > 1 else range(0)
    if not state:
        state["step"] = torch.zeros(())
        state["mean"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)
        for axis in axes:
            state[f"moment{axis}"] = moment = _second_moment(gradient, axis)
            state[f"basis{axis}"] = _eigenbasis(moment)
        return

    state["step"] += 1
    step = int(state["step"])
    bases = [state[f"basis{axis}"] for axis in axes]
    correction = 1 - beta**step
    state["mean"].lerp_(gradient, 1 - beta)
    state["square"].lerp_(_rotate(gradient, bases).square(), 1 - beta)
    direction = _rotate(state["mean"], bases) / (state["square"] / correction).sqrt().add(1e-8) / correction
    direction = _rotate(direction, [basis.T for basis in bases])
    parameter.sub_(direction.reshape(parameter.shape), alpha=group["lr"])

    for axis, basis in zip(axes, bases, strict=True):
        moment = state[f"moment{axis}"].lerp_(_second_moment(gradient, axis), 1 - beta)
        if step % group["every"] == 0:
            turned = moment @ basis
            # The basis is kept in the order of its eigenvalues, which the power iteration needs.
            order = (basis * turned).sum(dim=0).argsort(descending=True)
            state["square"] = state["square"].index_select(axis, order)
            state[f"basis{axis}"] = torch.linalg.qr(turned[:, order])[0]


def _axes(parameter: Tensor, longest: int) -> tuple[int, ...]:
    """Lay a parameter out: vectors as they are, kernels as (out, rest), or (out, in, kernel) where rest is too long."""
    if parameter.ndim < 2:
        return (parameter.numel(),)
    rest = parameter[0].numel()
    if rest <= longest:
        return (parameter.shape[0], rest)
    return (parameter.shape[0], parameter.shape[1], math.prod(parameter.shape[2:]))


def _second_moment(gradient: Tensor, axis: int) -> Tensor:
    rows = gradient.movedim(axis, 0).flatten(1)
    return rows @ rows.T


def _eigenbasis(moment: Tensor) -> Tensor:
    """The eigenvectors, those of the largest values first.

    One gradient's moment has a low rank and entries of 1e-12: in float32, and unscaled, LAPACK returns NaN for some.
    """
    scaled = moment.double() / moment.diagonal().double().mean().clamp(min=1e-300)
    vectors = cast("Tensor", torch.linalg.eigh(scaled)[1])
    return vectors.flip(1).to(moment.dtype).contiguous()


def _rotate(x: Tensor, bases: list[Tensor]) -> Tensor:
    """Multiply every axis by its basis. Each product moves its axis to the end, so that all end in their places."""
    for basis in bases:
        x = cast("Any", torch.tensordot)(x, basis, dims=([0], [0]))
    return x
