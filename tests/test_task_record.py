"""A task is one record: throw-away ones of unusual shapes work on every face without a line there.

``pair`` takes no picture and gives two, ``spark`` counts the pixels of a picture, ``pack`` makes bytes of a picture and
``unpack`` a picture of bytes.
"""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import safelight
from safelight import catalog, tasks
from safelight.cli import app
from safelight.core.card import Card, Codec, Generator
from safelight.core.inputs import InputSpec
from safelight.core.outputs import OutputSpec
from safelight.core.solver_input import SolverProgress
from safelight.core.task import TaskSpec
from safelight.media import image
from safelight.tasks.common_inputs import PICTURE, SEED
from support.server import a_file, running

TINT = InputSpec(
    name="tint", kind="number", help="How red.", default=0.5, low=0, high=1, expects="a tint from 0 to 1"
)  # fmt: skip
PAIR = TaskSpec(
    name="pair", title="Pair", summary="Make two pictures of noise", help="Make two pictures of noise.",
    inputs=(TINT, SEED), output=OutputSpec(kind="images", size="own"), default="pair/noise",
)  # fmt: skip
BYTES = InputSpec(name="file", kind="bytes", main=True, flag=None, help="What `pack` wrote.")
PACK = TaskSpec(
    name="pack", title="Pack", summary="Make bytes of a picture", help="Make bytes of a picture.",
    inputs=(PICTURE,), output=OutputSpec(kind="bitstream", suffix=".raw"), default="pack/raw",
)  # fmt: skip
UNPACK = TaskSpec(
    name="unpack", title="Unpack", summary="Make a picture of bytes", help="Make a picture of bytes.",
    inputs=(BYTES,), output=OutputSpec(size="own", tag="unpacked"), default="pack/raw",
)  # fmt: skip


def sample(network, given, options, progress):
    """Two pictures, (2, 3, 6, 8), the second half as bright as the first."""
    generator = torch.Generator().manual_seed(given.seed)
    x = torch.rand(1, 3, 6, 8, generator=generator)
    x[:, 0] = given.extra["tint"]
    progress(SolverProgress(fraction=0.5, x=x))
    return torch.cat([x, x / 2])


def compress(network, y, options):
    height, width = y.shape[-2:]
    return bytes([height, width]) + (y * 255).round().to(torch.uint8).numpy().tobytes()


def decompress(network, data, options):
    height, width = data[:2]
    return torch.frombuffer(bytearray(data[2:]), dtype=torch.uint8).view(1, -1, height, width) / 255


NOISE = Card(module="tests.pair.noise", title="Noise", summary="Noise.", method=Generator(sample=sample))
RAW = Card(
    module="tests.pack.raw", title="Raw", summary="As it is.", other_tasks=("unpack",),
    method=Codec(compress=compress, decompress=decompress),
)  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, PAIR, PACK, UNPACK))
    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, NOISE, RAW))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def expected(seed=0, tint=0.5):
    return [picture.pixels for picture in safelight.pair(seed=seed, tint=tint)]


def test_python():
    first, second = safelight.pair(seed=3, tint=1.0)
    assert first.pixels.shape == second.pixels.shape == (6, 8, 3)
    assert (first.pixels[..., 0] == 255).all()
    assert np.abs(first.pixels / 2 - second.pixels).max() <= 0.5
    assert not np.array_equal(first.pixels, safelight.pair(seed=4, tint=1.0)[0].pixels)
    with pytest.raises(safelight.tasks.CardError, match="a tint from 0 to 1, got 2"):
        safelight.pair(tint=2)
    with pytest.raises(TypeError):
        safelight.pair("photo.png")
    assert "How red." in safelight.pair.__doc__


def test_python_bytes():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = safelight.pack(pixels)
    assert isinstance(data, bytes)
    assert len(data) == 2 + pixels.size
    assert np.array_equal(safelight.unpack(data).pixels, pixels)


def test_command_line(tmp_path):
    done = run("pair", "--tint", "0.25", "--seed", "7", "-o", tmp_path / "two.png", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[0])
    assert [facts["width"], facts["height"]] == [8, 6]
    assert facts["outputs"] == [str(tmp_path / f"two-{i}.png") for i in (1, 2)]
    for path, pixels in zip(facts["outputs"], expected(7, 0.25), strict=True):
        assert np.array_equal(image.read(path).pixels, pixels)
    assert "--tint" in run("pair", "--help").stdout
    for arguments, told in (
        (("pair", "photo.png"), "pair works on none"),
        (("pair", "--tint", "2", "-o", tmp_path / "x.png"), "a tint from 0 to 1, got 2"),
        (("pair", "-o", tmp_path / "two.png"), "expected a new file"),
    ):
        refused = run(*arguments)
        assert refused.exit_code in (1, 2)
        assert told in refused.output
    assert "pair" in run("--help").stdout
    assert "pair/noise" in run("methods", "pair").stdout
    assert "a generator" in run("info", "pair/noise").stdout


def test_command_line_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    safelight.write(pixels, tmp_path / "in/a.png") if (tmp_path / "in").mkdir() else None
    safelight.write(pixels, tmp_path / "in/a.png", overwrite=True)
    assert run("pack", tmp_path / "in/a.png").exit_code == 0
    assert (tmp_path / "in/a.raw").read_bytes() == safelight.pack(pixels)
    done = run("unpack", tmp_path / "in/a.raw", "-o", tmp_path / "back.png")
    assert done.exit_code == 0, done.output
    assert np.array_equal(image.read(tmp_path / "back.png").pixels, pixels)


def test_batch(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def status(*flags):
        done = run("pair", "-o", f"{folder}/", "--on-exist", "skip", "--json", *flags)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.splitlines()[0])["status"]

    assert status() == "done"
    assert {path.name for path in folder.glob("*.png")} == {"pair-1.png", "pair-2.png"}
    assert status() == "skipped"
    assert status("--seed", "1") == "done"  # another setting: the manifest tells, and it is made again
    assert np.array_equal(image.read(folder / "pair-2.png").pixels, expected(1)[1])
    for i in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{i}.png").write_bytes(a_file(height=4 + i))
    done = run("pack", tmp_path / "in", "-o", tmp_path / "packed", "--json")
    assert done.exit_code == 0, done.output
    assert {path.suffix for path in (tmp_path / "packed").glob("[0-9].*")} == {".raw"}
    assert json.loads(done.stdout.splitlines()[-1])["done"] == 3


def test_http():
    with running() as server:
        answer = server.client.post("/pair", params={"seed": 7, "tint": 0.25})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            made = [image.read(archive.read(name)).pixels for name in archive.namelist()]
        assert all(map(np.array_equal, made, expected(7, 0.25)))
        assert server.client.post("/pair", params={"tint": 2}).status_code == 422
        assert server.client.post("/pair", content=a_file()).status_code == 422
        client = safelight.Client(server.url)
        assert np.array_equal(client.pair(seed=7, tint=0.25)[1].pixels, expected(7, 0.25)[1])
        assert client.pack(image.read(a_file())) == safelight.pack(image.read(a_file()))
        packed = server.client.post("/pack", content=a_file())
        assert packed.content == safelight.pack(image.read(a_file()))
        back = server.client.post("/unpack", content=packed.content)
        assert np.array_equal(image.read(back.content).pixels, image.read(a_file()).pixels)
        told = {task["task"]: task for task in server.client.get("/tasks").json()}
        assert told["pair"]["takes_picture"] is False
        assert told["pair"]["output"] == "images"
        document = server.client.get(f"{server.url}/openapi.json")
        paths = document.json()["paths"] if document.status_code == 200 else {}
        assert document.status_code != 200 or any(path.endswith("/pair") for path in paths)
