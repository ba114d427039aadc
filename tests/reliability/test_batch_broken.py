"""R1 and R2: a thousand broken files among good ones, and decoding workers that die, through the command line."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np

from safelight.media import image
from safelight.media.image import Picture
from support.batch_program import Told, command, results, run, stale
from support.malformed_files import corpus
from support.pictures import draw

GOOD = 100
BROKEN = 1000


def test_r1_a_thousand_broken_files_among_good_ones(tmp_path, record_property):
    """No crash, no hang, no traceback, one line a failed file, all good ones done; counts add up; exit 1."""
    for i in range(GOOD):
        draw(tmp_path / f"in/{i * 10:05d} good.png", i)
    corpus(tmp_path / "in", BROKEN, seed=3)
    start = time.monotonic()
    told = run(tmp_path / "in", "-o", tmp_path / "out", "-m", "bicubic", "-s", "2", timeout=540)
    seconds = time.monotonic() - start

    assert told.code == 1
    summary = told.summary
    assert summary["total"] == len(told.files) == GOOD + BROKEN
    assert summary["done"] + summary["failed"] + summary["skipped"] == summary["total"]
    assert [f["input"] for f in told.files] == sorted(f["input"] for f in told.files)
    good = [f for f in told.files if f["input"].endswith("good.png")]
    assert [f["status"] for f in good] == ["done"] * GOOD
    assert summary["failed"] > BROKEN / 2  # a flipped bit in a comment harms nobody

    failed = [f for f in told.files if f["status"] == "failed"]
    assert len(failed) == summary["failed"]
    for facts in failed:
        assert facts["error"].startswith(facts["input"]), facts
        assert "internal error" not in facts["error"]
    # Standard error has these lines and no other: no traceback, and nothing that a library says by itself.
    assert told.errors == [f"safelight: {f['error']}" for f in failed]

    made = results(tmp_path / "out")
    assert len(made) == summary["done"]
    for name in made:
        image.read(tmp_path / "out" / name)  # strictly
    assert not stale(tmp_path / "out")
    record_property("R1", f"{seconds:.0f} s, {summary['failed']} of {summary['total']} failed, {told.peak:.0f} MiB")


def decoding(parent):
    """The decoding processes of a program that are at work just now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, father = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(father) == parent and b"safelight.media.image" in words and state == "R":
            found.append(int(folder.name))
    return found


def test_r2_a_worker_that_dies_costs_one_file(tmp_path, record_property):
    """SIGSEGV to one decoding worker after another: each costs one file at most, one line, and the rest is done."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
    first = tmp_path / "in/00.png"
    first.parent.mkdir()
    image.write(Picture(pixels=noise), first)
    for i in range(1, 80):
        (tmp_path / f"in/{i:02d}.png").hardlink_to(first)
    words = command(tmp_path / "in", "-o", tmp_path / "out", "-m", "nearest", "-s", "1", "--format", "jpeg")
    killed: list[int] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as work:
        over = threading.Event()

        def kill():
            while not over.wait(0.3) and len(killed) < 5:
                found = decoding(work.pid)
                if found:
                    os.kill(found[0], signal.SIGSEGV)
                    killed.append(found[0])

        killer = threading.Thread(target=kill)
        killer.start()
        out, errors = work.communicate(timeout=240)
        over.set()
        killer.join()
    told = Told(work.returncode, out, errors)
    assert len(killed) == 5
    failed = [f for f in told.files if f["status"] == "failed"]
    assert told.summary["done"] + len(failed) == told.summary["total"] == 80
    assert 1 <= len(failed) <= len(killed)
    assert told.code == 1
    assert told.errors == [f"safelight: {f['error']}" for f in failed]
    assert len(results(tmp_path / "out")) == told.summary["done"]
    record_property(
        "R2", f"{len(killed)} workers died, {len(failed)} files failed, the program took {told.peak:.0f} MiB"
    )
