"""Pure functions on pictures as tensors: resizing, colour spaces, noise estimation, drawing.

What most of the toolkit needs stands here; ``color``, ``noise`` and ``drawing`` are modules of their own.
"""

from safelight.ops.resampling import (
    CUBIC,
    LANCZOS2,
    LANCZOS3,
    Kernel,
    Taps,
    chunk_ranges,
    crop_to_multiple,
    dihedral,
    dihedral_inverse,
    gaussian_blur,
    gaussian_radius,
    resample,
    resample_adjoint,
    resize,
    round_half_up,
    self_ensemble,
    shrink_to_side,
    taps,
)

__all__ = [
    "CUBIC",
    "LANCZOS2",
    "LANCZOS3",
    "Kernel",
    "Taps",
    "chunk_ranges",
    "crop_to_multiple",
    "dihedral",
    "dihedral_inverse",
    "gaussian_blur",
    "gaussian_radius",
    "resample",
    "resample_adjoint",
    "resize",
    "round_half_up",
    "self_ensemble",
    "shrink_to_side",
    "taps",
]
