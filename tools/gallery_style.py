"""Make the contact sheets of styles: three photographs in four styles, one sheet a method.

    python tools/gallery_style.py --styles DIR [--methods gatys,johnson,adain] [--width 320] [--iterations 300]

It writes ``docs/gallery/style-METHOD.jpg``. The photographs are scikit-image's; DIR holds pictures of the paintings,
by the names of ``PAINTINGS``. ``docs/gallery/README.md`` has the sources of both. Everything runs with the weights that
are shipped and with default options, but for the iterations of gatys, which take minutes a picture on a processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from torch import Tensor

import safelight
from safelight import ops
from safelight.engine.samples import to_samples, to_tensor
from safelight.media import image
from safelight.ops.drawing.sheet import Section, Tile, sheet

OUT = Path(__file__).parent.parent / "docs" / "gallery"
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")


@dataclass(frozen=True, slots=True)
class Painting:
    """A style: its file, johnson's name for it, and what stands below it."""

    file: str
    look: str
    title: str


PAINTINGS = (
    Painting("vg_starry_night.jpg", "starry-night", "van Gogh, 1889"),
    Painting("wave.jpg", "wave", "Hokusai, 1831"),
    Painting("composition_vii.jpg", "composition-vii", "Kandinsky, 1913"),
    Painting("the_scream.jpg", "scream", "Munch, 1893"),
)


def reduced(picture: image.Picture, width: int) -> Tensor:
    """Reduce a picture to this width, (1, 3, h, width)."""
    x = to_tensor(picture.pixels)
    return ops.resize(x, (round(x.shape[-2] * width / x.shape[-1]), width)).clamp(0, 1)


def stylized(method: str, x: Tensor, painting: Painting, style: image.Picture, iterations: int) -> Tensor:
    """Give one photograph one style by one method."""
    if method == "johnson":
        return safelight.stylize(x, method=method, look=painting.look)
    if method == "gatys":
        return safelight.stylize(x, style, method=method, iterations=iterations)
    return safelight.stylize(x, style, method=method)


def contact(method: str, contents: Sequence[Tensor], styles: Sequence[image.Picture], iterations: int) -> Tensor:
    """Lay out a sheet: the styles above, the photographs on the left; (1, 3, H, W)."""
    width = contents[0].shape[-1]
    blank = Tile(contents[0].new_ones(3, 1, width))
    tiles = [blank]
    for painting, style in zip(PAINTINGS, styles, strict=True):
        shown = reduced(style, width)[0]
        tall = max(1.0, shown.shape[-2] / width)  # a tall painting is shown narrower
        tiles.append(Tile(reduced(style, round(width / tall))[0], painting.title))
    for number, content in enumerate(contents):
        tiles.append(Tile(content[0]))
        for painting, style in zip(PAINTINGS, styles, strict=True):
            start = time.perf_counter()
            tiles.append(Tile(stylized(method, content, painting, style, iterations)[0]))
            seconds = time.perf_counter() - start
            print(f"{method}: {PHOTOGRAPHS[number]} by {painting.title}, {seconds:.1f} s", flush=True)
    return sheet([Section(tiles, columns=1 + len(PAINTINGS))])


def main() -> None:
    """Write a sheet for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--styles", type=Path, required=True, help="the folder with the pictures of the paintings")
    parser.add_argument("--methods", default="gatys,johnson,adain")
    parser.add_argument("--width", type=int, default=320, help="of a photograph on the sheet, in pixels")
    parser.add_argument("--iterations", type=int, default=300, help="of gatys")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    folder: Path = arguments.styles
    missing = [painting.file for painting in PAINTINGS if not (folder / painting.file).is_file()]
    if missing:
        sys.exit(
            f"expected {', '.join(missing)} in {folder}, got none; docs/gallery/README.md says where they are from"
        )
    styles = [image.read(folder / painting.file) for painting in PAINTINGS]
    shipped = files("skimage") / "data"
    contents = [reduced(image.read((shipped / name).read_bytes()), arguments.width) for name in PHOTOGRAPHS]
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    for method in arguments.methods.split(","):
        drawn = contact(method, contents, styles, arguments.iterations)
        picture = image.Picture(pixels=to_samples(drawn, np.dtype(np.uint8)))
        image.write(picture, out / f"style-{method}.jpg", quality=88, overwrite=True)


if __name__ == "__main__":
    main()
