"""The verbs of restoration on files: denoise, deblock, inpaint, and what upscale learned from them."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import safelight
from safelight import batch, inference, tasks
from safelight.batch.cluster import WorkerConfig, plan
from safelight.batch.cluster.task_runner import TaskRunner
from safelight.batch.manifest import NAME, result_settings
from safelight.cli import method_flags
from safelight.core.options import option, option_facts
from safelight.media import image
from safelight.media.image import Picture
from support.cli import lines, one_line, run
from support.runners import request
from support.small_methods import DARKEN, FILL, LACKING, MEAN, STEPS, Climb, climbing, install, set_defaults


@dataclass(frozen=True)
class Chosen:
    strength: float | None = option(None, "how much", low=0, high=2)


def put(path, pixels, **facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.write(Picture(pixels=np.asarray(pixels), **facts), path)
    return path


@pytest.fixture(autouse=True)
def methods(monkeypatch):
    install(monkeypatch, DARKEN, FILL, MEAN, LACKING, denoise=DARKEN, deblock=DARKEN, inpaint=FILL)


@pytest.fixture
def photo(tmp_path):
    return put(tmp_path / "photo.png", np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8))


# --- the verbs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "name"), [("denoise", "photo-denoised"), ("deblock", "photo-deblocked")])
def test_a_result_lies_beside_its_input_under_a_name_that_says_what_was_done(photo, verb, name):
    result = run(verb, photo, "-m", "darken")
    assert result.exit_code == 0, result.output
    made = image.read(photo.with_name(f"{name}.png"))
    assert np.array_equal(made.pixels, (image.read(photo).pixels.astype(int) + 1) // 2)
    assert "denoise/darken" in result.stdout


def test_denoise_and_deblock_run_their_usual_method_and_say_what_it_notes(photo):
    result = run("denoise", photo, "--sigma", "51")
    assert result.exit_code == 0, result.output
    assert "photo.png: sigma 0.2\n" in result.stderr
    assert run("deblock", photo).exit_code == 0


def test_strength_mixes(photo):
    assert run("denoise", photo, "--strength", "0", "-o", photo.with_name("zero.png")).exit_code == 0
    assert run("denoise", photo, "--strength", "0.5", "-o", photo.with_name("half.png")).exit_code == 0
    pixels = image.read(photo).pixels.astype(float)
    assert np.array_equal(image.read(photo.with_name("zero.png")).pixels, pixels)
    assert np.abs(image.read(photo.with_name("half.png")).pixels - 0.75 * pixels).max() <= 0.5


def test_deblock_tells_the_quality_of_a_jpeg(photo):
    jpeg = photo.with_name("photo.jpg")
    image.write(image.read(photo), jpeg, quality=33)
    assert "a JPEG file of quality 33, by its quantisation tables" in run("deblock", jpeg).stderr
    assert "JPEG" not in run("deblock", photo).stderr


def test_alpha_depth_and_metadata_are_kept(tmp_path):
    rng = np.random.default_rng(2)
    deep, alpha = rng.integers(0, 65536, (5, 7, 3), np.uint16), rng.integers(0, 65536, (5, 7), np.uint16)
    path = put(tmp_path / "deep.tiff", deep, alpha=alpha, dpi=(300.0, 300.0))
    assert run("denoise", path, "-o", tmp_path / "out.tiff").exit_code == 0
    made = image.read(tmp_path / "out.tiff")
    assert np.array_equal(made.pixels, (deep.astype(int) + 1) // 2)
    assert np.array_equal(made.alpha, alpha)
    assert made.dpi == (300.0, 300.0)


def test_folders_pipes_json_and_dry_run(photo, tmp_path):
    put(tmp_path / "in/a/1.png", np.zeros((4, 4, 3), np.uint8))
    put(tmp_path / "in/2.png", np.zeros((4, 4, 1), np.uint8))
    planned = lines(run("denoise", tmp_path / "in", "-o", tmp_path / "out", "--dry-run", "--json"))
    assert [facts["status"] for facts in planned[:-1]] == ["planned", "planned"]
    assert not (tmp_path / "out").exists()
    *facts, summary = lines(run("denoise", tmp_path / "in", "-o", tmp_path / "out", "--json"))
    assert {f["method"] for f in facts} == {"denoise/darken"}
    assert summary["done"] == 2
    assert (tmp_path / "out/a/1.png").exists()
    piped = run("denoise", "-", "-o", "-", stdin=photo.read_bytes())
    assert piped.exit_code == 0
    assert image.read(piped.stdout_bytes).width == 8


def test_help_lists_the_flags_and_those_of_other_tasks_methods():
    for verb, flags in {
        "denoise": ["--sigma", "--strength", "--preview", "--cluster", "--on-exist", "--variant"],
        "deblock": ["--strength", "--watch", "--list"],
        "inpaint": ["--mask", "--seed", "--memory"],
        "upscale": ["--blur", "--sigma", "--consistent"],
    }.items():
        result = run(verb, "--help")
        assert result.exit_code == 0
        for flag in flags:
            assert flag in result.stdout, (verb, flag)


def test_the_extent_of_an_option_that_the_method_chooses_says_auto():
    assert method_flags.extent(option_facts(Chosen)[0]) == "auto, or 0 to 2; default auto"


def test_auto_is_an_option_that_the_method_chooses(photo):
    for name, flags in {"none": [], "auto": ["--strength", "auto"], "own": ["--strength", "0.5"]}.items():
        made = photo.with_name(f"{name}.png")
        assert run("upscale", photo, "-m", "tikhonov", "--scale", "2", *flags, "-o", made).exit_code == 0
    none, auto, own = (photo.with_name(f"{name}.png").read_bytes() for name in ("none", "auto", "own"))
    assert none == auto != own
    assert "tikhonov: " in " ".join(run("upscale", "--help").stdout.split())
    assert "default auto)" in " ".join(run("upscale", "--help").stdout.split())


# --- what is refused: one line, 2 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["denoise", "photo.png", "--sigma", "-1"], "expected a sigma of at least 0, in units of 0 to 255, got -1"),
        (["denoise", "photo.png", "--sigma", "nan"], "expected a sigma of at least 0"),
        (["denoise", "photo.png", "--sigma", "much"], "'--sigma'"),
        (["denoise", "photo.png", "--strength", "1.5"], "expected a strength from 0 (the input) to 1 (the result)"),
        (["denoise", "photo.png", "--scale", "2"], "--scale"),
        (["deblock", "photo.png", "-m", "fill"], "no method of deblock is called 'fill'"),
        (["upscale", "photo.png", "-m", "mean", "--blur", "zero.txt"], "zero.txt"),
        (["upscale", "photo.png", "-m", "mean", "--blur", "gaussian:-1"], "gaussian"),
        (["upscale", "photo.png", "-m", "mean", "--blur", "none.txt"], "none.txt"),
        (["upscale", "photo.png", "-m", "bicubic", "--blur", "none"], "takes no --blur"),
        (["upscale", "photo.png", "-m", "mean", "--sigma", "-2"], "sigma of at least 0"),
        (["upscale", "photo.png", "small.png", "-m", "mean", "-o", "one.png"], "frames of one size, got 8x6 and 4x4"),
        (["upscale", "photo.png", "gray.png", "-m", "mean", "-o", "one.png"], "all gray or all in colour"),
        (["upscale", "photo.png", "-", "-m", "mean", "-o", "one.png"], "expected the frames in files"),
        (["upscale", ".", "-m", "mean", "--watch", "-o", "out/"], "--watch; leave it out"),
        (["upscale", "a.png", "-m", "bicubic", "--preview", "p.png"], "a method that iterates"),
        (["inpaint", "photo.png"], "expected a mask, got none"),
        (["inpaint", "photo.png", "--mask", "small.png"], "expected a mask of 8x6, the size of the picture, got 4x4"),
        (["inpaint", "photo.png", "--mask", "nothing.png"], "--mask: nothing.png: expected"),
        (["inpaint", "photo.png", "--mask", "zero.txt"], "--mask: zero.txt: expected a picture"),
    ],
)
def test_bad_input_is_one_line_and_2(arguments, told, photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    put(Path("small.png"), np.zeros((4, 4, 3), np.uint8))
    put(Path("gray.png"), np.zeros((6, 8, 1), np.uint8))
    Path("zero.txt").write_text("0 0 0\n0 0 0\n0 0 0\n")
    before = sorted(photo.parent.iterdir())
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert told in one_line(result.stderr)
    assert result.stdout == ""
    assert sorted(photo.parent.iterdir()) == before


def test_a_package_that_is_not_installed_is_one_line_and_3(photo):
    result = run("denoise", photo, "-m", "lacking")
    assert result.exit_code == 3
    assert "pip install 'safelight[classic]'" in one_line(result.stderr)


def test_a_task_without_a_usual_method_names_those_there_are(photo, monkeypatch):
    set_defaults(monkeypatch, **dict.fromkeys(tasks.names()))
    result = run("inpaint", photo)
    assert result.exit_code == 2
    assert "inpaint: expected --method, got none" in one_line(result.stderr)
    assert "fill" in result.stderr


# --- masks and frames -------------------------------------------------------------------------------------------------


def test_inpaint_fills_where_the_mask_is_white_and_nowhere_else(photo, tmp_path):
    marks = np.zeros((6, 8, 1), np.uint8)
    marks[2:4, 3:5] = 255
    put(tmp_path / "mask.png", marks)
    assert run("inpaint", photo, "--mask", tmp_path / "mask.png").exit_code == 0
    made = image.read(tmp_path / "photo-inpainted.png").pixels
    assert (made[2:4, 3:5] == 255).all()
    outside = marks[..., 0] == 0
    assert np.array_equal(made[outside], image.read(photo).pixels[outside])


def test_in_a_folder_a_picture_of_another_size_than_the_mask_fails_alone(tmp_path):
    put(tmp_path / "mask.png", np.zeros((6, 8, 1), np.uint8))
    put(tmp_path / "in/a.png", np.zeros((6, 8, 3), np.uint8))
    put(tmp_path / "in/b.png", np.zeros((4, 8, 3), np.uint8))
    result = run("inpaint", tmp_path / "in", "--mask", tmp_path / "mask.png", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    assert [facts["status"] for facts in lines(result)[:-1]] == ["done", "failed"]


def test_several_frames_make_one_picture(tmp_path):
    names = [put(tmp_path / f"{i}.png", np.full((4, 5, 3), i * 10, np.uint8)) for i in range(4)]
    result = run("upscale", *names, "-m", "mean", "--scale", "2", "-o", tmp_path / "one.png")
    assert result.exit_code == 0, result.output
    assert "4 frames" in result.stderr
    assert result.stdout.count("\n") == 1
    made = image.read(tmp_path / "one.png")
    assert (made.width, made.height) == (10, 8)
    assert (made.pixels == 15).all()
    by_list = tmp_path / "list.txt"
    by_list.write_text("".join(f"{name}\n" for name in names))
    assert run("upscale", "--list", by_list, "-m", "mean", "--scale", "2", "-o", tmp_path / "two.png").exit_code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    dry = run("upscale", *names, "-m", "mean", "-o", tmp_path / "three.png", "--dry-run")
    assert dry.exit_code == 0
    assert "20x16" in dry.stdout
    assert not (tmp_path / "three.png").exists()
    assert run("upscale", tmp_path / "0.png", "-m", "mean").exit_code == 0
    assert (tmp_path / "0-x4.png").exists()


# --- what a result depends on -----------------------------------------------------------------------------------------


def test_a_changed_sigma_or_strength_makes_skip_do_the_work_again(tmp_path):
    put(tmp_path / "in/a.png", np.full((4, 4, 3), 100, np.uint8))

    def status(*flags):
        result = run("denoise", tmp_path / "in", "-o", tmp_path / "out", "--on-exist", "skip", "--json", *flags)
        return lines(result)[0]["status"]

    assert status() == "done"
    assert status() == "skipped"
    assert status("--sigma", "5") == "done"
    assert status("--sigma", "5") == "skipped"
    assert status("--sigma", "5", "--strength", "0.5") == "done"
    assert status("--sigma", "5", "--strength", "0.5", "--seed", "1") == "done"
    assert (tmp_path / "out" / NAME).exists()


def test_the_digest_of_settings_tells_masks_frames_kernels_and_tasks_apart(tmp_path):
    white, black = (Picture(pixels=np.full((40, 50, 3), value, np.uint8)) for value in (255, 0))
    nearly = Picture(pixels=white.pixels.copy())
    nearly.pixels[20, 20] = 254  # in the middle, where a printed array has dots
    kernel = tmp_path / "kernel.txt"

    def facts(card, **settings):
        runner = inference.prepare(card, request(**settings))
        return json.dumps(result_settings(runner, quality=None, strip=False), sort_keys=True, default=str)

    masks = [facts(FILL, mask=mask) for mask in (white, black, nearly)]
    frames = [facts(MEAN, frames=some) for some in ((), (white,), (black,), (white, black), (nearly,))]
    assert len({*masks, *frames}) == 8
    assert facts(FILL, mask=white) == facts(FILL, mask=Picture(pixels=white.pixels.copy()))
    kernels = []
    for text in ("0 1 0\n1 4 1\n0 1 0\n", "0 1 0\n1 2 1\n0 1 0\n"):
        kernel.write_text(text)
        kernels.append(facts(MEAN, blur=kernel))
    assert kernels[0] != kernels[1] != facts(MEAN, blur="none")
    assert facts(DARKEN) != facts(DARKEN, task="deblock")
    assert facts(DARKEN) == facts(DARKEN, task="denoise", memory=1 << 20)


def actor(card, **settings):
    """An actor of a cluster, from an order that went through a pipe."""
    files = batch.FileSettings()
    order = WorkerConfig(
        card=card, request=request(**settings), files=files, preview=False, cpus=1,
        version=safelight.__version__, run_id="mark",
    )  # fmt: skip
    return TaskRunner(pickle.loads(pickle.dumps(order)))


@pytest.fixture
def own_threads(monkeypatch):
    """An actor sets the threads of its process, which is this one here."""
    monkeypatch.setenv("VIPS_CONCURRENCY", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_actors_of_a_cluster_get_masks_and_frames_with_the_settings(photo, tmp_path, own_threads):
    white = Picture(pixels=np.full((6, 8, 1), 255, np.uint8))
    (task,) = plan([str(photo)], out=str(tmp_path / "filled.png"), tag="", format=None, on_exist="error").tasks
    outcome = actor("inpaint/fill", task="inpaint", mask=white).do(task)
    assert outcome.status == "done", outcome
    assert (image.read(tmp_path / "filled.png").pixels == 255).all()
    (task,) = plan([str(photo)], out=str(tmp_path / "mean.png"), tag="", format=None, on_exist="error").tasks
    outcome = actor("upscale/mean", scale=1, frames=(image.read(photo),)).do(task)
    assert outcome.warnings == ("2 frames",)


def test_actors_of_a_cluster_fix(tmp_path, own_threads):
    path = put(tmp_path / "clean.png", np.full((32, 32, 3), 128, np.uint8))
    (task,) = plan([str(path)], out=str(tmp_path / "out.png"), tag="", format=None, on_exist="error").tasks
    assert actor("fix").do(task).status == "done"
    assert (tmp_path / "out.png").read_bytes() == path.read_bytes()
    (task,) = plan([str(path)], out=None, tag="fixed", format=None, on_exist="error").tasks
    outcome = actor("fix").do(task)
    assert outcome.status == "skipped"
    assert "clean-fixed.png is not needed" in outcome.error


# --- iterations -------------------------------------------------------------------------------------------------------


def climb(monkeypatch, **how):
    """Make an iteration the usual denoiser."""
    made = Climb(**how)
    install(monkeypatch, climbing(made), denoise=climbing(made))
    return made


def test_an_iteration_goes_to_its_end_when_nobody_stops_it(photo, monkeypatch):
    climb(monkeypatch)
    assert run("denoise", photo).exit_code == 0
    assert (image.read(photo.with_name("photo-denoised.png")).pixels == 255).all()


def test_the_first_ctrl_c_keeps_the_best_picture_so_far(photo, monkeypatch):
    climb(monkeypatch, at=11)
    result = run("denoise", photo)
    assert result.exit_code == 0, result.output
    assert "stopped after 55%; the best picture so far is kept" in one_line(result.stderr)
    made = image.read(photo.with_name("photo-denoised.png")).pixels
    assert np.abs(made.astype(int) - 255 * 10 / STEPS).max() <= 1


def test_in_a_batch_ctrl_c_keeps_the_picture_at_work_and_begins_no_other(tmp_path, monkeypatch):
    for name in "abc":
        put(tmp_path / f"in/{name}.png", np.zeros((4, 4, 3), np.uint8))
    made = climb(monkeypatch, at=11)
    result = run("denoise", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 130
    assert "1 done, 2 not begun or not finished" in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png"]
    assert made.runs == 1


def test_a_second_ctrl_c_aborts_and_leaves_nothing(photo, monkeypatch):
    climb(monkeypatch, at=11, times=2)
    result = run("denoise", photo)
    assert result.exit_code == 130
    assert sorted(photo.parent.iterdir()) == [photo]


def test_a_preview_shows_the_picture_as_it_forms(photo, monkeypatch, tmp_path):
    climb(monkeypatch)
    monkeypatch.setattr("safelight.cli.observer._PAUSE", 0.0)
    preview = tmp_path / "preview.png"
    seen = []
    real = image.write

    def write(picture, path, **how):
        if path == preview:
            seen.append(int(picture.pixels.max()))
        real(picture, path, **how)

    monkeypatch.setattr(image, "write", write)
    assert run("denoise", photo, "--preview", preview).exit_code == 0
    assert len(seen) == STEPS
    assert seen == sorted(seen)
    assert image.read(preview).pixels.shape == (6, 8, 3)
    refused = run("denoise", photo, "--preview", preview, "-o", tmp_path / "other.png")
    assert refused.exit_code == 2
    assert "which is there" in one_line(refused.stderr)
    assert run("denoise", photo, "--preview", photo, "--on-exist", "overwrite").exit_code == 2
    assert run("denoise", photo, "--preview", tmp_path / "no/p.png", "-o", tmp_path / "x.png").exit_code == 2
