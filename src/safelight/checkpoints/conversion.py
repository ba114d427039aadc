"""Conversion of published weights to Safelight's format: recognised, checked, renamed and kept in a cache.

A file is taken for what its content is, not its name. What ``torch.save`` wrote is read by a process of its own, which
runs nothing of it (``safelight.checkpoints.foreign``) and says where the tensors lie; their numbers are then read
from those places. Which layouts there are stands on the cards.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from safelight.checkpoints import weights_file
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader, printable_name
from safelight.core.card import Card, ForeignLayout, LayoutError, NetworkSpec
from safelight.core.options import CardError, make_options

MAX_BYTES = 512 << 20  # of a published file
SECONDS = 30.0  # timeout of the process that reads it
RULES = "1"  # version of the conversion; raise it to convert cached files again
LICENCE = "unknown: ask where the file comes from"

_RESAVE = "if you trust its source, save it again: torch.save(torch.load(FILE, weights_only=True), NEW)"
_PREFIXES = ("module.", "model.")  # prefixes of networks that were wrapped when they were saved
_DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip


def convert_if_needed(card: Card, path: Path) -> Path:
    """Return a weights file in Safelight's format: the file itself, or its conversion.

    A conversion is kept in ``cache_folder()`` under the SHA-256 of the file, so each file is converted once.

    Args:
        card: Card of the trained method that the weights are for.
        path: The user's file.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or of an unknown layout.
        OSError: The cache cannot be written.
    """
    spec = card.network
    assert spec is not None
    known = ", ".join(("Safelight", *(layout.name for layout in spec.foreign_layouts)))
    with open_weights(path, f"weights of {card.id} ({known})", max_bytes=MAX_BYTES) as file:
        if file.has_safelight_header:
            return path
        kept = cache_folder("converted") / f"{file.sha256}.safetensors"
        if _is_converted(card, kept):
            return kept
        names = file.shapes()
        layout = _layout(spec, file, names)
        _convert(card, spec, layout, file, weights_file.to_float32(file.read(names), path), kept)
    return kept


def cache_folder(kind: str) -> Path:
    """Return the cache folder of a kind of files.

    It lies in ``$SAFELIGHT_CACHE``, or ``safelight`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if own := os.environ.get("SAFELIGHT_CACHE"):
        return Path(own).expanduser().absolute() / kind
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "safelight" / kind


# --- foreign files ----------------------------------------------------------------------------------------------------


class ForeignFile:
    """An open weights file of any supported format; nothing in it is executed, and only requested tensors are read.

    Args:
        path: The file.
        file: The same file, open.
        wanted: What it should be, for messages: "weights of upscale/edsr".
        max_bytes: A larger foreign file is refused.

    Attributes:
        has_safelight_header: Whether it is in Safelight's own format.
        sha256: Of the whole file, in hexadecimal digits; empty for Safelight's own format.

    Raises:
        CheckpointError: The file is too large, or of an unsupported format.
    """

    def __init__(self, path: Path, file: BufferedReader, wanted: str, max_bytes: int) -> None:
        self.path, self._file, self._wanted = path, file, wanted
        self._pickled = self._kind() == "torch"
        self._locations: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self.has_safelight_header, self.sha256 = not self._pickled and weights_file.has_safelight_header(path), ""
        if self.has_safelight_header:
            return
        if path.stat().st_size > max_bytes:
            raise self.error(f"{path.stat().st_size} bytes, more than the {max_bytes} that are read")
        file.seek(0)
        self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    def error(self, got: str) -> CheckpointError:
        """Return the error for a file that is not what was expected."""
        return CheckpointError(f"{printable_name(self.path)}: expected {self._wanted}, got {got}")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the tensors' shapes by their names, without prefixes of wrappers.

        Raises:
            CheckpointError: The file is damaged, hostile, or contains something else.
        """
        if self._pickled:
            self._locations = self._locate_tensors()
            found = {name: tuple(place["shape"]) for name, place in self._locations.items()}
        else:
            found, _ = weights_file.read_shapes(self.path)
        self._names = _names(found)
        return {name: found[full] for name, full in self._names.items()}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read some of the tensors that ``shapes`` has listed, in their stored types.

        Raises:
            CheckpointError: The file was truncated meanwhile.
        """
        full = {name: self._names[name] for name in names}
        if not self._pickled:
            stored, _ = weights_file.read_file(self.path, full.values())
            return {name: stored[theirs] for name, theirs in full.items()}
        return {name: self._read(self._locations[theirs]) for name, theirs in full.items()}

    def _kind(self) -> Literal["torch", "safetensors"]:
        """Detect ``torch.save`` and safetensors files by their first bytes; refuse all others."""
        size = self.path.stat().st_size
        start = self._file.read(512)
        if start[:2] in (b"PK", b"\x80\x02"):
            return "torch"
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
            return "safetensors"
        if not start:
            raise self.error("an empty file; fetch it again")
        if start.lstrip()[:1] == b"<":
            raise self.error("a web page; fetch the file itself, often by a link that says download or raw")
        if start[257:262] == b"ustar":
            raise self.error("a tar archive of the first versions of torch, which is not read; fetch a newer file")
        if start[:1] in b"\x80(c}]l":
            raise self.error(f"a pickle that torch.save does not write so; {_RESAVE}")
        raise self.error("a file of another kind, or one that is damaged; .pth, .pt and .safetensors are read")

    def _locate_tensors(self) -> dict[str, Any]:
        """Get the offsets of the tensors from the reader process, which can access only this open file."""
        # -P: modules in the current folder must not shadow those of Python.
        command = [sys.executable, "-P", "-m", "safelight.checkpoints.foreign.reader_process"]
        try:
            run = subprocess.run(
                command, stdin=self._file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise self.error(f"a file that takes more than {SECONDS:.0f} seconds to read") from None
        try:
            answer: dict[str, Any] = json.loads(run.stdout)
        except ValueError:
            raise self.error(f"a file that its reader did not survive (exit {run.returncode})") from None
        if "error" in answer:
            raise self.error(answer["error"])
        return answer["tensors"]

    def _read(self, place: Mapping[str, Any]) -> Tensor:
        """Read the values of one tensor at its offset."""
        content = bytearray(place["size"])
        self._file.seek(place["start"])
        if self._file.readinto(content) != len(content):
            raise self.error("a file that is cut off")
        flat = torch.frombuffer(content, dtype=_DTYPES[place["dtype"]])
        return flat.as_strided(place["shape"], place["stride"]).contiguous()


@contextmanager
def open_weights(path: Path, wanted: str, *, max_bytes: int) -> Generator[ForeignFile]:
    """Open a weights file of any supported format.

    Args:
        path: The user's file.
        wanted: What it should be, for messages.
        max_bytes: A larger file is refused before it is read.

    Raises:
        CheckpointError: The file is missing, too large, or of an unsupported format.
    """
    weights_file.check_present(path)
    with path.open("rb") as file:
        yield ForeignFile(path, file, wanted, max_bytes)


def _names(found: Iterable[str]) -> dict[str, str]:
    """Map each tensor's name without prefixes of wrappers to its name in the file."""
    names = {name: name for name in found}
    for _ in range(4):
        for prefix in _PREFIXES:
            if names and all(name.startswith(prefix) for name in names):
                names = {name.removeprefix(prefix): full for name, full in names.items()}
    return names


# --- conversion -------------------------------------------------------------------------------------------------------


def _is_converted(card: Card, kept: Path) -> bool:
    """Return whether the cache has an intact conversion for this method, made by this version of the rules."""
    if not kept.is_file():
        return False
    try:
        _, header = weights_file.load(kept)
    except CheckpointError:
        return False
    return header.method == card.id and header.converted.get("rules") == RULES


def _layout(spec: NetworkSpec, file: ForeignFile, names: Mapping[str, object]) -> ForeignLayout:
    """Recognise the published code that a file comes from."""
    for layout in spec.foreign_layouts:
        if names.keys() >= set(layout.keys):
            return layout
    first = next(iter(names), None)
    what = (
        "no tensors" if first is None else f"{len(names)} tensors of another layout, beginning with {ascii(first)[:60]}"
    )
    raise file.error(what)


def _convert(
    card: Card, spec: NetworkSpec, layout: ForeignLayout, file: ForeignFile, tensors: Mapping[str, Tensor], kept: Path
) -> None:
    """Rename the tensors, check them against the method's network, and write them with a header."""
    try:
        adopted = layout.adopt(tensors)
        options = make_options(card, adopted.options)
    except (LayoutError, CardError) as error:
        raise file.error(f"{error} (read as {layout.name})") from None
    with torch.device("meta"):  # shapes alone: no memory, and no time for random weights
        network = spec.build(options, adopted.scales[0])
    weights_file.check_compatible(
        network, {name: tuple(tensor.shape) for name, tensor in adopted.tensors.items()}, file.path
    )
    header = WeightsHeader(
        method=card.id,
        options=adopted.options,
        scales=adopted.scales,
        licence=LICENCE,
        converted={
            "layout": layout.name, "link": layout.link, "file": file.path.name, "sha256": file.sha256, "rules": RULES,
        },
    )  # fmt: skip
    write_to_cache(kept, adopted.tensors, header)


def write_to_cache(kept: Path, tensors: Mapping[str, Tensor], header: WeightsHeader) -> None:
    """Write weights into the cache.

    Raises:
        OSError: The file can't be written; the message is one line.
    """
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        weights_file.save(kept, tensors, header)
    except OSError as error:
        raise OSError(
            f"{kept.parent}: expected a folder to keep converted weights in, got: {error.strerror}; "
            "set XDG_CACHE_HOME or SAFELIGHT_CACHE to one that can be written"
        ) from None
