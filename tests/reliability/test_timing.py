"""What has to be done within a time: on a machine with other work these may fail without a fault."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from safelight.batch import FileJob, FileSettings, Pipeline, Source
from safelight.media import image
from safelight.media.image import Decoder
from safelight.ops import noise
from support.malformed_files import bombs, gif, png, smooth
from support.processes import decoders
from test_batch_pipeline import Decoder as GivenRows
from test_batch_pipeline import Rows, Runner
from test_cli import loaded_by
from test_jpeg_tables import BAD, found


def test_help_is_quick():
    """The best of three, in time of the processor."""
    assert min(loaded_by("--help")[1] for _ in range(3)) < 0.1


def test_the_noise_of_twelve_megapixels_takes_a_second():
    x = torch.rand(1, 3, 3000, 4000)
    start = time.process_time()
    noise.estimate(x)
    assert time.process_time() - start < 2  # of all threads together; measured 0.4


@pytest.mark.parametrize("file", BAD.values(), ids=BAD.keys())
def test_what_is_no_table_of_jpeg_gives_none_at_once(file):
    start = time.process_time()
    assert found(file) is None
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize("name", [*bombs(), "frames"])
def test_bombs_are_answered_within_a_second(name):
    data = gif(10_000) if name == "frames" else bombs()[name][1]
    image.read(image.encode(image.Picture(pixels=smooth()), "png"))  # the library's own start is not the bomb's
    start = time.perf_counter()
    try:
        assert image.read(data).width == 100  # the frames; the others raise
    except image.PictureError:
        assert name != "frames"
    assert time.perf_counter() - start < 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_a_worker_that_hangs_is_cut_off_after_its_time(tmp_path):
    band = np.tile(smooth(100, 200), (1, 40, 1))
    path = tmp_path / "large.png"
    path.write_bytes(png(8000, 4000, pixels=(b"\0" + band[0].tobytes()) * 4000))
    before = decoders()
    with Decoder(workers=1, timeout=1.0) as decoder, decoder.open(path) as rows:
        rows.read(100)
        (worker,) = decoders(besides=before)
        os.kill(worker, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(image.DecodeError, match="made no progress for 1 s"):
            rows.read(4000)
        assert 0.9 < time.monotonic() - start < 4


@pytest.mark.parametrize(("reading", "computing", "low", "high"), [(0.0, 0.01, 0.7, 1.0), (0.02, 0.002, 0.0, 0.3)])
def test_busy_is_the_part_of_the_time_that_is_not_waited(tmp_path, reading, computing, low, high):
    names = [f"n{i}" for i in range(5)]
    jobs = [
        FileJob(source=Source(path=Path(name), tree=Path(name)), output=tmp_path / f"{name}.png", format="png")
        for name in names
    ]
    given = GivenRows(**{name: Rows(10, seconds=reading) for name in names})
    pipeline = Pipeline(Runner(lambda *_: time.sleep(computing)), FileSettings(), given)
    assert all(o.status == "done" for o in pipeline.run(jobs))
    assert low < pipeline.busy < high
