"""Golden outputs: what every method makes of one drawn picture, so that no change alters a result unseen.

``SAFELIGHT_GOLDEN=write pytest tests/test_golden.py`` regenerates them; the commit says why they changed.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from safelight import inference
from safelight.catalog import CARDS
from safelight.checkpoints import weights_manifest
from safelight.core.card import Trained
from safelight.inference.runner import InferenceRequest
from safelight.media.image import Picture

GOLDEN = Path(__file__).parent / "golden" / "methods.json"
WRITE = os.environ.get("SAFELIGHT_GOLDEN") == "write"


def source():
    """14 x 12 pixels in 8 bits: an edge, a ramp and a dot, other in each channel."""
    yy, xx = np.mgrid[0:12, 0:14]
    planes = [40 + 150 * (xx + yy > 12), 15 * xx + 2 * yy, 90 + 120 * ((xx - 5) ** 2 + (yy - 6) ** 2 < 6)]
    return Picture(pixels=np.stack(planes, axis=-1).astype(np.uint8))


def cases():
    """Every method at each task that it serves alone and within seconds, with the weights that are shipped."""
    for card in CARDS:
        waiting = isinstance(card.method, Trained) and not weights_manifest.shipped_weights(card.id)
        alone = not card.accepts & {"style", "backbone"} and card.name not in ("dip", "multiframe")
        if waiting or card.extra is not None or not alone:
            continue
        for task in card.tasks:
            for scale in (2, 3, 4) if task == "upscale" else (1,):
                yield pytest.param(card, task, scale, id=f"{card.id}-{task}-{scale}")


@pytest.mark.parametrize(("card", "task", "scale"), list(cases()))
def test_output_is_the_golden_one(card, task, scale):
    """Two rows of the result, to within one level: processors round sums differently."""
    settings = InferenceRequest(task=task, inputs={"scale": scale if task == "upscale" else None}, device="cpu")
    result = inference.apply(card, source(), settings).pixels
    rows = result[[4 * scale, 6 * scale + 1], ::scale].tolist()
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    name = f"{card.id} x{scale}" if task == "upscale" else f"{card.id} {task}"
    if WRITE:
        golden[name] = rows
        GOLDEN.write_text(
            json.dumps(dict(sorted(golden.items())), separators=(",", ":")).replace('],"', '],\n"') + "\n"
        )
    assert np.abs(np.array(golden[name]) - np.array(rows)).max() <= 1
