"""R6, names: unicode, spaces, newlines, long names, clashes, links. Each has a defined outcome (docs/batch.md)."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safelight import batch
from safelight.batch.manifest import NAME
from safelight.cli import app
from safelight.media import image
from support.pictures import draw

LONG = "x" * 246 + ".png"  # 250 bytes; 255 is the most that common file systems hold


def upscale(*arguments, stdin=None):
    words = ["upscale", "-m", "nearest", "-s", "2", "--json", *map(str, arguments)]
    result = CliRunner().invoke(app, words, input=stdin)
    return [json.loads(line) for line in result.stdout.splitlines()], result


def pictures(folder):
    """The pictures below a folder by their names, each of which has to be twice the size of those that were drawn."""
    found = [p for p in folder.rglob("*") if p.is_file() and p.name != NAME]
    assert all(image.probe(p).width == 128 for p in found)
    return {str(p.relative_to(folder)) for p in found}


def state(folder):
    """All that a folder holds, to be compared: contents, and where links lead."""
    return {p: p.readlink() if p.is_symlink() else p.is_file() and p.read_bytes() for p in folder.rglob("*")}


NAMES = [
    unicodedata.normalize("NFC", "schön.png"),
    unicodedata.normalize("NFD", "schön.png"),
    "عربي.png",
    "\u202egnp.exe.png",  # written from right to left
    "with  two spaces .png",
    " .png",
    "new\nline.png",
    "tab\tand\x1b[31mred.png",
    "-dash.png",
    "--out.png",
    "'quote\"s'.png",
    "[a-z]*.png",
    "ü\udcff.png",  # bytes that are no UTF-8
    "CON.png",
    LONG,
]


def test_a_folder_of_odd_names_is_done_name_by_name(tmp_path):
    for name in NAMES:
        draw(tmp_path / "in" / name)
    before = state(tmp_path / "in")
    facts, result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert pictures(tmp_path / "out") == set(NAMES)
    assert {Path(f["output"]).name for f in facts[:-1]} == set(NAMES)
    assert state(tmp_path / "in") == before
    facts, _ = upscale(tmp_path / "in", "-o", tmp_path / "out", "--on-exist", "skip")
    assert facts[-1]["skipped"] == len(NAMES)


def test_a_line_is_one_line_whatever_the_name(tmp_path):
    for name in NAMES:
        draw(tmp_path / "in" / name)
    (tmp_path / "in/bad\nname.png").write_bytes(b"no picture")
    result = CliRunner().invoke(app, ["upscale", f"{tmp_path}/in", "-o", f"{tmp_path}/out", "-m", "nearest"])
    assert result.stdout.count("\n") == len(NAMES)
    assert result.stderr.count("\n") == 2  # the failure, and the summary
    assert "\x1b" not in result.output


def test_a_name_that_becomes_too_long_fails_alone_and_before_the_work(tmp_path):
    draw(tmp_path / "in" / LONG)
    draw(tmp_path / "in/a.png")
    facts, result = upscale(tmp_path / "in", "--format", "webp", "-o", tmp_path / "out")
    assert [f["status"] for f in facts[:-1]] == ["done", "done"]  # 251 bytes
    facts, result = upscale(tmp_path / "in", "-s", "2.125")  # beside the input, NAME-x2.125.png: 257 bytes
    assert [f["status"] for f in facts[:-1]] == ["done", "failed"]
    assert "got one that is too long" in result.stderr
    assert result.exit_code == 1
    facts, result = upscale("y" * 300 + ".png", draw(tmp_path / "b.png"), "-o", f"{tmp_path}/out/")
    assert [f["status"] for f in facts[:-1]] == ["failed", "done"]
    assert result.exit_code == 1


def test_one_stem_in_two_formats(tmp_path):
    a, b = draw(tmp_path / "in/a.png"), tmp_path / "in/a.jpg"
    image.write(image.read(a), b)
    before = state(tmp_path / "in")
    _, result = upscale(tmp_path / "in", "-o", tmp_path / "two")
    assert result.exit_code == 0
    assert pictures(tmp_path / "two") == {"a.png", "a.jpg"}
    _, result = upscale(tmp_path / "in", "-o", tmp_path / "one", "--format", "png")
    assert result.exit_code == 2
    assert "an output of its own for each input" in result.stderr
    assert not (tmp_path / "one").exists()
    _, result = upscale(tmp_path / "in", "-o", tmp_path / "one", "--format", "png", "--on-exist", "rename")
    assert result.exit_code == 0
    assert pictures(tmp_path / "one") == {"a.png", "a-2.png"}
    assert state(tmp_path / "in") == before


def test_names_that_differ_in_case_only(tmp_path):
    for name in ("a.png", "A.png", "ä.png", unicodedata.normalize("NFD", "ä.png")):
        draw(tmp_path / "in" / name)
    jobs = batch.plan(
        batch.expand([str(tmp_path / "in")]), out=str(tmp_path / "out"), tag="x2", format=None, on_exist="overwrite"
    )
    assert [job.case_variant is None for job in jobs] == [True, False, True, False]
    _, result = upscale(tmp_path / "in", "-o", tmp_path / "out", "--on-exist", "overwrite")
    assert result.exit_code == 0
    assert len(pictures(tmp_path / "out")) == 4  # a disk that tells them apart


def test_names_that_are_one_file_on_the_disk_lose_nothing(tmp_path):
    """A disk that takes two names for one is made of two hard links: replacing one would be replacing the other."""
    for name in ("a.png", "A.png"):
        draw(tmp_path / "in" / name)
    job = batch.plan(
        batch.expand([str(tmp_path / "in")]), out=str(tmp_path / "out"), tag="x2", format=None, on_exist="overwrite"
    )[1]
    (tmp_path / "out").mkdir()
    first = draw(tmp_path / "out/A.png", 7)
    (tmp_path / "out/a.png").hardlink_to(first)
    before = state(tmp_path / "out")

    from safelight import catalog, inference

    runner = inference.prepare(catalog.find("nearest"), inference.InferenceRequest(inputs={"scale": 2}))
    with pytest.raises(image.TargetExistsError, match="takes the two names for one"):
        batch.process(job, runner, batch.FileSettings())
    assert state(tmp_path / "out") == before


def test_links(tmp_path):
    """Links to files are read, wherever they lead; links to folders are not followed; a circle fails alone."""
    draw(tmp_path / "in/a.png")
    outside = draw(tmp_path / "outside/b.png", 1)
    (tmp_path / "in/link.png").symlink_to(outside)
    (tmp_path / "in/loop.png").symlink_to("loop.png")
    (tmp_path / "in/gone.png").symlink_to("nothing.png")
    (tmp_path / "in/up").symlink_to(tmp_path)
    (tmp_path / "in/folder.png").symlink_to(tmp_path / "outside")
    before = state(tmp_path / "in"), state(tmp_path / "outside")
    facts, result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert {Path(f["input"]).name: f["status"] for f in facts[:-1]} == {
        "a.png": "done", "link.png": "done", "loop.png": "failed", "gone.png": "failed",
    }  # fmt: skip
    assert "a link that leads in a circle" in result.stderr
    assert result.exit_code == 1
    assert pictures(tmp_path / "out") == {"a.png", "link.png"}
    assert not (tmp_path / "out/link.png").is_symlink()
    assert (state(tmp_path / "in"), state(tmp_path / "outside")) == before


def test_a_link_to_an_input_is_an_input(tmp_path):
    """What would be written over an input through another name of it is refused before anything is written."""
    a = draw(tmp_path / "in/a.png")
    (tmp_path / "same").symlink_to("in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").hardlink_to(a)
    before = state(tmp_path)
    for out in (tmp_path / "in", tmp_path / "same", f"{tmp_path}/in/../in", tmp_path / "out"):
        for mode in ("error", "skip"):
            _, result = upscale(tmp_path / "in", "-o", out, "--on-exist", mode)
            assert result.exit_code == 2
            assert "expected an output that is not the input" in result.stderr
    assert state(tmp_path) == before


def test_an_input_is_replaced_only_if_asked_and_then_whole(tmp_path):
    draw(tmp_path / "in/a.png")
    _, result = upscale(tmp_path / "in", "-o", tmp_path / "in", "--on-exist", "overwrite")
    assert result.exit_code == 0
    assert pictures(tmp_path / "in") == {"a.png"}


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_keeps_the_tree_of_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/1.png", "y/1.png", "y/2.png", "z.png", "f/a.png", "f/b/c.png", "-"):
        draw(tmp_path / f"{name}.png").rename(tmp_path / name)
    Path("list").write_text("x/1.png\n./y/1.png\r\n\ny/../z.png\nf\n-\n[none]*.png\n")
    facts, result = upscale("--list", "list", "y/2.png", "-o", "out")
    assert result.exit_code == 1
    assert [f["input"] for f in facts[:-1] if f["status"] == "failed"] == ["[none]*.png"]  # a name, no pattern
    assert pictures(Path("out")) == {"x/1.png", "y/1.png", "2.png", "z.png", "a.png", "b/c.png", "-.png"}


def test_a_list_of_nuls_through_a_pipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [os.fsencode(draw(tmp_path / "in" / name)) for name in NAMES]
    _, result = upscale("--list", "-", "-o", "out", stdin=b"".join(name + b"\0" for name in names))
    assert result.exit_code == 0, result.stderr
    below = str(tmp_path / "in").lstrip("/")  # as tar has it
    assert pictures(Path("out")) == {f"{below}/{name}" for name in NAMES}


@pytest.mark.parametrize("name", ["../a.png", "../../b/../a.png", "/../a.png"])
def test_a_list_leads_to_no_place_outside_the_folder(tmp_path, name):
    (found,) = batch.expand([], listed=[Path(name)]).sources
    assert str(found.tree) == "a.png"


def test_an_empty_list_is_told():
    with pytest.raises(batch.BatchError, match="found none under the names of the list"):
        batch.expand([], listed=[])
