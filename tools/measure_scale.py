"""Measure what sizing a cluster needs: a photograph of 12 megapixels on one core, and two actors against one.

    python tools/measure_scale.py

Writes ``results/scale.json``. The photograph is put together from those that scikit-image brings. It goes through the
code of an actor, in a process that is bound to one core, with the process that decodes. ``--actors`` measures and
prints the second part only. Needs Linux, two idle cores, and about ten minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import safelight
from safelight import catalog, inference
from safelight.batch import FileSettings, cluster
from safelight.batch.cluster.task_runner import TaskRunner
from safelight.checkpoints import provenance
from safelight.media import image

RESULTS = Path(__file__).parent.parent / "results"
WIDTH, HEIGHT = 4000, 3000
QUALITY = 92  # of the photograph's JPEG; about what cameras use
METHODS = ("edsr", "fsrcnn")  # the default, and the quickest network
SCALE = 2
PICTURES = 32  # for the actors
SIDE = 240  # of each
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """Put crops of real photographs side by side, (H, W, 3): noise would not pack, and a drawing too well."""
    data: Any = importlib.import_module("skimage.data")
    photographs: list[NDArray[np.uint8]] = [getattr(data, name)() for name in PHOTOGRAPHS]
    rng = random.Random(0)
    whole = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 300):
        for left in range(0, width, 400):
            chosen = rng.choice(photographs)
            y, x = rng.randrange(chosen.shape[0] - 299), rng.randrange(chosen.shape[1] - 399)
            part = whole[top : top + 300, left : left + 400]
            part[...] = chosen[y : y + part.shape[0], x : x + part.shape[1], :3]
    return whole


def timed(work: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_core(method: str, source: Path, out: Path) -> dict[str, Any]:
    """Do one picture as an actor of one core does it. This process stays bound to that core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    card = catalog.find(method, "upscale")
    settings = inference.InferenceRequest(inputs={"scale": SCALE}, device="cpu")
    order = cluster.WorkerConfig(
        card=card.id,
        request=settings,
        files=FileSettings(),
        preview=False,
        cpus=1,
        version=safelight.__version__,
        run_id="one",
    )
    worker = TaskRunner(order)
    warm = source.with_name("warm.png")
    image.write(image.Picture(pixels=photograph(64, 64)), warm, overwrite=True)
    plan = cluster.plan([str(warm), str(source)], out=f"{out}/", tag="", format=None, on_exist="overwrite")
    first, outcome = (worker.do(task) for task in plan.tasks)
    assert first.status == outcome.status == "done", outcome.error
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert peak is not None
    result = image.read(outcome.output)
    return {
        "method": card.id,
        "scale": SCALE,
        "precision": inference.prepare(card, settings).describe().rpartition(", ")[2],
        "seconds": round(outcome.seconds, 2),
        "decode_seconds": round(timed(lambda: image.read(source)), 3),
        "encode_seconds": round(timed(lambda: image.encode(result, "jpeg")), 3),
        "peak_bytes": int(peak[1]) << 10,
        "bytes_in": source.stat().st_size,
        "bytes_out": Path(outcome.output).stat().st_size,
    }


def rate(workers: int, folder: Path, out: Path) -> float:
    """Return the pictures a second that so many actors of one thread do, from when each has done its first one."""
    plan = cluster.plan([str(folder)], out=f"{out}/", tag="", format=None, on_exist="error")
    outcomes = cluster.run(
        plan, card=catalog.find(METHODS[0], "upscale").id, request=inference.InferenceRequest(inputs={"scale": SCALE}, device="cpu"),
        files=FileSettings(), pool=cluster.WorkerPool(workers=workers),
    )  # fmt: skip
    times: list[float] = []
    for outcome in outcomes:
        assert outcome.status == "done", outcome.error
        times.append(time.perf_counter())
    # The end is left out too, where one actor has nothing to do any more.
    return (len(times) - 2 * workers) / (times[-1 - workers] - times[workers - 1])


def actors() -> dict[str, Any]:
    """Measure one actor, two, and one again, since a machine that others use is not the same all the time."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        whole = photograph(SIDE * 4, SIDE * (PICTURES // 4))
        for i in range(PICTURES):
            y, x = i % 4 * SIDE, i // 4 * SIDE
            part = np.ascontiguousarray(whole[y : y + SIDE, x : x + SIDE])
            image.write(image.Picture(pixels=part), folder / f"{i}.png")
        first, two, last = (rate(n, folder, Path(place) / f"out-{i}") for i, n in enumerate((1, 2, 1)))
    one = (first + last) / 2
    return {
        "method": METHODS[0], "pictures": PICTURES, "one": round(one, 3), "two": round(two, 3),
        "ratio": round(two / one, 3), "one_again": [round(first, 3), round(last, 3)],
    }  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Measure every method in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "photograph.jpg"
        image.write(image.Picture(pixels=photograph(HEIGHT, WIDTH)), source, quality=QUALITY)
        found: list[dict[str, Any]] = []
        for method in METHODS:
            words = [sys.executable, __file__, "--one", method, str(source), str(Path(place) / "out")]
            told = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
            found.append(json.loads(told.stdout))
            print(found[-1])
    return found


def main() -> None:
    """Measure everything, or one part of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--actors", action="store_true", help="print one actor against two as JSON, write nothing")
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "FILE", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        method, source, out = asked.one
        print(json.dumps(one_core(method, Path(source), Path(out))))
        return
    load = os.getloadavg()[0]
    if asked.actors:
        print(json.dumps({**actors(), "load_before": round(load, 2)}))
        return
    found = {
        "what": f"a photograph of {WIDTH} x {HEIGHT} pixels (JPEG) on one core, and two actors against one",
        **provenance.origin(),
        "load_before": round(load, 2),
        "actors": actors(),
        "rows": rows(),
    }
    (RESULTS / "scale.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found["actors"])


if __name__ == "__main__":
    main()
