"""Backbones, the pretrained networks whose feature maps are compared: one file each, and the list of them."""

from __future__ import annotations

import difflib

from safelight.features import lens
from safelight.features.alexnet import ALEXNET
from safelight.features.backbone import Backbone, BackboneError, BackboneLayer, Pooling, ReceptiveField
from safelight.features.inception import INCEPTION
from safelight.features.published import Facts, Published
from safelight.features.squeezenet import SQUEEZENET, SQUEEZENET1_0
from safelight.features.vgg import VGG16, VGG19

LENS = Facts(
    name="lens",
    title="Lens",
    summary="The project's own, a VGG in little; comes with the program",
    build=lens.build,
    parameters=729_760,
    style=("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
    content=("relu3_2",),
    perceptual=lens.PERCEPTUAL,
    pooling="average",
)
BACKBONES: tuple[Facts, ...] = (LENS, VGG16, VGG19, SQUEEZENET, SQUEEZENET1_0, ALEXNET, INCEPTION)

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneError",
    "BackboneLayer",
    "Facts",
    "Pooling",
    "Published",
    "ReceptiveField",
    "facts",
]  # fmt: skip


def facts(name: str) -> Facts:
    """Find a backbone by its name.

    Raises:
        BackboneError: There is none of this name; the message lists the close ones.

    Example:
        >>> facts("vgg19").content
        ('relu4_2',)
    """
    names = [known.name for known in BACKBONES]
    if name in names:
        return BACKBONES[names.index(name)]
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4) or names
    raise BackboneError(f"expected a backbone, got {ascii(name)[:60]}; did you mean {', '.join(close)}?")
