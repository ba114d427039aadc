"""Weights in files: safetensors whose header says what the network is, how it was trained and how good it is.

Only safetensors are read: no code can hide in them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

FORMAT = "safelight-weights/1"
_KEY = "safelight"  # the header's one entry, a JSON object: safetensors' own metadata holds strings only
_MAX_BYTES = 4 << 30


class CheckpointError(ValueError):
    """A weights file that is broken, foreign or of another method. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a weights file says of itself.

    ``method`` is the card's id, ``options`` the architecture's options, ``scales`` what the network was trained for.
    ``recipe`` holds the recipe as it ran, ``trained_on`` the data sets with their terms, ``steps`` and ``seconds`` the
    work done on ``device``, ``commit`` the code's version, ``scores`` the measured numbers with their protocol.
    """

    method: str
    options: Mapping[str, int | float | str]
    scales: tuple[int, ...]
    precision: str = "float32"
    licence: str = ""
    trained_on: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: int = 0
    seconds: float = 0.0
    device: str = ""
    commit: str = ""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".safelight-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save(path: Path, tensors: Mapping[str, Tensor], header: Header, *, dtype: torch.dtype | None = None) -> None:
    """Write weights and their header, atomically.

    Args:
        path: The file.
        tensors: The network's ``state_dict``.
        header: What the file says of itself.
        dtype: Store floating point tensors as this type (``torch.float16`` for the shipped files).
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        stored[name] = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
    if dtype is not None:
        header = dataclasses.replace(header, precision=str(dtype).removeprefix("torch."))
    text = json.dumps({"format": FORMAT, **dataclasses.asdict(header)}, sort_keys=True)
    write_atomic(path, serialise(stored, {_KEY: text}))


def _error(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path.name}: expected Safelight weights in a safetensors file, {problem}")


def _parse(path: Path, text: str | None) -> Header:
    if text is None:
        raise _error(path, "got one without Safelight's header; train it with `safelight train` or save it with one")
    try:
        fields = json.loads(text)
        kind = fields.pop("format")
        fields["scales"] = tuple(int(scale) for scale in fields["scales"])
        fields["trained_on"] = tuple(str(name) for name in fields["trained_on"])
        header = Header(**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _error(path, "got a header that cannot be read; the file is damaged or of a newer version") from None
    if kind != FORMAT:
        raise _error(path, f"got format {kind!r} where this version reads {FORMAT!r}")
    return header


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read every tensor of a safetensors file, and its metadata.

    Raises:
        CheckpointError: The file is missing, too large, damaged or not safetensors.
    """
    _check_file(path)
    try:
        with cast("Any", safe_open(path, framework="pt")) as file:
            names: list[str] = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _error(path, f"got a file that is not one or is damaged ({str(error).splitlines()[0]})") from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a weights file, but there is none")
    if path.stat().st_size > _MAX_BYTES:
        raise _error(path, f"got {path.stat().st_size} bytes, more than the {_MAX_BYTES} that are read")


def read_header(path: Path) -> Header:
    """Read what a weights file says of itself, without its tensors.

    Raises:
        CheckpointError: The file is missing, not safetensors, or has no header of Safelight's.
    """
    _check_file(path)
    try:
        with cast("Any", safe_open(path, framework="pt")) as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _error(path, f"got a file that is not one or is damaged ({str(error).splitlines()[0]})") from None
    return _parse(path, metadata.get(_KEY))


def load(path: Path) -> tuple[dict[str, Tensor], Header]:
    """Read weights, as float32, and their header.

    Raises:
        CheckpointError: As ``read_header``, or a value that is not finite.
    """
    tensors, metadata = read_file(path)
    header = _parse(path, metadata.get(_KEY))
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor.float()
            if not torch.isfinite(tensors[name]).all():
                raise _error(path, f"got values in {name} that are not finite; the training diverged or it is damaged")
    return tensors, header


def fill(network: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a network, all of them and in their exact shapes.

    Raises:
        CheckpointError: A tensor is missing, left over or of another shape.
    """
    expected = network.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & tensors.keys() if expected[k].shape != tensors[k].shape)
    for problem, names in (("without", missing), ("with the unknown", extra), ("of another shape for", wrong)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise _error(path, f"got one {problem} {names[0]}{more}; it belongs to another network or other options")
    network.load_state_dict(dict(tensors))
