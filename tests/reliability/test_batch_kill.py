"""R4: kill -9 at any moment of a batch leaves no partial file, and the batch goes on where it was."""

import random
import shutil
import subprocess
import time

from support.batch_program import command, results, run, stale
from support.pictures import draw

PICTURES = 200
KILLS = 50


def identities(folder):
    """What tells whether a file was touched: inode and time of change by path."""
    found = {name: (folder / name).stat() for name in results(folder)}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def test_r4_fifty_kills(tmp_path, record_property):
    """Under a final name there is the whole result or nothing; each resume does the rest only; no temporaries stay."""
    for i in range(PICTURES):
        draw(tmp_path / f"in/{i % 7}/{i:03d}.png", i)
    arguments = [tmp_path / "in", "-m", "fsrcnn", "-s", "2", "--on-exist", "skip"]
    unbroken = run(*arguments, "-o", tmp_path / "whole")
    assert (unbroken.code, unbroken.summary["done"]) == (0, PICTURES)
    whole = results(tmp_path / "whole")
    assert len(whole) == PICTURES

    out = tmp_path / "out"
    chance = random.Random(4)
    kills = restarts = unfinished = 0
    start = time.monotonic()
    while kills < KILLS:
        before = identities(out)
        with subprocess.Popen(
            [*command(*arguments, "-o", out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as work:
            # After some of its lines and a little more; one in ten dies while it starts.
            left = PICTURES - len(before)
            if chance.random() < 0.1:
                time.sleep(chance.uniform(0, 2))
            else:
                for _ in range(len(before) + chance.randrange(max(1, min(left, 60)))):
                    work.stdout.readline()
                time.sleep(chance.uniform(0, 0.02))
            work.kill()
        kills += 1
        unfinished += len(stale(out))
        made = results(out)
        torn = [name for name, content in made.items() if content != whole[name]]
        assert not torn, f"partial or other than the unbroken run's after kill {kills}"
        now = identities(out)
        assert {name: now[name] for name in before} == before, "done again"
        if len(made) == PICTURES:
            shutil.rmtree(out)
            restarts += 1

    before = identities(out)
    resumed = run(*arguments, "-o", out)
    assert resumed.code == 0
    assert resumed.summary["done"] == PICTURES - len(before)
    assert resumed.summary["skipped"] == len(before)
    assert results(out) == whole
    assert not stale(out)
    seconds = time.monotonic() - start
    record_property("R4", f"{KILLS} kills in {seconds:.0f} s, {restarts} restarts, {unfinished} temporaries on the way")
