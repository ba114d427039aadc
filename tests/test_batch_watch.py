"""A watched folder: what comes or changes is done once it is whole, and the rest is left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from safelight import batch
from support.pictures import draw


def put(path: Path, content: bytes = b"x", age: float = 100.0, now: float = 1000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (now - age, now - age))
    return path


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def names(watch):
    return [str(source.tree) for source in watch.poll()]


def test_old_files_are_ready_at_once_and_only_once(tmp_path, clock):
    put(tmp_path / "b.png")
    put(tmp_path / "sub/a.jpg")
    put(tmp_path / "notes.txt")
    put(tmp_path / ".hidden.png")
    watch = batch.FolderWatcher([tmp_path], clock=clock)
    assert names(watch) == ["b.png", "sub/a.jpg"]
    assert names(watch) == []
    put(tmp_path / "c.png")
    assert names(watch) == ["c.png"]


def test_a_file_that_grows_is_left_until_it_is_still(tmp_path, clock):
    watch = batch.FolderWatcher([tmp_path], clock=clock)
    for i in range(3):
        put(tmp_path / "a.png", b"x" * (i + 1), age=0.1, now=clock.now)
        assert names(watch) == []
        clock.now += 0.5
    clock.now += 0.5
    assert names(watch) == ["a.png"]


def test_a_time_in_the_future_is_not_waited_for(tmp_path, clock):
    put(tmp_path / "a.png", age=-3600)
    watch = batch.FolderWatcher([tmp_path], clock=clock)
    assert names(watch) == []
    clock.now += 1.1
    assert names(watch) == ["a.png"]


def test_a_changed_file_comes_again_and_a_removed_one_is_forgotten(tmp_path, clock):
    put(tmp_path / "a.png")
    watch = batch.FolderWatcher([tmp_path], clock=clock)
    assert names(watch) == ["a.png"]
    put(tmp_path / "a.png", age=50)
    assert names(watch) == ["a.png"]
    (tmp_path / "a.png").unlink()
    assert names(watch) == []
    put(tmp_path / "a.png", age=50)
    assert names(watch) == ["a.png"]


def test_results_inside_the_folder_are_left_out(tmp_path, clock):
    put(tmp_path / "a.png")
    put(tmp_path / "big/a.png")
    assert names(batch.FolderWatcher([tmp_path], exclude=tmp_path / "big", clock=clock)) == ["a.png"]


def test_a_look_takes_a_twentieth_of_the_time_at_most(tmp_path, clock, monkeypatch):
    watch = batch.FolderWatcher([tmp_path], clock=clock)
    watch.poll()
    assert watch.pause == 1.0
    ticks = iter([0.0, 3.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    watch.poll()
    assert watch.pause == 60.0


def test_the_program_does_what_comes_until_it_is_interrupted(tmp_path):
    draw(tmp_path / "in/a.png", size=(3, 3))
    arguments = [f"{tmp_path}/in", "-o", f"{tmp_path}/out", "-m", "nearest", "-s", "2", "--watch", "--json"]
    command = [sys.executable, "-m", "safelight", "upscale", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as work:

        def outcome():
            facts = json.loads(work.stdout.readline())
            return Path(facts["output"]).relative_to(tmp_path).as_posix(), facts["status"], facts["width"]

        assert outcome() == ("out/a.png", "done", 6)
        draw(tmp_path / "in/sub/b.png", size=(4, 4))
        assert outcome() == ("out/sub/b.png", "done", 8)
        (tmp_path / "in/c.png").write_bytes(b"no picture")
        assert outcome() == ("out/c.png", "failed", None)
        draw(tmp_path / "in/c.png", size=(5, 5))
        assert outcome() == ("out/c.png", "done", 10)
        draw(tmp_path / "in/a.png", size=(7, 7))
        assert outcome() == ("out/a.png", "done", 14)
        time.sleep(0.3)
        work.send_signal(signal.SIGINT)
        rest, errors = work.communicate(timeout=30)
    summary = json.loads(rest)
    assert (summary["total"], summary["done"], summary["failed"], summary["interrupted"]) == (5, 4, 1, False)
    assert work.returncode == 1  # one has failed; that Ctrl-C ended it is as it should be
    assert errors.count("\n") == 2  # "watching", and the failure
