"""Networks, files, scores and the list of methods: what the Python face has beside the restoring itself."""

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
        name: The method, such as ``"upscale/vdsr"`` or ``"vdsr"``.
        scale: One of the method's scales; ``None``: the file's, or the largest.
        options: The architecture; ``None``: the file's, or the method's defaults.
        weights: A file of your own training, or a published checkpoint (docs/weights.md); ``None``: the shipped ones.
        device: ``"auto"``: the fastest there is.
        precision: ``"exact"`` is float32; ``"fast"`` takes half of its digits where the device gains by it.
        task: Of a network that serves several, the one it is for; ``None``: that of its folder.

    Returns:
        A model that takes (B, 1 or 3, H, W), sRGB or gray in [0, 1], and gives (B, 1 or 3, H * scale, W * scale).

    Raises:
        CardError: No such method, scale or option, or a method that has no network.
        CheckpointError: The weights file is broken or of another method.
        DeviceError: This machine has no such device.

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
        source: A path, or the bytes of a file. The content decides the format.
        max_pixels: More are refused before anything is decoded; ``None``: 160 million.
        lenient: Take what can be decoded of a damaged file.

    Raises:
        PictureError: No such file, no picture, damaged or too large.
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
    """Write a picture with its metadata, whole or not at all.

    Args:
        picture: Any kind that ``upscale`` takes.
        path: The file; its suffix names the format unless ``format`` does.
        format: jpeg, png, webp, tiff, avif or gif.
        quality: 1 to 100, of JPEG (95 if None), WebP (90) and AVIF (85).
        overwrite: Replace a file that exists.

    Raises:
        PictureError: The format cannot hold it, the file exists, or the folder or the disk is at fault.

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
        reference: The original, any kind that ``upscale`` takes. Alpha is not compared.
        result: Of the same size, and gray or colour as the reference is.
        metric: ``"psnr"`` (dB, infinite for equal pictures), ``"ssim"`` (at most 1), ``"ms_ssim"``, ``"ifc"``,
            ``"nqm"``, ``"wpsnr"`` or ``"lpips"`` (0 for equal pictures); docs/metrics.md says what they are.
        channel: ``"y"``, the luma of BT.601, or ``"rgb"``; LPIPS always takes colour.
        shave: Pixels cut from each side; the super-resolution papers cut as many as the scale.
        rounding: ``"none"``, ``"8-bit"`` (as in a file) or ``"8-bit-y"`` (the luma too).
        backbone: The network that LPIPS sees through; its numbers are that network's own.
        layers: Of that network, in place of the usual ones.
        heads: A file of LPIPS' published weights for that network.
        device: Where that network computes, as for ``upscale``.

    Raises:
        ValueError: The pictures cannot be compared, or no metric is called so.
        PictureError: One of them is no picture.
        BackboneError: There is no such backbone or layer, or no weights for it.
        CheckpointError: The file of heads is missing, broken or hostile.

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
    """Measure how far one set of pictures is from another, whatever each of them shows: FID or KID.

    Args:
        references: The originals, each of any kind that ``upscale`` takes; read one after another.
        results: The pictures to measure; neither pairs of those nor as many.
        metric: ``"fid"`` or ``"kid"``; KID draws its subsets by a fixed seed.
        backbone: The network that they are seen through. Papers mean ``"inception"`` with its published weights.
        layer: Of that network; ``None``: the last.
        device: Where it computes, as for ``upscale``.

    Raises:
        ValueError: No metric of sets is called so, or a set has fewer than two pictures.
        PictureError: One of them is no picture.
        BackboneError: There is no such backbone or layer, or no weights for it, or a picture is too small.

    Warns:
        UserWarning: There are fewer than 2,048 pictures in a set.

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
