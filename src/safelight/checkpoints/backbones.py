"""Backbones with their weights: shipped with the program, from the user's file, or installed by ``safelight fetch``.

Only ``install`` uses the network, ``load`` never does. ``random`` gives a backbone with random weights, for tests and
timing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from safelight import features
from safelight.checkpoints import conversion, weights_file, weights_manifest
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader, printable_name
from safelight.features.backbone import Backbone, BackboneError, Pooling
from safelight.features.published import Facts

MAX_BYTES = 1 << 30  # of a weights file
RULES = "1"  # version of the conversion; raise it to invalidate installed files


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledBackbone:
    """Weights of a backbone on this machine.

    Attributes:
        path: The file that is read.
        source: Name of the file that they were converted from.
        sha256: Of that file, in hexadecimal digits; empty for shipped weights.
        published: Whether that file is the original one of the publisher.
        licence: Of the weights, if known.
    """

    path: Path
    source: str
    sha256: str
    published: bool
    licence: str

    @property
    def description(self) -> str:
        """Where the weights come from, for messages."""
        return self.source if self.published else f"{self.source} (not the published file, sha256 {self.sha256[:16]})"


def load(
    name: str,
    *,
    weights: Path | None = None,
    pooling: Pooling | None = None,
    random: int | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Load a backbone for evaluation: its weights are frozen, and gradients pass through it.

    Args:
        name: Such as ``lens`` or ``vgg19``; ``features.BACKBONES`` lists them.
        weights: The user's file, such as torchvision's or any with tensors of the same names.
        pooling: Kind of pooling; by default the one that its weights were trained with.
        random: A seed, for random weights instead of trained ones.
        device: The device that it runs on.

    Raises:
        BackboneError: The backbone is unknown, or its weights are not installed.
        CheckpointError: The file is missing, damaged, hostile or of another network.

    Example:
        >>> backbone = load("vgg16", random=0)
        >>> backbone(torch.zeros(1, 3, 32, 32), ["relu3_3"])["relu3_3"].shape
        torch.Size([1, 256, 8, 8])
    """
    facts = features.facts(name)
    if weights is not None and random is not None:
        raise BackboneError(f"{name}: expected weights or a seed for random ones, got both")
    if random is not None:
        backbone = facts.build(pooling or facts.pooling)
        _randomise(backbone.network, random)
    else:
        tensors, origin = _read_own(facts) if weights is None else _read(facts, weights)
        backbone = facts.build(pooling or facts.pooling)
        weights_file.load_into(backbone.network, tensors, origin.path)
        backbone.weights = origin.description
    return backbone.eval().requires_grad_(False).to(device)


def installed_backbone(name: str) -> InstalledBackbone | None:
    """Return which weights of a backbone are installed, without reading their values; None if none are.

    Raises:
        BackboneError: The backbone is unknown.
    """
    facts = features.facts(name)
    path = _path(facts)
    try:
        header = weights_file.read_header(path)
    except CheckpointError:
        return None
    return _origin(facts, path, header) if _is_current(facts, header) else None


def install(
    name: str, source: Path | None = None, *, progress: Callable[[int, int], None] | None = None
) -> InstalledBackbone:
    """Install the weights of a backbone for ``load``: downloaded from their publisher, or from a file.

    Only the layers that are used are kept, in a file with a checksum. Installed weights are not downloaded again.

    Args:
        name: Of the backbone.
        source: The user's file; without it, the published one is downloaded.
        progress: Called with the received and the total bytes.

    Raises:
        BackboneError: The backbone is unknown, or its weights are shipped with the program.
        CheckpointError: The file is missing, damaged, hostile or of another network.
        FetchError: The download failed.
        OSError: The cache cannot be written.
    """
    facts = features.facts(name)
    if facts.published is None:
        raise BackboneError(f"{name}: expected a backbone to fetch, got one whose weights come with the program")
    if source is not None:
        return _keep(facts, source)
    if (here := installed_backbone(name)) is not None and here.published and _is_whole(here.path):
        return here
    from safelight.checkpoints import download

    url = facts.published.url
    target = conversion.cache_folder("downloads") / url.rpartition("/")[2]
    try:
        download.download_file(url, facts.published.sha256, target, size=facts.published.size, progress=progress)
    except download.FetchError as error:
        raise download.FetchError(f"{error}; if you have the file: safelight fetch {name} --from FILE") from None
    kept = _keep(facts, target)
    target.unlink(missing_ok=True)
    return kept


# --- reading ----------------------------------------------------------------------------------------------------------


def _path(facts: Facts) -> Path:
    """Return the path of a backbone's weights, which may not exist."""
    for weights in weights_manifest.shipped_weights(_method(facts)):
        return weights_manifest.SHIPPED / weights.file
    return conversion.cache_folder("backbones") / f"{facts.name}.safetensors"


def _is_current(facts: Facts, header: WeightsHeader) -> bool:
    return header.method == _method(facts) and (facts.published is None or header.converted.get("rules") == RULES)


def _method(facts: Facts) -> str:
    """Return a backbone's name in the headers of weights files."""
    return f"features/{facts.name}"


def _origin(facts: Facts, path: Path, header: WeightsHeader) -> InstalledBackbone:
    sha256 = header.converted.get("sha256", "")
    published = facts.published is None or sha256.startswith(facts.published.sha256)
    source = header.converted.get("file", path.name)
    return InstalledBackbone(path=path, source=source, sha256=sha256, published=published, licence=header.licence)


def _is_whole(path: Path) -> bool:
    try:
        weights_file.load(path)
    except CheckpointError:
        return False
    return True


def _read_own(facts: Facts) -> tuple[dict[str, Tensor], InstalledBackbone]:
    """Read the shipped or installed weights."""
    path = _path(facts)
    if facts.published is not None and not path.is_file():
        raise BackboneError(
            f"{facts.name}: expected its weights, got none; they are not part of the program, so fetch them "
            f"({facts.published.size / 1e6:.0f} MB) by: safelight fetch {facts.name}"
        )
    try:
        tensors, header = weights_file.load(path)
    except CheckpointError as error:
        again = "install safelight again" if facts.published is None else f"run again: safelight fetch {facts.name}"
        raise CheckpointError(f"{error}; {again}") from None
    if not _is_current(facts, header):
        raise BackboneError(
            f"{facts.name}: expected its weights in {path}, got others or those of another version; "
            f"run again: safelight fetch {facts.name}"
        )
    return tensors, _origin(facts, path, header)


def _read(facts: Facts, path: Path) -> tuple[dict[str, Tensor], InstalledBackbone]:
    """Read the weights that the network needs from a user's file, whose other tensors must be known ones."""
    with conversion.open_weights(path, f"weights of {facts.title}", max_bytes=MAX_BYTES) as file:
        if file.has_safelight_header:
            header = weights_file.read_header(path)
            if header.method != _method(facts):
                raise file.error(f"weights of {header.method}")
            _check(facts, weights_file.read_shapes(path)[0], path)
            return weights_file.load(path)[0], _origin(facts, path, header)
        shapes = _needed(facts, file.shapes())
        _check(facts, shapes, path)
        tensors = weights_file.to_float32(file.read(shapes), path)
        known = facts.published
        published = known is not None and file.sha256.startswith(known.sha256)
        licence = known.licence if known is not None and published else conversion.LICENCE
        origin = InstalledBackbone(
            path=path, source=printable_name(path), sha256=file.sha256, published=published, licence=licence
        )
        return tensors, origin


def _needed(facts: Facts, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Drop the tensors of the unused last layers."""
    return {name: shape for name, shape in shapes.items() if not any(fnmatchcase(name, end) for end in facts.ignored)}


def _check(facts: Facts, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Check that tensors are those of a backbone; the message names another backbone that they fit.

    Raises:
        CheckpointError: They don't fit.
    """
    try:
        weights_file.check_compatible(_blank(facts), shapes, path, f"weights of {facts.title}")
    except CheckpointError:
        for other in features.BACKBONES:
            try:
                weights_file.check_compatible(_blank(other), _needed(other, shapes), path)
            except CheckpointError:
                continue
            raise CheckpointError(
                f"{printable_name(path)}: expected weights of {facts.title}, got those of {other.title}, "
                f"which is called {other.name} here"
            ) from None
        raise


def _blank(facts: Facts) -> nn.Module:
    """Make a network on the meta device: takes no memory and no time for random weights."""
    with torch.device("meta"):
        return facts.build(facts.pooling).network


def _keep(facts: Facts, source: Path) -> InstalledBackbone:
    """Write the needed tensors of a user's file into the cache."""
    tensors, origin = _read(facts, source)
    assert facts.published is not None
    header = WeightsHeader(
        method=_method(facts),
        options={},
        scales=(1,),
        licence=origin.licence,
        converted={
            "file": origin.source, "link": facts.published.url if origin.published else "", "sha256": origin.sha256,
            "rules": RULES,
        },
    )  # fmt: skip
    path = _path(facts)
    conversion.write_to_cache(path, tensors, header)
    return _origin(facts, path, header)


def _randomise(network: nn.Module, seed: int) -> None:
    """Draw weights that keep signals at their size from layer to layer (He et al. 2015), the same for each seed."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / module.weight[0].numel()), generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
