"""The Python functions that are not tasks: loading networks, reading and writing files, scores, the list of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from safelight.api.task_functions import Holder
    from safelight.core.task import Task
    from safelight.engine.device import Device
    from safelight.inference.model import Model, PrecisionChoice
    from safelight.media.image import Picture
    from safelight.metrics.protocol import Channel, Rounding


def load(
    name: str,
    *,
    scale: int | None = None,
    options: Mapping[str, int | float | str] | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    task: Task | None = None,
) -> Model:
    """Load a network, to be called on tensors: ``model(x)``; its ``.network`` is the plain ``nn.Module``.

    Args:
        name: The name of the method, such as ``"upscale/vdsr"`` or ``"vdsr"``.
        scale: One of the method's scales; ``None``: that of the file, or the largest.
        options: Options of the method, by name; ``None``: those of the file, or the method's defaults.
        weights: A weights file of your own training, or a published checkpoint (docs/weights.md); ``None``: the shipped
            weights.
        device: ``"auto"`` is the fastest device that is available.
        precision: ``"exact"`` is float32; ``"fast"`` is a 16-bit format, if the device is faster with it.
        task: The task to use a network of several tasks for; ``None``: that of its folder.

    Returns:
        A model that takes (B, 1 or 3, H, W), sRGB or gray in [0, 1], and gives (B, 1 or 3, H * scale, W * scale).

    Raises:
        CardError: The method, scale or option does not exist, or the method has no network.
        CheckpointError: The weights file is broken or belongs to another method.
        DeviceError: The requested device is not available.

    Example:
        >>> load("upscale/bicubic")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        safelight.core.options.CardError: upscale/bicubic has no network...
    """
    from pathlib import Path

    from safelight import catalog
    from safelight.inference import model

    file = None if weights is None else Path(weights)
    return model.load(
        catalog.find(name, task), scale=scale, options=options, weights=file, device=device, precision=precision,
        task=task,
    )  # fmt: skip


def read(source: str | Path | bytes, *, max_pixels: int | None = None, lenient: bool = False) -> Picture:
    """Read a picture, upright, at its own depth, with its metadata.

    Args:
        source: A path, or the bytes of a file. The format is recognised by the content.
        max_pixels: A picture with more pixels is refused before it is decoded; ``None``: 160 million.
        lenient: Whether to return what can be decoded of a damaged file.

    Raises:
        PictureError: The file does not exist, is not a picture, is damaged or is too large.
    """
    from safelight.media import image

    most = image.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    return image.read(source, max_pixels=most, lenient=lenient)


def write(
    picture: Holder,
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    quality: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a picture with its metadata. The file is complete or not there at all.

    Args:
        picture: A picture of any kind that ``upscale`` takes.
        path: The file; its suffix decides the format unless ``format`` is given.
        format: jpeg, png, webp, tiff, avif or gif.
        quality: The quality, 1 to 100, of JPEG (95 if ``None``), WebP (90) and AVIF (85) files.
        overwrite: Whether to replace a file that exists.

    Raises:
        PictureError: The format cannot hold the picture, the file exists, or it cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(np.zeros((4, 6, 3), np.uint16), f"{folder}/black.png")
        ...     read(f"{folder}/black.png").depth
        '16-bit'
    """
    from safelight.media import image

    image.write(image.from_any(picture), path, format=format, quality=quality, overwrite=overwrite)


def score(
    reference: Holder,
    result: Holder,
    metric: str = "psnr",
    *,
    channel: Channel = "y",
    shave: int = 0,
    rounding: Rounding = "8-bit",
    backbone: str = "lens",
    layers: Sequence[str] | None = None,
    heads: str | Path | None = None,
    device: Device = "auto",
) -> float:
    """Measure how close a result is to its reference. The number means something only with its protocol.

    Args:
        reference: The original, of any kind that ``upscale`` takes. Alpha is not compared.
        result: The picture to measure, of the same size, and gray or in colour as the reference is.
        metric: ``"psnr"`` (dB, infinite for equal pictures), ``"ssim"`` (at most 1), ``"ms_ssim"``, ``"ifc"``,
            ``"nqm"``, ``"wpsnr"`` or ``"lpips"`` (0 for equal pictures); docs/metrics.md says what they are.
        channel: ``"y"``, the luma of BT.601, or ``"rgb"``; LPIPS always takes colour.
        shave: The pixels to cut from each side; the super-resolution papers cut as many as the scale.
        rounding: ``"none"``, ``"8-bit"`` (as in a file) or ``"8-bit-y"`` (the luma too).
        backbone: The network that LPIPS uses; scores of two networks cannot be compared.
        layers: Layers of that network; ``None``: its default layers.
        heads: A file of LPIPS' published weights for that network.
        device: The device of that network, as for ``upscale``.

    Raises:
        ValueError: The pictures cannot be compared, or the metric does not exist.
        PictureError: A picture cannot be read.
        BackboneError: The backbone or the layer does not exist, or its weights are not installed.
        CheckpointError: The file of heads is missing, broken or unsafe.

    Example:
        >>> import numpy as np
        >>> black, gray = np.zeros((16, 16), np.uint8), np.full((16, 16), 51, np.uint8)
        >>> round(score(black, gray), 2)
        13.98
    """
    from pathlib import Path

    from safelight import metrics
    from safelight.evaluation import scoring
    from safelight.media import image
    from safelight.metrics.protocol import Protocol

    found = metrics.find(metric)
    if isinstance(found, metrics.SetMetric):
        raise ValueError(f"expected a metric of two pictures, got {metric!r}, one of sets; use score_sets")
    scorer = scoring.Scorer(
        [found], Protocol(channel=channel, shave=shave, rounding=rounding), backbone=backbone, layers=layers,
        heads=None if heads is None else Path(heads), device=device,
    )  # fmt: skip
    (figure,) = scorer.pair(image.from_any(reference), image.from_any(result)).values()
    return figure


def score_sets(
    references: Iterable[Holder],
    results: Iterable[Holder],
    metric: str = "fid",
    *,
    backbone: str = "lens",
    layer: str | None = None,
    device: Device = "auto",
) -> float:
    """Measure the distance between the distributions of two sets of pictures: FID or KID.

    Args:
        references: The originals, each of any kind that ``upscale`` takes; they are read one after another.
        results: The pictures to measure; the two sets need not be pairs, nor of one length.
        metric: ``"fid"`` or ``"kid"``; KID draws its subsets with a fixed seed.
        backbone: The network whose features are compared. Papers use ``"inception"`` with its published weights.
        layer: The layer of that network; ``None``: the last.
        device: The device of that network, as for ``upscale``.

    Raises:
        ValueError: The metric does not exist or is one of two pictures, or a set has fewer than two pictures.
        PictureError: A picture cannot be read.
        BackboneError: The backbone or the layer does not exist, its weights are not installed, or a picture is too
            small.

    Warns:
        UserWarning: A set has fewer than 2,048 pictures, which makes the score unreliable.

    Example:
        >>> import warnings, numpy as np
        >>> dark, light = ([np.full((16, 16, 3), level + i, np.uint8) for i in range(3)] for level in (20, 200))
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # three pictures are far too few
        ...     score_sets(dark, light) > score_sets(dark, dark)
        True
    """
    import warnings

    from safelight import metrics
    from safelight.evaluation import scoring
    from safelight.media import image
    from safelight.metrics.protocol import Protocol

    found = metrics.find(metric)
    if not isinstance(found, metrics.SetMetric):
        raise ValueError(f"expected a metric of sets, fid or kid, got {metric!r}, one of two pictures; use score")
    layers = None if layer is None else [layer]
    scorer = scoring.Scorer([found], Protocol(channel="rgb"), backbone=backbone, layers=layers, device=device)
    figures, notes = scorer.sets(map(image.from_any, references), map(image.from_any, results))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    (figure,) = figures.values()
    return figure


def list_methods(task: Task | None = None) -> tuple[str, ...]:
    """List the methods by their ids, of one task or of all.

    Example:
        >>> list_methods("upscale")[:3]
        ('upscale/nearest', 'upscale/bilinear', 'upscale/bicubic')
    """
    from safelight import catalog

    return tuple(card.id for card in (catalog.CARDS if task is None else catalog.of_task(task)))
