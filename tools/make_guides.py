"""Make the pictures of the guides: before, after and the original of each task, and what was gained in decibels.

    python tools/make_guides.py [--only TASK ...] [--out docs/gallery]

It writes ``docs/gallery/TASK.jpg``, each under 60 kB, and ``results/guides.json``, from which the guides' tables are
made. The photographs are crops of those that scikit-image ships: ``docs/gallery/README.md`` has their terms. Needs
``safelight[demo]``. All methods run with the shipped weights and default options, but for those that a row names. Two
minutes on one core, most of them for ``inpaint``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import harness
import numpy as np
import torch
from harness import Row, as_picture, as_tensor
from torch import Tensor

import safelight
from safelight.degrade import Downsample, add_noise
from safelight.media import image
from safelight.media.image import Picture
from safelight.ops.drawing.sheet import Section, Tile, enlarged, sheet

LIMIT: Final = 60_000  # bytes of a JPEG
CROPS: Final = {  # of scikit-image's photographs: top, left, height, width
    "coffee": (110, 210, 208, 240),
    "chelsea": (20, 90, 208, 240),
    "astronaut": (0, 100, 240, 240),
    "cat": (70, 130, 96, 96),
}
SOURCES: Final = {"cat": "chelsea"}  # the other crops are of the photograph of their name
ITERATIONS: Final = 1200  # of inpaint, with the light network
WHAT: Final = (
    "Crops of scikit-image's photographs, by the shipped weights. PSNR in dB of all three channels of the 8-bit "
    "result, against the original; for inpaint, of the pixels that were filled alone."
)


@dataclass(frozen=True, slots=True)
class Guide:
    """What one task made of its example.

    Attributes:
        tiles: The pictures of the sheet, (3, h, w) each, from left to right, each with its label.
        rows: What was measured: method, options and PSNR in dB before and after, of all three channels at 8 bits.
            Empty for a task that has no right answer.
    """

    tiles: Sequence[Tile]
    rows: Sequence[Row] = ()


def main() -> None:
    """Make the pictures, then write what was measured; rows of tasks that were not named stay."""
    parser = harness.parser(__doc__)
    parser.add_argument("--only", nargs="*", choices=tuple(GUIDES), default=tuple(GUIDES))
    parser.add_argument("--out", type=Path, default=harness.ROOT / "docs/gallery")
    parser.add_argument("--results", type=Path, default=harness.RESULTS / "guides.json")
    asked = parser.parse_args()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    known: list[Row] = harness.read(asked.results).get("rows", [])
    rows = {task: [row for row in known if row["task"] == task] for task in GUIDES}
    for task in asked.only:
        start = time.perf_counter()
        guide = GUIDES[task]()
        size = save(sheet([Section(guide.tiles, columns=len(guide.tiles))]), out / f"{task}.jpg")
        rows[task] = [{"task": task, **row} for row in guide.rows]
        print(f"{task}: {size:,} bytes, {time.perf_counter() - start:.0f} s", flush=True)
    harness.write(asked.results, harness.record(WHAT, rows=[row for task in GUIDES for row in rows[task]]))


def save(drawn: Tensor, path: Path) -> int:
    """Write a sheet, (1, 3, h, w), as a JPEG at the best quality that fits the limit; returns its bytes."""
    picture = as_picture(drawn)
    for quality in range(88, 39, -4):
        content = image.encode(picture, "jpeg", quality=quality)
        if len(content) <= LIMIT:
            image.write_bytes(content, path, overwrite=True)
            return len(content)
    sys.exit(f"{path.name}: expected at most {LIMIT} bytes, got more at quality 40; make the crop smaller")


def photograph(name: str) -> Picture:
    """Cut a crop out of a photograph of scikit-image, 8 bits and RGB."""
    pixels = harness.photograph(SOURCES.get(name, name)).pixels
    top, left, height, width = CROPS[name]
    return Picture(pixels=np.ascontiguousarray(pixels[top : top + height, left : left + width, :3]))


def tile(picture: Picture, label: str) -> Tile:
    """Show a picture with a label."""
    return Tile(as_tensor(picture)[0], label)


def decibels(original: Picture, result: Picture) -> float:
    """PSNR of the three channels, in dB with two digits."""
    return round(safelight.score(original, result, "psnr", channel="rgb"), 2)


def row(method: str, original: Picture, before: Picture, after: Picture, options: str = "") -> Row:
    """State what one method gained."""
    return {
        "method": method,
        "options": options,
        "before": decibels(original, before),
        "after": decibels(original, after),
    }


def upscale() -> Guide:
    """Shrink a crop to a quarter, and enlarge it four times: by repetition, by bicubic and by the default."""
    original = photograph("coffee")
    small = as_picture(Downsample(4)(as_tensor(original).double()))
    bicubic, lamp = (safelight.upscale(small, scale=4, method=name) for name in ("bicubic", "lamp"))
    shown = Tile(enlarged(as_tensor(small)[0], 4), "before, its pixels")
    return Guide(
        [shown, tile(bicubic, "bicubic x4"), tile(lamp, "lamp x4"), tile(original, "original")],
        [row("lamp", original, bicubic, lamp, "before: by bicubic")],
    )


def denoise() -> Guide:
    """Add noise of 25 to a crop, clip it as a file does, and remove it."""
    original = photograph("chelsea")
    noisy = as_picture(add_noise(as_tensor(original), 25, torch.Generator().manual_seed(0)))
    results = {name: safelight.denoise(noisy, method=name) for name in ("lamp", "dncnn")}
    return Guide(
        [tile(noisy, "before, noise of 25"), tile(results["lamp"], "lamp"), tile(original, "original")],
        [row(name, original, noisy, result) for name, result in results.items()],
    )


def deblock() -> Guide:
    """Compress a crop at quality 12, and repair it."""
    original = photograph("coffee")
    blocky = image.read(image.encode(original, "jpeg", quality=12))
    results = {name: safelight.deblock(blocky, method=name) for name in ("lamp", "dncnn3")}
    return Guide(
        [tile(blocky, "before, quality 12"), tile(results["lamp"], "lamp"), tile(original, "original")],
        [row(name, original, blocky, result) for name, result in results.items()],
    )


def inpaint() -> Guide:
    """Scratch a small crop, and fill the scratches by the deep image prior, its light network."""
    original = photograph("cat")
    height, width = original.pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    scratched = (np.abs(y - 0.7 * x - 10) < 1.5) | (np.abs(y + 0.5 * x - 80) < 1.5) | (np.abs(x - 60) < 2)
    hole = scratched | ((np.abs(y - 20) < 5) & (np.abs(x - 25) < 5))
    mask = Picture(pixels=(hole[..., None] * 255).astype(np.uint8))
    spoilt = replace(original, pixels=np.where(hole[..., None], np.uint8(255), original.pixels))
    filled = safelight.inpaint(spoilt, mask=mask, method="dip", network="light", iterations=ITERATIONS)
    measured: Row = {"method": "dip", "options": f"network light, iterations {ITERATIONS}"}
    for moment, picture in (("before", spoilt), ("after", filled)):
        error = np.square(picture.pixels[hole].astype(float) - original.pixels[hole].astype(float)).mean()
        measured[moment] = round(float(10 * np.log10(255**2 / error)), 2)
    shown = [
        Tile(enlarged(as_tensor(picture)[0], 2), label)
        for picture, label in ((spoilt, "before"), (filled, "dip"), (original, "original"))
    ]
    return Guide(shown, [measured])


def stylize() -> Guide:
    """Give a photograph two of the styles that networks have learned."""
    content = photograph("astronaut")
    looks = ("starry-night", "wave", "scream")
    styled = [tile(safelight.stylize(content, method="johnson", look=look), look) for look in looks]
    return Guide([tile(content, "before"), *styled])


def fix() -> Guide:
    """Spoil a crop by noise and JPEG, and let the program find out what it needs."""
    original = photograph("chelsea")
    noisy = as_picture(add_noise(as_tensor(original), 20, torch.Generator().manual_seed(1)))
    spoilt = image.read(image.encode(noisy, "jpeg", quality=40))
    fixed = safelight.fix(spoilt)
    return Guide(
        [tile(spoilt, "before"), tile(fixed, "fixed"), tile(original, "original")],
        [row("fix", original, spoilt, fixed)],
    )


GUIDES: Final[dict[str, Callable[[], Guide]]] = {
    "upscale": upscale,
    "denoise": denoise,
    "deblock": deblock,
    "inpaint": inpaint,
    "stylize": stylize,
    "fix": fix,
}

if __name__ == "__main__":
    main()
