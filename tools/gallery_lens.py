"""Show what gatys and texture make with several files of the lens's weights, side by side.

    python tools/gallery_lens.py --styles DIR --lens BEFORE.safetensors --lens AFTER.safetensors [--iterations 100]

It writes ``docs/gallery/style-lens.jpg``: a row for each painting, with a photograph in its style and a texture of it,
by each of the files. An earlier file is that of an earlier commit: ``git show COMMIT:src/safelight/weights/...``.
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
from gallery_style import OUT, PAINTINGS, PHOTOGRAPHS, reduced
from torch import Tensor

from safelight import catalog, inference
from safelight.checkpoints import backbones
from safelight.engine.samples import to_samples, to_tensor
from safelight.features import Backbone
from safelight.inference.request import InferenceRequest
from safelight.media import image
from safelight.ops.drawing.sheet import Section, Tile, sheet


def picture_of(x: Tensor) -> image.Picture:
    """Turn (1, 3, H, W) into a picture of 8 bits."""
    return image.Picture(pixels=to_samples(x, np.dtype(np.uint8)))


def made(name: str, x: Tensor, lens: Backbone, style: Tensor | None, iterations: int) -> Tensor:
    """Run gatys on a photograph, or texture on an example, with a lens."""
    styles = () if style is None else (picture_of(style),)
    settings = InferenceRequest(
        task="stylize", inputs={"style": styles, "backbone": lens}, options={"iterations": iterations}
    )
    return to_tensor(inference.apply(catalog.find(name, "stylize"), picture_of(x), settings).pixels)[0]


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--styles", type=Path, required=True, help="the folder with the pictures of the paintings")
    parser.add_argument("--lens", type=Path, action="append", required=True, help="a file of weights; give several")
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--iterations", type=int, default=100)
    arguments = parser.parse_args()
    lenses = [backbones.load("lens", weights=file) for file in arguments.lens]
    shipped = files("skimage") / "data"
    contents = [reduced(image.read((shipped / name).read_bytes()), arguments.width) for name in PHOTOGRAPHS]
    tiles: list[Tile] = []
    for number, painting in enumerate(PAINTINGS):
        content, side = contents[number % len(contents)], arguments.width
        whole = image.read(arguments.styles / painting.file)
        style = reduced(whole, max(384, -(-side * whole.width // whole.height)))
        top, left = ((length - side) // 2 for length in style.shape[-2:])
        example = style[..., top : top + side, left : left + side]
        tiles += [Tile(content[0]), Tile(example[0], painting.title)]
        for name, x, other in (("gatys", content, style), ("texture", example, None)):
            for place, lens in enumerate(lenses, 1):
                start = time.perf_counter()
                tiles.append(Tile(made(name, x, lens, other, arguments.iterations), f"{name}, {place}"))
                print(f"{painting.title}: {name}, file {place}, {time.perf_counter() - start:.1f} s", flush=True)
    drawn = sheet([Section(tiles, columns=2 + 2 * len(lenses))])
    image.write(picture_of(drawn), OUT / "style-lens.jpg", quality=85, overwrite=True)


if __name__ == "__main__":
    main()
