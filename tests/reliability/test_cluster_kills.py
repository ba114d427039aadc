"""R13: several workers on one batch, which are killed; and what is left when the batch itself is ended.

Only processes that this one started, at whatever depth, are looked at and killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from safelight import batch, catalog, inference
from safelight.batch import FileSettings, cluster
from safelight.batch.cluster import WorkerPool
from safelight.batch.cluster.driver import MAX_ATTEMPTS
from safelight.batch.manifest import NAME
from support.batch_program import run
from support.folders import tree
from support.pictures import draw
from support.processes import descendants

if not Path("/proc/self/stat").exists():
    pytest.skip("finds its processes in /proc", allow_module_level=True)

KILLS = 20
PICTURES = 40
SETTINGS = inference.InferenceRequest(inputs={"scale": 2})
AT_START = "__init__"  # in the title of an actor that has no model yet


def actors(root=None):
    """The actors that do pictures, by number."""
    return {n: title for n, title in descendants(root or os.getpid()).items() if title.startswith("ray::MapWorker")}


def alone(folder, out, method):
    """What a local run makes of a folder."""
    runner = inference.prepare(catalog.find(method), SETTINGS)
    jobs = batch.plan(batch.expand([str(folder)]), out=str(out), tag="x2", format=None, on_exist="error")
    for job in jobs:
        batch.process(job, runner, FileSettings())
    return tree(out)


def go(plan, method="fsrcnn", workers=2, **other):
    return cluster.run(
        plan,
        card=f"upscale/{method}",
        request=SETTINGS,
        files=FileSettings(),
        pool=WorkerPool(workers=workers),
        **other,
    )


class Killer(threading.Thread):
    """Kills actors at random moments: in every second case one that has its model, if there is one."""

    def __init__(self, kills, seed=0):
        super().__init__(daemon=True)
        self.rng, self.left = random.Random(seed), kills
        self.at_work = 0
        self.seen: set[int] = set()
        self.over = threading.Event()

    def run(self):
        while self.left and not self.over.wait(self.rng.uniform(0.1, 1.5)):
            self.seen |= set(descendants(os.getpid()))
            found = actors()
            ready = [number for number, title in found.items() if AT_START not in title]
            choice = ready if self.left % 2 else list(found)
            if not choice:
                continue
            number = self.rng.choice(choice)
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.at_work += number in ready
            self.left -= 1


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures, and what a local run makes of it."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(PICTURES):
        draw(folder / f"in/{i % 3}/{i}.png", i, size=(200, 240))
    return folder / "in", alone(folder / "in", folder / "out", "fsrcnn")


@pytest.mark.parametrize("store", ["folder", "url"])
def test_kills_of_actors_lose_and_duplicate_nothing(pictures, tmp_path, store, record_property):
    folder, _ = pictures
    # A second of work for each picture: a quick method would be done before all kills have struck.
    expected = alone(folder, tmp_path / "expected", "edsr")
    source, out = (str(folder), str(tmp_path / "out"))
    if store == "url":  # a store that shows a file while it is uploaded
        source, out = f"dir://in::file://{folder.parent}", f"dir://out::file://{tmp_path}"
    plan = cluster.plan([source], out=out, tag="x2", format=None, on_exist="error")
    kills = KILLS if store == "folder" else 6
    killer = Killer(kills)
    killer.start()
    start = time.perf_counter()
    outcomes = list(go(plan, "edsr"))
    killer.over.set()
    record_property("seconds", round(time.perf_counter() - start, 1))
    record_property("killed at work", killer.at_work)
    record_property("kills", kills - killer.left)
    assert killer.left == 0
    assert killer.at_work >= kills // 2
    assert [o.error for o in outcomes if o.status != "done"] == []
    assert sorted(o.output for o in outcomes) == sorted(e.output for e in plan.tasks)
    assert tree(tmp_path / "out") == expected
    wait_for_the_end(killer.seen)


def wait_for_the_end(numbers):
    """Nothing lives on: not what Ray started, nor what decodes for an actor that was killed."""
    deadline = time.monotonic() + 60
    while left := [number for number in numbers if Path(f"/proc/{number}").exists()]:
        assert time.monotonic() < deadline, f"{left} live on"
        time.sleep(0.2)


def test_a_picture_that_kills_its_workers_ends_and_the_others_are_done(tmp_path):
    """As one would whose work takes more memory than there is. Here the kills come from outside."""
    draw(tmp_path / "in/a.png", 0, size=(3000, 3000))
    draw(tmp_path / "in/b.png", 1, size=(30, 30))
    plan = cluster.plan([str(tmp_path / "in")], out=str(tmp_path / "out"), tag="x2", format=None, on_exist="error")
    over = threading.Event()

    def watch():
        while not over.wait(0.3):
            for number, title in actors().items():
                # Decoding and computing of the large one takes many seconds: its time shows in the actor's.
                if AT_START not in title and "submit" in title and age(number) > 4:
                    os.kill(number, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    outcomes = {Path(o.input).name: o for o in go(plan, method="edsr", workers=1)}
    over.set()
    assert {name: o.status for name, o in outcomes.items()} == {"a.png": "failed", "b.png": "done"}
    assert outcomes["a.png"].environment
    assert f"got {MAX_ATTEMPTS} that died" in outcomes["a.png"].error
    assert list(tree(tmp_path / "out")) == ["b.png"]


def age(number):
    """Seconds of computing that a process has done."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_interruption_leaves_whole_files_only_and_the_next_run_does_the_rest(pictures, tmp_path):
    folder, expected = pictures
    out = tmp_path / "out"
    stop = threading.Event()

    def check():
        if stop.is_set():
            raise KeyboardInterrupt

    plan = cluster.plan([str(folder)], out=str(out), tag="x2", format=None, on_exist="error")
    outcomes = go(plan, check=check)
    done = len([next(outcomes) for _ in range(5)])
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    assert descendants(os.getpid()) == {}
    left = tree(out)
    assert done <= len(left) < PICTURES
    assert left.items() <= expected.items()
    plan = cluster.plan([str(folder)], out=str(out), tag="x2", format=None, on_exist="skip")
    statuses = [outcome.status for outcome in go(plan)]
    assert statuses.count("skipped") == len(left)
    assert statuses.count("done") == PICTURES - len(left)
    assert tree(out) == expected


def test_a_cluster_goes_on_with_what_a_local_run_began(tmp_path):
    """What is missing is made, what was made from another state of its input is made again, a dry run only tells."""
    for i in range(6):
        draw(tmp_path / f"in/{i}.png", i, size=(20, 20))
    arguments = [tmp_path / "in", "-o", tmp_path / "out", "--scale", "2", "--method", "nearest"]
    assert run(*arguments).code == 0
    (tmp_path / "out/1.png").unlink()
    (tmp_path / "in/2.png").unlink()
    draw(tmp_path / "in/2.png", 100, size=(20, 20))
    arguments += ["--on-exist", "skip", "--cluster", "local", "--workers", "1"]
    before = tree(tmp_path / "out")
    planned = run(*arguments, "--dry-run")
    assert {name for name, status in planned.statuses().items() if status == "planned"} == {"1.png", "2.png"}
    assert tree(tmp_path / "out") == before
    told = run(*arguments)
    assert told.code == 0
    assert {name for name, status in told.statuses().items() if status == "done"} == {"1.png", "2.png"}
    assert told.summary["skipped"] == 4
    made = tree(tmp_path / "out")
    made.pop(NAME)
    assert made == alone(tmp_path / "in", tmp_path / "local", "nearest")
    assert run(*arguments).summary["skipped"] == 6


CALLER = """
import sys
from safelight import inference
from safelight.batch import FileSettings, cluster
plan = cluster.plan([sys.argv[1]], out=sys.argv[2], tag="x2", format=None, on_exist="error")
pool = cluster.WorkerPool(workers=2)
request = inference.InferenceRequest(inputs={"scale": 2})
for _ in cluster.run(plan, card="upscale/fsrcnn", request=request, files=FileSettings(), pool=pool):
    print("one", flush=True)
"""


def test_when_the_caller_is_killed_all_ends(pictures, tmp_path):
    folder, expected = pictures
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(folder), str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout.readline() == "one\n"
    below = descendants(caller.pid)
    assert any(title.startswith("ray::MapWorker") for title in below.values())
    caller.kill()
    caller.wait()
    caller.stdout.close()
    wait_for_the_end(below)
    whole = {name: data for name, data in tree(tmp_path / "out").items() if ".safelight-" not in name}
    assert whole
    assert whole.items() <= expected.items()


def test_two_actors_of_one_thread_give_at_least_1_7_times_one(record_property):
    """R13. It needs two idle cores: whatever else is at work takes from the two and not from the one."""
    tool = Path(__file__).parents[2] / "tools/measure_scale.py"
    told = subprocess.run([sys.executable, tool, "--actors"], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(told.stdout)
    for name, value in found.items():
        record_property(name, value)
    assert found["ratio"] >= 1.7, found
