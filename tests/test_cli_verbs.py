"""The other verbs: score, compare, methods, info, doctor, train, bench."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import safelight
from safelight import catalog
from safelight.checkpoints import weights_file
from safelight.core.card import ClosedForm
from safelight.core.solver_input import SolverResult
from safelight.evaluation import bench
from safelight.evaluation.bench import AnchorError
from safelight.media import image
from safelight.training import loop
from support.cli import lines, run
from support.pictures import draw_waves
from support.small_methods import DARKEN, LACKING, card, install

# --- score ------------------------------------------------------------------------------------------------------------


def test_score_says_number_and_protocol(tmp_path):
    a, b = draw_waves(tmp_path / "a.png"), draw_waves(tmp_path / "b.png", seed=1)
    expected = safelight.score(a, b, "psnr", channel="rgb", shave=2)
    result = run("score", a, b, "--metric", "psnr", "--channel", "rgb", "--shave", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"PSNR {expected:.2f} dB  (RGB, 8-bit picture, shave 2; peak 255 for 8-bit samples)\n"
    facts, summary = lines(run("score", a, b, "--metric", "psnr", "--channel", "rgb", "--shave", "2", "--json"))
    assert facts == {"reference": str(a), "result": str(b), "status": "done", "error": None, "psnr": expected}
    assert summary["protocol"] == "RGB, 8-bit picture, shave 2"


def test_score_of_equal_pictures_is_valid_json(tmp_path):
    a = draw_waves(tmp_path / "a.png")
    facts, summary = lines(run("score", a, a, "--json"))
    assert (facts["psnr"], facts["ssim"], summary["psnr"]) == (None, 1.0, None)


def test_score_of_folders_pairs_by_name_and_tells_what_is_missing(tmp_path):
    for name in ("x/1.png", "2.png", "3.png", "4.png"):
        draw_waves(tmp_path / "a" / name)
    draw_waves(tmp_path / "b/x/1.jpg", seed=2)
    draw_waves(tmp_path / "b/2.png", seed=3)
    draw_waves(tmp_path / "b/4.png", size=(5, 5))
    result = run("score", tmp_path / "a", tmp_path / "b", "--json")
    assert result.exit_code == 1
    *files, summary = lines(result)
    assert {f["status"] for f in files} == {"done", "failed"}
    assert (summary["total"], summary["done"], summary["failed"]) == (4, 2, 2)
    assert summary["psnr"] == pytest.approx(np.mean([f["psnr"] for f in files if f["status"] == "done"]))
    assert result.stderr.count("\n") == 2
    text = run("score", tmp_path / "a", tmp_path / "b").stdout
    assert "mean of 2" in text
    assert "protocol: Y (BT.601 studio range)" in text


@pytest.mark.parametrize("name", ["a", "missing.png"])
def test_score_of_what_cannot_be_paired(tmp_path, name):
    draw_waves(tmp_path / "a/1.png")
    result = run("score", tmp_path / name, draw_waves(tmp_path / "b.png"))
    assert result.exit_code in (1, 2)
    assert result.stderr.count("\n") == 1


# --- compare ----------------------------------------------------------------------------------------------------------


def test_compare_methods_on_a_picture(tmp_path):
    original, small = draw_waves(tmp_path / "original.png"), tmp_path / "small.png"
    picture = image.read(original)
    image.write(image.Picture(pixels=np.ascontiguousarray(picture.pixels[::2, ::2])), small)
    out = tmp_path / "report.html"
    arguments = ("compare", "nearest", "bicubic", "-i", small, "-r", original, "--scale", "2", "-o", out)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    nearest, bicubic, summary = lines(result)
    assert nearest["name"] == "nearest"
    assert bicubic["seconds"] > 0
    expected = safelight.score(original, safelight.upscale(small, scale=2, method="bicubic"), shave=2)
    assert bicubic["psnr"] == pytest.approx(expected)
    assert summary == {
        "summary": True, "total": 2, "report": str(out), "protocol": "Y (BT.601 studio range), 8-bit picture, shave 2",
    }  # fmt: skip
    page = out.read_text()
    assert page.count("data:image/png") == 3
    assert "original.png" in page
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    text = run(*arguments, "--overwrite").stdout
    assert f"report: {out}" in text
    assert "bicubic" in text


def test_compare_files_without_a_reference(tmp_path):
    a, b = draw_waves(tmp_path / "a.png"), draw_waves(tmp_path / "b.png", size=(6, 8))
    result = run("compare", a, b, "-o", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert "dB" not in result.stdout
    assert "Measured on" not in (tmp_path / "r.html").read_text()


def test_compare_tells_what_cannot_be_measured(tmp_path):
    a, b = draw_waves(tmp_path / "a.png"), draw_waves(tmp_path / "b.png", size=(6, 8))
    result = run("compare", a, b, "-r", a, "-o", tmp_path / "r.html")
    assert result.exit_code == 0
    assert "not measured: expected result and reference of one shape" in result.stderr


def test_compare_does_what_all_the_methods_do(tmp_path, monkeypatch):
    other = card("denoise", "same", ClosedForm(solve=lambda problem, options: SolverResult(x=problem.y), bytes=8))
    install(monkeypatch, DARKEN, other)
    a, out = draw_waves(tmp_path / "a.png"), tmp_path / "report.html"
    result = run("compare", "darken", "denoise/same", "-i", a, "-r", a, "-o", out, "--sigma", "3", "--json")
    assert result.exit_code == 0, result.output
    dark, same, summary = lines(result)
    assert same["psnr"] is None  # infinite: equal pictures
    assert dark["psnr"] < 30
    assert (same["width"], same["height"]) == (32, 24)
    assert summary["protocol"] == "Y (BT.601 studio range), 8-bit picture, shave 0"
    result = run("compare", "darken", a, "-i", a, "-o", out, "--overwrite", "--task", "deblock")
    assert result.exit_code == 0, result.output


# --- methods, info, doctor --------------------------------------------------------------------------------------------


def test_methods_lists_every_card():
    facts = lines(run("methods", "--json"))
    assert [f["id"] for f in facts] == [card.id for card in catalog.CARDS]
    assert "upscale" in facts[0]["tasks"]
    for task in ("upscale", "denoise", "deblock"):
        text = run("methods", task).stdout
        assert all(card.id in text for card in catalog.of_task(task))
        assert text.count(" * ") == 1
        assert f"{catalog.default(task).id} *" in text
    assert catalog.find("vdsr").id not in text


@pytest.mark.parametrize("card", catalog.CARDS, ids=lambda card: card.id)
def test_info_tells_all_about_a_method(card):
    (facts,) = lines(run("info", card.id, "--json"))
    assert facts["summary"] == card.summary
    assert len(facts["published"]) == len(card.published)
    text = run("info", card.id).stdout
    assert card.title in text
    assert all(f"--{option['name'].replace('_', '-')}" in text for option in facts["options"])
    assert text.count("published: ") == len(card.published)
    assert facts["tasks"] == list(card.tasks)
    assert all(told in text for told in card.accepts)
    recipe = facts["recipe"]
    assert text.count("promised: ") == (0 if recipe is None else len(recipe["promises"]))


def test_info_finds_a_method_by_task_and_name():
    assert lines(run("info", "denoise/dncnn", "--json"))[0]["id"] == "denoise/dncnn"
    assert "scales:" not in run("info", "denoise/dncnn").stdout
    assert lines(run("info", "upscale/dncnn3", "--json"))[0]["id"] == "deblock/dncnn3"


def test_doctor(monkeypatch):
    install(monkeypatch, LACKING)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "no_such_package is not installed; if you want it: pip install 'safelight[classic]'" in result.stdout
    assert "format avif" in result.stdout
    assert all(line.startswith("ok") for line in result.stdout.splitlines())

    def broken(*_, **__):
        raise image.EncodeError("no encoder")

    monkeypatch.setattr(image, "encode", broken)
    result = run("doctor", "--json")
    assert result.exit_code == 3
    *checks, summary = lines(result)
    assert summary["failed"] == len(image.FORMATS)
    assert {c["check"] for c in checks if not c["ok"]} == {f"format {name}" for name in image.FORMATS}


# --- train ------------------------------------------------------------------------------------------------------------

TINY = ("--scale", "2", "--d", "4", "--s", "2", "--m", "1", "--batch", "2", "--patch", "6", "--precision", "float32")


@pytest.fixture
def pictures(tmp_path):
    for i in range(3):
        draw_waves(tmp_path / f"data/{i}.png", size=(40, 48), seed=i)
    return tmp_path / "data"


def test_train_then_use_the_weights(pictures, tmp_path):
    out = tmp_path / "new/tiny.safetensors"
    result = run(
        "train", "fsrcnn", "--data", pictures, *TINY, "--steps", "4", "--validate-every", "2", "-o", out, "--json"
    )
    assert result.exit_code == 0, result.output
    first, second, summary = lines(result)
    assert (first["step"], second["step"], second["steps"]) == (2, 4, 4)
    assert second["psnr"] > 0
    assert summary["options"] == {"d": 4, "s": 2, "m": 1}
    assert weights_file.read_header(out).recipe["batch"] == 2

    small = draw_waves(tmp_path / "small.png", size=(6, 8))
    result = run("upscale", small, "-m", "fsrcnn", "--scale", "2", "--weights", out, "--json")
    assert result.exit_code == 0, result.output
    assert (lines(result)[0]["width"], lines(result)[0]["method"]) == (16, "upscale/fsrcnn")
    model = safelight.load("fsrcnn", weights=out)
    assert model.scale == 2

    result = run("upscale", small, "-m", "espcn", "--weights", out)
    assert result.exit_code == 2
    assert "upscale/fsrcnn" in result.stderr
    out.write_bytes(out.read_bytes()[:100])
    result = run("upscale", small, "-m", "fsrcnn", "--weights", out)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_train_goes_on_where_it_stopped_and_keeps_finished_weights(pictures, tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    base = ("train", "fsrcnn", "--data", pictures, *TINY, "--steps", "4", "--validate-every", "2", "-o")
    assert run(*base, whole, "--quiet").exit_code == 0

    real = loop.weights_file.save
    calls = []

    def save(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(loop.weights_file, "save", save)
    result = run(*base, halves)
    monkeypatch.undo()
    if len(calls) == 2:  # the second validation was better, as it should be
        assert result.exit_code == 130
        assert "the same command again goes on" in result.stderr
    assert run(*base, halves).exit_code == 0
    left, right = weights_file.load(whole)[0], weights_file.load(halves)[0]
    assert all(np.array_equal(left[name], right[name]) for name in left)

    halves.with_suffix(".state").unlink()
    before = halves.read_bytes()
    refused = run(*base, halves)
    assert refused.exit_code == 2
    assert "--restart" in refused.stderr
    assert halves.read_bytes() == before


def test_train_refuses_to_go_on_with_another_plan(pictures, tmp_path):
    base = ("train", "fsrcnn", "--data", pictures, *TINY, "-o", tmp_path / "a.safetensors", "--validate-every", "2")
    assert run(*base, "--steps", "2", "--quiet").exit_code == 0
    result = run(*base, "--steps", "2", "--seed", "1")
    assert result.exit_code == 2
    assert "--restart begins anew" in result.stderr
    assert run(*base, "--steps", "2", "--seed", "1", "--restart", "--quiet").exit_code == 0


def test_train_says_that_a_recipe_starts_from_another_scale(pictures, tmp_path):
    result = run("train", "fsrcnn", "--data", pictures, *TINY, "--steps", "1", "-o", tmp_path / "a.safetensors")
    assert result.exit_code == 0
    assert "from weights for x3" in result.stderr
    assert "step 1/1: loss" in result.stdout


def test_train_whole_trains_all_channels_from_the_first_step(pictures, tmp_path):
    flags = ("--data", pictures, "--batch", "2", "--patch", "4", "--scale", "2", "--steps", "2")
    trained = {}
    for name, more in (("grown", ()), ("whole", ("--whole",))):
        path = tmp_path / f"{name}.safetensors"
        result = run("train", "edsr", *flags, *more, "-o", path, "--quiet")
        assert result.exit_code == 0, result.output
        trained[name] = weights_file.load(path)[0]["tail.weight"]
    # The last layer's weights begin at zero where they read what joins later.
    assert trained["grown"][:, 16:].count_nonzero() == 0
    assert trained["whole"][:, 16:].count_nonzero() > 0

    result = run("train", "espcn", *flags, "--whole", "-o", tmp_path / "e.safetensors")
    assert result.exit_code == 2
    assert "does not grow; leave --whole out" in result.stderr


def test_train_without_pictures_is_usage(tmp_path):
    (tmp_path / "data").mkdir()
    result = run("train", "fsrcnn", "--data", tmp_path / "data", "--scale", "2", "-o", tmp_path / "a.safetensors")
    assert result.exit_code == 2
    assert "no picture lies in" in result.stderr.splitlines()[-1]


def test_train_of_a_denoiser_needs_no_scale_and_its_options_say_which_network(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ("--batch", "2", "--patch", "6", "--precision", "float32", "--steps", "1", "--json")
    result = run("train", "dncnn", "--data", pictures, "--variant", "CB", *flags)
    assert result.exit_code == 0, result.output
    assert weights_file.read_header(Path("dncnn-CB.safetensors")).options == {"variant": "CB"}
    result = run("train", "denoise/dncnn", "--data", pictures, *flags)  # what depends on a picture: the gray one
    assert result.exit_code == 0, result.output
    assert weights_file.read_header(Path("dncnn-B.safetensors")).options == {"variant": "B"}
    small = draw_waves(tmp_path / "noisy.png", size=(6, 8))
    result = run("denoise", small, "-m", "dncnn", "--weights", "dncnn-CB.safetensors", "--json")
    assert result.exit_code == 0, result.output
    assert lines(result)[0]["output"].endswith("noisy-denoised.png")


# --- bench ------------------------------------------------------------------------------------------------------------


def test_bench_hands_over_what_it_was_told(tmp_path, monkeypatch):
    told = {}

    def fake(task, data, out, *, methods, report):
        told.update(task=task, data=data, out=out, methods=methods)
        report("Set5 x2")
        return out / "upscale.json"

    monkeypatch.setattr(bench, "run", fake)
    result = run("bench", "upscale", "--data", tmp_path, "--out", tmp_path / "r", "--methods", "vdsr, bicubic")
    assert result.exit_code == 0, result.output
    assert told == {
        "task": "upscale", "data": tmp_path, "out": tmp_path / "r", "methods": ["upscale/vdsr", "upscale/bicubic"],
    }  # fmt: skip
    assert result.stdout == f"Set5 x2\nresults: {tmp_path}/r/upscale.json\n"
    assert lines(run("bench", "upscale", "--data", tmp_path, "--quick", "--json"))[0]["summary"]
    assert "upscale/fsrcnn" in told["methods"]
    assert "upscale/vdsr" not in told["methods"]


def test_bench_whose_anchors_fail_is_1(tmp_path, monkeypatch):
    def fake(*_, **__):
        raise AnchorError("bicubic: expected 33.66, got 30")

    monkeypatch.setattr(bench, "run", fake)
    result = run("bench", "upscale", "--data", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == "safelight: bicubic: expected 33.66, got 30\n"


# --- the demonstration ------------------------------------------------------------------------------------------------


def test_demo_writes_pictures_and_report(tmp_path, monkeypatch, capsys):
    demo = Path(__file__).parents[1] / "examples/demo.py"
    monkeypatch.setattr(sys, "argv", ["demo.py", "--out", str(tmp_path / "out"), "--method", "sharpen"])
    runpy.run_path(str(demo), run_name="__main__")
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"input.png", "original.png", "bicubic.png", "sharpen-x4.png", "report.html"}
    assert image.probe(tmp_path / "out/sharpen-x4.png").width == 600
    assert "PSNR" in capsys.readouterr().out
    assert (tmp_path / "out/report.html").read_text().count("data:image/png") == 3
