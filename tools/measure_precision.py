"""Measure what bfloat16 costs each network in PSNR, which decides whether its card may list it.

    python tools/measure_precision.py --data TEST_SETS [--methods fsrcnn,espcn]

Writes ``results/precision.json``; with ``--methods`` the rows of the others stay. The pictures take the way of a
user's, ``inference.Runner``: 8-bit pictures of Set14 to be enlarged, those of Set12 with noise, JPEG files of classic5.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from safelight import catalog, inference
from safelight.checkpoints import provenance
from safelight.core.card import Card, Trained, channels_of
from safelight.core.options import make_options
from safelight.engine.samples import to_samples, to_tensor
from safelight.evaluation.bench import quality
from safelight.evaluation.bench.quality import Original, PictureSet
from safelight.evaluation.bench.records import Missing, Values, label
from safelight.evaluation.bench.tracks import TRACKS, Sample, Track
from safelight.inference.model import Model, load
from safelight.media import image
from safelight.media.image import Picture
from safelight.metrics import Protocol
from safelight.metrics.psnr import psnr
from safelight.tasks import Task

OUT = Path(__file__).parent.parent / "results" / "precision.json"
GRAY = {"upscale": "Set14", "denoise": "Set12", "deblock": "classic5"}
COLOUR = "BSD20 RGB"  # for networks of RGB that keep the size

Key = tuple[str, str, Task, int]


def sample_of(track: Track, kind: str, original: Original, level: int) -> Sample:
    """What a user would have: colours where the picture has them, in 8 bits unless it is noise."""
    if track.task != "upscale":
        return track.degrade(original.pixels("rgb" if kind == "rgb" else "gray", "y"), level)
    sample = track.degrade(original.y if original.rgb is None else original.rgb, level)
    small = to_samples(to_tensor(sample.picture.pixels), np.dtype(np.uint8))
    return Sample(Picture(pixels=small), sample.reference)


def row(track: Track, card: Card, options: Values, level: int, pictures: PictureSet) -> dict[str, Any]:
    """Measure one network at one level."""
    scale = track.scale(level)
    exact_model = load(card, scale=scale, options=options, device="cpu", task=track.task)
    fast_model = Model(card, exact_model.options, scale, exact_model.network, "bfloat16", track.task)
    settings = inference.InferenceRequest(task=track.task, inputs={"scale": scale if scale > 1 else None}, device="cpu")
    runners = [inference.Runner(card, settings, {scale: model}) for model in (exact_model, fast_model)]
    kind = pictures.spec.kind
    protocol: Protocol = track.metric(kind, level)
    scores: list[list[float]] = [[], []]
    changed = samples = largest = 0
    for original in pictures.originals:
        sample = sample_of(track, kind, original, level)
        made = [to_tensor(runner(sample.picture).pixels) for runner in runners]
        for values, result in zip(scores, made, strict=True):
            values.append(
                float(
                    psnr(
                        result,
                        sample.reference,
                        channel=protocol.channel,
                        shave=protocol.shave,
                        rounding=protocol.rounding,
                    )
                )
            )
        exact, fast = (to_samples(result, np.dtype(np.uint8)).astype(int) for result in made)
        difference = np.abs(exact - fast)
        changed += int((difference > 0).sum())
        samples += difference.size
        largest = max(largest, int(difference.max()))
    exact_psnr, fast_psnr = (sum(values) / len(values) for values in scores)
    return {
        "method": card.id,
        "options": dict(options),
        "task": track.task,
        "set": pictures.spec.name,
        "level": level,
        "listed": "bfloat16" in exact_model.execution.precisions,
        "exact_psnr": round(exact_psnr, 4),
        "fast_psnr": round(fast_psnr, 4),
        "loss": round(exact_psnr - fast_psnr, 4),
        "pixels_changed": round(changed / samples, 4),
        "largest_change": largest,
    }


def subjects(card: Card) -> list[tuple[Track, Values, int]]:
    """List what is measured of a network: every zoom, and one level in the middle of each other task."""
    found: list[tuple[Track, Values, int]] = []
    for task in card.tasks:
        track = TRACKS.get(task)
        if track is None:
            continue
        for options in quality.variants(card, task):
            levels = [
                level
                for level in quality.levels(track, card, options)
                if not isinstance(quality.locate(track, card, options, level), Missing)
            ]
            if levels:
                chosen = levels if task == "upscale" else [levels[(len(levels) - 1) // 2]]
                found += [(track, options, level) for level in chosen]
    return found


def main() -> None:
    """Measure every network that is shipped, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds Set14, Set12 and classic5")
    parser.add_argument("--methods", default="", help="only these, by their names; the other rows stay")
    arguments = parser.parse_args()
    wanted = {name for name in arguments.methods.split(",") if name}
    old: dict[Key, dict[str, Any]] = {}
    if wanted and OUT.is_file():
        rows = json.loads(OUT.read_text())["rows"]
        old = {(one["method"], label("", one["options"]), one["task"], one["level"]): one for one in rows}
    read: dict[tuple[Task, str], PictureSet] = {}
    rows: list[dict[str, Any]] = []
    for card in catalog.CARDS:
        for track, options, level in subjects(card) if isinstance(card.method, Trained) else ():
            assert isinstance(card.method, Trained)
            kept = old.get((card.id, label("", options), track.task, level))
            if not wanted or card.name in wanted or kept is None:
                colour = (
                    channels_of(card.method.network, make_options(card, options)) == "rgb" and track.task != "upscale"
                )
                name = COLOUR if colour else GRAY[track.task]
                if (track.task, name) not in read:
                    [read[track.task, name]] = quality.read_sets(track, arguments.data, [name])
                kept = row(track, card, options, level, read[track.task, name])
            rows.append(kept)
            print(json.dumps(rows[-1]), flush=True)
    facts = {
        "what": "PSNR in dB: of Y for Set14, older protocol but for the 8-bit input; of the samples elsewhere, as the "
        "benchmark of the task. Samples of the 8-bit result that differ between the two, and by how many steps at "
        "most.",
        "commit": provenance.code_version(),
        "rows": rows,
    }
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
