"""The manifest: a batch that is run again makes what is missing or outdated, and nothing else; strangers stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from safelight import batch, catalog, inference
from safelight.batch.manifest import NAME
from safelight.checkpoints import weights_manifest
from safelight.cli import app
from safelight.media import image
from support.pictures import draw

SETTINGS = {"method": "upscale/nearest", "scale": 2.0}


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        draw(tmp_path / "in" / name, i)
    return tmp_path


def upscale(folder, *flags, method="nearest", scale="2"):
    arguments = ["upscale", folder / "in", "-o", folder / "out", "-m", method, "-s", scale, "--json", *flags]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    *files, _ = map(json.loads, result.stdout.splitlines())
    return {Path(f["input"]).name: (f["status"], f["error"]) for f in files}, result


def statuses(folder, *flags, **options):
    return [status for status, _ in upscale(folder, *flags, **options)[0].values()]


def tree(folder):
    return {p: p.read_bytes() for p in (folder / "out").rglob("*.png")}


def touch_later(path):
    """Let some time go by for a file: the change of its content below must not hide in one tick of the clock."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))


def test_what_is_made_from_the_same_is_skipped_and_what_is_missing_made(folder):
    assert statuses(folder) == ["done"] * 3
    made = tree(folder)
    (folder / "out/b.png").unlink()
    found, result = upscale(folder, "--on-exist", "skip")
    assert found["a.png"] == ("skipped", f"{folder}/out/a.png is up to date")
    assert [status for status, _ in found.values()] == ["skipped", "done", "skipped"]
    assert result.exit_code == 0
    assert tree(folder) == made
    assert statuses(folder, "--on-exist", "skip") == ["skipped"] * 3


def test_an_input_that_has_changed_is_made_again(folder):
    upscale(folder)
    draw(folder / "in/b.png", 9, size=(6, 7))
    assert statuses(folder, "--on-exist", "skip") == ["skipped", "done", "skipped"]
    assert image.probe(folder / "out/b.png").height == 12
    touch_later(folder / "in/a.png")
    assert statuses(folder, "--on-exist", "skip") == ["done", "skipped", "skipped"]
    assert statuses(folder, "--on-exist", "skip") == ["skipped"] * 3


@pytest.mark.parametrize("changed", [["--scale", "3"], ["-m", "bicubic"], ["--strip"], ["--quality", "50"]])
def test_other_settings_make_again(folder, changed):
    upscale(folder)
    assert statuses(folder, "--on-exist", "skip", *changed) == ["done"] * 3
    assert statuses(folder, "--on-exist", "skip", *changed) == ["skipped"] * 3
    assert statuses(folder, "--on-exist", "skip") == ["done"] * 3


def test_what_does_not_change_a_result_is_no_other_setting(folder):
    upscale(folder, scale="4")
    flags = ("--memory", "100M", "--device", "cpu", "--max-pixels", "1M")
    arguments = ["upscale", folder / "in", "-o", folder / "out", "-m", "nearest", "--on-exist", "skip", *flags]
    result = CliRunner().invoke(app, [str(a) for a in arguments])  # without --scale: 4
    assert result.stdout.count("is up to date") == 3


def test_the_settings_hold_the_weights_and_the_options():
    fsrcnn = inference.prepare(catalog.find("fsrcnn"), inference.InferenceRequest(inputs={"scale": 2}))
    facts = batch.result_settings(fsrcnn, quality=None, strip=False)
    assert facts["weights"] == [weights.sha256 for weights in weights_manifest.shipped_weights("upscale/fsrcnn")]
    assert facts["method"] == "upscale/fsrcnn"
    sharpen = inference.prepare(catalog.find("sharpen"), inference.InferenceRequest(options={"amount": "1"}))
    assert batch.result_settings(sharpen, quality=None, strip=False)["options"]["amount"] == 1.0


def test_every_picture_among_the_settings_counts_by_its_content():
    def facts(level):
        settings = inference.InferenceRequest(inputs={"style": (flat(0),), "begin": flat(level)})
        return batch.result_settings(inference.prepare(catalog.find("gatys"), settings), quality=None, strip=False)

    def flat(level):
        return image.Picture(pixels=np.full((64, 64, 3), level, np.uint8))

    assert json.dumps(facts(1)) == json.dumps(facts(1)) != json.dumps(facts(2))


def test_weights_of_a_file_count_by_their_content(tmp_path):
    shipped = weights_manifest.SHIPPED / "fsrcnn-x2.safetensors"
    copied = tmp_path / "w.safetensors"
    copied.write_bytes(shipped.read_bytes())
    facts = [
        batch.result_settings(
            inference.prepare(catalog.find("fsrcnn"), inference.InferenceRequest(weights=path)),
            quality=None,
            strip=True,
        )
        for path in (shipped, copied)
    ]
    assert facts[0] == facts[1]
    assert len(facts[0]["weights"]) == 1


def test_a_result_that_somebody_changed_stays_and_it_is_said(folder):
    upscale(folder)
    mine = folder / "out/a.png"
    mine.write_bytes(b"retouched")
    draw(folder / "in/a.png", 9)
    found, result = upscale(folder, "--on-exist", "skip")
    assert found["a.png"] == ("skipped", f"{mine} was changed since it was made, and stays as it is")
    assert result.exit_code == 0
    assert mine.read_bytes() == b"retouched"


def test_a_file_that_is_no_result_stays_and_it_is_said(folder):
    mine = folder / "out/a.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    (folder / "out/b.png").symlink_to("a.png")
    found, _ = upscale(folder, "--on-exist", "skip")
    assert "was not made by a batch into this folder" in found["a.png"][1]
    assert [status for status, _ in found.values()] == ["skipped", "skipped", "done"]
    assert mine.read_bytes() == b"mine"
    assert (folder / "out/b.png").is_symlink()


def test_a_result_of_another_input_stays(folder):
    upscale(folder)
    made = tree(folder)
    draw(folder / "other/a.png", 5)
    listed = folder / "names.txt"
    (folder / "in/a.png").unlink()
    image.write(image.read(folder / "other/a.png"), folder / "in/a.jpg")
    listed.write_text("a.jpg\n")
    found, _ = upscale(folder, "--on-exist", "skip", "--format", "png")
    assert "was made from another input" in found["a.jpg"][1]
    assert tree(folder) == made


def test_failures_are_tried_again(folder):
    (folder / "in/b.png").write_bytes(b"broken")
    assert statuses(folder) == ["done", "failed", "done"]
    assert statuses(folder, "--on-exist", "skip") == ["skipped", "failed", "skipped"]
    draw(folder / "in/b.png")
    assert statuses(folder, "--on-exist", "skip") == ["skipped", "done", "skipped"]


@pytest.mark.parametrize(
    ("spoil", "unreadable"),
    [
        (lambda data: data[:-9], 1),  # killed while it was written
        (lambda data: data + b"\xff\xfe\n\n[1]\n{}\n", 3),
        (lambda data: b"7\n" + data, 1),
        (lambda data: data + b'{"version": 99, "output": "a.png"}\n', 1),
        (lambda data: data + b"[" * 100_000 + b"\n", 1),
    ],
)
def test_damage_costs_the_damaged_lines_only(folder, spoil, unreadable):
    upscale(folder)
    path = folder / "out" / NAME
    path.write_bytes(spoil(path.read_bytes()))
    found, result = upscale(folder, "--on-exist", "skip")
    assert [status for status, _ in found.values()] == ["skipped"] * 3
    assert f"{unreadable} damaged lines were passed over" in result.stderr
    # After a torn last line, new ones are whole again.
    (folder / "out/a.png").unlink()
    assert statuses(folder, "--on-exist", "skip") == ["done", "skipped", "skipped"]
    found, _ = upscale(folder, "--on-exist", "skip")
    assert found["a.png"][1].endswith("is up to date")


def test_each_line_is_json_and_the_settings_can_be_read(folder):
    upscale(folder)
    first, *lines = map(json.loads, (folder / "out" / NAME).read_text().splitlines())
    assert first["settings"]["method"] == "upscale/nearest"
    assert [line["output"] for line in lines] == ["a.png", "b.png", "sub/c.png"]
    found = (folder / "out/a.png").stat()
    assert (lines[0]["output_size"], lines[0]["output_mtime_ns"]) == (found.st_size, found.st_mtime_ns)
    assert {line["made_by"] for line in lines} == {first["id"]}


def test_one_file_or_no_folder_leaves_no_manifest(folder):
    a = folder / "in/a.png"
    for flags in ([a], [folder / "in", "--on-exist", "rename"], [a, "-o", f"{folder}/one/"]):
        assert CliRunner().invoke(app, ["upscale", "-m", "nearest", *map(str, flags)]).exit_code == 0
    assert not list(folder.rglob(NAME))


def test_a_dry_run_knows_the_manifest_and_makes_none(folder):
    assert statuses(folder, "--dry-run", "--on-exist", "skip") == ["planned"] * 3
    assert not (folder / "out").exists()
    upscale(folder)
    before = (folder / "out" / NAME).read_bytes()
    assert statuses(folder, "--dry-run", "--on-exist", "skip") == ["skipped"] * 3
    assert statuses(folder, "--dry-run", "--on-exist", "skip", "--strip") == ["planned"] * 3
    assert (folder / "out" / NAME).read_bytes() == before


def test_two_runs_at_once_into_one_folder_are_refused(folder):
    hold = "import sys; from pathlib import Path; from safelight import batch\n"
    hold += f"batch.Manifest(Path({str(folder / 'out')!r}), {{}}, read_existing=False)\n"
    hold += "print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.read(1)
        arguments = ["upscale", f"{folder}/in", "-o", f"{folder}/out", "-m", "nearest"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 3
        assert "that no other run works in" in result.stderr
        assert result.stderr.count("\n") == 1
        other.kill()  # as it is lost with the process, nothing has to be cleaned
    assert not tree(folder)
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_stale_temporaries_go_at_the_start(folder):
    stale = folder / "out/sub/.safelight-0011223344556677.part"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half a picture")
    upscale(folder)
    assert not stale.exists()


def test_a_line_that_can_not_be_written_is_told_and_the_result_stays(folder, monkeypatch):
    with batch.Manifest(folder / "out", SETTINGS, read_existing=True) as manifest:
        job = batch.FileJob(
            source=batch.Source(path=folder / "in/a.png", tree=Path("a.png")), output=folder / "out/a.png", format="png"
        )
        draw(folder / "out/a.png")
        fingerprint = batch.fingerprint_of(job.source.path)
        monkeypatch.setattr(os, "write", lambda file, data: len(data) - 1)
        assert "not noted in" in manifest.record(job, fingerprint)
        monkeypatch.undo()
        assert manifest.output_state(job, fingerprint) == "unknown"
        assert manifest.record(job, fingerprint) is None
        assert manifest.output_state(job, fingerprint) == "current"
    with batch.Manifest(folder / "out", SETTINGS, read_existing=True) as again:
        assert again.output_state(job, fingerprint) == "current"
