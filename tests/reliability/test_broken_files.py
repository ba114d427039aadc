"""R1 and R2 of the protocol: thousands of broken files, and workers that die, cost one line each and nothing else."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from safelight.media import image
from safelight.media.image import Decoder, Picture
from support.malformed_files import corpus, mutants, png, samples, smooth
from support.processes import decoders, peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


def outcome(decoder, source, **options):
    """Read a file to its end: None, or the line that it gave."""
    try:
        with decoder.open(source, **options) as rows:
            spec, total = rows.spec, 0
            while len(band := rows.read(50)):
                assert band.shape[1:] == (spec.width, spec.bands)
                total += len(band)
            assert total == spec.height
            return None
    except image.DecodeError as error:
        line = str(error)
        assert line.isprintable()
        assert "expected" in line
        assert "got" in line
        assert len(line) < 1000
        return line


def test_r1_two_thousand_mutations_through_one_decoder(capfd, record_property):
    """R1: no crash of this process, no hang (20 s a file), a picture or one line; memory stays flat."""
    with Decoder() as decoder:
        assert outcome(decoder, image.encode(Picture(pixels=smooth()), "png")) is None
        slowest, failed, before = 0.0, 0, peak()
        for i, (_, _, data) in enumerate(mutants(2000, seed=1)):
            start = time.monotonic()
            failed += outcome(decoder, data, lenient=i % 4 == 0, max_pixels=10**7) is not None
            slowest = max(slowest, time.monotonic() - start)
        assert 500 < failed < 1900
        assert slowest < 20
        assert len(decoders()) <= 2
        assert peak() - before < 100
        assert all(peak(process) < 300 for process in decoders())
        record_property("R1", f"{failed} of 2,000 failed, slowest {slowest:.2f} s, +{peak() - before:.0f} MB here")
    assert capfd.readouterr().err == ""


def test_r1_mutations_of_larger_pictures():
    """R1, where the damage lies behind rows that have been handed over."""
    with Decoder() as decoder:
        lines = [outcome(decoder, data) for _, _, data in mutants(120, seed=2, good=samples(700, 1000))]
    assert sum(line is not None for line in lines) > 40


def test_r1_a_folder_of_broken_files(tmp_path):
    """R1: the counts add up, and every file gives what it gives without a Decoder."""
    paths = corpus(tmp_path, 400, seed=3)
    assert len(paths) == len(list(tmp_path.iterdir())) == 400
    with Decoder() as decoder:
        for path in paths:
            try:
                image.read(path)
                line = None
            except image.DecodeError as error:
                line = str(error)
            assert outcome(decoder, path) == line


def test_r2_every_death_costs_one_file(tmp_path):
    """R2: workers killed again and again while they decode; every other file is whole."""
    pixels = np.tile(smooth(100, 200), (1, 40, 1))
    large = tmp_path / "large.png"
    large.write_bytes(png(8000, 3000, pixels=(b"\0" + pixels[0].tobytes()) * 3000))  # 72 MB: more than is fetched ahead
    small = image.encode(Picture(pixels=smooth()), "jpeg")
    with Decoder(workers=1) as decoder:
        for death in (signal.SIGSEGV, signal.SIGKILL, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGTERM) * 3:
            with decoder.open(large) as rows:
                rows.read(1)
                os.kill(decoders()[0], death)
                with pytest.raises(image.DecodeError, match=f"crashed the decoder .{death.name}."):
                    rows.read(3000)
            assert outcome(decoder, small) is None
    assert decoders() == []


_READER = """
import sys, time
sys.path.insert(0, "tests")
from support.processes import decoders, peak
from safelight.media.image import Decoder

before = peak()
with Decoder(workers=2) as decoder:
    files = [decoder.open(path) for path in sys.argv[1:]]
    time.sleep(3)  # a slow reader
    total = 0
    for file in files:
        with file:
            while len(band := file.read(256)):
                total += band.nbytes
    print(total, peak(), peak() - before, max(peak(process) for process in decoders()))
"""


def test_r2_parent_and_workers_stay_within_their_memory(tmp_path, record_property):
    """R2: parent <= 300 MB, worker <= 1.5 GB, with two pictures of 160 megapixels at a time."""
    band = np.tile(smooth(100, 200), (1, 80, 1))
    path = tmp_path / "large.png"
    path.write_bytes(png(16_000, 10_000, pixels=(b"\0" + band[0].tobytes()) * 10_000))
    command = [sys.executable, "-c", _READER, str(path), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    total, parent, rows, worker = (float(figure) for figure in done.stdout.split())
    record_property("R2", f"parent {parent:.0f} MB, of which {rows:.0f} MB are rows, worker {worker:.0f} MB")
    assert total == 2 * 480e6
    assert parent < 300
    assert worker < 200
