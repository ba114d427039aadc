"""``visualize``: draws what a network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safelight.api.task_functions import Holder
    from safelight.engine.device import Device
    from safelight.features.backbone import Backbone
    from safelight.inference.model import Model
    from safelight.media.image import Picture


def visualize(
    kind: str,
    subject: str | Backbone | Model,
    picture: Holder | None = None,
    *,
    layer: str | Sequence[str] | None = None,
    channel: int | Sequence[int] | None = None,
    at: tuple[int, int] | None = None,
    side: int | None = None,
    size: int | None = None,
    scale: int | None = None,
    network: Mapping[str, int | float | str] | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    seed: int = 0,
    **options: float | str,
) -> Picture:
    """Look into a network and draw what is there as a sheet.

    Args:
        kind: ``"filters"``, ``"activations"``, ``"inversion"``, ``"feature"``, ``"receptive"`` or ``"attribution"``.
        subject: A backbone such as ``"lens"``, a trained method such as ``"upscale/edsr"``, or one that is loaded.
        picture: What the network is shown, for the kinds that show it something; as for ``upscale``.
        layer: One, or several for ``activations`` and ``inversion``; the kind chooses if it can.
        channel: One of the layer, or several, from 0.
        at: (x, y) of a patch, its left upper corner in pixels of the network's result; ``None``: in the middle.
        side: Of the patch, in pixels of the result; 16 if not given.
        size: Side of the picture that is made; of one that is shown, the longer side at most. Pixels.
        scale: Of a named network that enlarges; ``None``: its largest.
        network: Options of a named network, such as ``{"variant": "B"}``.
        weights: A file instead of a named network's shipped weights.
        device: ``"auto"``: the fastest there is; of a named network.
        seed: Of what is drawn at random.
        **options: Those of the kind, such as ``iterations``; ``safelight visualize --help`` lists them.

    Returns:
        The sheet, 8-bit RGB. What was measured and what the user should know stand in its ``warnings``.

    Raises:
        BackboneError: A layer or a channel that is not there, a backbone without weights, a picture too small.
        CardError: A kind, a network or an option that does not exist, or something that the kind lacks or does not
            take.
        CheckpointError, DeviceError, PictureError: As for ``upscale``.

    Example:
        >>> visualize("filters", "upscale/fsrcnn").warnings[0]
        'layer extract.0, outputs 56, inputs 1, height 5, width 5'
    """
    from pathlib import Path

    import numpy as np

    from safelight import catalog
    from safelight.core.progress import never_stop
    from safelight.engine.samples import to_samples
    from safelight.inference import inspection
    from safelight.media import image

    view = catalog.find_inspector(kind)
    shown = None if picture is None else image.from_any(picture)

    def load(name: str) -> inspection.InspectedNetwork:
        return inspection.load(
            name, scale=scale, network=network, weights=None if weights is None else Path(weights), device=device,
            gray=shown is not None and shown.channels == 1,
        )  # fmt: skip

    request = inspection.InspectionRequest(
        layers=() if layer is None else (layer,) if isinstance(layer, str) else tuple(layer),
        channels=() if channel is None else (channel,) if isinstance(channel, int) else tuple(channel),
        at=at, side=side, size=size, seed=seed, options=options,
    )  # fmt: skip
    result = inspection.draw(view, inspection.subject_of(subject, load), shown, request, never_stop)
    facts = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in result.facts.items()
    )
    return image.Picture(pixels=to_samples(result.sheet, np.dtype(np.uint8)), warnings=(facts, *result.notes))
