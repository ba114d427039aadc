"""Degradations of pictures, shared by training, the benchmark and every solver that inverts a degradation.

``linear`` has those that are matrices, each with its ``adjoint``; ``kernels`` reads the blur that a user names;
``examples`` makes the inputs that networks are trained on.
"""

from safelight.degrade.degradations import (
    ENLARGED,
    Degradation,
    Gray,
    Jpeg,
    MixedDegradation,
    Noise,
    Shrink,
    add_noise,
    flatten_mixtures,
    jpeg,
    quantisation_table,
)
from safelight.degrade.kernels import BlurError, blur_kernel
from safelight.degrade.linear import Blur, Decimate, Downsample, Linear, Mask, Then, forward_model

__all__ = [
    "ENLARGED",
    "Blur",
    "BlurError",
    "Decimate",
    "Degradation",
    "Downsample",
    "Gray",
    "Jpeg",
    "Linear",
    "Mask",
    "MixedDegradation",
    "Noise",
    "Shrink",
    "Then",
    "add_noise",
    "blur_kernel",
    "flatten_mixtures",
    "forward_model",
    "jpeg",
    "quantisation_table",
]
