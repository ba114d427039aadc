"""Several processes that share each batch, one for each device, started and joined by Lightning Fabric.

Every process draws the whole batch, from the same generator, and takes its share of it; gradients are averaged as they
arise. So a step has the crops and, but for rounding, the gradients of a step of one process, whatever a training
computes: no network is wrapped, and a step may call one as often and in as many ways as it likes. Only statistics over
a batch, such as those of a batch normalisation, are those of the share.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from safelight.core.card import MissingPackageError
from safelight.core.training import Batch


def is_first() -> bool:
    """Whether this process is the one that the user started, by the environment of those that it starts."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


class Processes:
    """This process and those beside it; a single one costs nothing and needs no package.

    Attributes:
        rank: 0 in the process that reports and writes files.
        count: How many there are.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.rank, self.count, self.device = 0, count, device
        self._fabric: Any = None
        if count > 1:
            try:
                from lightning_fabric import Fabric
            except ImportError:
                raise MissingPackageError(
                    "several devices need Lightning Fabric; install it by: pip install 'safelight[train]'"
                ) from None
            logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
            # The others run this process's own command anew, and find their rank in the environment.
            self._fabric = Fabric(accelerator=device.type, devices=count, strategy="ddp")
            self._fabric.launch()
            self.rank, self.device = self._fabric.global_rank, self._fabric.device

    def share(self, batch: Batch) -> Batch:
        """Take this process's part of a batch."""
        return batch if self.count == 1 else batch.share(self.rank, self.count)

    def average_gradients(self, optimizers: Iterable[Optimizer]) -> None:
        """From now on, average every gradient over the processes when it has been computed."""
        if self.count == 1:
            return

        def averaged(parameter: Tensor) -> None:
            assert parameter.grad is not None
            parameter.grad.copy_(self._fabric.all_reduce(parameter.grad, reduce_op="mean"))

        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.register_post_accumulate_grad_hook(averaged)

    def mean(self, losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Average the losses of a step over the processes."""
        if self.count == 1:
            return losses
        values = torch.stack([loss.float() for loss in losses.values()])
        return dict(zip(losses, self._fabric.all_reduce(values, reduce_op="mean"), strict=True))

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            self._fabric.barrier()
