"""Measure what ``--consistent`` does to the score of networks that enlarge, and how far from the input they were.

    python tools/measure_consistent.py --data TEST_SETS

Writes ``results/consistent.json``. The pictures take the way of a user's: ``inference.Runner`` on 8-bit pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import harness
from harness import Row, mean
from torch import Tensor

from safelight import catalog, inference, ops
from safelight.core.card import Card
from safelight.degrade import Downsample

METHODS = ("fsrcnn", "edsr")
SETS = ("Set5", "Set14")
WHAT = (
    "Mean Y-PSNR in dB, older protocol but for the 8-bit input, without and with --consistent; RMS (mean over the "
    "pictures) and largest difference, in levels of 255, between the input and the result shrunk by the bicubic "
    "kernel: of the network's result, and of the written 8-bit one after the projection."
)


def measure(card: Card, scale: int, name: str, pictures: Sequence[Tensor]) -> Row:
    """Measure one network on one set."""
    runners = [
        inference.prepare(
            card, inference.InferenceRequest(inputs={"scale": scale, "consistent": consistent}, device="cpu")
        )
        for consistent in (False, True)
    ]
    scores: tuple[list[float], list[float]] = ([], [])
    told: list[list[float]] = []  # RMS and largest before, RMS and largest after
    for whole in pictures:
        target = ops.crop_to_multiple(whole, scale)
        small = harness.as_picture(Downsample(scale)(target))
        for values, runner in zip(scores, runners, strict=True):
            made = runner(small)
            values.append(harness.y_psnr(harness.as_tensor(made), target, scale))
            told += [
                [float(number) for number in re.findall(r"\d+\.\d+", warning)]
                for warning in made.warnings
                if warning.startswith("consistent:")
            ]
    plain, consistent = (mean(values) for values in scores)
    return {
        "method": card.id,
        "scale": scale,
        "data": name,
        "psnr": round(plain, 3),
        "psnr_consistent": round(consistent, 3),
        "gain": round(consistent - plain, 3),
        "rms_before": round(mean([one[0] for one in told]), 3),
        "largest_before": max(one[1] for one in told),
        "rms_after": round(mean([one[2] for one in told]), 3),
        "largest_after": max(one[3] for one in told),
    }


def main() -> None:
    """Measure and write the JSON."""
    arguments = harness.parser(__doc__, data="Set5 and Set14", out="consistent.json").parse_args()
    rows: list[Row] = []
    for name in SETS:
        pictures = list(harness.read_set(arguments.data, name).values())
        rows += [
            harness.show(measure(catalog.find(method, "upscale"), scale, name, pictures))
            for method in METHODS
            for scale in (2, 3, 4)
        ]
    harness.write(arguments.out, harness.record(WHAT, rows=rows))


if __name__ == "__main__":
    main()
