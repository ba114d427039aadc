"""Reads and checks the picture files that flags name: masks, styles and frames; and checks the path of a preview."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.cli.file_request import FileRequest
from safelight.cli.shell import UsageError

if TYPE_CHECKING:
    from safelight.core.card import Card
    from safelight.media.image import Decoder, ImageHeader, Picture


def read_picture(path: Path, flag: str) -> Picture:
    """Read a picture that a flag names, such as a mask or a style.

    Args:
        path: The file.
        flag: The flag, for the error message.

    Raises:
        UsageError: The file cannot be read as a picture.
    """
    from safelight.media import image

    try:
        return image.read(path)
    except image.PictureError as error:
        raise UsageError(f"{flag}: {error}") from None


def check_mask(mask: Picture, request: FileRequest) -> None:
    """Check that a mask has the size of the input, if there is a single one; in a batch, each file is checked later.

    Raises:
        UsageError: The mask has another size than the picture.
    """
    from safelight.media import image

    if request.listed is not None or len(request.inputs) != 1 or not Path(request.inputs[0]).is_file():
        return
    try:
        header = image.probe(Path(request.inputs[0]))
    except image.PictureError:
        return  # it is reported as the result of the file
    if (header.width, header.height) != (mask.width, mask.height):
        raise UsageError(
            f"expected a mask of {header.width}x{header.height}, the size of the picture, got "
            f"{mask.width}x{mask.height}; draw it on the picture itself"
        )


def take_frames(request: FileRequest, decoder: Decoder) -> tuple[FileRequest, tuple[Picture, ...]]:
    """Take the first input as the picture to work on, and the others as more frames of the same scene.

    Args:
        request: The files.
        decoder: Decodes them in other processes.

    Returns:
        The request with the first input alone, and the other frames; none are read in a dry run.

    Raises:
        UsageError: The frames differ in size or in colour, or one comes from standard input, or ``--watch`` is given.
        BatchError: There is no picture among the inputs.
        DecodeError: A frame cannot be read.
    """
    from safelight import batch
    from safelight.media import image

    if request.watch:
        raise UsageError("expected the frames of one scene, got --watch; leave it out")
    listed = [] if request.listed is None else batch.read_list(request.listed)
    inputs = batch.expand(request.inputs, listed=listed, exclude=request.folder)
    if len(inputs.sources) == 1:
        return request, ()
    paths = [source.path for source in inputs.sources if source.path is not None]
    if len(paths) < len(inputs.sources):
        raise UsageError("expected the frames in files, got - (standard input) among them; name a file")
    _check_alike(paths, [image.probe(path) for path in paths])
    alone = replace(request, inputs=(str(paths[0]),), listed=None)
    return alone, () if request.dry_run else tuple(_read(path, request, decoder) for path in paths[1:])


def _check_alike(paths: list[Path], headers: list[ImageHeader]) -> None:
    from safelight.media.image.picture import shown

    first = headers[0]
    for path, header in zip(paths, headers, strict=True):
        if (header.width, header.height) != (first.width, first.height):
            raise UsageError(
                f"expected frames of one size, got {first.width}x{first.height} and {header.width}x{header.height} "
                f"({shown(path)}); take pictures of one camera, uncropped"
            )
        if header.channels != first.channels:
            raise UsageError(
                f"expected frames that are all gray or all in colour, got both ({shown(path)}); convert them"
            )


def _read(path: Path, request: FileRequest, decoder: Decoder) -> Picture:
    from safelight.media import image

    with decoder.open(path, max_pixels=request.files.max_pixels, lenient=request.files.lenient) as rows:
        return image.picture_of(rows.spec, rows.read(rows.spec.height))


def check_preview(path: Path, card: Card, request: FileRequest, *, on_cluster: bool) -> None:
    """Check that a preview can be written, and that it replaces no other file.

    Args:
        path: The file of the preview.
        card: The method.
        request: The files of the command.
        on_cluster: Whether the work runs on a cluster.

    Raises:
        UsageError: The method does not iterate or runs on a cluster, the path is not that of a picture in an existing
            folder, or the file exists and may not be replaced.
    """
    from safelight.media import image

    if not card.method.iterates:
        raise UsageError(f"expected --preview with a method that iterates, got {card.id}; leave it out")
    if on_cluster:
        raise UsageError("expected --preview or --cluster, got both; leave one out")
    try:
        image.format_of(path)
    except image.PictureError as error:
        raise UsageError(f"--preview: {error}") from None
    if not path.parent.is_dir():
        raise UsageError(f"--preview: expected a folder that exists, got {path.parent}; make it first")
    own = path.resolve() in [Path(text).resolve() for text in (*request.inputs, request.out or "")]
    if own or (path.exists() and request.on_exist != "overwrite"):
        raise UsageError(
            f"--preview: expected a file of its own, got {path}, which is there; choose another, or let "
            "--on-exist overwrite replace an earlier preview"
        )
