"""The state of a run, in safetensors: resuming executes no foreign code.

It holds all modules, averages and optimisers by name, the generators of random numbers and the log, so that a run that
was stopped goes on as if it had not been.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn

from safelight.checkpoints import weights_file
from safelight.core.training import Trainer


class WeightAverage:
    """An exponential moving average of a network's weights, which scores higher than the weights themselves.

    Attributes:
        network: A copy of the network with the averaged weights, for evaluation.
        tensors: Its state.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval()
        self.tensors: dict[str, Tensor] = self.network.state_dict()

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move a little towards the network's weights; faster at the start, where old weights are worth nothing."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:  # a count
                self.tensors[name].copy_(tensor)


class LossMeter:
    """Means of the losses since the last validation, by name; ``loss`` is their sum."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count the losses of a step. A training of several phases may have others in each."""
        for name, value in {"loss": sum(losses.values()), **losses}.items():
            if name not in self._totals:
                self._totals[name], self._counts[name] = torch.zeros((), device=self._device), 0
            self._totals[name] += value
            self._counts[name] += 1

    def means(self) -> dict[str, float]:
        """The mean of each."""
        return {name: float(total) / self._counts[name] for name, total in self._totals.items()}

    def clear(self) -> None:
        """Begin anew."""
        self._totals.clear()
        self._counts.clear()

    def state(self) -> list[tuple[str, float, int]]:
        """What ``restore`` takes."""
        return [(name, float(total), self._counts[name]) for name, total in self._totals.items()]

    def restore(self, state: list[tuple[str, float, int]]) -> None:
        """Go on from a saved state."""
        for name, total, count in state:
            self._totals[name], self._counts[name] = torch.tensor(total, device=self._device), count


def save(
    path: Path,
    trainer: Trainer,
    averages: Mapping[str, WeightAverage],
    tensors: Mapping[str, Tensor],
    facts: Any,  # noqa: ANN401
) -> None:
    """Write everything that the rest of a run depends on, atomically.

    Args:
        path: The file.
        trainer: Its modules and optimisers.
        averages: Of the exported modules, by name.
        tensors: Further ones, such as the states of the generators of random numbers.
        facts: What JSON can hold.
    """
    stored = {f"tensor.{k}": v for k, v in tensors.items()}
    for name, module in trainer.modules.items():
        stored |= {f"module.{name}.{k}": v for k, v in module.state_dict().items()}
    for name, average in averages.items():
        stored |= {f"average.{name}.{k}": v for k, v in average.tensors.items()}
    for name, optimizer in trainer.optimizers.items():
        for parameter, values in optimizer.state_dict()["state"].items():
            stored |= {f"optimizer.{name}.{parameter}.{key}": torch.as_tensor(v) for key, v in values.items()}
    plain = {k: v.detach().cpu().clone().contiguous() for k, v in stored.items()}
    weights_file.write_atomic(path, serialise(plain, {"facts": json.dumps(facts)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a saved state: its tensors and its facts."""
    tensors, metadata = weights_file.read_file(path)
    return tensors, json.loads(metadata["facts"])


def restore(tensors: Mapping[str, Tensor], trainer: Trainer, averages: Mapping[str, WeightAverage]) -> None:
    """Put the tensors of a saved state back into modules, averages and optimisers."""

    def below(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for name, module in trainer.modules.items():
        module.load_state_dict(below(f"module.{name}."))
    for name, average in averages.items():
        for key, tensor in average.tensors.items():
            tensor.copy_(tensors[f"average.{name}.{key}"])
    for name, optimizer in trainer.optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in below(f"optimizer.{name}.").items():
            parameter, value = key.split(".")
            state.setdefault(int(parameter), {})[value] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
