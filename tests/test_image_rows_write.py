"""Writing pictures whose rows are still being computed: the same bytes, bounded memory, nothing left behind."""

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from safelight.media import image
from safelight.media.image import ImageSpec, Picture, reduction
from safelight.media.image.exif import with_resolution
from safelight.media.image.spec import picture_of
from safelight.media.image.vips import libvips
from support.folders import names

STREAMED = ["png", "tiff", "jpeg"]
GENERATOR = np.random.default_rng(3)


def noise(height, width, bands, dtype):
    if dtype is np.float32:
        return GENERATOR.normal(0.5, 0.3, (height, width, bands)).astype(np.float32)
    return GENERATOR.integers(0, np.iinfo(dtype).max, (height, width, bands), dtype, endpoint=True)


def spec(rows, **facts):
    depth = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}[rows.dtype.name]
    height, width, bands = rows.shape
    return ImageSpec(
        width=width, height=height, channels=1 if bands < 3 else 3, depth=depth, alpha=bands % 2 == 0, **facts
    )


def banded(rows, *heights):
    """Cut rows into bands of the given heights, over and over."""
    top = 0
    while top < len(rows):
        for height in heights:
            yield rows[top : top + height]
            top += height


def noisy(height=2000, width=500):
    """Rows whose files are far larger than what waits anywhere on the way."""
    return noise(height, width, 3, np.uint8)


@pytest.mark.parametrize("kind", image.FORMATS)
@pytest.mark.parametrize(
    ("bands", "dtype"), [(3, np.uint8), (4, np.uint8), (2, np.uint16), (3, np.uint16), (1, np.float32), (4, np.float32)]
)
def test_the_bytes_are_the_same_however_the_rows_come(tmp_path, kind, bands, dtype):
    rows = noise(37, 23, bands, dtype)
    facts = spec(rows, exif=with_resolution(None, (300.0, 300.0)), xmp=b"<x/>" * 9000, dpi=(300.0, 300.0))
    picture = picture_of(facts, rows)
    expected = image.encode(picture, kind)
    losses = image.conform(picture, kind).warnings
    for n, heights in enumerate([(1,), (7, 0, 12), (37,)]):
        path = tmp_path / str(n)
        assert image.write_rows(facts, banded(rows, *heights), path, format=kind) == losses
        assert path.read_bytes() == expected
    stream = io.BytesIO()
    assert image.write_rows(facts, banded(rows, 5), stream, format=kind) == losses
    assert stream.getvalue() == expected
    image.write(picture, tmp_path / "whole", format=kind)
    assert (tmp_path / "whole").read_bytes() == expected
    # What comes back is what was told.
    back, held = image.read(expected), image.conform(picture, kind)
    assert (back.dpi is None) == (held.dpi is None)
    if kind in ("png", "tiff"):
        assert np.array_equal(back.pixels, held.pixels)
        assert (back.alpha is None and held.alpha is None) or np.array_equal(back.alpha, held.alpha)


def test_the_strange_shapes(tmp_path):
    for height, width in [(1, 1), (1, 70_000), (70_000, 1), (3, 2)]:
        rows = noise(height, width, 3, np.uint16)
        image.write_rows(spec(rows), banded(rows, 11), tmp_path / "a.tif", overwrite=True)
        assert np.array_equal(image.read(tmp_path / "a.tif").pixels, rows)


def test_values_outside_the_range_are_told_at_the_end():
    rows = np.zeros((50, 4, 3), np.float32)
    rows[49, 3, 2] = 1.5
    told = image.write_rows(spec(rows, warnings=("before",)), banded(rows, 10), io.BytesIO(), format="png")
    assert told == ("before", "float rounded to 16 bits: PNG holds no more", "values outside [0, 1] clipped")
    rows[49, 3, 2] = 1.0
    told = image.write_rows(spec(rows), banded(rows, 10), io.BytesIO(), format="png")
    assert told == ("float rounded to 16 bits: PNG holds no more",)


def test_a_value_that_is_not_finite_names_the_file(tmp_path):
    rows = np.full((50, 4, 3), np.nan, np.float32)
    with pytest.raises(image.EncodeError, match=r"a\.png: expected finite"):
        image.write_rows(spec(rows), [rows], tmp_path / "a.png")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", [*STREAMED, "webp"])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("theirs"),
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "theirs"),
        image.EncodeError("theirs"),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, "theirs"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_the_rows_raise_comes_out_as_it_is(tmp_path, kind, at, error):
    rows = noisy(400)
    text = str(error)

    def failing():
        for n, band in enumerate(banded(rows, 100)):
            if n == at:
                raise error
            yield band

    with pytest.raises(type(error)) as caught:
        image.write_rows(spec(rows), failing(), tmp_path / f"a.{kind}")
    assert caught.value is error
    assert str(error) == text
    assert names(tmp_path) == []
    assert not any(t.name == "safelight-encoder" for t in threading.enumerate())


def test_rows_that_are_not_those_of_the_spec(tmp_path):
    rows = noise(40, 8, 3, np.uint8)
    wrong = {
        "got 30": [rows[:30]],
        "at most 10 rows": [rows[:30], rows[:30]],
        r"got shape \(40, 7, 3\)": [rows[:, :7]],
        "as uint16": [rows.astype(np.uint16)],
        r"got shape \(40, 8\)": [rows[..., 0]],
    }
    for words, bands in wrong.items():
        with pytest.raises(image.EncodeError, match=words):
            image.write_rows(spec(rows), bands, tmp_path / "a.png")
    with pytest.raises(image.PictureError, match="expected a format for a stream"):
        image.write_rows(spec(rows), [rows], io.BytesIO())
    assert names(tmp_path) == []


def test_an_array_may_be_used_again():
    rows = noisy()

    def reusing():
        band = np.empty((50, *rows.shape[1:]), rows.dtype)
        for top in range(0, len(rows), 50):
            band[:] = rows[top : top + 50]
            yield band
        band[:] = 0

    stream = io.BytesIO()
    image.write_rows(spec(rows), reusing(), stream, format="png")
    assert np.array_equal(image.read(stream.getvalue()).pixels, rows)


def test_the_rows_may_compute_with_torch_and_libvips_in_their_own_thread():
    """torch's modes belong to a thread: rows asked for in another would be computed without them."""
    rows = noisy()
    threads = set()

    def computing():
        with torch.inference_mode():
            for band in banded(rows, 250):
                threads.add(threading.current_thread())
                there = torch.nn.functional.conv2d(
                    torch.from_numpy(band.copy()).permute(2, 0, 1)[None].float(), torch.ones(3, 1, 1, 1), groups=3
                )
                assert there.is_inference()
                back = np.ascontiguousarray(there[0].permute(1, 2, 0).byte().numpy())
                pyvips = libvips()
                seen = pyvips.Image.new_from_memory(back.data, back.shape[1], back.shape[0], 3, "uchar")
                yield np.frombuffer(seen.rot180().rot180().write_to_memory(), np.uint8).reshape(back.shape)

    stream = io.BytesIO()
    image.write_rows(spec(rows), computing(), stream, format="tiff")
    assert threads == {threading.current_thread()}
    assert np.array_equal(image.read(stream.getvalue()).pixels, rows)


def test_many_at_once(tmp_path):
    """Each with its own thread and libvips' threads: none waits for another for ever."""
    rows = noisy(600)
    expected = {kind: image.encode(Picture(pixels=rows), kind) for kind in STREAMED}

    def work(n):
        kind = STREAMED[n % 3]
        image.write_rows(spec(rows), banded(rows, 64), tmp_path / f"{n}.{kind}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(p.read_bytes() == expected[p.suffix[1:]] for p in tmp_path.iterdir())
    assert len(names(tmp_path)) == 12


class Slow(io.RawIOBase):
    """Takes a few bytes at a time, as a pipe may, and one second for each megabyte."""

    def __init__(self):
        self.got = b""

    def writable(self):
        return True

    def write(self, data):
        taken = bytes(data[:5000])
        self.got += taken
        time.sleep(len(taken) / 1e6)
        return len(taken)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_a_stream_that_takes_a_part_at_a_time_and_cannot_seek(kind):
    rows = noise(100, 100, 3, np.uint8)
    slow = Slow()
    image.write_rows(spec(rows), [rows], slow, format=kind)
    assert slow.got == image.encode(Picture(pixels=rows), kind)


@pytest.mark.parametrize("kind", STREAMED)
def test_a_broken_pipe_comes_out_as_it_is(kind):
    rows = noisy()
    read, written = os.pipe()
    os.close(read)
    with open(written, "wb", buffering=0) as pipe, pytest.raises(BrokenPipeError):  # noqa: PTH123 - a descriptor
        image.write_rows(spec(rows), banded(rows, 100), pipe, format=kind)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interruption_while_the_encoder_is_slow():
    """Rows come faster than they are taken, so that the caller waits when the signal comes."""
    rows = noise(2500, 10_000, 3, np.uint8)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    sink = Slow()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            image.write_rows(spec(rows), banded(rows, 500), sink, format="png")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(sink.got) < rows.nbytes / 10  # it was not written to its end, for which it takes over a minute
    assert not any(t.name == "safelight-encoder" for t in threading.enumerate())


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "a full disk"),
        (errno.EDQUOT, "a full disk"),
        (errno.EFBIG, "a full disk"),
        (errno.EROFS, "no permission"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "check"),
    ],
)
def test_trouble_in_the_middle_names_the_folder_and_stops_the_rows(tmp_path, monkeypatch, kind, code, words):
    """R5: the disk fills up after the first 50 kB of more than 100 MB."""
    band, asked, written = noisy(100, 4000), [], []
    facts = replace(spec(band), height=10_000)
    write = os.write

    def failing(descriptor, data):
        written.append(len(data))
        if sum(written) > 50_000:
            raise OSError(code, os.strerror(code))
        return write(descriptor, data)

    def watched():
        for n in range(100):
            asked.append(n)
            yield band

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(image.TargetError, match=words) as caught:
        image.write_rows(facts, watched(), tmp_path / f"a.{kind}")
    monkeypatch.undo()
    assert str(tmp_path) in str(caught.value)
    assert 0 < len(asked) < 60, "the rest must not be computed in vain"
    assert names(tmp_path) == []


def test_a_full_temporary_folder_is_named_when_a_stream_takes_tiff(tmp_path, monkeypatch):
    """A TIFF file can't go into a pipe as it grows: it waits in the system's temporary folder."""

    def failing(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "write", failing)
    rows, stream = noisy(100), io.BytesIO()
    with pytest.raises(image.TargetError, match=f"a full disk at {tmp_path}"):
        image.write_rows(spec(rows), [rows], stream, format="tiff")
    assert stream.getvalue() == b""
    assert names(tmp_path) == []


CHILD = """
import resource, signal, sys
import numpy as np
from safelight.media import image
from safelight.media.image import ImageSpec

def rows(height, width=4000):
    band = np.random.default_rng(0).integers(0, 256, (100, width, 3), np.uint8)
    for _ in range(height // 100):
        yield band

def spec(height, width=4000):
    return ImageSpec(width=width, height=height, channels=3, depth="8-bit")
"""


def child(code, *arguments, **how):
    command = [sys.executable, "-c", CHILD + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **how)


FULL = """
if sys.argv[2] == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
for kind in ("png", "tiff", "jpeg"):
    try:
        image.write_rows(spec(1000), rows(1000), f"{sys.argv[1]}/a.{kind}")
    except image.TargetError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_file_size_limit_in_the_middle(tmp_path):
    done = child(FULL, tmp_path, "limit", check=True)
    assert done.stdout.count(f"a full disk at {tmp_path}") == 3, done.stderr
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk(tmp_path):
    """R5, on a real file system of 3 MB; earlier files stay."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        (disk / "earlier.png").write_bytes(image.encode(Picture(pixels=noisy(100)), "png"))
        done = child(FULL, disk, "disk", check=True)
        assert done.stdout.count(f"a full disk at {disk}") == 3, done.stderr
        assert names(disk) == ["earlier.png"]
        assert image.read(disk / "earlier.png").height == 100
    finally:
        subprocess.run(["umount", disk], check=True)


MEMORY = """
image.encode(image.Picture(pixels=np.zeros((300, 300, 3), np.uint8)), "png")
sys.path.insert(0, "tests")
from support.processes import peak
width, height = int(sys.argv[3]), int(sys.argv[4])
wide = np.zeros((100, width, 3), np.uint8)
wide[:] = np.random.default_rng(0).integers(0, 256, (100, width, 1), np.uint8) // 16
before = peak()
image.write_rows(spec(height, width), (wide for _ in range(height // 100)), sys.argv[1], format=sys.argv[2])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", STREAMED)
def test_a_large_picture_takes_less_than_150_mb(tmp_path, kind):
    """216 MB of pixels, and as on a machine of 64 cores, for each of which libvips would keep rows waiting."""
    cores = {**os.environ, "VIPS_CONCURRENCY": "64"}
    done = child(MEMORY, tmp_path / "a", kind, 12_000, 6000, check=True, env=cores)
    assert 10 < float(done.stdout) < 150, "less than what waits on the way would mean that nothing was measured"
    assert image.probe(tmp_path / "a").height == 6000


def test_a_tiff_file_past_4_gb_has_64_bit_offsets(tmp_path, monkeypatch):
    monkeypatch.setattr(reduction, "_CLASSIC_TIFF", 1000)
    rows = noise(40, 30, 3, np.uint8)
    path = tmp_path / "a.tif"
    exif = with_resolution(None, (300.0, 300.0))
    told = image.write_rows(spec(rows, exif=exif, dpi=(300.0, 300.0)), [rows], path)
    assert told == ("EXIF dropped: a TIFF file of this size holds none",)
    assert path.read_bytes()[:4] == b"II+\0"
    back = image.read(path)
    assert np.array_equal(back.pixels, rows)
    # Alpha counts as well.
    rows = noise(10, 30, 4, np.uint8)
    assert image.write_rows(spec(rows, exif=exif), [rows], io.BytesIO(), format="tiff") == told


WRITER = """
print("ready", flush=True)
def slow():
    import time
    for band in rows(60_000):
        print("band", flush=True)
        yield band
        time.sleep(0.01)
image.write_rows(spec(60_000), slow(), sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("kind", STREAMED)
def test_clean_removes_what_a_killed_writer_left_and_nothing_that_lives(tmp_path, kind):
    """R4: kill -9 in the middle leaves a temporary file, and the next run removes it."""
    command = [sys.executable, "-c", CHILD + WRITER, str(tmp_path / f"a.{kind}")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        with writer.stdout as lines:
            while lines.readline() != "band\n":
                assert writer.poll() is None
            left = names(tmp_path)
            assert len(left) == 1
            assert left[0].startswith(image.TEMPORARY_PREFIX)
            assert left[0].endswith(image.TEMPORARY_SUFFIX)
            assert image.remove_temporary_files(tmp_path) == 0
            assert names(tmp_path) == left
            writer.kill()
            writer.wait()
    finally:
        writer.kill()
    assert names(tmp_path) == left
    assert image.remove_temporary_files(tmp_path) == 1
    assert names(tmp_path) == []


def test_clean_touches_nothing_else(tmp_path):
    stale = tmp_path / ".safelight-0123456789abcdef.part"
    stale.touch()
    (tmp_path / ".safelight-fedcba9876543210.part").mkdir()
    (tmp_path / ".safelight-0000000000000000.part").symlink_to(tmp_path / "users.part")
    os.mkfifo(tmp_path / ".safelight-1111111111111111.part")
    users = [
        "users.part",
        ".safelight-notes.part",
        ".safelight-0123456789ABCDEF.part",
        ".safelight-0123456789abcde.part",
        ".safelight-0123456789abcdef.part.png",
        "x.safelight-0123456789abcdef.part",
    ]
    for name in users:
        (tmp_path / name).write_text("mine")
    below = tmp_path / "below"
    below.mkdir()
    (below / stale.name).touch()
    before = names(tmp_path)
    assert image.remove_temporary_files(tmp_path) == 1
    assert names(tmp_path) == [name for name in before if name != stale.name]
    assert names(below) == [stale.name]
    assert image.remove_temporary_files(str(tmp_path / "missing")) == 0


def test_clean_removes_nothing_where_there_are_no_locks(tmp_path, monkeypatch):
    """A file system without them can't tell a living writer from a dead one; writing there works as ever."""

    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / ".safelight-0123456789abcdef.part").touch()
    assert image.remove_temporary_files(tmp_path) == 0
    image.write_bytes(b"x", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x"
    assert len(names(tmp_path)) == 2


def test_a_temporary_that_clean_takes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Between the making of a file and its lock, `clean` of another process may come in."""
    made = []
    opened = os.open

    def open_and_clean(path, flags, *mode):
        descriptor = opened(path, flags, *mode)
        if flags & os.O_EXCL:
            made.append(path)
            if len(made) == 1:
                assert image.remove_temporary_files(tmp_path) == 1
        return descriptor

    monkeypatch.setattr(os, "open", open_and_clean)
    image.write_bytes(b"x", tmp_path / "a")
    monkeypatch.undo()
    assert len(made) == 2
    assert names(tmp_path) == ["a"]
