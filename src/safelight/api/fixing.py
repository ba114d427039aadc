"""``fix``: from picture to picture by whatever it needs."""

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
    """Look at one picture and do what it needs: remove what a strong JPEG compression left, then noise.

    What was done and why stands in the ``warnings`` of a Picture. One that needs nothing comes back as it is.

    Args:
        x: As for ``upscale``. Only a file, its bytes or a Picture read from it tell of a JPEG's quality.
        device: ``"auto"``: the fastest there is.
        precision: ``"exact"`` is float32; ``"fast"`` takes half of its digits where the device gains by it.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        DeviceError: This machine has no such device.
        PictureError: ``x`` is no picture.
    """
    from safelight import inference
    from safelight.inference.autofix import AutoFix
    from safelight.media import image

    fixer = AutoFix(inference.InferenceRequest(device=device, precision=precision))
    return image.to_kind(fixer(image.from_any(x)), x)
