"""Pure functions on pictures as tensors: resizing, colour spaces, noise estimation, drawing.

What most of the toolkit needs stands here; ``color``, ``noise`` and ``drawing`` are modules of their own.
"""

from safelight.ops.resampling import (
    CUBIC,
    LANCZOS2,
    LANCZOS3,
    Kernel,
    Taps,
    crop_to_multiple,
    dihedral,
    dihedral_inverse,
    gaussian_blur,
    gaussian_radius,
    reduced,
    resample,
    resample_adjoint,
    resize,
    round_half_up,
    self_ensemble,
    spans,
    taps,
)

__all__ = [
    "CUBIC",
    "LANCZOS2",
    "LANCZOS3",
    "Kernel",
    "Taps",
    "crop_to_multiple",
    "dihedral",
    "dihedral_inverse",
    "gaussian_blur",
    "gaussian_radius",
    "reduced",
    "resample",
    "resample_adjoint",
    "resize",
    "round_half_up",
    "self_ensemble",
    "spans",
    "taps",
]
