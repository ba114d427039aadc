"""SOAP, the optimiser of the training recipes: Adam in the eigenbasis of Shampoo's preconditioner.

N. Vyas, D. Morwani, R. Zhao, I. Shapira, D. Brandfonbrener, L. Janson, S. Kakade, "SOAP: Improving and Stabilizing
Shampoo using Adam", ICLR 2025 (arXiv:2409.11321).

A layer's gradient G, laid out as a matrix, has the second moments L = E[G G'] and R = E[G' G]. In their eigenbases
Q_L and Q_R the directions of G are nearly independent, which is what Adam assumes of them::

    G' = Q_L' G Q_R        V = E[G'^2]        M = E[G]        W <- W - rate Q_L (Q_L' M Q_R / sqrt(V)) Q_R'

Enlarging pictures is badly conditioned: nearly all energy of the input lies in smooth directions that are learned at
once, and the detail in all others. ``tools/compare_recipes.py`` measures what this choice is worth on FSRCNN;
``results/recipes.json`` has the figures.

Differs from the paper: tensors may have three axes (output channels, kernel, input channels) where the last two
together would be too long for one matrix, and the first gradient's eigenbasis is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


class Soap(Optimizer):
    """SOAP over the parameters of convolutions; vectors (biases, slopes) are updated by plain Adam.

    Args:
        parameters: The parameters to optimise.
        lr: The learning rate, of about the size that Adam needs.
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
        """Update every parameter that has a gradient. The first call only collects statistics of the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    # The caller may train in bfloat16 by autocast, which would spoil the bases.
                    with torch.autocast(parameter.device.type, enabled=False):
                        _update(parameter, self.state[parameter], group)


def _update(parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    assert parameter.grad is not None
    beta: float = group["beta"]
    gradient = _laid_out(parameter.grad, group["longest"])
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
    turned = _rotate(gradient, bases)
    state["mean"].lerp_(turned, 1 - beta)
    state["square"].lerp_(turned.square(), 1 - beta)
    direction = state["mean"] / (state["square"] / correction).sqrt().add(1e-8) / correction
    direction = _rotate(direction, [basis.T for basis in bases])
    if direction.ndim == 3:
        direction = direction.movedim(2, 1)
    parameter.sub_(direction.reshape(parameter.shape), alpha=group["lr"])

    for axis in axes:
        state[f"moment{axis}"].lerp_(_second_moment(gradient, axis), 1 - beta)
    if step % group["every"] == 0:
        mean = _rotate(state["mean"], [basis.T for basis in bases])
        for axis, basis in zip(axes, bases, strict=True):
            product = state[f"moment{axis}"] @ basis
            # The basis is kept in the order of its eigenvalues, which the power iteration needs.
            order = (basis * product).sum(dim=0).argsort(descending=True)
            state["square"] = state["square"].index_select(axis, order)
            state[f"basis{axis}"] = torch.linalg.qr(product[:, order])[0]
        state["mean"] = _rotate(mean, [state[f"basis{axis}"] for axis in axes])


def _laid_out(gradient: Tensor, longest: int) -> Tensor:
    """Lay a gradient out: vectors as they are, kernels as (out, rest), or (out, kernel, in) where rest is too long.

    Channels last, in the memory too, make both long axes those of a matrix, without a copy.
    """
    if gradient.ndim < 2:
        return gradient.flatten()
    if gradient[0].numel() <= longest:
        return gradient.flatten(1)
    return gradient.flatten(2).movedim(1, 2).contiguous()


def _second_moment(gradient: Tensor, axis: int) -> Tensor:
    if axis == gradient.ndim - 1:
        columns = gradient.flatten(0, -2)
        return columns.T @ columns
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
    """Multiply every axis by its basis: the first, the last, and the one in the middle of three."""
    if not bases:
        return x
    x = (bases[0].T @ x.flatten(1)).view_as(x) @ bases[-1]
    if len(bases) == 3:
        middle = x.transpose(0, 1)
        x = (bases[1].T @ middle.flatten(1)).view(middle.shape).transpose(0, 1).contiguous()
    return x
