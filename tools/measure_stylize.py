"""Measure the networks of stylize: time and memory at 512 pixels and at 12 megapixels, and how exact their tiles are.

    python tools/measure_stylize.py [--threads 1]

Writes the section ``networks`` of ``results/stylize.json``; the others are left as they are. It needs no data. Each row
is a program of its own: its time is the processor's, the middle one of three runs where they are short, its memory the
most that the whole program, its decoding aside, ever held. The difference is that of the result in tiles and the
plain network on the whole picture, at 768 x 512 pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from safelight.checkpoints import provenance

RESULTS = Path(__file__).parent.parent / "results" / "stylize.json"
SIZES = ((512, 512), (4000, 3000))
METHODS = ("johnson", "adain")

CHILD = """
import json, sys, time
import numpy as np
import torch
from safelight import catalog, inference
from safelight.media.image import Picture

name, width, height, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
rng = np.random.default_rng(0)


def drawn(height, width):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.empty((height, width, 3), np.uint8)
    for c in range(3):
        noise = 20 * rng.random((height, width), np.float32)
        pixels[..., c] = 117 + 90 * np.sin(x / (31 + 7 * c)) * np.cos(y / (23 + 5 * c)) + noise
    return Picture(pixels=pixels)


card = catalog.find(name, "stylize")
styles = (drawn(512, 640),) if "style" in card.accepts else ()
settings = inference.InferenceRequest(task="stylize", inputs={"style": styles}, device="cpu")
runner = inference.prepare(card, settings)
picture = drawn(height, width)
seconds = []
for _ in range(3 if width * height < 1e6 else 1):
    start = time.process_time()
    result = runner(picture)
    seconds.append(time.process_time() - start)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": round(sorted(seconds)[len(seconds) // 2], 2), "mib": peak // 1024}))
"""

EXACT = """
import dataclasses, sys
import torch
from safelight import catalog, inference
from safelight.nn.blocks import extended, grain
from safelight.media.image import Picture
from safelight.inference.model import load
from safelight.core.solver_input import Style

card = catalog.find(sys.argv[1], "stylize")
torch.manual_seed(0)
x = torch.rand(1, 3, 64, 96)
x = torch.nn.functional.interpolate(x, (512, 768), mode="bicubic").clamp(0, 1)
style = torch.rand(1, 3, 256, 320)
as_picture = lambda t: Picture(pixels=t[0].permute(1, 2, 0).contiguous().numpy())
taken = "style" in card.accepts
styles = (as_picture(style),) if taken else ()
settings = lambda memory: inference.InferenceRequest(task="stylize", inputs={"style": styles}, device="cpu", memory=memory)
options = card.method.pick(card.options(), "stylize", False, None) if card.method.pick else card.options()
model = load(card, options=dataclasses.asdict(options), device="cpu", task="stylize")
with torch.inference_mode():
    network = model.complete(x, (Style(x=style),) if taken else ())
    n = card.method.execution.padding
    noisy = x + card.method.execution.input_noise * grain(0, 0, 512, 768)
    whole = network(extended(noisy, card.method.execution.size_multiple, n))[..., n:n + 512, n:n + 768].clamp(0, 1)
tiled = torch.from_numpy(inference.prepare(card, settings(16 << 20))(as_picture(x)).pixels).permute(2, 0, 1)[None]
print(float((tiled - whole).abs().max()))
"""


def child(script: str, *arguments: str) -> str:
    """Run a program and give what it prints."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def measure(threads: int) -> list[dict[str, Any]]:
    """Measure each method at each size."""
    rows: list[dict[str, Any]] = []
    for name in METHODS:
        difference = float(child(EXACT, name))
        for width, height in SIZES:
            found = json.loads(child(CHILD, name, str(width), str(height), str(threads)))
            rows.append({"method": name, "width": width, "height": height, "threads": threads, **found})
            rows[-1]["difference"] = difference
            sys.stderr.write(f"{rows[-1]}\n")
    return rows


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    rows = measure(threads)
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known["networks"] = {
        **provenance.origin(),
        "what": "seconds of the processor for one picture, MiB of the whole program at its most, and the largest "
        "difference of tiles to the plain network on the whole picture, of samples in [0, 1]",
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
