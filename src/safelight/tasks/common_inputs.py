"""The inputs that tasks share, and their conversions to tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from safelight.core.inputs import InputSpec
from safelight.core.options import CardError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from safelight.core.solver_input import Style
    from safelight.features.backbone import Backbone
    from safelight.media.image import Picture

SIZE_PATTERN: Final = r"^([1-9][0-9]{0,5}x([1-9][0-9]{0,5})?|x[1-9][0-9]{0,5})$"

# --- pictures as tensors ----------------------------------------------------------------------------------------------


def to_mask(mask: Picture, size: tuple[int, int]) -> Tensor:
    """Convert a mask to a tensor, (1, 1, H, W) in [0, 1]: its brightness, or its alpha if all its colours are equal.

    Args:
        mask: The picture.
        size: The (H, W) that it must have.

    Raises:
        CardError: The mask has another size.
    """
    from safelight.engine.samples import to_tensor

    if (mask.height, mask.width) != size:
        raise CardError(
            f"expected a mask of {size[1]}x{size[0]}, the size of the picture, got {mask.width}x{mask.height}; "
            "draw it on the picture itself"
        )
    drawn = to_tensor(mask.pixels).mean(dim=1, keepdim=True)
    if mask.alpha is not None and bool((drawn == drawn.flatten()[0]).all()):
        drawn = to_tensor(mask.alpha[..., None] if mask.alpha.ndim == 2 else mask.alpha)
    return drawn


def _mask(inputs: Mapping[str, Any], y: Tensor | None) -> Tensor | None:
    mask: Picture | None = inputs.get("mask")
    if mask is None:
        return None
    assert y is not None
    return (to_mask(mask, (y.shape[-2], y.shape[-1])) >= 0.5).float().to(y.device)


def _frames(inputs: Mapping[str, Any], y: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(_frame(frame, y) for frame in inputs.get("frames", ()))


def _frame(frame: Picture, y: Tensor | None) -> Tensor:
    from safelight.engine.samples import to_tensor

    assert y is not None
    x = to_tensor(frame.pixels)
    if x.shape[-2:] != y.shape[-2:]:
        raise CardError(
            f"expected frames of one size, got {y.shape[-1]}x{y.shape[-2]} and {frame.width}x{frame.height}; "
            "take pictures of one camera, uncropped"
        )
    if x.shape[1] != y.shape[1]:
        raise CardError("expected frames that are all gray or all in colour, got both; convert them")
    return x.to(y.device)


def to_styles(inputs: Mapping[str, Any], y: Tensor | None) -> tuple[Style, ...]:
    """Convert style pictures to RGB tensors, and their weights to shares that sum to 1.

    Args:
        inputs: The inputs of a request: ``style``, and if given ``style_weights`` and ``style_masks`` in that order.
        y: The content, (1, C, H, W), whose size the masks must have.

    Raises:
        CardError: A mask has another size than the content.
    """
    from safelight.core.solver_input import Style
    from safelight.engine.samples import to_tensor

    pictures: Sequence[Picture] = inputs.get("style", ())
    if not pictures:
        return ()
    assert y is not None
    weights = inputs.get("style_weights") or (1.0,) * len(pictures)
    masks = inputs.get("style_masks") or (None,) * len(pictures)
    total = sum(weights)
    size = (y.shape[-2], y.shape[-1])
    return tuple(
        Style(
            x=to_tensor(picture.pixels).expand(-1, 3, -1, -1).contiguous().to(y.device),
            weight=weight / total,
            mask=None if mask is None else to_mask(mask, size).to(y.device),
        )
        for picture, weight, mask in zip(pictures, weights, masks, strict=True)
    )


def _check_styles(inputs: Mapping[str, Any]) -> None:
    styles, masks = inputs.get("style", ()), inputs.get("style_masks", ())
    weights: Sequence[float] | None = inputs.get("style_weights")
    counts = len(styles), len(styles) if weights is None else len(weights), len(masks) or len(styles)
    if len(set(counts)) > 1:
        raise CardError(
            f"expected a weight and a mask for each style, got {counts[0]} styles, {counts[1]} weights and "
            f"{counts[2]} masks"
        )
    if weights is not None and not (
        all(weight >= 0 and math.isfinite(weight) for weight in weights) and 0 < sum(weights) < math.inf
    ):
        given = ", ".join(f"{weight:g}" for weight in weights)
        raise CardError(f"expected weights of styles that are at least 0 and not all 0, got {given}")


def _begin(inputs: Mapping[str, Any], y: Tensor | None) -> Tensor | None:
    from safelight.engine.samples import to_tensor

    begin: Picture | None = inputs.get("begin")
    if begin is None:
        return None
    assert y is not None
    x = to_tensor(begin.pixels)
    if x.shape[-2:] != y.shape[-2:]:
        raise CardError(
            f"expected a picture to begin with of {y.shape[-1]}x{y.shape[-2]}, the size of the content, got "
            f"{begin.width}x{begin.height}; resize it"
        )
    return x.expand(-1, y.shape[1], -1, -1).contiguous().to(y.device)


def _sigma(inputs: Mapping[str, Any], y: Tensor | None) -> float | None:  # noqa: ARG001 - the same for every picture
    sigma: float | None = inputs.get("sigma")
    return None if sigma is None else sigma / 255


def _blur(blur: Any, device: torch.device) -> Tensor | None:  # noqa: ANN401, ARG001 - kernels stay on the CPU
    from safelight.degrade import BlurError, blur_kernel

    try:
        return None if blur is None else blur_kernel(blur)
    except BlurError as error:
        raise CardError(str(error)) from None


def _backbone(backbone: str | Backbone | None, device: torch.device) -> Backbone:
    from safelight.checkpoints import backbones
    from safelight.features.backbone import Backbone

    if isinstance(backbone, Backbone):
        return backbone.to(device)
    return backbones.load(backbone or "lens", device=device)


def _backbone_names() -> tuple[str, ...]:
    from safelight import features

    return tuple(each.name for each in features.BACKBONES)


# --- the inputs -------------------------------------------------------------------------------------------------------

PICTURE: Final = InputSpec(
    name="picture",
    kind="picture",
    flag=None,
    main=True,
    help="A path, the bytes of a file, a Picture, a PIL image, a numpy array (H, W) or (H, W, 1 to 4) of uint8, uint16 "
    "or float32, or a torch tensor (C, H, W) or (1, C, H, W) of floats in [0, 1].",
)
SCALE: Final = InputSpec(
    name="scale",
    kind="number",
    short="-s",
    help="The scale to enlarge by, 1 to 32, also fractions; 4 if neither it nor a size is given.",
    low=1,
    high=32,
    excludes=("size",),
)
SIZE: Final = InputSpec(
    name="size",
    kind="text",
    metavar="WxH",
    annotation="str | tuple[int, int]",
    help="The size of the result in place of a scale: 3840x2160, 3840x or x2160.",
    pattern=SIZE_PATTERN,
)
OWN_SIZE: Final = InputSpec(
    name="size",
    kind="text",
    metavar="WxH",
    annotation="str | tuple[int, int]",
    help="The size of the result: 1024x512, 1024x or x512; for methods that make any size.",
    pattern=SIZE_PATTERN,
    optional=True,
)
SIGMA: Final = InputSpec(
    name="sigma",
    kind="number",
    help="Standard deviation of the noise, in units of 0 to 255, if it is known.",
    low=0,
    expects="a sigma of at least 0, in units of 0 to 255",
    optional=True,
    convert=_sigma,
)
BLUR: Final = InputSpec(
    name="blur",
    kind="text",
    file=True,
    annotation="str | Path",
    help="The blur of the picture: gaussian:SIGMA, none, or a file with a kernel.",
    pattern=r"^(none|gaussian:[0-9.]{1,12})$",
    optional=True,
    prepare=_blur,
)
STRENGTH: Final = InputSpec(
    name="strength",
    kind="number",
    help="How much of the result to use, from 0 (the input) to 1 (the result).",
    default=1.0,
    low=0,
    high=1,
    expects="a strength from 0 (the input) to 1 (the result)",
)
CONSISTENT: Final = InputSpec(
    name="consistent",
    kind="flag",
    help="Correct a network's result so that shrinking it gives the input again.",
    default=False,
    learned=True,
)
FRAMES: Final = InputSpec(
    name="frames",
    kind="pictures",
    flag=None,
    help="More pictures of the same scene, all of one size, for methods that take several.",
    default=(),
    optional=True,
    convert=_frames,
)
MASK: Final = InputSpec(
    name="mask",
    kind="picture",
    help="A picture of the same size that is white (or opaque) where to fill.",
    required="a mask, got none; give a picture that is white where to fill, by --mask",
    optional=True,
    positional=True,
    convert=_mask,
)
STYLE: Final = InputSpec(
    name="style",
    kind="pictures",
    help="A picture whose style to use; several are mixed.",
    default=(),
    optional=True,
    positional=True,
    several=True,
    required="a picture of the style, got none; give one by --style",
    validate=_check_styles,
    convert=to_styles,
    target="styles",
)
STYLE_WEIGHTS: Final = InputSpec(
    name="style_weights",
    kind="numbers",
    help="The weight of each style, such as 0.7,0.3; equal if not given.",
    pattern=r"^[0-9.]{1,12}(,[0-9.]{1,12}){0,15}$",
)
STYLE_MASKS: Final = InputSpec(
    name="style_masks",
    kind="pictures",
    flag="--style-mask",
    field="style_mask",
    help="Where to apply a style: a picture of the content's size that is white there; one for each style.",
    default=(),
)
BACKBONE: Final = InputSpec(
    name="backbone",
    kind="text",
    annotation="str | Backbone",
    help="The network that pictures are compared by: lens, which is shipped, or one from `safelight fetch`.",
    choices=_backbone_names,
    optional=True,
    prepare=_backbone,
)
BEGIN: Final = InputSpec(
    name="begin",
    kind="picture",
    flag="--begin-with",
    help="A picture of the content's size that the iteration starts with.",
    optional=True,
    convert=_begin,
)
SEED: Final = InputSpec(
    name="seed",
    kind="integer",
    help="The seed of all random numbers.",
    default=0,
    low=0,
    high=2**31 - 1,
    expects="a seed from 0 to 2147483647",
)
