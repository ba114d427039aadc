"""Make the pictures of styles: the gallery's contact sheets, the lenses side by side, and the page's shelf of styles.

    python tools/make_style_pictures.py sheets --styles DIR [--methods gatys,johnson,adain] [--iterations 300]
    python tools/make_style_pictures.py lenses --styles DIR --lens BEFORE.safetensors --lens AFTER.safetensors
    python tools/make_style_pictures.py swatches --styles DIR [--only wave,scream]

``DIR`` holds pictures of the paintings, by the names of ``PAINTINGS``; ``docs/gallery/README.md`` has their sources.
Everything runs with the weights that are shipped and with default options, but for the iterations of gatys, which take
minutes a picture on a processor.

- ``sheets`` writes ``docs/gallery/style-METHOD.jpg``: three photographs of scikit-image, each in four styles.
- ``lenses`` writes ``docs/gallery/style-lens.jpg``: a row for each painting, with a photograph in its style and a
  texture of it, by each of the files. An earlier file is that of an earlier commit: ``git show COMMIT:PATH``.
- ``swatches`` writes ``src/safelight/web/assets/style-NAME.jpg``: textures in the manner of the paintings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
from torch import Tensor

import safelight
from safelight import ops
from safelight.checkpoints import backbones
from safelight.media import image
from safelight.ops.drawing.sheet import Section, Tile, sheet

GALLERY = harness.ROOT / "docs/gallery"
SHELF = harness.ROOT / "src/safelight/web/assets"
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
SWATCH = 192  # pixels a side


@dataclass(frozen=True, slots=True)
class Painting:
    """A style: its file, johnson's name for it, and what stands below it; the first four are on the sheets."""

    file: str
    look: str
    title: str


PAINTINGS = (
    Painting("vg_starry_night.jpg", "starry-night", "van Gogh, 1889"),
    Painting("wave.jpg", "wave", "Hokusai, 1831"),
    Painting("composition_vii.jpg", "composition-vii", "Kandinsky, 1913"),
    Painting("the_scream.jpg", "scream", "Munch, 1893"),
    Painting("vg_wheat_field.jpg", "wheat-field", "van Gogh, 1889"),
    Painting("shipwreck.jpg", "shipwreck", "Turner, 1805"),
)
SHOWN = PAINTINGS[:4]


def reduced(picture: image.Picture, width: int) -> Tensor:
    """Reduce a picture to this width, (1, 3, h, width)."""
    x = harness.as_tensor(picture)
    return ops.resize(x, (round(x.shape[-2] * width / x.shape[-1]), width)).clamp(0, 1)


def stylized(method: str, x: Tensor, painting: Painting, style: image.Picture, iterations: int) -> Tensor:
    """Give one photograph, (1, 3, H, W), one style by one method."""
    print(f"{method}: {painting.title}", flush=True)
    if method == "johnson":
        return safelight.stylize(x, method=method, look=painting.look)
    if method == "gatys":
        return safelight.stylize(x, style, method=method, iterations=iterations)
    return safelight.stylize(x, style, method=method)


def contact_sheet(method: str, contents: Sequence[Tensor], styles: Sequence[image.Picture], iterations: int) -> Tensor:
    """Lay out a sheet: the styles above, the photographs on the left; (1, 3, H, W)."""
    width = contents[0].shape[-1]
    tiles = [Tile(contents[0].new_ones(3, 1, width))]
    for painting, style in zip(SHOWN, styles, strict=True):
        tall = max(1.0, reduced(style, width).shape[-2] / width)  # a tall painting is shown narrower
        tiles.append(Tile(reduced(style, round(width / tall))[0], painting.title))
    for content in contents:
        pairs = zip(SHOWN, styles, strict=True)
        tiles += [Tile(content[0])]
        tiles += [Tile(stylized(method, content, painting, style, iterations)[0]) for painting, style in pairs]
    return sheet([Section(tiles, columns=1 + len(SHOWN))])


def sheets(asked: argparse.Namespace) -> None:
    """Write a sheet for each method."""
    styles = [image.read(asked.styles / painting.file) for painting in SHOWN]
    contents = [reduced(harness.photograph(name), asked.width) for name in PHOTOGRAPHS]
    for method in asked.methods:
        drawn = contact_sheet(method, contents, styles, asked.iterations)
        image.write(harness.as_picture(drawn), asked.out / f"style-{method}.jpg", quality=88, overwrite=True)


def lenses(asked: argparse.Namespace) -> None:
    """Write the sheet of gatys and texture by several files of the lens's weights."""
    found = [backbones.load("lens", weights=file) for file in asked.lens]
    side: int = asked.width
    contents = [reduced(harness.photograph(name), side) for name in PHOTOGRAPHS]
    tiles: list[Tile] = []
    for number, painting in enumerate(SHOWN):
        content = harness.in_8_bits(contents[number % len(contents)])
        whole = image.read(asked.styles / painting.file)
        style = harness.in_8_bits(reduced(whole, max(384, -(-side * whole.width // whole.height))))
        example = harness.middle(style, side)
        tiles += [Tile(content[0]), Tile(example[0], painting.title)]
        for place, lens in enumerate(found, 1):
            made = safelight.stylize(content, style, method="gatys", backbone=lens, iterations=asked.iterations)
            tiles.append(Tile(made[0], f"gatys, {place}"))
        for place, lens in enumerate(found, 1):
            made = safelight.stylize(example, method="texture", backbone=lens, iterations=asked.iterations)
            tiles.append(Tile(made[0], f"texture, {place}"))
        print(painting.title, flush=True)
    drawn = harness.as_picture(sheet([Section(tiles, columns=2 + 2 * len(found))]))
    image.write(drawn, asked.out / "style-lens.jpg", quality=85, overwrite=True)


def swatches(asked: argparse.Namespace) -> None:
    """Write a texture in the manner of each painting; a minute each on two cores."""
    for painting in PAINTINGS:
        if asked.only and painting.look not in asked.only:
            continue
        whole = image.read(asked.styles / painting.file)
        small = safelight.upscale(whole, size=f"{2 * SWATCH}x", method="lanczos")  # strokes of a swatch's own size
        texture = safelight.stylize(small, method="texture", size=f"{SWATCH}x{SWATCH}")
        safelight.write(texture, asked.out / f"style-{painting.look}.jpg", quality=88, overwrite=True)
        print(painting.look, flush=True)


def main() -> None:
    """Make what is asked for."""
    parser = harness.parser(__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for make, out, width, iterations in (
        (sheets, GALLERY, 320, 300),
        (lenses, GALLERY, 224, 100),
        (swatches, SHELF, 0, 0),
    ):
        kind = kinds.add_parser(make.__name__, help=make.__doc__)
        kind.add_argument("--styles", type=Path, required=True, help="the folder with the pictures of the paintings")
        kind.add_argument("--out", type=Path, default=out, help="the folder to write to")
        kind.set_defaults(make=make)
        if make is swatches:
            kind.add_argument("--only", type=harness.words, default="", help="such as wave,scream")
            continue
        kind.add_argument("--width", type=int, default=width, help="of a photograph on the sheet, in pixels")
        kind.add_argument("--iterations", type=int, default=iterations, help="of gatys and texture")
        if make is lenses:
            kind.add_argument("--lens", type=Path, action="append", required=True, help="weights; give several files")
        else:
            kind.add_argument("--methods", type=harness.words, default="gatys,johnson,adain")
    asked = parser.parse_args()
    asked.make(asked)


if __name__ == "__main__":
    main()
