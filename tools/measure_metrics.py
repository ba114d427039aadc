"""Measure bicubic on Set5 by every metric, beside what is published, and how long each metric takes.

    python tools/measure_metrics.py --data TEST_SETS

Writes ``results/metrics.json``. The published numbers are those of the table in C. Dong, C. C. Loy, K. He, X. Tang,
"Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016 (arXiv:1501.00092).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial

import harness
import torch
from harness import Row
from torch import Tensor

from safelight import metrics, ops
from safelight.degrade import Downsample
from safelight.evaluation.scoring import Scorer
from safelight.metrics.protocol import round_to_8_bits
from safelight.ops import color

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
WHAT = (
    "Bicubic on Set5, the mean over its five pictures, under the protocol of the SRCNN and VDSR papers: the 8-bit Y "
    "shrunk by MATLAB's bicubic in floats, enlarged, rounded to 8 bits, shaved by the scale. LPIPS is of the colour "
    "picture, shrunk and enlarged alike. Published: C. Dong et al., TPAMI 2016. Seconds: processor time of one thread "
    "for a picture in colour of 1024x1024, by its Y (LPIPS: by its colours)."
)


def enlarged(target: Tensor, scale: int) -> Tensor:
    """Shrink (1, C, H, W) by MATLAB's bicubic, in floats, enlarge it again, and round that to 8 bits."""
    return round_to_8_bits(ops.resize(Downsample(scale)(target), (target.shape[-2], target.shape[-1])))


def figures(pictures: Sequence[Tensor], scale: int) -> dict[str, float]:
    """Measure bicubic at one scale: the mean over the pictures of every figure of two pictures."""
    protocol = metrics.SR_OLDER.with_shave(scale)
    of_samples = [m for m in metrics.METRICS if isinstance(m, metrics.Metric)]
    gray, colour = Scorer(of_samples, protocol), Scorer([metrics.LPIPS], protocol)
    found: list[dict[str, float]] = []
    for whole in pictures:
        target = ops.crop_to_multiple(whole, scale).double()
        y = round_to_8_bits(color.rgb_to_y(target)) if target.shape[1] == 3 else target
        found.append(gray.tensors(enlarged(y, scale), y) | colour.tensors(enlarged(target, scale), target))
    return {name: statistics.fmean(one[name] for one in found) for name in found[0]}


def scores(pictures: Sequence[Tensor]) -> list[Row]:
    """Measure bicubic at every scale: a row a metric."""
    by_scale = {scale: figures(pictures, scale) for scale in SCALES}
    rows: list[Row] = []
    for name in by_scale[2]:
        published = PUBLISHED.get(name)
        digits = 2 if published is None or published[0] > 1 else 4
        row: Row = {"metric": name}
        for scale, its in zip(SCALES, published or (None,) * 3, strict=True):
            measured = by_scale[scale][name]
            row[f"x{scale}"] = round(measured, 4)
            row[f"x{scale}_published"] = its
            row[f"x{scale}_difference"] = None if its is None else round(measured - its, digits + 1)
        rows.append(harness.show(row))
    return rows


def times() -> list[Row]:
    """Time every metric on one picture in colour, on one thread: the median of five runs after a warm-up."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, SIDE // 16, SIDE // 16), generator=generator, dtype=torch.float64)
    reference = ops.resize(coarse, (SIDE, SIDE)).clamp(0, 1)
    result = (reference + 0.02 * torch.randn(reference.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    rows: list[Row] = []
    for metric in metrics.METRICS:
        if isinstance(metric, metrics.SetMetric):
            continue
        scorer = Scorer([metric], metrics.SR_NEWER)
        taken = harness.seconds_of(partial(scorer.tensors, result, reference), rounds=5, clock=time.process_time)
        seconds = statistics.median(taken) / (SIDE * SIDE / 1e6)
        rows.append(harness.show({"metric": scorer.of_pairs[0].name, "seconds_per_megapixel": round(seconds, 3)}))
    return rows


def main() -> None:
    """Measure and write the JSON."""
    arguments = harness.parser(__doc__, data="Set5", out="metrics.json").parse_args()
    pictures = list(harness.read_set(arguments.data, "Set5").values())
    harness.write(arguments.out, harness.record(WHAT, rows=scores(pictures), times=times()))


if __name__ == "__main__":
    main()
