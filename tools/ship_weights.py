"""Turn trained weights into shipped ones: half precision, header complete, scores measured.

    python tools/ship_weights.py RUN.safetensors ... --data TEST_SETS

Each file goes to ``src/safelight/weights``, its log to ``results/training``, and the line for ``WEIGHTS`` in the
method's file is printed. The scores in the header are those of the shipped, rounded weights on Set5.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
import sys
from pathlib import Path

import torch

from safelight import catalog, checkpoint, data
from safelight.bench import quality
from safelight.card import Trained, make_options
from safelight.infer import Runner, Settings
from safelight.model import SHIPPED

LICENCE = "Apache-2.0; trained on pictures of which some are for research use only (see trained_on)"
LOGS = Path(__file__).parent.parent / "results" / "training"


def log(line: str) -> None:
    """Say how far it is, apart from the lines to paste."""
    sys.stderr.write(line + "\n")


def ship(source: Path, set5: quality.PictureSet, commit: str) -> str:
    """Ship one file and return its ``Weights(...)`` line; ``commit`` is for a run outside a git checkout."""
    tensors, header = checkpoint.load(source)
    card = catalog.find(header.method)
    method = card.method
    assert isinstance(method, Trained)
    options = {
        name: value
        for name, value in header.options.items()
        if getattr(make_options(card, header.options), name) != getattr(card.options(), name)
    }
    suffix = "" if method.one_for_all else f"-x{header.scales[0]}"
    variant = "".join(f"-{value}" for value in options.values())
    target = SHIPPED / f"{card.name}{variant}{suffix}.safetensors"
    header = dataclasses.replace(
        header,
        licence=LICENCE,
        commit=header.commit or commit,
        trained_on=tuple(data.described(name.split(" (")[0]) for name in header.trained_on),
    )
    checkpoint.save(target, tensors, header, dtype=torch.float16)
    scores = dict(header.scores)
    for scale in header.scales:
        runner = Runner(card, Settings(scale=scale, weights=target))
        entry = quality.Entry(card=card, options=options, scale=scale, runner=runner, channels=method.channels)
        [score] = quality.score([entry], set5, scale, log)
        scores[f"Set5 x{scale} Y-PSNR"] = round(score.psnr, 4)
    checkpoint.save(target, tensors, dataclasses.replace(header, scores=scores), dtype=torch.float16)
    LOGS.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.with_suffix(".csv"), LOGS / f"{target.stem}.csv")
    content = target.read_bytes()
    chosen = f", options={options!r}" if options else ""
    log(f"{target.name}: {scores}")
    return (
        f'    Weights(file="{target.name}", scales={header.scales!r}, bytes={len(content)}, '
        f'sha256="{hashlib.sha256(content).hexdigest()}"{chosen}),'
    )


def main() -> None:
    """Ship every file that is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path, help="the folder that holds Set5")
    parser.add_argument("--commit", default="", help="the code's version, for runs outside a git checkout")
    arguments = parser.parse_args()
    set5 = next(item for item in quality.read_sets(arguments.data) if item.facts.name == "Set5")
    for source in arguments.weights:
        print(ship(source, set5, arguments.commit))


if __name__ == "__main__":
    main()
