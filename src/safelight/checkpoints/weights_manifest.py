"""The list of the weights that come with the program: ``weights/manifest.json``, one record a file.

The list is read when it is first asked for. ``tools/ship_weights.py`` writes it, and a test holds it against the files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safelight.checkpoints.weights_file import CheckpointError, write_atomic

SHIPPED = Path(__file__).parent.parent / "weights"
"""The folder that holds the files and the list of them."""
NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One file of shipped weights. What it was trained on, how, and its scores stand in the file's own header.

    Attributes:
        file: Its name in the folder of shipped weights.
        method: The id of the method that it belongs to, such as ``upscale/edsr``; ``features/NAME`` for a backbone.
        options: Those options of the method that the weights fit, where they are not the defaults.
        scales: The zooms that it serves; 1 stands for the tasks that keep the size.
        sha256: Of the file, in hexadecimal digits.
        bytes: Size of the file.
        licence: An SPDX identifier. The header says on whose pictures the weights were trained.
        url: Where the file can be downloaded; ``None``: it is published with this program only.
    """

    file: str
    method: str
    options: Mapping[str, int | float | str]
    scales: tuple[int, ...]
    sha256: str
    bytes: int
    licence: str
    url: str | None


def shipped_weights(method: str) -> tuple[Weights, ...]:
    """List the shipped weights of a method or of a backbone, by its id; empty where none are shipped.

    Raises:
        CheckpointError: The list is missing or damaged.

    Example:
        >>> [weights.file for weights in shipped_weights("upscale/vdsr")]
        ['vdsr.safetensors']
    """
    return tuple(weights for weights in read(SHIPPED) if weights.method == method)


def verified_path(weights: Weights) -> Path:
    """Say where shipped weights are, after checking that the file is as the list says.

    Raises:
        CheckpointError: The file is missing or another.
    """
    path = SHIPPED / weights.file
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
        raise CheckpointError(
            f"{path}: expected the shipped weights, but they are missing or damaged; install safelight again"
        )
    return path


@lru_cache(maxsize=8)
def read(folder: Path) -> tuple[Weights, ...]:
    """Read the list of a folder, in its order, once: it does not change while a program runs.

    Raises:
        CheckpointError: The list is missing or damaged.
    """
    try:
        records: list[dict[str, Any]] = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return tuple(Weights(scales=tuple(record.pop("scales")), **record) for record in records)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / NAME}: expected the list of the shipped weights, got {type(error).__name__}; "
            "install safelight again"
        ) from None


def write(folder: Path, records: Iterable[Weights]) -> None:
    """Write the list of a folder, one record a line, sorted by method; a method's own records keep their order.

    Raises:
        OSError: The list cannot be written.
    """
    ordered = sorted(records, key=lambda weights: weights.method)
    lines = ",\n".join(json.dumps(dataclasses.asdict(weights)) for weights in ordered)
    write_atomic(folder / NAME, f"[\n{lines}\n]\n".encode())
    read.cache_clear()
