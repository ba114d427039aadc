"""Facts of a backbone that are known before it is built: its paper, its usual layers, and its published weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from safelight.features.backbone import Backbone, Pooling


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The file of weights that everybody means by a backbone's name.

    Attributes:
        url: Where its publisher keeps it.
        sha256: Its SHA-256, or the first digits of it, at least 8: as many as its publisher puts into its name.
        size: Bytes, about. The end of the network, which is not kept, may be most of them.
        licence: What its publisher says of use, as far as known.
    """

    url: str
    sha256: str
    size: int
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One row of the list of backbones.

    Attributes:
        name: As users choose it.
        title: As people call it.
        summary: What it is, in a line.
        build: Makes the network with random weights; its pools take the greatest or the mean.
        paper: Authors, title, place and year; empty for the project's own.
        link: To the paper, an arXiv or DOI address.
        parameters: How many numbers it has, without the end that no layer needs.
        style: Layers whose statistics stand for a style.
        content: Layers whose maps stand for what is to be seen.
        perceptual: Layers whose differences stand for how different two pictures look.
        published: The file of its weights, to be fetched; ``None``: they come with the program.
        pooling: The pools that its weights were trained with.
        ignored: Tensors of that file that are passed over, as patterns of ``fnmatch``: the network's end.
    """

    name: str
    title: str
    summary: str
    build: Callable[[Pooling], Backbone]
    paper: str = ""
    link: str = ""
    parameters: int
    style: tuple[str, ...]
    content: tuple[str, ...]
    perceptual: tuple[str, ...]
    published: Published | None = None
    pooling: Pooling = "max"
    ignored: tuple[str, ...] = ()
