"""From picture to picture, of whatever kind: one function a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from safelight.api.applying import apply, card_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray
    from torch import Tensor

    from safelight.engine.device import Device
    from safelight.inference.model import PrecisionChoice
    from safelight.media.image import Picture

    Holder = str | Path | bytes | Picture | NDArray[np.generic] | Tensor | PIL.Image.Image
    _Kind = TypeVar("_Kind", bytes, Picture, NDArray[np.generic], Tensor, PIL.Image.Image)


@overload
def upscale(
    x: str | Path,
    *,
    scale: float | None = None,
    size: str | tuple[int, int] | None = None,
    sigma: float | None = None,
    blur: str | Path | None = None,
    frames: Sequence[Holder] = (),
    consistent: bool = False,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Picture: ...


@overload
def upscale(
    x: _Kind,
    *,
    scale: float | None = None,
    size: str | tuple[int, int] | None = None,
    sigma: float | None = None,
    blur: str | Path | None = None,
    frames: Sequence[Holder] = (),
    consistent: bool = False,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> _Kind: ...


def upscale(
    x: Any,
    *,
    scale: float | None = None,
    size: str | tuple[int, int] | None = None,
    sigma: float | None = None,
    blur: str | Path | None = None,
    frames: Sequence[Holder] = (),
    consistent: bool = False,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Any:
    """Enlarge one picture.

    Depth, alpha, colour profile and metadata are kept as far as the kind can hold them.

    Args:
        x: A path, the bytes of a file, a Picture, a PIL image, a numpy array (H, W) or (H, W, 1 to 4) of uint8, uint16
            or float32, or a torch tensor (C, H, W) or (1, C, H, W) of floats in [0, 1].
        scale: The zoom, whole or not, 1 to 32; 4 if neither it nor ``size`` is given.
        size: The size instead: (W, H), or ``"3840x2160"``, ``"3840x"`` or ``"x2160"``.
        sigma: Standard deviation of the noise, in units of 0 to 255, where it is known.
        blur: What blurred the picture: ``"gaussian:SIGMA"``, ``"none"``, or a file with a kernel.
        frames: More pictures of the same scene, of any kind and of one size, for methods that take several.
        consistent: Change a network's result as little as it takes for shrinking it to give the input back.
        method: Its name; see ``list_methods``. ``None``: the best one that is quick enough for everybody.
        weights: A file of your own training, or a published checkpoint (docs/weights.md).
        device: ``"auto"``: the fastest there is.
        precision: ``"exact"`` is float32; ``"fast"`` takes half of its digits where the device gains by it.
        ensemble: Average over the 8 turns and mirrorings; better, and 8 times the work.
        seed: Of methods that draw at random.
        **options: The method's own; ``safelight info METHOD`` lists them. An unknown name raises.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        CardError: A method, an option or a size that does not exist, or frames of different sizes.
        CheckpointError: A weights file that is broken or of another method.
        DeviceError: This machine has no such device.
        PictureError: ``x`` is no picture.

    Example:
        >>> import numpy as np
        >>> gray = np.full((8, 10), 100, np.uint8)
        >>> large = upscale(gray, size=(25, 20), method="bicubic")
        >>> large.shape, large.dtype, int(large.max())
        ((20, 25), dtype('uint8'), 100)
    """
    from pathlib import Path

    from safelight import inference
    from safelight.media import image

    settings = inference.InferenceRequest(
        task="upscale", scale=scale, size=size, sigma=sigma, blur=blur, consistent=consistent,
        frames=tuple(image.from_any(frame) for frame in frames), options=options, ensemble=ensemble,
        weights=None if weights is None else Path(weights), device=device, precision=precision, seed=seed,
    )  # fmt: skip
    return apply(x, card_of(method, "upscale"), settings)


@overload
def denoise(
    x: str | Path,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Picture: ...


@overload
def denoise(
    x: _Kind,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> _Kind: ...


def denoise(
    x: Any,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Any:
    """Remove noise from one picture.

    Depth, alpha, colour profile and metadata are kept as far as the kind can hold them.

    Args:
        x: As for ``upscale``.
        sigma: Standard deviation of the noise, in units of 0 to 255; ``None``: the method finds out.
        strength: From 0, the picture as it is, to 1, the whole result; between, a mixture.
        method: As for ``upscale``.
        weights: As for ``upscale``.
        device: As for ``upscale``.
        precision: As for ``upscale``.
        ensemble: As for ``upscale``.
        seed: As for ``upscale``.
        **options: As for ``upscale``.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        CardError: A method or an option that does not exist, or a value out of range.
        CheckpointError, DeviceError, PictureError: As for ``upscale``.

    Example:
        >>> import numpy as np
        >>> denoise(np.zeros((8, 10), np.uint8), sigma=-1)
        Traceback (most recent call last):
        safelight.core.options.CardError: expected a sigma of at least 0, in units of 0 to 255, got -1
    """
    from pathlib import Path

    from safelight import inference

    settings = inference.InferenceRequest(
        task="denoise", sigma=sigma, strength=strength, options=options, ensemble=ensemble,
        weights=None if weights is None else Path(weights), device=device, precision=precision, seed=seed,
    )  # fmt: skip
    return apply(x, card_of(method, "denoise"), settings)


@overload
def deblock(
    x: str | Path,
    *,
    strength: float = 1.0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Picture: ...


@overload
def deblock(
    x: _Kind,
    *,
    strength: float = 1.0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> _Kind: ...


def deblock(
    x: Any,
    *,
    strength: float = 1.0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Any:
    """Remove what a strong JPEG compression leaves, blocks and ringing, from one picture.

    Depth, alpha, colour profile and metadata are kept as far as the kind can hold them.

    Args:
        x: As for ``upscale``.
        strength: From 0, the picture as it is, to 1, the whole result; between, a mixture.
        method: As for ``upscale``.
        weights: As for ``upscale``.
        device: As for ``upscale``.
        precision: As for ``upscale``.
        ensemble: As for ``upscale``.
        seed: As for ``upscale``.
        **options: As for ``upscale``.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        CardError: A method or an option that does not exist, or a value out of range.
        CheckpointError, DeviceError, PictureError: As for ``upscale``.

    Example:
        >>> import numpy as np
        >>> deblock(np.zeros((8, 10), np.uint8), strength=2)
        Traceback (most recent call last):
        safelight.core.options.CardError: expected a strength from 0 (the input) to 1 (the result), got 2
    """
    from pathlib import Path

    from safelight import inference

    settings = inference.InferenceRequest(
        task="deblock", strength=strength, options=options, ensemble=ensemble,
        weights=None if weights is None else Path(weights), device=device, precision=precision, seed=seed,
    )  # fmt: skip
    return apply(x, card_of(method, "deblock"), settings)


@overload
def inpaint(
    x: str | Path,
    mask: Holder,
    *,
    sigma: float | None = None,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Picture: ...


@overload
def inpaint(
    x: _Kind,
    mask: Holder,
    *,
    sigma: float | None = None,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> _Kind: ...


def inpaint(
    x: Any,
    mask: Holder,
    *,
    sigma: float | None = None,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    seed: int = 0,
    **options: float | str,
) -> Any:
    """Fill in what is missing from one picture.

    Depth, alpha, colour profile and metadata are kept as far as the kind can hold them.

    Args:
        x: As for ``upscale``.
        mask: Of any kind and of the size of ``x``: white (or opaque) where to fill.
        sigma: Standard deviation of the noise, in units of 0 to 255, where it is known.
        method: As for ``upscale``.
        weights: As for ``upscale``.
        device: As for ``upscale``.
        precision: As for ``upscale``.
        ensemble: As for ``upscale``.
        seed: As for ``upscale``.
        **options: As for ``upscale``.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        CardError: A method or an option that does not exist, or a mask of another size.
        CheckpointError, DeviceError, PictureError: As for ``upscale``.

    Example:
        >>> import numpy as np
        >>> inpaint(np.zeros((8, 10), np.uint8), np.zeros((8, 10), np.uint8), method="bicubic")
        Traceback (most recent call last):
        safelight.core.options.CardError: no method of inpaint is called 'bicubic'; ...
    """
    from pathlib import Path

    from safelight import inference
    from safelight.media import image

    settings = inference.InferenceRequest(
        task="inpaint", sigma=sigma, mask=image.from_any(mask), options=options, ensemble=ensemble,
        weights=None if weights is None else Path(weights), device=device, precision=precision, seed=seed,
    )  # fmt: skip
    return apply(x, card_of(method, "inpaint"), settings)
