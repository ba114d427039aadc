"""R3 of the protocol: files that would cost far more than their size, through the decoder that a batch uses."""

import sys
import time

import pytest

from safelight.media import image
from safelight.media.image import Decoder, Picture
from support.malformed_files import bombs, gif, png, smooth
from support.processes import decoders, peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

GOOD = image.encode(Picture(pixels=smooth()), "png")

# Legal and small, though they look like bombs: they have to be read, as cheaply.
HARMLESS = {
    "64k x 1": (".png", png(64_000, 1, pixels=bytes(192_001))),
    "1 x 64k": (".png", png(1, 64_000, pixels=bytes(4 * 64_000))),
    "10,000 frames": (".gif", gif(10_000)),
}


def cost(path, read):
    """Seconds, and the MB that a worker and this process take more than before."""
    with Decoder(workers=1) as decoder:
        with decoder.open(GOOD) as rows:
            rows.read(100)  # the library's own memory is not the bomb's
        (worker,) = decoders()
        before, here, start = peak(worker), peak(), time.monotonic()
        read(decoder.open(path))
        seconds = time.monotonic() - start
        assert decoders() == [worker]
        return seconds, peak(worker) - before + peak() - here


@pytest.mark.parametrize("name", bombs())
def test_r3_a_bomb_is_refused_in_a_second_and_50_mb(tmp_path, name, record_property):
    suffix, data = bombs()[name]
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(data)

    def read(file):
        with pytest.raises(image.DecodeError) as caught, file:
            file.read(1)
        assert str(caught.value).isprintable()

    seconds, megabytes = cost(path, read)
    record_property("R3", f"{name}: {seconds:.2f} s, {megabytes:.0f} MB")
    assert seconds < 1
    assert megabytes < 50


@pytest.mark.parametrize("name", HARMLESS)
def test_r3_what_only_looks_like_a_bomb_is_read(tmp_path, name, record_property):
    suffix, data = HARMLESS[name]
    path = tmp_path / f"legal{suffix}"
    path.write_bytes(data)

    def read(file):
        with file:
            assert len(file.read(100_000)) == file.spec.height

    seconds, megabytes = cost(path, read)
    record_property("R3", f"{name}: {seconds:.2f} s, {megabytes:.0f} MB")
    assert seconds < 1
    assert megabytes < 50
