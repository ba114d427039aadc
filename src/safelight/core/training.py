"""Training steps that three or more methods share. A method with a step of its own writes it in its file."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from safelight.core.card import Batch


class Regression:
    """Make the network's output equal the target: the step of every network trained for PSNR.

    Args:
        network: What is trained.
        optimizer: Over its parameters.
        loss: ``loss(output, target) -> ()`` tensor.
        clip: Gradients longer than this, in the L2 norm over all parameters, are shortened to it. ``None``: never.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        clip: float | None = None,
    ) -> None:
        self.network = network
        self.optimizers = (optimizer,)
        self.loss = loss
        self.clip = clip

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step of the optimiser and return ``{"loss": ...}``."""
        (optimizer,) = self.optimizers
        optimizer.zero_grad(set_to_none=True)
        # The loss is taken in float32 also where the network runs in bfloat16: a mean over a patch needs the digits.
        loss = self.loss(self.network(batch.input).float(), batch.target)
        loss.backward()
        if self.clip is not None:
            clip_grad_norm_(self.network.parameters(), self.clip)
        optimizer.step()
        return {"loss": loss.detach()}
