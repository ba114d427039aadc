"""Between a file's samples and a method's tensors: 8 bits, 16 bits and float, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from safelight import ops


def to_tensor(samples: np.ndarray) -> Tensor:
    """Turn (h, w, C) samples of any depth into (1, C, h, w) float32, integers scaled to [0, 1]."""
    if samples.dtype == np.uint16:
        x = torch.from_numpy(samples.astype(np.float32)) / 65535
    elif samples.dtype == np.uint8:
        x = torch.from_numpy(np.ascontiguousarray(samples)).float() / 255
    else:
        x = torch.from_numpy(np.ascontiguousarray(samples))
    return x.permute(2, 0, 1).unsqueeze(0).contiguous()


def to_samples(x: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    """Turn (1, C, h, w) into (h, w, C) samples, clipped to [0, 1]; an integer depth is rounded half up.

    Args:
        x: Floating point.
        dtype: ``uint8``, ``uint16`` or ``float32``.
    """
    x = x[0].permute(1, 2, 0).clamp(0, 1).cpu()
    if dtype == np.float32:
        return x.numpy()
    return ops.round_half_up(x * np.iinfo(dtype).max).to(torch.int32).numpy().astype(dtype)
