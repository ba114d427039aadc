"""The proof of the resize: MATLAB's own low-resolution files, reproduced sample by sample."""

from __future__ import annotations

from pathlib import Path

import torch

from safelight import ops
from safelight.evaluation.bench.records import ResizeProof
from safelight.media import image
from safelight.training.datasets import DataError

FOLDER = "LR_bicubic"  # with SET/X2/NAMEx2.png, as the field's archives have it


def prove(folder: Path) -> tuple[ResizeProof, ...]:
    """Shrink the originals in 8 bits and compare them with the files that MATLAB's ``imresize`` wrote.

    Args:
        folder: Holds the test sets and, if there is one, ``LR_bicubic``. Without it nothing is proved.

    Returns:
        One row for each set and scale; ``different`` is 0 where every sample is equal.

    Raises:
        DataError: A file of MATLAB's has no original.
        image.PictureError: A picture is broken.
    """
    proofs: list[ResizeProof] = []
    for place in sorted((folder / FOLDER).glob("*/X[0-9]")):
        scale = int(place.name[1:])
        samples = different = 0
        small_files = sorted(place.glob(f"*x{scale}.png"))
        for path in small_files:
            name = path.stem.removesuffix(f"x{scale}")
            originals = sorted((folder / place.parent.name).glob(f"{name}.*"))
            if not originals:
                raise DataError(f"{path}: expected its original {name} in {folder / place.parent.name}, got none")
            large, small = (torch.from_numpy(image.read(p).pixels).permute(2, 0, 1) for p in (originals[0], path))
            ours = ops.resize(ops.crop_to_multiple(large, scale), zoom=1 / scale)
            if ours.shape != small.shape:
                raise DataError(f"{path}: expected {tuple(ours.shape)} samples, got {tuple(small.shape)}")
            samples += small.numel()
            different += int((ours != small).sum())
        proofs.append(
            ResizeProof(
                set=place.parent.name, scale=scale, pictures=len(small_files), samples=samples, different=different
            )
        )
    return tuple(proofs)
