"""What a user tells of a picture by further files: a mask, more frames of the scene; and where a preview may go."""

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
    """Read a picture that a flag names: a mask, a style.

    Raises:
        UsageError: It can't be read.
    """
    from safelight.media import image

    try:
        return image.read(path)
    except image.PictureError as error:
        raise UsageError(f"{flag}: {error}") from None


def check_mask(mask: Picture, ask: FileRequest) -> None:
    """Refuse a mask of another size than a picture that is the only input; in a batch, each picture tells by itself.

    Raises:
        UsageError: It has another size.
    """
    from safelight.media import image

    if ask.listed is not None or len(ask.inputs) != 1 or not Path(ask.inputs[0]).is_file():
        return
    try:
        header = image.probe(Path(ask.inputs[0]))
    except image.PictureError:
        return  # it will be told as the outcome of the file
    if (header.width, header.height) != (mask.width, mask.height):
        raise UsageError(
            f"expected a mask of {header.width}x{header.height}, the size of the picture, got "
            f"{mask.width}x{mask.height}; draw it on the picture itself"
        )


def take_frames(ask: FileRequest, decoder: Decoder) -> tuple[FileRequest, tuple[Picture, ...]]:
    """Take all inputs but the first for more frames of the scene in the first; read them, unless nothing is to be done.

    Returns:
        What is asked for with the first input alone, and the other pictures.

    Raises:
        UsageError: The pictures are not of one kind and size, or come from where they can't be read together.
        BatchError: There is no picture.
        DecodeError: One of them can't be read.
    """
    from safelight import batch
    from safelight.media import image

    if ask.watch:
        raise UsageError("expected the frames of one scene, got --watch; leave it out")
    listed = [] if ask.listed is None else batch.read_list(ask.listed)
    found = batch.expand(ask.inputs, listed=listed, exclude=ask.folder)
    if len(found.sources) == 1:
        return ask, ()
    paths = [source.path for source in found.sources if source.path is not None]
    if len(paths) < len(found.sources):
        raise UsageError("expected the frames in files, got - (standard input) among them; name a file")
    _check_alike(paths, [image.probe(path) for path in paths])
    alone = replace(ask, inputs=(str(paths[0]),), listed=None)
    return alone, () if ask.dry_run else tuple(_read(path, ask, decoder) for path in paths[1:])


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


def _read(path: Path, ask: FileRequest, decoder: Decoder) -> Picture:
    from safelight.media import image

    with decoder.open(path, max_pixels=ask.files.max_pixels, lenient=ask.files.lenient) as rows:
        return image.picture_of(rows.spec, rows.read(rows.spec.height))


def check_preview(path: Path, card: Card, ask: FileRequest, *, on_cluster: bool) -> None:
    """Refuse a preview that would never be written, or would replace a file that nobody said may be replaced.

    Raises:
        UsageError: It is so.
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
    own = path.resolve() in [Path(text).resolve() for text in (*ask.inputs, ask.out or "")]
    if own or (path.exists() and ask.on_exist != "overwrite"):
        raise UsageError(
            f"--preview: expected a file of its own, got {path}, which is there; choose another, or let "
            "--on-exist overwrite replace an earlier preview"
        )
