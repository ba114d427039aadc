"""The check of the resize: MATLAB's own low-resolution files, reproduced sample by sample."""

from __future__ import annotations

from pathlib import Path

import torch

from safelight import ops
from safelight.evaluation.bench.records import ResizeCheck
from safelight.media import image
from safelight.training.datasets import DataError


def check_resize(folder: Path, below: str) -> tuple[ResizeCheck, ...]:
    """Shrink the originals in 8 bits and compare them with the files that MATLAB's ``imresize`` wrote.

    Args:
        folder: Holds the test sets.
        below: The folder in it with MATLAB's files, as SET/X2/NAMEx2.png. Without it nothing is checked.

    Returns:
        One row for each set and scale; ``different`` is 0 where every sample is equal.

    Raises:
        DataError: A file of MATLAB's has no original.
        image.PictureError: A picture is broken.
    """
    checks: list[ResizeCheck] = []
    for small_folder in sorted((folder / below).glob("*/X[0-9]")):
        scale = int(small_folder.name[1:])
        samples = different = 0
        small_files = sorted(small_folder.glob(f"*x{scale}.png"))
        for path in small_files:
            name = path.stem.removesuffix(f"x{scale}")
            originals = sorted((folder / small_folder.parent.name).glob(f"{name}.*"))
            if not originals:
                raise DataError(
                    f"{path}: expected its original {name} in {folder / small_folder.parent.name}, got none"
                )
            large, small = (torch.from_numpy(image.read(p).pixels).permute(2, 0, 1) for p in (originals[0], path))
            ours = ops.resize(ops.crop_to_multiple(large, scale), zoom=1 / scale)
            if ours.shape != small.shape:
                raise DataError(f"{path}: expected {tuple(ours.shape)} samples, got {tuple(small.shape)}")
            samples += small.numel()
            different += int((ours != small).sum())
        checks.append(
            ResizeCheck(
                set=small_folder.parent.name,
                scale=scale,
                pictures=len(small_files),
                samples=samples,
                different=different,
            )
        )
    return tuple(checks)
