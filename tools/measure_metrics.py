"""Measure bicubic on Set5 by every metric, beside what is published, and how long each metric takes.

    python tools/measure_metrics.py --data TEST_SETS

Writes ``results/metrics.json``. The published numbers are those of the table in C. Dong, C. C. Loy, K. He, X. Tang,
"Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016 (arXiv:1501.00092).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safelight import metrics, ops
from safelight.checkpoints import provenance
from safelight.degrade import Downsample
from safelight.engine.samples import to_tensor
from safelight.evaluation.scoring import Scorer
from safelight.media import image
from safelight.metrics.protocol import round_to_8_bits
from safelight.ops import color

OUT = Path(__file__).parent.parent / "results" / "metrics.json"
SCALES = (2, 3, 4)
PUBLISHED = {
    "psnr": (33.66, 30.39, 28.42),
    "ssim": (0.9299, 0.8682, 0.8104),
    "ms_ssim[mux]": (0.9915, 0.9754, 0.9516),
    "ifc": (6.10, 3.52, 2.35),
    "nqm": (36.73, 27.54, 21.42),
    "wpsnr": (50.06, 41.65, 37.21),
    "wpsnr[mux]": (50.06, 41.65, 37.21),
    "wpsnr[miyahara]": (50.06, 41.65, 37.21),
}
SIDE = 1024  # of the picture that is timed, of about a megapixel
RUNS = 5


def enlarged(target: Tensor, scale: int) -> Tensor:
    """Shrink (1, C, H, W) by MATLAB's bicubic, in floats, enlarge it again, and round that to 8 bits."""
    return round_to_8_bits(ops.resize(Downsample(scale)(target), (target.shape[-2], target.shape[-1])))


def figures(pictures: list[Tensor], scale: int) -> dict[str, float]:
    """Measure bicubic at one scale: the mean over the pictures of every figure of two pictures."""
    protocol = metrics.SR_OLDER.with_shave(scale)
    of_samples = [m for m in metrics.METRICS if isinstance(m, metrics.Metric)]
    gray, colour = Scorer(of_samples, protocol), Scorer([metrics.LPIPS], protocol)
    found: list[dict[str, float]] = []
    for whole in pictures:
        target = ops.crop_to_multiple(whole, scale)[None].double()
        y = round_to_8_bits(color.rgb_to_y(target)) if target.shape[1] == 3 else target
        found.append(gray.tensors(enlarged(y, scale), y) | colour.tensors(enlarged(target, scale), target))
    return {name: statistics.fmean(one[name] for one in found) for name in found[0]}


def rows(pictures: list[Tensor]) -> list[dict[str, Any]]:
    """Measure bicubic at every scale: a row a metric."""
    by_scale = {scale: figures(pictures, scale) for scale in SCALES}
    made: list[dict[str, Any]] = []
    for name in by_scale[2]:
        published = PUBLISHED.get(name)
        digits = 2 if published is None or published[0] > 1 else 4
        row: dict[str, Any] = {"metric": name}
        for k, scale in enumerate(SCALES):
            row[f"x{scale}"] = round(by_scale[scale][name], 4)
            row[f"x{scale}_published"] = None if published is None else published[k]
            row[f"x{scale}_difference"] = (
                None if published is None else round(by_scale[scale][name] - published[k], digits + 1)
            )
        made.append(row)
        print(json.dumps(row), flush=True)
    return made


def times() -> list[dict[str, Any]]:
    """Time every metric on one picture in colour, on one thread: the median of some runs after a warm-up."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, SIDE // 16, SIDE // 16), generator=generator, dtype=torch.float64)
    reference = ops.resize(coarse, (SIDE, SIDE)).clamp(0, 1)
    result = (reference + 0.02 * torch.randn(reference.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    made: list[dict[str, Any]] = []
    for metric in metrics.METRICS:
        if isinstance(metric, metrics.SetMetric):
            continue
        scorer = Scorer([metric], metrics.SR_NEWER)
        taken: list[float] = []
        for _ in range(RUNS + 1):
            start = time.process_time()
            scorer.tensors(result, reference)
            taken.append(time.process_time() - start)
        seconds = statistics.median(taken[1:]) / (SIDE * SIDE / 1e6)
        made.append({"metric": scorer.of_pairs[0].name, "seconds_per_megapixel": round(seconds, 3)})
        print(json.dumps(made[-1]), flush=True)
    return made


def tables(results: Mapping[str, Any]) -> str:
    """Write the JSON as Markdown: measured beside published, and the seconds."""

    def text(value: float | None, like: float) -> str:
        return "–" if value is None else f"{value:.2f}" if abs(like) > 1.5 else f"{value:.4f}"  # noqa: RUF001

    seconds = {row["metric"]: row["seconds_per_megapixel"] for row in results["times"]}
    heads = [f"x{scale}{more}" for scale in SCALES for more in ("", ", published")]
    lines = [
        f"| metric | {' | '.join(heads)} | seconds a megapixel |",
        f"| --- |{' ---: |' * (len(heads) + 1)}",
    ]
    for row in results["rows"]:
        cells = [
            text(row[f"x{scale}{more}"], row["x2"] if row["metric"] != "lpips[lens]" else 0)
            for scale in SCALES
            for more in ("", "_published")
        ]
        lines.append(f"| `{row['metric']}` | {' | '.join(cells)} | {seconds[row['metric']]:.2f} |")
    return "\n".join(lines) + f"\n\n{results['what']}"


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set5")
    arguments = parser.parse_args()
    files = sorted((arguments.data / "Set5").glob("*.png"))
    pictures = [to_tensor(image.read(file).pixels)[0] for file in files]
    facts = {
        "what": "Bicubic on Set5, the mean over its five pictures, under the protocol of the SRCNN and VDSR papers: "
        "the 8-bit Y shrunk by MATLAB's bicubic in floats, enlarged, rounded to 8 bits, shaved by the scale. LPIPS is "
        "of the colour picture, shrunk and enlarged alike. Published: C. Dong et al., TPAMI 2016. Seconds: processor "
        "time of one thread for a picture in colour of 1024x1024, by its Y (LPIPS: by its colours).",
        **provenance.origin(),
        "rows": rows(pictures),
        "times": times(),
    }
    image.write_bytes((json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
