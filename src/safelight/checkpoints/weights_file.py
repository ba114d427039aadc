"""Weights files: safetensors with a header that describes the network, its training and its scores.

Only safetensors files are read here, which can't contain code. ``conversion`` converts weights in other formats. Each
file has a digest of its tensors and header, so that any changed bit is detected.

A file may hold its weights as int8 with a scale for each output channel: ``NAME`` is then q in [-127, 127] and
``NAME:scale`` a float32 tensor s of as many dimensions, 1 long but for the output channels; the weight is q * s.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
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
_MAX_HEADER = 1 << 20  # bytes: a thousand tensors take a tenth of it, and parsing takes tens of times its size
_LARGEST_SCALE = 16
_SCALE = ":scale"  # after a tensor's name: what its int8 numbers are multiplied by
_UNREADABLE = "got a header that cannot be read; the file is damaged or of a newer version"


class CheckpointError(ValueError):
    """A weights file that is damaged, of another format or of another method. The message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsHeader:
    """The header of a weights file.

    ``method`` is the card's id, ``options`` the architecture's options, ``scales`` the scales that the network was
    trained for. ``recipe`` is the training recipe as it ran, ``trained_on`` the data sets with their terms, ``steps``
    and ``seconds`` the training on ``device``, ``commit`` the code's version, ``scores`` the measured scores by their
    protocol. ``converted`` gives the layout, link, file and SHA-256 of converted weights of other publishers.
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
    converted: Mapping[str, str] = field(default_factory=dict[str, str])


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically: a temporary file in the same folder, fsync, rename."""
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


def save(
    path: Path,
    tensors: Mapping[str, Tensor],
    header: WeightsHeader,
    *,
    dtype: torch.dtype | None = None,
    output_axes: Mapping[str, int] | None = None,
) -> None:
    """Write weights and their header, atomically.

    Args:
        path: The file.
        tensors: The network's ``state_dict``.
        header: The header.
        dtype: Type in which floating point tensors are stored (``torch.float16`` for the shipped files). ``torch.int8``
            stores those of two or more dimensions so, with scales, and the rest, such as biases, in half precision.
        output_axes: For int8, which dimension of a tensor counts its output channels; the first where it is not said.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if dtype is None or not tensor.is_floating_point():
            stored[name] = tensor
        elif dtype != torch.int8:
            stored[name] = tensor.to(dtype)
        elif tensor.ndim < 2:
            stored[name] = tensor.half()
        else:
            stored[name], stored[name + _SCALE] = _quantised(tensor, (output_axes or {}).get(name, 0))
    if dtype is not None:
        header = dataclasses.replace(header, precision=str(dtype).removeprefix("torch."))
    # A round trip through JSON, so that the digest is of the values that a reader gets.
    fields = json.loads(json.dumps({"format": FORMAT, **dataclasses.asdict(header)}))
    fields["digest"] = _digest(fields, stored)
    write_atomic(path, serialise(stored, {_KEY: json.dumps(fields, sort_keys=True)}))


def _quantised(tensor: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Round a tensor to int8 with a scale for each index of an axis, such that the largest magnitude becomes 127."""
    others = [i for i in range(tensor.ndim) if i != axis]
    scale = tensor.float().abs().amax(dim=others, keepdim=True) / 127
    scale[scale == 0] = 1
    return (tensor.float() / scale).round().to(torch.int8), scale


def _check_scales(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that scales belong to tensors and have one number for each index of one axis at most."""
    for name, shape in shapes.items():
        if name.endswith(_SCALE):
            of = shapes.get(name.removesuffix(_SCALE), ())
            long = [(a, b) for a, b in zip(shape, of, strict=False) if a != 1]
            if len(shape) != len(of) or len(long) > 1 or any(a != b for a, b in long):
                raise _error(path, f"got scales {_shown(name)} that fit no tensor; the file is damaged")


def _dequantised(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply int8 tensors by their scales."""
    _check_scales(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name + _SCALE in tensors:
            found[name] = tensor.float() * tensors[name + _SCALE].float()
        elif not name.endswith(_SCALE):
            if tensor.dtype == torch.int8:
                raise _error(path, f"got {_shown(name)} as int8 without its scales; the file is damaged")
            found[name] = tensor
    return found


def _digest(fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of a header's fields and of the tensors: names, types, shapes and bytes."""
    sha = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def printable_name(path: Path) -> str:
    """Return a file's name for messages, escaped if it is not printable."""
    return path.name if path.name.isprintable() else ascii(path.name)


def _error(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{printable_name(path)}: expected Safelight weights in a safetensors file, {problem}")


def _fields(path: Path, text: str | None) -> dict[str, Any]:
    """Parse the header's JSON, and check the required fields."""
    if text is None:
        raise _error(path, "got one without Safelight's header; train it with `safelight train` or save it with one")
    try:
        fields: dict[str, Any] = json.loads(text)
        kind = fields["format"]
        options, scales = fields["options"], fields["scales"]
        sound = (
            all(isinstance(value, int | float | str) for value in options.values())
            and len(scales) > 0
            and all(isinstance(scale, int) and 1 <= scale <= _LARGEST_SCALE for scale in scales)
            and all(isinstance(fields.get(key, ""), str) for key in ("method", "licence", "digest"))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _error(path, _UNREADABLE) from None
    if kind != FORMAT:
        raise _error(path, f"got format {ascii(kind)[:40]} where this version reads {FORMAT!r}")
    if not sound:
        raise _error(path, _UNREADABLE)
    return fields


def _parse(path: Path, text: str | None) -> WeightsHeader:
    fields = _fields(path, text)
    try:
        plain = {key: value for key, value in fields.items() if key not in ("format", "digest")}
        plain["scales"] = tuple(fields["scales"])
        plain["trained_on"] = tuple(str(name) for name in fields["trained_on"])
        return WeightsHeader(**plain)
    except (TypeError, KeyError):
        raise _error(path, _UNREADABLE) from None


def read_file(path: Path, some: Iterable[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a safetensors file, all or some of them, and its metadata.

    Raises:
        CheckpointError: The file is missing, too large, damaged or not safetensors.
    """
    with _opened(path) as file:
        names: list[str] = list(file.keys() if some is None else some)
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def read_shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Read the names and shapes of a safetensors file's tensors, and its metadata, without their values.

    The scales of int8 tensors in files of ours are left out: they are part of how a tensor is stored.

    Raises:
        CheckpointError: As ``read_file``, or scales in a file of ours that fit no tensor.
    """
    with _opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
        names: list[str] = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    if _KEY in metadata:
        _check_scales(path, shapes)
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith(_SCALE)}
    return shapes, metadata


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    _check_file(path)
    try:
        with cast("Any", safe_open(path, framework="pt")) as file:
            yield file
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise _error(path, f"got a file that is not one or is damaged ({ascii(reason)[1:120]})") from None


def check_present(path: Path) -> None:
    """Check that a file exists.

    Raises:
        CheckpointError: It does not exist, or is a folder or a device.
    """
    if not path.is_file():
        shown = str(path) if str(path).isprintable() else ascii(str(path))
        raise CheckpointError(f"{shown}: expected a weights file, but there is none")


def _check_file(path: Path) -> None:
    check_present(path)
    if path.stat().st_size > _MAX_BYTES:
        raise _error(path, f"got {path.stat().st_size} bytes, more than the {_MAX_BYTES} that are read")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if _MAX_HEADER < length < _MAX_BYTES:  # beyond, it is no header, and safetensors says so
        raise _error(path, f"got a header of {length} bytes, more than the {_MAX_HEADER} that are read")


def read_header(path: Path) -> WeightsHeader:
    """Read the header of a weights file, without its tensors.

    Raises:
        CheckpointError: The file is missing, not safetensors, or has no Safelight header.
    """
    return _parse(path, read_shapes(path)[1].get(_KEY))


def has_safelight_header(path: Path) -> bool:
    """Return whether a safetensors file has a Safelight header.

    Raises:
        CheckpointError: As ``read_file``.
    """
    return _KEY in read_shapes(path)[1]


def load(path: Path) -> tuple[dict[str, Tensor], WeightsHeader]:
    """Read weights as float32, and their header.

    Raises:
        CheckpointError: As ``read_header``, or a wrong digest, or a value that is not finite.
    """
    tensors, metadata = read_file(path)
    fields = _fields(path, metadata.get(_KEY))
    digest = fields.pop("digest", None)  # files of the first version have none
    if digest is not None and digest != _digest(fields, tensors):
        raise _error(path, "got one whose content was changed since it was written; it is damaged")
    header = _parse(path, metadata.get(_KEY))
    return to_float32(_dequantised(path, tensors) if header.precision == "int8" else tensors, path), header


def to_float32(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Convert floating point tensors to float32.

    Raises:
        CheckpointError: A value is not finite.
    """
    floats: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        floats[name] = tensor.float() if tensor.is_floating_point() else tensor
        if not torch.isfinite(floats[name]).all():
            raise CheckpointError(
                f"{printable_name(path)}: expected weights, got values in {_shown(name)} that are not finite; "
                "the training diverged, or the file is damaged"
            )
    return floats


def check_compatible(
    network: torch.nn.Module,
    shapes: Mapping[str, tuple[int, ...]],
    path: Path,
    what: str = "the weights of this network",
) -> None:
    """Check that tensors of these names and shapes are exactly those of a network.

    Args:
        network: The network.
        shapes: Shapes of the tensors by their names.
        path: The file that they come from, for messages.
        what: What was expected, for messages.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = sorted(expected.keys() - shapes.keys())
    extra = sorted(shapes.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & shapes.keys() if expected[k] != tuple(shapes[k]))
    for problem, names in (("without", missing), ("with the unknown", extra), ("of another shape for", wrong)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"{printable_name(path)}: expected {what}, got some {problem} {_shown(names[0])}{more}; "
                "they belong to another network or other options"
            )


def load_into(network: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a network.

    Raises:
        CheckpointError: As ``check_compatible``.
    """
    check_compatible(network, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, path)
    network.load_state_dict(dict(tensors))


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 60 else ascii(name)[:60]
