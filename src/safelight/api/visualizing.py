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
    """Visualize a network, and draw the result as a sheet.

    Args:
        kind: ``"filters"``, ``"activations"``, ``"inversion"``, ``"feature"``, ``"receptive"`` or ``"attribution"``.
        subject: A backbone such as ``"lens"``, a trained method such as ``"upscale/edsr"``, or a loaded one.
        picture: The input of the network, for the kinds that need one; of any kind that ``upscale`` takes.
        layer: A layer, or several for ``activations`` and ``inversion``; ``None``: the kind chooses if it can.
        channel: A channel of the layer, or several, counted from 0.
        at: (x, y) of the top left corner of a patch, in pixels of the network's result; ``None``: at the centre.
        side: The side of the patch, in pixels of the result; 16 if not given.
        size: The side of a picture that is made, or the most that the longer side of the input may have, in pixels.
        scale: The scale of a named network that enlarges; ``None``: its largest.
        network: Options of a named network, such as ``{"variant": "B"}``.
        weights: A weights file in place of a named network's shipped weights.
        device: The device of a named network; ``"auto"`` is the fastest that is available.
        seed: The seed of all random numbers.
        **options: Options of the kind, such as ``iterations``; ``safelight visualize --help`` lists them.

    Returns:
        The sheet, 8-bit RGB. Its ``warnings`` hold the measured values and notes for the user.

    Raises:
        BackboneError: A layer or a channel does not exist, the weights of a backbone are not installed, or the picture
            is too small.
        CardError: A kind, a network or an option does not exist, or an argument is missing or not accepted by the kind.
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
