"""The pipeline: its three stages overlap, its memory is bounded, and a failure in any of them is one file's outcome."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from safelight import batch
from safelight.batch import FileJob, FileSettings, Pipeline, Source
from safelight.inference.runner import NumericError
from safelight.media import image
from safelight.media.image.spec import ImageSpec

WAIT = 20.0  # seconds, for what must happen at once


class Rows:
    """A picture of ``height`` rows, whose reading may take time or fail."""

    def __init__(self, height, *, seconds=0.0, breaks_at=None):
        self.spec = ImageSpec(width=4, height=height, channels=1, depth="8-bit", format="png")
        self._seconds, self._breaks_at, self._row = seconds, breaks_at, 0

    def read(self, count):
        time.sleep(self._seconds)
        if self._breaks_at is not None and self._row >= self._breaks_at:
            raise image.DamagedError("expected an undamaged file, got one that breaks off")
        count = min(count, self.spec.height - self._row)
        self._row += count
        return np.zeros((count, 4, 1), np.uint8)


class Decoder:
    """Gives the rows that a test wants for a file, and counts how many files are open."""

    def __init__(self, **rows):
        self.rows, self.now, self.most, self.opened = rows, 0, 0, []

    @contextmanager
    def open(self, source, *, max_pixels, lenient=False):
        self.opened.append(source.stem)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield self.rows.get(source.stem) or Rows(2)
        finally:
            self.now -= 1


class Runner:
    """Passes rows through, one at a time; a test may look in before each, or let it take time."""

    def __init__(self, before=lambda name, row: None, band=None):
        self.before, self.band, self.name = before, band, None
        self.made = 0

    def size(self, width, height):
        return width, height

    def stream(self, rows, progress, warn):
        spec = rows.spec

        def bands():
            for row in range(spec.height):
                self.before(spec.height, row)
                made = rows.read(1)
                self.made += 1
                progress((row + 1) / spec.height)
                if row == 1:
                    warn("seen on the way")
                yield made if self.band is None else self.band

        return spec, bands()


@pytest.fixture
def jobs(tmp_path):
    def make(*names, **options):
        return [
            FileJob(
                source=Source(path=Path(f"{name}.png"), tree=Path(f"{name}.png")),
                output=tmp_path / "out" / f"{name}.png", format="png", **options,
            )
            for name in names
        ]  # fmt: skip

    return make


def run(jobs, *, runner=None, decoder=None, **options):
    return list(Pipeline(runner or Runner(), FileSettings(), decoder or Decoder(), **options).run(jobs))


def left(folder):
    return sorted(p.name for p in (folder / "out").iterdir())


def test_the_next_is_read_and_the_last_is_written_while_one_is_computed(jobs, monkeypatch):
    computed = threading.Event()
    real = image.write_rows

    def slow(spec, rows, target, **options):
        if target.stem == "a":
            assert computed.wait(WAIT), "b is not computed while a is written"
        return real(spec, rows, target, **options)

    monkeypatch.setattr(image, "write_rows", slow)
    decoder = Decoder(a=Rows(3), b=Rows(4))

    def before(height, row):
        if height == 3:
            assert decoder.opened == ["a", "b"], "b is not read while a is computed"
        if height == 4:
            computed.set()

    outcomes = run(jobs("a", "b", "c"), runner=Runner(before), decoder=decoder)
    assert [o.status for o in outcomes] == ["done"] * 3
    assert [Path(o.output).stem for o in outcomes] == ["a", "b", "c"]
    assert {o.warnings for o in outcomes} == {("seen on the way",)}


def test_computing_waits_for_writing_once_64_megabytes_wait(jobs, monkeypatch):
    go = threading.Event()
    band = np.zeros((1024, 1024, 16), np.uint8)  # 16 MB
    runner = Runner(band=band)

    def stuck(spec, rows, target, **options):
        assert go.wait(WAIT)
        return tuple(str(len(row)) for row in rows)[:1]

    def progress(job, fraction):
        if fraction == 5 / 12:  # told once when it was reached, and from then on while the work waits
            seen.append(runner.made)
            if len(seen) == 3:
                go.set()

    seen = []
    monkeypatch.setattr(image, "write_rows", stuck)
    (outcome,) = run(jobs("a"), runner=runner, decoder=Decoder(a=Rows(12)), progress=progress)
    assert outcome.status == "done"
    assert seen[:3] == [5, 5, 5]  # four in the queue, and the one that waits for a place


def test_memory_does_not_grow_with_the_number_of_files(jobs):
    decoder = Decoder()
    outcomes = run(jobs(*map(str, range(200))), decoder=decoder)
    assert [o.status for o in outcomes] == ["done"] * 200
    assert decoder.most == 2
    assert decoder.now == 0


def broken_reading():
    return {"decoder": Decoder(b=Rows(9, breaks_at=4))}, "breaks off", False


def broken_computing():
    def before(height, row):
        if (height, row) == (9, 4):
            raise NumericError("computed values that are not numbers")

    return {"decoder": Decoder(b=Rows(9)), "runner": Runner(before)}, "not numbers", False


def broken_memory():
    def before(height, row):
        if (height, row) == (9, 0):
            raise MemoryError

    return {"decoder": Decoder(b=Rows(9)), "runner": Runner(before)}, "more free memory", True


@pytest.mark.parametrize("stage", [broken_reading, broken_computing, broken_memory])
def test_a_failure_on_the_way_costs_one_file_and_leaves_nothing(jobs, tmp_path, stage):
    options, told, environment = stage()
    outcomes = run(jobs("a", "b", "c"), **options)
    assert [o.status for o in outcomes] == ["done", "failed", "done"]
    assert told in outcomes[1].error
    assert outcomes[1].error.startswith("b.png: ")
    assert outcomes[1].environment == environment
    assert left(tmp_path) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("error", "environment"),
    [(image.TargetError("expected free space, got a full disk"), True), (image.EncodeError("expected less"), False)],
)
def test_a_failure_at_the_end_costs_one_file_and_no_more_computing(jobs, tmp_path, monkeypatch, error, environment):
    real = image.write_rows
    failed = threading.Event()

    def fail(spec, rows, target, **options):
        if target.stem != "b":
            return real(spec, rows, target, **options)
        next(iter(rows))
        failed.set()
        raise error

    def before(height, row):
        if (height, row) == (900, 1):
            assert failed.wait(WAIT)
            time.sleep(0.05)

    monkeypatch.setattr(image, "write_rows", fail)
    runner = Runner(before)
    outcomes = run(jobs("a", "b", "c"), runner=runner, decoder=Decoder(b=Rows(900)))
    assert [o.status for o in outcomes] == ["done", "failed", "done"]
    assert str(error) in outcomes[1].error
    assert outcomes[1].environment == environment
    assert runner.made < 100
    assert left(tmp_path) == ["a.png", "c.png"]


def test_what_is_there_is_not_read(jobs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"mine")
    decoder = Decoder()
    outcomes = run(jobs("a", on_exist="skip") + jobs("a") + jobs("b"), decoder=decoder)
    assert [o.status for o in outcomes] == ["skipped", "failed", "done"]
    assert decoder.opened == ["b"]


def test_what_comes_to_be_during_the_work_stays(jobs, tmp_path):
    def before(height, row):
        (tmp_path / "out/a.png").write_bytes(b"mine")

    (error,) = run(jobs("a"), runner=Runner(before))
    assert (error.status, error.environment) == ("failed", False)
    assert (tmp_path / "out/a.png").read_bytes() == b"mine"
    (tmp_path / "out/a.png").unlink()
    (skipped,) = run(jobs("a", on_exist="skip"), runner=Runner(before))
    assert skipped.status == "skipped"
    assert (tmp_path / "out/a.png").read_bytes() == b"mine"


def test_the_manifest_is_told_what_is_done_and_nothing_else(jobs, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    made = [
        FileJob(source=Source(path=tmp_path / f"{n}.png", tree=Path(f"{n}.png")), output=j.output, format="png")
        for n, j in zip("ab", jobs("a", "b"), strict=True)
    ]
    with batch.Manifest(tmp_path / "out", {}, read_existing=True) as manifest:
        run(made, decoder=Decoder(b=Rows(3, breaks_at=1)), manifest=manifest)
        standings = [manifest.output_state(job, batch.fingerprint_of(job.source.path)) for job in made]
    assert standings == ["current", "unknown"]


def stopping(stage):
    """Stop while the writer is stuck: where the next picture is computed, or where nothing is left but to wait."""

    def progress(job, fraction):
        if (stage == "computing" and job.source.name == "b.png") or (stage == "waiting" and fraction == 1.0):
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("stage", ["computing", "waiting"])
def test_an_interruption_ends_it_and_leaves_nothing(jobs, tmp_path, monkeypatch, stage):
    real = image.write_rows

    def slow(spec, rows, target, **options):
        return real(spec, (time.sleep(0.5) or row for row in rows), target, **options)

    monkeypatch.setattr(image, "write_rows", slow)
    decoder = Decoder()
    with pytest.raises(KeyboardInterrupt):
        run(jobs("a", "b"), decoder=decoder, progress=stopping(stage))
    assert left(tmp_path) == []
    assert decoder.now == 0
    assert not [t for t in threading.enumerate() if t.name == "safelight-writer"]


def test_closing_it_ends_it_and_leaves_nothing(jobs, tmp_path):
    decoder = Decoder()
    work = Pipeline(Runner(), FileSettings(), decoder).run(jobs(*map(str, range(100))))
    assert next(work).status == "done"
    work.close()
    assert decoder.now == 0
    assert len(left(tmp_path)) < 100
    assert all(name.endswith(".png") for name in left(tmp_path))
    assert not [t for t in threading.enumerate() if t.name == "safelight-writer"]


def test_a_pipe_that_is_read_no_more_ends_it(jobs, monkeypatch):
    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(image, "write_rows", gone)
    with pytest.raises(BrokenPipeError):
        run(jobs("a", "b"))


def test_busy_is_a_share_of_the_time(jobs):
    pipeline = Pipeline(Runner(lambda *_: time.sleep(0.01)), FileSettings(), Decoder())
    assert pipeline.busy == 0.0
    assert all(o.status == "done" for o in pipeline.run(jobs("a", "b")))
    assert 0 < pipeline.busy <= 1
