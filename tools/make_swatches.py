"""Make the page's shelf of styles: textures in the manner of paintings, by this project's own method.

The paintings are in the public domain and are not in the repository; what is made of them by ``stylize/texture`` is.

    python tools/make_swatches.py --styles DIR [--only NAME ...]

``DIR`` holds the paintings. Writes src/safelight/web/assets/style-*.jpg. A minute each on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import safelight

OUT: Final = Path(__file__).resolve().parent.parent / "src/safelight/web/assets"
SIDE: Final = 192  # pixels
PAINTINGS: Final = {
    "starry-night": "vg_starry_night.jpg",  # van Gogh, 1889
    "wave": "wave.jpg",  # Hokusai, about 1831
    "composition-vii": "composition_vii.jpg",  # Kandinsky, 1913
    "scream": "the_scream.jpg",  # Munch, 1893
    "wheat-field": "vg_wheat_field.jpg",  # van Gogh, 1889
    "shipwreck": "shipwreck.jpg",  # Turner, 1805
}


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[*PAINTINGS], default=[*PAINTINGS])
    asked = parser.parse_args()
    for name in asked.only:
        painting = safelight.read(asked.styles / PAINTINGS[name])
        small = safelight.upscale(painting, size=f"{2 * SIDE}x", method="lanczos")  # strokes of a swatch's own size
        texture = safelight.stylize(small, method="texture", size=f"{SIDE}x{SIDE}")
        safelight.write(texture, OUT / f"style-{name}.jpg", quality=88, overwrite=True)
        print(name)


if __name__ == "__main__":
    main()
