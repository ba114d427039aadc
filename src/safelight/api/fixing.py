"""``fix``: repairs a picture as it needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray
    from torch import Tensor

    from safelight.engine.device import Device
    from safelight.inference.model import PrecisionChoice
    from safelight.media.image import Picture

    _Kind = TypeVar("_Kind", bytes, Picture, NDArray[np.generic], Tensor, PIL.Image.Image)


@overload
def fix(x: str | Path, *, device: Device = "auto", precision: PrecisionChoice = "exact") -> Picture: ...


@overload
def fix(x: _Kind, *, device: Device = "auto", precision: PrecisionChoice = "exact") -> _Kind: ...


def fix(x: Any, *, device: Device = "auto", precision: PrecisionChoice = "exact") -> Any:
    """Repair one picture as it needs it: remove the artefacts of a strong JPEG compression, then noise.

    The ``warnings`` of a Picture list the steps and their reasons. A picture that needs nothing is returned unchanged.

    Args:
        x: A picture of any kind that ``upscale`` takes. The quality of a JPEG is known only of a file, its bytes or a
            Picture read from it.
        device: ``"auto"`` is the fastest device that is available.
        precision: ``"exact"`` is float32; ``"fast"`` is a 16-bit format, if the device is faster with it.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        CardError: The default method of a task is missing, or its weights are not shipped.
        DeviceError: The requested device is not available.
        PictureError: ``x`` cannot be read as a picture.
    """
    from safelight import inference
    from safelight.inference.autofix import AutoFix
    from safelight.media import image

    fixer = AutoFix(inference.InferenceRequest(device=device, precision=precision))
    return image.to_kind(fixer(image.from_any(x)), x)
