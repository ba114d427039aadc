"""Measure pictures against their originals by any of the metrics: what ``score`` does, in Python and as a verb.

Here a metric meets what it needs: a protocol, a network with its weights, published heads. All is settled when a
``Scorer`` is made, so that a wrong name is told before the first picture is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from safelight import metrics
from safelight.checkpoints import backbones, conversion, weights_file
from safelight.engine import device as devices
from safelight.engine.samples import to_samples, to_tensor
from safelight.features.backbone import Backbone, BackboneError
from safelight.media.image import Picture
from safelight.metrics import AnyMetric, FeatureMetric, Metric, Protocol, SetMetric
from safelight.ops.drawing import Section, Tile, sheet

SEED = 0  # of what draws the subsets of KID
_MOST_OF_HEADS = 16 << 20  # bytes; published ones have some thousand numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One figure that a scorer gives.

    Attributes:
        name: Of the metric, with the network in brackets if it had a say: ``lpips[lens]``.
        title: The same for a table's heading.
        unit: "dB", or "" for a pure number.
        higher_is_better: Whether a larger figure is a better picture.
        protocol: What the pictures are brought to, in words.
        definition: What the metric itself fixes, in words.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    protocol: str
    definition: str


class Scorer:
    """Metrics with all that they need.

    Args:
        chosen: Metrics; ``None``: the usual ones of two pictures, each where the pictures are large enough for it.
        protocol: Channel, shave and rounding.
        backbone: The network of those that see through one, such as ``lens``.
        layers: Of that network, in place of the usual ones: those that LPIPS compares, or the one of FID and KID.
        heads: A file of weights for LPIPS as its authors published them, .pth or .safetensors.
        device: Where the network computes; all else is of the CPU, in double precision.

    Raises:
        ValueError: Layers that do not fit what is to be measured, or heads that do not fit the layers.
        BackboneError: No such network or layer, or no weights for it.
        DeviceError: This machine has no such device.
        CheckpointError: The file of heads is missing, broken or hostile.
    """

    def __init__(
        self,
        chosen: Sequence[AnyMetric] | None,
        protocol: Protocol,
        *,
        backbone: str = "lens",
        layers: Sequence[str] | None = None,
        heads: Path | None = None,
        device: devices.Device = "auto",
    ) -> None:
        self.protocol, self.layers, self._named = protocol, layers, chosen is not None
        usual = [m for m in metrics.METRICS if isinstance(m, FeatureMetric) or (isinstance(m, Metric) and m.usual)]
        wanted = usual if chosen is None else list(dict.fromkeys(chosen))
        self._of_pairs = [m for m in wanted if not isinstance(m, SetMetric)]
        self._of_sets = [m for m in wanted if isinstance(m, SetMetric)]
        sees = any(not isinstance(m, Metric) for m in wanted)
        if (layers is not None or heads is not None) and not sees:
            raise ValueError("expected a metric that sees through a network, such as lpips, got layers or heads alone")
        if heads is not None and metrics.LPIPS not in wanted:
            raise ValueError("expected lpips with its heads, got heads alone; add --metric lpips")
        self._backbone = backbones.load(backbone, device=devices.choose(device)) if sees else None
        self._heads = None if heads is None else read_heads(heads)
        self._columns = {m.name: self._column(m, backbone) for m in wanted}
        if self._backbone is not None and layers is not None:
            self._backbone.check(layers)
            if self._of_sets and len(layers) != 1:
                raise ValueError(f"expected one layer for {self._of_sets[0].title}, got {len(layers)}; name one")

    def _column(self, metric: AnyMetric, backbone: str) -> Column:
        match metric:
            case Metric():
                return Column(
                    name=metric.name, title=metric.title, unit=metric.unit, higher_is_better=metric.higher_is_better,
                    protocol=self.protocol.describe(), definition=metric.definition,
                )  # fmt: skip
            case FeatureMetric():
                name, title = (
                    metrics.label(text, backbone, self.layers, heads=self._heads is not None)
                    for text in (metric.name, metric.title)
                )
                protocol = metric.protocol(self.protocol).describe()
            case SetMetric():
                name, title = (metrics.label(text, backbone, self.layers) for text in (metric.name, metric.title))
                protocol = "RGB, whole pictures"
            case _:
                assert_never(metric)
        return Column(
            name=name, title=title, unit="", higher_is_better=False, protocol=protocol, definition=metric.definition
        )

    @property
    def of_pairs(self) -> tuple[Column, ...]:
        """The figures of two pictures."""
        return tuple(self._columns[m.name] for m in self._of_pairs)

    @property
    def of_sets(self) -> tuple[Column, ...]:
        """The figures of two sets of pictures."""
        return tuple(self._columns[m.name] for m in self._of_sets)

    def pair(self, reference: Picture, result: Picture) -> dict[str, float]:
        """Measure one picture against its original; alpha is not compared.

        Returns:
            A figure for each column of ``of_pairs``, by its name. Where no metric was named, those that the pictures
            are too small for are left out.

        Raises:
            ValueError: The pictures cannot be compared, or are too small for a metric that was named.
        """
        made, original = (to_tensor(picture.pixels).double() for picture in (result, reference))
        return self.tensors(made, original)

    def tensors(self, result: Tensor, reference: Tensor) -> dict[str, float]:
        """Do the same with (1, C, H, W), in [0, 1]."""
        figures: dict[str, float] = {}
        side = min(result.shape[-2:]) - 2 * self.protocol.shave
        for metric in self._of_pairs:
            name = self._columns[metric.name].name
            if isinstance(metric, Metric):
                if not self._named and 0 < side < metric.smallest and result.shape == reference.shape:
                    continue
                figures[name] = metric.score(result, reference, self.protocol).item()
                continue
            try:
                far = metric.score(result, reference, self.protocol, self._sight(), self.layers, self._heads)
            except BackboneError:
                if self._named or self.layers is not None:
                    raise
                continue
            figures[name] = far.item()
        return figures

    def sets(self, references: Iterable[Picture], results: Iterable[Picture]) -> tuple[dict[str, float], list[str]]:
        """Measure one set of pictures against another; they need be neither pairs nor as many.

        Returns:
            A figure for each column of ``of_sets``, by its name; and what there is to be said against them.

        Raises:
            ValueError: A set has fewer than two pictures.
            BackboneError: A picture is too small for the layer.
        """
        layer = None if self.layers is None else self.layers[0]
        seen = [
            metrics.global_features(self._sight(), (to_tensor(picture.pixels) for picture in pictures), layer)
            for pictures in (results, references)
        ]
        figures: dict[str, float] = {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for metric in self._of_sets:
                drawn = torch.Generator().manual_seed(SEED)
                figures[self._columns[metric.name].name] = metric.function(seen[0], seen[1], generator=drawn).item()
        return figures, list(dict.fromkeys(str(warning.message) for warning in caught))

    def _sight(self) -> Backbone:
        assert self._backbone is not None  # made whenever a metric wants it
        return self._backbone


def side_by_side(reference: Picture, result: Picture, heading: str) -> Picture:
    """Lay a picture, its result and their difference on one sheet, under a line of text.

    Args:
        reference: The original.
        result: Of the same size.
        heading: The line.

    Returns:
        8 bits, RGB. Equal samples are mid gray in the difference, which is doubled.
    """
    original, made = (to_tensor(picture.pixels) for picture in (reference, result))
    tiles = [
        Tile(original[0], "reference"),
        Tile(made[0], "result"),
        Tile(((made - original) * 2 + 0.5)[0], "difference x2"),
    ]
    drawn = sheet([Section(tiles, columns=3, heading=heading)])
    return Picture(pixels=to_samples(drawn, np.dtype(np.uint8)))


def read_heads(path: Path) -> tuple[Tensor, ...]:
    """Read the heads of LPIPS from a file, as a stranger's weights are: nothing in it is run.

    Args:
        path: As published, with ``lin0.model.1.weight`` and so on; .pth or .safetensors.

    Raises:
        CheckpointError: The file is missing, broken, hostile, or holds something else.
    """
    with conversion.open_weights(path, "the heads of LPIPS", max_bytes=_MOST_OF_HEADS) as file:
        names = [name for name in file.shapes() if name.endswith(".model.1.weight")]
        tensors = weights_file.to_float32(file.read(names), path)
        try:
            return metrics.heads_of(tensors)
        except ValueError as error:
            raise weights_file.CheckpointError(f"{weights_file.printable_name(path)}: {error}") from None
