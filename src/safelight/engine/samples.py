"""Conversion between samples of 8 bits, 16 bits or float and tensors in [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from safelight import ops

_BLOCK = 1 << 16  # samples that are clipped and rounded at a time


def to_tensor(samples: np.ndarray) -> Tensor:
    """Convert (h, w, C) samples of any depth to (1, C, h, w) float32; integers are scaled to [0, 1]."""
    if samples.dtype == np.uint16:
        x = torch.from_numpy(samples.astype(np.float32)) / 65535
    elif samples.dtype == np.uint8:
        x = torch.from_numpy(_writable(samples)).float() / 255
    else:
        x = torch.from_numpy(_writable(samples))
    return x.permute(2, 0, 1).unsqueeze(0).contiguous()


def _writable(samples: np.ndarray) -> np.ndarray:
    """Copy arrays that torch would warn of: read-only, such as PIL's, or not contiguous."""
    return np.require(samples, requirements=("C", "W"))


def to_samples(x: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    """Convert (1, C, h, w) to (h, w, C) samples, clipped to [0, 1]; integer depths are rounded half up.

    Args:
        x: Floating point tensor.
        dtype: ``uint8``, ``uint16`` or ``float32``.
    """
    rows = x[0].permute(1, 2, 0)
    if dtype == np.float32:
        return rows.clamp(0, 1).cpu().numpy()
    top = np.iinfo(dtype).max
    made = np.empty(tuple(rows.shape), dtype)
    block = max(1, _BLOCK // max(1, rows[0].numel()))
    for start, stop in ops.chunk_ranges(len(rows), block):  # a block stays in the cache for all passes
        # Half up: what lies in [0, top + 1/2] has its floor taken by the conversion.
        scaled = rows[start:stop].clamp(0, 1).mul_(top).add_(0.5)
        if dtype == np.uint8:
            torch.from_numpy(made[start:stop]).copy_(scaled)
        else:
            made[start:stop] = scaled.to(torch.int32).cpu().numpy()
    return made
