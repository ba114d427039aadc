"""What a user asks for beside the method and the picture, and what is refused before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from safelight.core.card import Card, MissingPackageError, Trained
from safelight.core.options import CardError
from safelight.core.solver_input import Condition, Style
from safelight.engine.device import Device
from safelight.engine.samples import to_tensor
from safelight.features.backbone import Backbone
from safelight.inference.model import PrecisionChoice
from safelight.media.image import Picture
from safelight.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class StylePicture:
    """A picture whose style another one shall get, its share among several, and where it shall be seen.

    ``mask`` is white, or opaque, where the style is wanted, and has the size of the content; ``None``: everywhere.
    """

    picture: Picture
    weight: float = 1.0
    mask: Picture | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """What a user asks for, beside the method and the picture.

    ``task`` is one of the method's tasks; ``None``: that of its folder. ``scale`` is the zoom factor, whole or not (4
    where neither it nor a size is given); ``size`` the target instead: ``"3840x2160"``, ``"3840x"`` or ``"x2160"`` (the
    other side follows), or (W, H). ``options`` are the method's own, loose. ``weights`` is a file that replaces the
    shipped ones. ``ensemble`` averages over the eight symmetries of the square (eight times the work).
    ``memory`` bounds, in bytes, what a tile's computation may hold, beside the picture itself.

    ``sigma`` is the standard deviation of the picture's noise, in units of 0 to 255; ``None``: not known. ``blur`` is
    what blurred it: ``"gaussian:SIGMA"``, ``"none"``, or a file with a kernel. ``strength`` of ``denoise`` and
    ``deblock`` mixes the result with the input: 1 is the result, 0 the input. ``mask`` is a picture that is white, or
    opaque, where ``inpaint`` has to fill. ``frames`` are more pictures of the same scene. ``styles`` are the pictures
    whose style ``stylize`` gives. ``backbone`` is the network that pictures are compared by, its name or itself;
    ``None``: Safelight's own. ``begin`` is the picture that an iteration begins with.
    ``seed`` is that of methods that draw at random.

    ``consistent`` changes a network's enlargement as little as it takes for shrinking it by the bicubic kernel to give
    back the input.
    """

    task: Task | None = None
    scale: float | None = None
    size: str | tuple[int, int] | None = None
    options: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    weights: Path | None = None
    device: Device = "auto"
    precision: PrecisionChoice = "exact"
    ensemble: bool = False
    memory: int = 1 << 30
    sigma: float | None = None
    blur: str | Path | None = None
    strength: float = 1.0
    mask: Picture | None = None
    frames: tuple[Picture, ...] = ()
    styles: tuple[StylePicture, ...] = ()
    backbone: str | Backbone | None = None
    begin: Picture | None = None
    seed: int = 0
    consistent: bool = False


_FLAGS: Mapping[Condition, str] = {
    "sigma": "--sigma",
    "blur": "--blur",
    "mask": "--mask",
    "frames": "several pictures",
    "style": "--style",
    "backbone": "--backbone",
    "begin": "--begin-with",
}


def check(card: Card, task: Task, settings: InferenceRequest) -> None:
    """Refuse what the method or its task does not have, before any work.

    Raises:
        CardError: It says what the method has.
        MissingPackageError: The method's package is not installed.
    """
    if task not in card.tasks:
        raise CardError(f"{card.id} does not {task}; it serves: {', '.join(card.tasks)}")
    if card.extra is not None and find_spec(card.extra.module) is None:
        raise MissingPackageError(
            f"{card.id} needs a package that is not installed; get it with: pip install 'safelight[{card.extra.name}]'"
        )
    if task != "upscale" and (settings.scale is not None or (settings.size is not None and "size" not in card.accepts)):
        raise CardError(f"{task} keeps a picture's size; leave the scale and the size out, or use upscale")
    given: tuple[tuple[Condition, bool], ...] = (
        ("sigma", settings.sigma is not None),
        ("blur", settings.blur is not None),
        ("mask", settings.mask is not None),
        ("frames", bool(settings.frames)),
        ("style", bool(settings.styles)),
        ("backbone", settings.backbone is not None),
        ("begin", settings.begin is not None),
    )
    for condition, is_given in given:
        if is_given and condition not in card.accepts:
            raise CardError(f"{card.id} takes no {_FLAGS[condition]}; leave it out, or choose a method that does")
    if settings.sigma is not None and not (settings.sigma >= 0 and math.isfinite(settings.sigma)):
        raise CardError(f"expected a sigma of at least 0, in units of 0 to 255, got {settings.sigma:g}")
    if not 0 <= settings.strength <= 1:
        raise CardError(f"expected a strength from 0 (the input) to 1 (the result), got {settings.strength:g}")
    if settings.strength != 1 and task not in ("denoise", "deblock"):
        raise CardError(f"{task} has no strength between the input and the result; leave it out")
    if settings.consistent and not (task == "upscale" and isinstance(card.method, Trained)):
        raise CardError(f"{card.id}: only the networks of upscale have consistent results; leave --consistent out")
    if task == "inpaint" and settings.mask is None:
        raise CardError("inpaint: expected a mask, got none; give a picture that is white where to fill, by --mask")
    if "style" in card.accepts:
        _check_styles(card, settings.styles)


def _check_styles(card: Card, styles: tuple[StylePicture, ...]) -> None:
    if not styles:
        raise CardError(f"{card.id}: expected a picture of the style, got none; give one by --style")
    weights = [style.weight for style in styles]
    if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or sum(weights) == 0:
        said = ", ".join(f"{weight:g}" for weight in weights)
        raise CardError(f"expected weights of styles that are at least 0 and not all 0, got {said}")


# --- pictures that were told, as tensors ------------------------------------------------------------------------------


def mask_of(mask: Picture, size: tuple[int, int]) -> Tensor:
    """Turn a drawn mask into (1, 1, H, W), from 0 to 1: by its alpha where its colours are all the same.

    Args:
        mask: The picture.
        size: (H, W) that it must have.

    Raises:
        CardError: It has another size.
    """
    if (mask.height, mask.width) != size:
        raise CardError(
            f"expected a mask of {size[1]}x{size[0]}, the size of the picture, got {mask.width}x{mask.height}; "
            "draw it on the picture itself"
        )
    drawn = to_tensor(mask.pixels).mean(dim=1, keepdim=True)
    if mask.alpha is not None and bool((drawn == drawn.flatten()[0]).all()):
        drawn = to_tensor(mask.alpha[..., None] if mask.alpha.ndim == 2 else mask.alpha)
    return drawn


def frame_of(frame: Picture, y: Tensor) -> Tensor:
    """Turn one more picture of a scene into a tensor shaped as the first one is.

    Raises:
        CardError: It has another size or other channels.
    """
    x = to_tensor(frame.pixels)
    if x.shape[-2:] != y.shape[-2:]:
        raise CardError(
            f"expected frames of one size, got {y.shape[-1]}x{y.shape[-2]} and {frame.width}x{frame.height}; "
            "take pictures of one camera, uncropped"
        )
    if x.shape[1] != y.shape[1]:
        raise CardError("expected frames that are all gray or all in colour, got both; convert them")
    return x.to(y.device)


def styles_of(styles: tuple[StylePicture, ...], y: Tensor) -> tuple[Style, ...]:
    """Turn the pictures of styles into tensors, RGB, their weights into shares of 1.

    Args:
        styles: As the user gives them.
        y: The content, (1, C, H, W): masks have its size.

    Raises:
        CardError: A mask has another size.
    """
    total = sum(style.weight for style in styles)
    size = (y.shape[-2], y.shape[-1])
    return tuple(
        Style(
            x=to_tensor(style.picture.pixels).expand(-1, 3, -1, -1).contiguous().to(y.device),
            weight=style.weight / total,
            mask=None if style.mask is None else mask_of(style.mask, size).to(y.device),
        )
        for style in styles
    )


def begin_of(begin: Picture, y: Tensor) -> Tensor:
    """Turn the picture to begin with into a tensor shaped as y is, (1, C, H, W).

    Raises:
        CardError: It has another size.
    """
    x = to_tensor(begin.pixels)
    if x.shape[-2:] != y.shape[-2:]:
        raise CardError(
            f"expected a picture to begin with of {y.shape[-1]}x{y.shape[-2]}, the size of the content, got "
            f"{begin.width}x{begin.height}; resize it"
        )
    return x.expand(-1, y.shape[1], -1, -1).contiguous().to(y.device)
