"""Between a file's samples and a method's tensors: 8 bits, 16 bits and float, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from safelight import ops

_BLOCK = 1 << 16  # samples that are clipped and rounded at once


def to_tensor(samples: np.ndarray) -> Tensor:
    """Turn (h, w, C) samples of any depth into (1, C, h, w) float32, integers scaled to [0, 1]."""
    if samples.dtype == np.uint16:
        x = torch.from_numpy(samples.astype(np.float32)) / 65535
    elif samples.dtype == np.uint8:
        x = torch.from_numpy(_writable(samples)).float() / 255
    else:
        x = torch.from_numpy(_writable(samples))
    return x.permute(2, 0, 1).unsqueeze(0).contiguous()


def _writable(samples: np.ndarray) -> np.ndarray:
    """Copy what torch would warn of: memory that may not be written to, such as PIL's, or that is not in order."""
    return np.require(samples, requirements=("C", "W"))


def to_samples(x: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    """Turn (1, C, h, w) into (h, w, C) samples, clipped to [0, 1]; an integer depth is rounded half up.

    Args:
        x: Floating point.
        dtype: ``uint8``, ``uint16`` or ``float32``.
    """
    rows = x[0].permute(1, 2, 0)
    if dtype == np.float32:
        return rows.clamp(0, 1).cpu().numpy()
    top = np.iinfo(dtype).max
    made = np.empty(tuple(rows.shape), dtype)
    block = max(1, _BLOCK // max(1, rows[0].numel()))
    for start, stop in ops.spans(len(rows), block):  # all passes over a block find it in the cache
        # Half up: what lies in [0, top + 1/2] has its floor taken by the conversion.
        scaled = rows[start:stop].clamp(0, 1).mul_(top).add_(0.5)
        if dtype == np.uint8:
            torch.from_numpy(made[start:stop]).copy_(scaled)
        else:
            made[start:stop] = scaled.to(torch.int32).cpu().numpy()
    return made
