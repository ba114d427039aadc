"""``stylize``: a picture in the style of another one."""

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
    from safelight.features.backbone import Backbone
    from safelight.inference.model import PrecisionChoice
    from safelight.media.image import Picture

    Holder = str | Path | bytes | Picture | NDArray[np.generic] | Tensor | PIL.Image.Image
    _Kind = TypeVar("_Kind", bytes, Picture, NDArray[np.generic], Tensor, PIL.Image.Image)


@overload
def stylize(
    x: str | Path,
    style: Holder | Sequence[Holder] | None = None,
    *,
    style_weights: Sequence[float] | None = None,
    style_masks: Sequence[Holder] = (),
    size: str | tuple[int, int] | None = None,
    backbone: str | Backbone | None = None,
    begin: Holder | None = None,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    seed: int = 0,
    **options: float | str,
) -> Picture: ...


@overload
def stylize(
    x: _Kind,
    style: Holder | Sequence[Holder] | None = None,
    *,
    style_weights: Sequence[float] | None = None,
    style_masks: Sequence[Holder] = (),
    size: str | tuple[int, int] | None = None,
    backbone: str | Backbone | None = None,
    begin: Holder | None = None,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    seed: int = 0,
    **options: float | str,
) -> _Kind: ...


def stylize(
    x: Any,
    style: Holder | Sequence[Holder] | None = None,
    *,
    style_weights: Sequence[float] | None = None,
    style_masks: Sequence[Holder] = (),
    size: str | tuple[int, int] | None = None,
    backbone: str | Backbone | None = None,
    begin: Holder | None = None,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    seed: int = 0,
    **options: float | str,
) -> Any:
    """Give one picture the style of others, or of a network that was trained for a style; or make a texture of it.

    Depth, alpha, colour profile and metadata are kept as far as the kind can hold them. A gray picture becomes one in
    colour.

    Args:
        x: The content, or the example of a texture; as for ``upscale``.
        style: One picture whose style is taken, or several in a list or a tuple; of any kind. ``None``: for methods
            that know their style.
        style_weights: Of several styles, each at least 0; ``None``: all the same.
        style_masks: Where each style is seen: pictures of the size of ``x``, white (or opaque) there. None: everywhere.
        size: Of the result, for methods that make any size, as for ``upscale``.
        backbone: The network that pictures are compared by, for methods that take one: its name, or itself.
            ``None``: Safelight's own, ``"lens"``.
        begin: The picture that an iteration begins with, of the content's size, for methods that take one.
        method: As for ``upscale``.
        weights: As for ``upscale``.
        device: As for ``upscale``.
        precision: As for ``upscale``.
        seed: As for ``upscale``.
        **options: As for ``upscale``.

    Returns:
        The same kind as ``x``; a Picture for a path.

    Raises:
        BackboneError: A backbone that does not exist or has no weights here.
        CardError: A method or an option that does not exist, no style, weights or masks that do not go with it.
        CheckpointError, DeviceError, PictureError: As for ``upscale``.

    Example:
        >>> import numpy as np
        >>> stylize(np.zeros((8, 10), np.uint8), method="bicubic")
        Traceback (most recent call last):
        safelight.core.options.CardError: no method of stylize is called 'bicubic'; ...
    """
    from pathlib import Path

    from safelight import inference
    from safelight.core.options import CardError
    from safelight.inference.request import StylePicture
    from safelight.media import image

    given = () if style is None else tuple(style) if isinstance(style, (list, tuple)) else (style,)
    shares = [1.0] * len(given) if style_weights is None else list(style_weights)
    masks = [image.from_any(mask) for mask in style_masks] or [None] * len(given)
    if not len(shares) == len(masks) == len(given):
        raise CardError(
            f"expected a weight and a mask for each style, got {len(given)} styles, {len(shares)} weights and "
            f"{len(masks)} masks"
        )
    styles = tuple(
        StylePicture(picture=image.from_any(one), weight=share, mask=mask)
        for one, share, mask in zip(given, shares, masks, strict=True)
    )
    settings = inference.InferenceRequest(
        task="stylize", styles=styles, size=size, backbone=backbone, options=options, device=device,
        begin=None if begin is None else image.from_any(begin),
        weights=None if weights is None else Path(weights), precision=precision, seed=seed,
    )  # fmt: skip
    return apply(x, card_of(method, "stylize"), settings)
