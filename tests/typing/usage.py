"""What type checkers see of the functions that are made of records; ``make check`` reads this file, nothing runs it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import safelight
from safelight import Client, Picture


def kinds(path: Path, content: bytes, picture: Picture, pixels: NDArray[np.uint8]) -> None:
    """What comes in goes out; a path gives a Picture."""
    assert_type(safelight.upscale(path, scale=2), Picture)
    assert_type(safelight.upscale("photo.jpg", size=(30, 20)), Picture)
    assert_type(safelight.denoise(content, sigma=5.0, strength=0.5), bytes)
    assert_type(safelight.deblock(picture, method="lamp"), Picture)
    assert_type(safelight.inpaint(pixels, mask="mask.png"), NDArray[np.generic])
    assert_type(safelight.stylize(picture, [picture, "style.jpg"], style_weights=[0.7, 0.3], alpha=0.5), Picture)
    assert_type(safelight.fix(picture), Picture)


def mistakes(picture: Picture) -> None:
    """Each is an error that a type checker finds."""
    safelight.upscale(picture, scale="two")  # pyright: ignore[reportCallIssue, reportArgumentType]
    safelight.inpaint(picture)  # pyright: ignore[reportCallIssue]
    safelight.upscale(5)  # pyright: ignore[reportCallIssue, reportArgumentType]
    safelight.denoise(picture, device="gpu")  # pyright: ignore[reportCallIssue, reportArgumentType]
    Client("http://127.0.0.1").upscale(picture, scale="two")  # pyright: ignore[reportArgumentType]
    safelight.enlarge(picture)  # pyright: ignore[reportAttributeAccessIssue]
