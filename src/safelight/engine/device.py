"""The device that a network runs on, and its precision."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Device = Literal["auto", "cpu", "cuda", "mps"]


class DeviceError(RuntimeError):
    """A device that this machine does not have. The message lists the available ones."""


def available() -> tuple[str, ...]:
    """List the devices of this machine, the fastest first."""
    found: list[str] = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def choose(device: Device = "auto") -> torch.device:
    """Return the torch device for a name; ``"auto"`` takes the fastest available one.

    Raises:
        DeviceError: The machine has no such device.
    """
    found = available()
    if device == "auto":
        return torch.device(found[0])
    if device not in found:
        raise DeviceError(f"this machine has no {device!r}; it has: {', '.join(found)}")
    return torch.device(device)


@lru_cache(maxsize=1)
def bfloat16_pays() -> bool:
    """Whether this processor trains faster in bfloat16: one convolution layer is timed in both, in a tenth of a second.

    Processors without the instructions emulate it slowly; measuring is more reliable than checking for flags.
    """
    with torch.inference_mode(False):  # the caller may be about to run a network
        layer = place(nn.Conv2d(64, 64, 3, padding=1), torch.device("cpu"))
        x = torch.rand(4, 64, 48, 48).to(memory_format=torch.channels_last)

    def seconds(enabled: bool) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            with (
                torch.inference_mode(False),
                torch.enable_grad(),
                torch.autocast("cpu", torch.bfloat16, enabled=enabled),
            ):
                loss: Tensor = layer(x).float().mean()
                loss.backward()
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(True) < 0.8 * seconds(False)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device in channels-last layout, in which convolutions are fastest."""
    # torch's stubs lack the memory format.
    return cast("Any", network).to(device, memory_format=torch.channels_last)


def describe(device: torch.device) -> str:
    """Return a device's name for a report: that of the GPU, or the threads and instruction set of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return device.type
