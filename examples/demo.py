"""Upscale a sample photograph x4 and look at the result: ``python examples/demo.py --out out``.

A photograph that scikit-image ships is made four times smaller, as the papers do, and enlarged again by bicubic
interpolation and by the default method. What is lost and won stands in ``out/report.html``, with the original beside.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from safelight import catalog, inference, score
from safelight.core.card import Card
from safelight.core.options import CardError
from safelight.degrade import Downsample
from safelight.engine.samples import to_samples, to_tensor
from safelight.evaluation import report
from safelight.media import image
from safelight.metrics import SR_NEWER

SCALE = 4
SAMPLE = "data/coffee.png"  # 600 x 400, in the public domain


def sample() -> image.Picture:
    """Read the photograph."""
    try:
        content = files("skimage").joinpath(SAMPLE).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        sys.exit("demo: expected the sample photograph of scikit-image; run: pip install 'safelight[demo]'")
    return image.read(content)


def shrink(original: image.Picture) -> image.Picture:
    """Make the small input: MATLAB's antialiased bicubic by 1/4, rounded to 8 bits."""
    small = Downsample(SCALE)(to_tensor(original.pixels).double())
    return replace(original, pixels=to_samples(small, np.dtype(np.uint8)))


def enlarge(card: Card, small: image.Picture) -> tuple[image.Picture, float, str]:
    """Run a method; return its result, the seconds it took, and what ran."""
    runner = inference.prepare(card, inference.InferenceRequest(inputs={"scale": SCALE}))
    runner(replace(small, pixels=small.pixels[:32, :32]))  # loads the network, so that the time is that of the work
    start = time.perf_counter()
    result = runner(small)
    return result, time.perf_counter() - start, runner.describe()


def main() -> None:
    """Write the pictures and the report."""
    parser = argparse.ArgumentParser(description="Upscale a sample photograph and report on it.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="the folder to write to")
    parser.add_argument("--method", default=None, help="instead of the default method")
    arguments = parser.parse_args()
    out: Path = arguments.out
    try:
        card = catalog.find("upscale/lamp") if arguments.method is None else catalog.find(arguments.method, "upscale")
        original = sample()
        small = shrink(original)
        protocol = SR_NEWER.with_shave(SCALE)
        candidates: list[report.Candidate] = []
        pictures = {"input.png": small, "original.png": original}
        for file, method in (("bicubic.png", catalog.find("upscale/bicubic")), (f"{card.name}-x{SCALE}.png", card)):
            result, seconds, detail = enlarge(method, small)
            pictures[file] = result
            scores = {
                title: score(original, result, name, channel="y", shave=protocol.shave, rounding="8-bit")
                for title, name in (("PSNR", "psnr"), ("SSIM", "ssim"))
            }
            candidates.append(report.candidate(method.title, result, seconds=seconds, scores=scores, detail=detail))
            print(f"{method.id:<20} {seconds:6.2f} s   PSNR {scores['PSNR']:.2f} dB   SSIM {scores['SSIM']:.4f}")
        candidates.append(report.candidate("Original", original, detail="the photograph before it was made smaller"))
        page = report.render(
            f"A photograph of {small.width}x{small.height} pixels, enlarged to {original.width}x{original.height}",
            candidates,
            protocol=protocol.describe(),
            notes=["The photograph is scikit-image's coffee.png. Time: of one run here, with the network loaded."],
        )
        out.mkdir(parents=True, exist_ok=True)
        for file, picture in pictures.items():
            image.write(picture, out / file, overwrite=True)
            print(f"wrote {out / file}  {picture.width}x{picture.height}")
        image.write_bytes(page.encode(), out / "report.html", overwrite=True)
        print(f"wrote {out / 'report.html'}: open it in a browser")
    except (CardError, image.PictureError, OSError) as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
