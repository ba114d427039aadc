"""Decoding in processes of its own: the same rows and errors as in this one, and nothing that a file can do to it."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safelight.media import image
from safelight.media.image import Decoder, Picture, worker_protocol
from safelight.media.image.spec import picture_of, spec_of
from support.malformed_files import DAMAGES, gif, mutants, pil_bytes, png, samples, smooth
from support.processes import decoders, eventually

linux = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")

GOOD = image.encode(Picture(pixels=smooth()), "png")


def gathered(rows, count=7):
    """All rows of a picture, as a Picture."""
    spec = rows.spec
    bands = [rows.read(count) for _ in range(-(-spec.height // count))]
    assert rows.read(count).shape == (0, spec.width, spec.bands)
    for band in bands:
        assert band.flags.c_contiguous
        assert band.flags.writeable
    return picture_of(spec, np.concatenate(bands))


def is_fine(decoder):
    with decoder.open(GOOD) as rows:
        return np.array_equal(rows.read(100), smooth())


@pytest.fixture(scope="module")
def decoder():
    with Decoder() as decoder:
        yield decoder


@pytest.fixture
def mine():
    """Lists the workers that a test has started."""
    before = decoders()
    return lambda: decoders(besides=before)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 96 MB of pixels: more than is fetched ahead."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    band = np.tile(smooth(100, 200), (1, 40, 1))
    path.write_bytes(png(8000, 4000, pixels=(b"\0" + band[0].tobytes()) * 4000))
    return path


# --- the same as in this process --------------------------------------------------------------------------------


@pytest.mark.parametrize("lenient", [False, True])
def test_every_kind_of_file_gives_the_pixels_of_read(decoder, lenient):
    for name, (_, data) in samples().items():
        with decoder.open(data, lenient=lenient) as rows:
            assert gathered(rows) == image.read(data), name


def test_orientation_metadata_and_path(decoder, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    icc = image.read(pil_bytes(Image.fromarray(smooth()).convert("CMYK"), "jpeg")).icc
    for kind in ("jpeg", "tiff", "png", "webp"):
        path = tmp_path / f"ä\udcff {kind}"
        path.write_bytes(pil_bytes(Image.fromarray(smooth(33, 50)), kind, exif=exif, icc_profile=icc, dpi=(300, 200)))
        whole = image.read(path)
        assert whole.width == 33
        assert whole.icc == icc
        assert whole.exif is not None
        for source in (path, str(path)):
            with decoder.open(source) as rows:
                assert gathered(rows, 10) == whole


def test_large_pieces_and_small_ones(decoder, large):
    with decoder.open(large) as rows:
        assert np.array_equal(rows.read(10), np.tile(smooth(1, 200), (10, 40, 1)))
        assert rows.read(3000).shape == (3000, 8000, 3)
        assert rows.read(1).shape == (1, 8000, 3)
        assert rows.read(10_000).shape == (989, 8000, 3)
        assert rows.read(1).shape == (0, 8000, 3)


def test_mutated_files_give_the_same_picture_or_the_same_line(decoder, capfd):
    """R1 of the protocol, in short."""
    failed = 0
    for name, _, data in mutants(100, 11):
        for lenient in (False, True):
            said = []
            for way in ("here", "there"):
                try:
                    if way == "here":
                        got = image.read(data, lenient=lenient, max_pixels=10**6)
                    else:
                        with decoder.open(data, lenient=lenient, max_pixels=10**6) as rows:
                            got = gathered(rows)
                    said.append((got.pixels.tobytes(), got.exif, got.warnings))
                except image.DecodeError as error:
                    said.append((type(error), str(error)))
            assert said[0] == said[1], name
            failed += isinstance(said[0][0], type)
    assert failed > 50
    assert capfd.readouterr().out == ""


def test_files_that_are_none(decoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the workers have been elsewhere since they started
    Path("here.png").write_bytes(GOOD)
    Path("text.jpg").write_text("hello")
    with decoder.open("here.png") as rows:
        assert rows.spec.width == 64
    for name in ("text.jpg", "no.png", ".", "a\0b.png", "x" * 300):
        with pytest.raises(image.DecodeError) as here:
            image.read(name)
        with pytest.raises(image.DecodeError) as there, decoder.open(name) as rows:
            rows.spec  # noqa: B018 - waits
        assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


def test_damage_behind_good_rows_shows_behind_them(decoder):
    data = image.encode(Picture(pixels=smooth(2000, 640)), "png")
    with decoder.open(data[: len(data) // 2]) as rows:
        assert np.array_equal(rows.read(100), smooth(2000, 640)[:100])
        for _ in range(2):
            with pytest.raises(image.DamagedError, match="breaks off"):
                rows.read(1900)


def test_pixels_and_rows_are_limited(decoder):
    with pytest.raises(image.DecodeError, match="at most 3,071 pixels"), decoder.open(GOOD, max_pixels=3071) as rows:
        rows.read(1)
    with decoder.open(png(64_000, 1, pixels=bytes(192_001))) as rows:
        assert rows.read(5).shape == (1, 64_000, 3)
    with pytest.raises(image.DecodeError, match="rows of at most 32 MB, got 23,000,000"):
        decoder.open(png(23_000_000, 1, pixels=bytes(69_000_001))).spec  # noqa: B018
    assert is_fine(decoder)


# --- files that are not read to their end -----------------------------------------------------------------------


@linux
def test_files_closed_early_leave_nothing_behind(large, mine):
    with Decoder(workers=2) as decoder:
        for i in range(12):
            with decoder.open(large) as rows:
                if i % 3:
                    assert rows.spec.height == 4000
                if i % 3 == 2:
                    rows.read(700)
            with pytest.raises(RuntimeError, match="a closed one"):
                rows.read(4000)
        files = [decoder.open(GOOD) for _ in range(20)]
        for file in files[::2]:
            file.close()
        for file in files[1::2]:
            with file:
                assert gathered(file).width == 64
        assert len(mine()) == 2
    assert mine() == []


@linux
def test_a_worker_keeps_no_file_open(large, mine, tmp_path):
    (tmp_path / "bad").write_bytes(GOOD[:1000])
    (tmp_path / "strange").write_bytes(b"hello")
    with Decoder(workers=1) as decoder:
        assert is_fine(decoder)
        (worker,) = mine()
        before = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        for _ in range(5):
            for name in ("bad", "strange"):
                with pytest.raises(image.DecodeError), decoder.open(tmp_path / name) as rows:
                    rows.read(100)
            with decoder.open(large) as rows:
                rows.read(1)
        assert is_fine(decoder)
        eventually(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) == before)


@linux
def test_a_decoder_that_closes_ends_everything(large, mine):
    decoder = Decoder(workers=1)
    first, second = decoder.open(large), decoder.open(GOOD)
    assert first.spec.height == 4000
    decoder.close()
    decoder.close()
    assert mine() == []
    for file in (first, second):
        with pytest.raises(image.PictureError, match="got one that was closed"):
            file.read(5000)
    with pytest.raises(RuntimeError, match="a closed one"):
        decoder.open(GOOD)


@linux
def test_a_decoder_can_be_closed_while_it_starts(mine):
    for wait in (0, 0.02, 0.2):
        with Decoder(workers=2) as decoder:
            decoder.start()
            file = decoder.open(GOOD)
            time.sleep(wait)
        with suppress(image.PictureError):  # unless its rows came before that
            assert file.read(100).shape == (48, 64, 3)
    assert mine() == []


# --- workers that die or hang -----------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_dies_costs_one_file(large, death, mine):
    """R2 of the protocol."""
    with Decoder(workers=1) as decoder:
        with decoder.open(large) as rows:
            assert rows.read(100).shape == (100, 8000, 3)
            (worker,) = mine()
            os.kill(worker, death)
            with pytest.raises(image.DecodeError) as caught:
                rows.read(4000)
        line = str(caught.value)
        assert line.startswith(
            f"{large}: expected a picture that decodes, got one that crashed the decoder ({death.name}"
        )
        assert ("or took more than 1,536 MB of memory" in line) == (death != signal.SIGSEGV)
        assert line.isprintable()
        assert is_fine(decoder)
        assert len(mine()) == 1


@linux
def test_a_worker_that_dies_between_files_costs_none(mine):
    with Decoder(workers=1) as decoder:
        for _ in range(3):
            assert is_fine(decoder)
            (worker,) = mine()
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: mine() == [])


@linux
def test_a_worker_that_hangs_is_cut_off(large, mine):
    with Decoder(workers=1, timeout=1.0) as decoder:
        with decoder.open(large) as rows:
            rows.read(100)
            (worker,) = mine()
            os.kill(worker, signal.SIGSTOP)
            with pytest.raises(image.DecodeError, match="made no progress for 1 s"):
                rows.read(4000)
        assert is_fine(decoder)


def test_a_slow_reader_is_no_hang(large):
    with Decoder(workers=1, timeout=0.6) as decoder, decoder.open(large) as rows:
        rows.read(100)
        time.sleep(2)
        assert rows.read(4000).shape == (3900, 8000, 3)


@linux
def test_memory_is_limited(tmp_path):
    """In the three ways in which codecs take it: by an error, by a message, by their death."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, animation = tmp_path / "turned.jpg", tmp_path / "large.gif"
    Image.fromarray(np.tile(smooth(100, 200), (40, 30, 1))).save(turned, exif=exif)
    animation.write_bytes(gif(1, 8000, 8000, (8000, 8000)))
    with Decoder(workers=1, memory=120 << 20) as decoder:
        with pytest.raises(image.DecodeError, match="that needs more") as caught, decoder.open(turned) as rows:
            rows.read(1)
        assert type(caught.value) is image.DecodeError  # not damaged: a fresh copy would not help
        with pytest.raises(image.DecodeError, match="more"), decoder.open(animation) as rows:
            rows.read(8000)
        assert is_fine(decoder)


# --- the processes ----------------------------------------------------------------------------------------------

_BUSY = """
import signal, sys, time
from safelight.media.image import Decoder
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background inherits that it is ignored
with Decoder(workers=2) as decoder:
    files = [decoder.open(path) for path in sys.argv[1:]]
    print(files[0].spec.width, flush=True)
    time.sleep(60)
"""


@linux
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent_and_say_nothing(large, end):
    command = [sys.executable, "-c", _BUSY, str(large), str(large)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        eventually(lambda: len(decoders(process.pid)) == 2)
        found = decoders(process.pid)
        os.killpg(process.pid, end)  # as the terminal does to all that run in it
        said = process.communicate(timeout=20)[1].decode()
        assert said.count("Traceback") == (end == signal.SIGINT)
        assert "decode_worker.py" not in said
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))


@linux
def test_a_worker_told_to_stop_by_the_keyboard_goes_on(decoder):
    assert is_fine(decoder)
    for worker in decoders():
        os.kill(worker, signal.SIGINT)
    assert is_fine(decoder)
    assert all(Path(f"/proc/{worker}").exists() for worker in decoders())


def test_a_worker_loads_neither_torch_nor_what_is_above_pictures():
    code = (
        "import sys, safelight.media.image.decode_worker; from safelight.media.image.vips import libvips; libvips();"
        "print([m for m in sys.modules if m == 'torch' or m.startswith('safelight.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.replace("'", '"'))
    assert {name.split(".")[1] for name in loaded} == {"media"}


def test_modules_beside_the_pictures_are_not_loaded(tmp_path, monkeypatch):
    for name in ("numpy", "json", "pyvips", "safelight"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in an interactive session
    with Decoder(workers=1) as decoder:
        assert is_fine(decoder)
    assert not (tmp_path / "taken").exists()


def test_a_worker_that_does_not_start_is_no_fault_of_the_file(monkeypatch, tmp_path):
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\necho 'No module named numpy' >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    with Decoder(workers=1) as decoder:
        for _ in range(2):
            with pytest.raises(image.PictureError, match="got No module named numpy; check") as caught:
                decoder.open(GOOD).read(1)
            assert not isinstance(caught.value, image.DecodeError)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with Decoder(workers=1) as decoder, pytest.raises(image.PictureError, match="got No such file or directory"):
        decoder.open(GOOD).read(1)


# --- what comes through the pipe ---------------------------------------------------------------------------------

_STRANGE = {
    "width": (0, -1, 1.5, "9", None, True, 10**9),
    "channels": (0, 2, 4, "3", None),
    "depth": ("12-bit", None, 8),
    "dpi": ((1.0,), 3, ("a", "b"), (1.0, 2.0, 3.0)),
    "warnings": (None, 3),
}


def test_a_frame_comes_through_and_one_that_can_not_be_is_refused():
    exif = image.read(samples()["turned jpeg"][1]).exif
    picture = Picture(
        pixels=smooth(), alpha=smooth()[..., 0], exif=exif, icc=b"\0\xff", dpi=(1.0, 2.0), warnings=("a",)
    )
    spec, stream = spec_of(picture), io.BytesIO()
    worker_protocol.send_spec(stream, spec)
    stream.seek(0)
    message = worker_protocol.receive(stream)
    blobs = stream.read()
    assert worker_protocol.receive_spec(io.BytesIO(blobs), message, 10**6) == spec
    strange = [{"spec": message["spec"] | {key: value}} for key, values in _STRANGE.items() for value in values]
    strange += [{"blobs": {"icc": length}} for length in (-1, 2**40, 3, "1")] + [{"blobs": {"width": 1}}]
    strange += [{"spec": None}, {"blobs": None}]
    for change in strange:
        with pytest.raises(worker_protocol.PipeError):
            worker_protocol.receive_spec(io.BytesIO(b"ab"), message | change, 10**6)
    loud = worker_protocol.receive_spec(
        io.BytesIO(blobs), message | {"spec": message["spec"] | {"warnings": ["\x1b[2J"]}}, 10**6
    )
    assert loud.warnings == (r"\x1b[2J",)


def test_a_stream_that_is_damaged_is_refused_or_gives_a_frame():
    stream = io.BytesIO()
    worker_protocol.send_spec(stream, spec_of(Picture(pixels=smooth(), icc=b"profile", dpi=(300.0, 300.0))))
    rng, refused = random.Random(3), 0
    for _ in range(2000):
        mutant = io.BytesIO(rng.choice(DAMAGES)(stream.getvalue(), rng, [stream.getvalue()]))
        try:
            spec = worker_protocol.receive_spec(mutant, worker_protocol.receive(mutant), 10**6)
            assert spec.width * spec.height <= 10**6
        except worker_protocol.PipeError:
            refused += 1
    assert refused > 1000
