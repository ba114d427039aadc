"""Locates the values of each tensor in the file; every length is checked against the file's size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from safelight.checkpoints.foreign.archive import ArchiveMember, ForeignError, shown
from safelight.checkpoints.foreign.pickles import TensorView

MAX_TENSORS = 10_000
MAX_BYTES = 1 << 30  # of all tensors together; VGG-19 as published has 575 MB

# Names under which checkpoints keep the weights, next to the training state. Averaged weights come first.
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "network", "net", "generator")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Location of a tensor's values: bytes [start, start + size) of the file, of which it is a strided view."""

    dtype: str
    start: int
    size: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def find_state_dict(root: object) -> dict[str, TensorView]:
    """Find the state dictionary of a checkpoint: the whole content, or under one of the usual names.

    Raises:
        ForeignError: The checkpoint has none.
    """
    if not isinstance(root, dict):
        raise ForeignError("a pickle of something else than a dictionary of tensors")
    root = cast("dict[str, object]", root)
    for candidate in (root, *(root[name] for name in WRAPPERS if name in root)):
        if isinstance(candidate, dict) and candidate:
            state = cast("dict[str, object]", candidate)
            if all(isinstance(value, TensorView) for value in state.values()):
                return cast("dict[str, TensorView]", state)
    raise ForeignError("a checkpoint without a dictionary of tensors, itself or under " + ", ".join(WRAPPERS))


def locate_tensors(
    state: Mapping[str, TensorView], members: Mapping[str, ArchiveMember], folder: str
) -> tuple[dict[str, StoredTensor], set[str]]:
    """Return the location of each tensor in the file, and the members of the archive that are used.

    A tensor may be any view of its storage that has no more values than it spans, and all tensors together no more than
    the file: so a tensor of a million million values, which is one value with strides of 0, is refused.

    Raises:
        ForeignError: A tensor lies outside its storage or repeats it, or a storage is missing.
    """
    if len(state) > MAX_TENSORS:
        raise ForeignError(f"{len(state)} tensors, more than the {MAX_TENSORS} that are read")
    places: dict[str, StoredTensor] = {}
    used: set[str] = set()
    total = 0
    for name, view in state.items():
        storage = view.storage
        key = f"{folder}data/{storage.key}"
        member = members.get(key)
        if member is None or member.size != storage.count * storage.width:
            raise ForeignError(f"a damaged archive, the numbers of {shown(name)} are not all there")
        numbers = math.prod(view.shape)
        receptive_radius = (
            1 + sum((n - 1) * step for n, step in zip(view.shape, view.stride, strict=False)) if numbers else 0
        )
        if (
            len(view.shape) != len(view.stride)
            or numbers > receptive_radius
            or view.offset + receptive_radius > storage.count
        ):
            raise ForeignError(
                f"a tensor {shown(name)} that claims {numbers:.4g} numbers, of which the file holds {storage.count}"
            )
        total += numbers * storage.width
        used.add(key)
        places[name] = StoredTensor(
            storage.dtype,
            member.start + view.offset * storage.width,
            receptive_radius * storage.width,
            view.shape,
            view.stride,
        )
    if total > sum(members[key].size for key in used):
        raise ForeignError("tensors that claim more numbers than the file holds")
    if total > MAX_BYTES:
        raise ForeignError(f"tensors of {total} bytes, more than the {MAX_BYTES} that are read")
    return places, used
