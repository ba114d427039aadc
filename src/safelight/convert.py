"""Weights that others published, turned once into files of ours: recognised, checked, renamed and kept in a cache.

A file is taken for what its content is, not its name. A zip file of ``torch.save`` is read by a process of its own,
which runs nothing of it (``safelight.foreign``) and says where the tensors lie; their numbers are then read from those
places. Which layouts there are stands on the cards.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from safelight import checkpoint
from safelight.card import Card, CardError, ForeignLayout, LayoutError, Trained, make_options
from safelight.checkpoint import CheckpointError, Header, name_of

MAX_BYTES = 512 << 20  # of a published file
SECONDS = 30.0  # for the process that reads it
RULES = "1"  # raised when a conversion gives another result than before, so that what is kept is made again
LICENCE = "unknown: ask where the file comes from"

_RESAVE = "if you trust its source, save it again: torch.save(torch.load(FILE, weights_only=True), NEW)"
_PREFIXES = ("module.", "model.")  # of networks that were wrapped when they were saved
_DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip


def ready(card: Card, path: Path) -> Path:
    """Give a weights file of ours for any weights file: itself, or what a published one is converted to.

    The result is kept under the SHA-256 of the file in ``cache_folder()``, so each file is converted once.

    Args:
        card: Of the trained method that the weights are for.
        path: The user's file.

    Raises:
        CheckpointError: The file is missing, broken, hostile, or of no layout that the method knows.
        OSError: The cache cannot be written.
    """
    checkpoint.check_present(path)
    zipped = _is_zip(card, path)
    if not zipped and checkpoint.is_ours(path):
        return path
    if path.stat().st_size > MAX_BYTES:
        raise _error(card, path, f"{path.stat().st_size} bytes, more than the {MAX_BYTES} that are read")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        kept = cache_folder() / f"{sha256}.safetensors"
        if _is_converted(card, kept):
            return kept
        method = card.method
        assert isinstance(method, Trained)
        if zipped:
            places = _ask(card, path, file)
            names = _names(places)
            layout = _layout(card, method, path, names)
            tensors = {name: _read(file, places[full]) for name, full in names.items()}
        else:
            shapes, _ = checkpoint.read_shapes(path)
            names = _names(shapes)
            layout = _layout(card, method, path, names)
            stored, _ = checkpoint.read_file(path)
            tensors = {name: stored[full] for name, full in names.items()}
    _convert(card, method, layout, checkpoint.as_floats(tensors, path), path, sha256, kept)
    return kept


def cache_folder() -> Path:
    """Tell where converted weights are kept: ``safelight/converted`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "safelight" / "converted"


# --- what a file is ---------------------------------------------------------------------------------------------------


def _error(card: Card, path: Path, got: str) -> CheckpointError:
    foreign = card.method.foreign if isinstance(card.method, Trained) else ()
    known = ", ".join(("Safelight", *(layout.name for layout in foreign)))
    return CheckpointError(f"{name_of(path)}: expected weights of {card.id} ({known}), got {got}")


def _is_zip(card: Card, path: Path) -> bool:
    """Tell ``torch.save``'s zip files from safetensors by their first bytes; refuse everything else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
    if start[:2] == b"PK":
        return True
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        return False
    if not start:
        raise _error(card, path, "an empty file; fetch it again")
    if start.lstrip()[:1] == b"<":
        raise _error(card, path, "a web page; fetch the file itself, often by a link that says download or raw")
    if start[:1] == b"\x80" or start[:1] in b"(c}]l":
        raise _error(card, path, f"a pickle of the kind before torch 1.6, which is not read; {_RESAVE}")
    raise _error(card, path, "a file of another kind, or one that is damaged; .pth, .pt and .safetensors are read")


def _names(found: Mapping[str, object]) -> dict[str, str]:
    """Map each tensor's name, without what wrappers put before all of them, to its name in the file."""
    names = {name: name for name in found}
    for _ in range(4):
        for prefix in _PREFIXES:
            if names and all(name.startswith(prefix) for name in names):
                names = {name.removeprefix(prefix): full for name, full in names.items()}
    return names


def _layout(card: Card, method: Trained, path: Path, names: Mapping[str, str]) -> ForeignLayout:
    for layout in method.foreign:
        if names.keys() >= set(layout.keys):
            return layout
    first = next(iter(names), None)
    what = (
        "no tensors" if first is None else f"{len(names)} tensors of another layout, beginning with {ascii(first)[:60]}"
    )
    raise _error(card, path, what)


# --- reading ----------------------------------------------------------------------------------------------------------


def _ask(card: Card, path: Path, file: BinaryIO) -> dict[str, Any]:
    """Have the reader's process say where the tensors lie; it has the file open and can do nothing else."""
    # -P: a module in the current folder must not stand in for one of Python's.
    command = [sys.executable, "-P", "-m", "safelight.foreign.worker"]
    try:
        run = subprocess.run(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _error(card, path, f"a file that takes more than {SECONDS:.0f} seconds to read") from None
    try:
        answer: dict[str, Any] = json.loads(run.stdout)
    except ValueError:
        raise _error(card, path, f"a file that its reader did not survive (exit {run.returncode})") from None
    if "error" in answer:
        raise _error(card, path, answer["error"])
    return answer["tensors"]


def _read(file: BinaryIO, place: Mapping[str, Any]) -> Tensor:
    """Read the numbers of one tensor from where they lie."""
    content = bytearray(place["size"])
    file.seek(place["start"])
    file.readinto(content)  # type: ignore[attr-defined]
    flat = torch.frombuffer(content, dtype=_DTYPES[place["dtype"]])
    return flat.as_strided(place["shape"], place["stride"]).contiguous()


# --- converting -------------------------------------------------------------------------------------------------------


def _is_converted(card: Card, kept: Path) -> bool:
    """Say whether the cache has the file: whole, for this method, and made by the rules of this version."""
    if not kept.is_file():
        return False
    try:
        _, header = checkpoint.load(kept)
    except CheckpointError:
        return False
    return header.method == card.id and header.converted.get("rules") == RULES


def _convert(
    card: Card, method: Trained, layout: ForeignLayout, tensors: Mapping[str, Tensor], path: Path, sha256: str,
    kept: Path,
) -> None:  # fmt: skip
    """Rename the tensors, check that they are a network of the method, and write them with a header."""
    try:
        adopted = layout.adopt(tensors)
        options = make_options(card, adopted.options)
    except (LayoutError, CardError) as error:
        raise _error(card, path, f"{error} (read as {layout.name})") from None
    with torch.device("meta"):  # shapes alone: no memory, and no time for random weights
        network = method.network(options, adopted.scales[0])
    checkpoint.fits(network, {name: tuple(tensor.shape) for name, tensor in adopted.tensors.items()}, path)
    header = Header(
        method=card.id, options=adopted.options, scales=adopted.scales, licence=LICENCE,
        converted={"layout": layout.name, "link": layout.link, "file": path.name, "sha256": sha256, "rules": RULES},
    )  # fmt: skip
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        checkpoint.save(kept, adopted.tensors, header)
    except OSError as error:
        raise OSError(
            f"{kept.parent}: expected a folder to keep converted weights in, got: {error.strerror}; "
            "set XDG_CACHE_HOME to one that can be written"
        ) from None
