"""Measure what sizing a cluster needs: a photograph of 12 megapixels on one core, and two actors against one.

    python tools/measure_scale.py

Writes ``results/scale.json``. The photograph is put together from those that scikit-image brings. It goes through the
code of an actor, in a process that is bound to one core, with the process that decodes. ``--actors`` measures and
prints the second part only. Needs Linux, two idle cores, and about ten minutes.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

import harness
import numpy as np
from harness import Row
from numpy.typing import NDArray

import safelight
from safelight import catalog, inference
from safelight.batch import FileSettings, cluster
from safelight.batch.cluster.task_runner import TaskRunner
from safelight.media import image

WIDTH, HEIGHT = 4000, 3000
QUALITY = 92  # of the photograph's JPEG; about what cameras use
METHODS = ("edsr", "fsrcnn")  # the default, and the quickest network
SCALE = 2
PICTURES = 32  # for the actors
SIDE = 240  # of each
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
WHAT = f"a photograph of {WIDTH} x {HEIGHT} pixels (JPEG) on one core, and two actors against one"


def collage(height: int, width: int) -> NDArray[np.uint8]:
    """Put crops of real photographs side by side, (H, W, 3): noise would not pack, and a drawing too well."""
    photographs = [harness.photograph(name).pixels for name in PHOTOGRAPHS]
    rng = random.Random(0)
    whole = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, 300):
        for left in range(0, width, 400):
            chosen = rng.choice(photographs)
            y, x = rng.randrange(chosen.shape[0] - 299), rng.randrange(chosen.shape[1] - 399)
            part = whole[top : top + 300, left : left + 400]
            part[...] = chosen[y : y + part.shape[0], x : x + part.shape[1], :3]
    return whole


def one_core(method: str, source: Path, out: Path) -> Row:
    """Do one picture as an actor of one core does it. This process stays bound to that core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    card = catalog.find(method, "upscale")
    request = inference.InferenceRequest(inputs={"scale": SCALE}, device="cpu")
    config = cluster.WorkerConfig(
        card=card.id, request=request, files=FileSettings(), preview=False, cpus=1, version=safelight.__version__,
        run_id="one",
    )  # fmt: skip
    worker = TaskRunner(config)
    warm = source.with_name("warm.png")
    plan = cluster.plan([str(warm), str(source)], out=f"{out}/", tag="", format=None, on_exist="overwrite")
    first, outcome = (worker.do(task) for task in plan.tasks)
    assert first.status == outcome.status == "done", outcome.error
    peak = harness.peak_of_this_process()
    result = image.read(outcome.output)
    return {
        "method": card.id,
        "scale": SCALE,
        "precision": inference.prepare(card, request).describe().rpartition(", ")[2],
        "seconds": round(outcome.seconds, 2),
        "decode_seconds": round(harness.seconds_of(lambda: image.read(source), warm=0)[0], 3),
        "encode_seconds": round(harness.seconds_of(lambda: image.encode(result, "jpeg"), warm=0)[0], 3),
        "peak_bytes": peak,
        "bytes_in": source.stat().st_size,
        "bytes_out": Path(outcome.output).stat().st_size,
    }


def rate(workers: int, folder: Path, out: Path) -> float:
    """Return the pictures a second that so many actors of one thread do, from when each has done its first one."""
    plan = cluster.plan([str(folder)], out=f"{out}/", tag="", format=None, on_exist="error")
    card, request = (
        catalog.find(METHODS[0], "upscale"),
        inference.InferenceRequest(inputs={"scale": SCALE}, device="cpu"),
    )
    pool = cluster.WorkerPool(workers=workers)
    outcomes = cluster.run(plan, card=card.id, request=request, files=FileSettings(), pool=pool)
    times: list[float] = []
    for outcome in outcomes:
        assert outcome.status == "done", outcome.error
        times.append(time.perf_counter())
    # The end is left out too, where one actor has nothing to do any more.
    return (len(times) - 2 * workers) / (times[-1 - workers] - times[workers - 1])


def actors() -> Row:
    """Measure one actor, two, and one again, since a machine that others use is not the same all the time."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        whole = collage(SIDE * 4, SIDE * (PICTURES // 4))
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


def one_core_rows() -> list[Row]:
    """Measure every method in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "photograph.jpg"
        image.write(image.Picture(pixels=collage(HEIGHT, WIDTH)), source, quality=QUALITY)
        image.write(image.Picture(pixels=collage(64, 64)), source.with_name("warm.png"))
        out = Path(place) / "out"
        return [harness.show(harness.in_fresh_process(one_core, method, source, out)) for method in METHODS]


def main() -> None:
    """Measure everything, or one part of it."""
    parser = harness.parser(__doc__, out="scale.json")
    parser.add_argument("--actors", action="store_true", help="print one actor against two as JSON, write nothing")
    arguments = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    found = harness.show({**actors(), "load_before": load})
    if not arguments.actors:
        del found["load_before"]
        facts = harness.record(WHAT, load_before=load, actors=found, rows=one_core_rows())
        harness.write(arguments.out, facts)


if __name__ == "__main__":
    main()
