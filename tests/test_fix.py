"""``fix``: what a picture needs is seen, done in the right order and without rounding between, or left alone."""

from dataclasses import replace

import numpy as np
import pytest

import safelight
from safelight import tasks
from safelight.batch.manifest import NAME
from safelight.core.card import ClosedForm
from safelight.core.options import CardError
from safelight.core.solver_input import SolverResult
from safelight.inference.autofix import AutoFix, diagnose
from safelight.inference.runner import InferenceRequest
from safelight.media import image
from safelight.media.image import Picture
from safelight.tasks.deblock import MIN_QUALITY
from support.cli import lines, run
from support.small_methods import card, install, set_defaults


def adds(task, change):
    """A method that changes each sample by the same function."""
    return card(
        task,
        f"{task.removesuffix('e')}er",
        ClosedForm(solve=lambda problem, options: SolverResult(x=change(problem.y)), bytes=8),
    )


@pytest.fixture(autouse=True)
def methods(monkeypatch):
    deblock, denoise = adds("deblock", lambda y: y / 2), adds("denoise", lambda y: y + 0.25)
    install(monkeypatch, deblock, denoise, deblock=deblock, denoise=denoise)


def scene(sigma=0.0, size=(96, 128), channels=3):
    """A smooth scene with some edges, and noise of a sigma."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[0 : size[0], 0 : size[1]] / 20
    base = 128 + 50 * np.sin(down) * np.cos(across) + 30 * (across > 3)
    x = np.stack([base + 10 * i for i in range(channels)], axis=-1)
    return np.clip(np.rint(x + rng.normal(0, sigma, x.shape)), 0, 255).astype(np.uint8)


def file(path, sigma=0.0, quality=95, **facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.write(Picture(pixels=scene(sigma), **facts), path, quality=quality)
    return path


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sigma", "quality", "tasks"),
    [
        ("clean.png", 0, 95, []),
        ("clean.jpg", 0, 95, []),
        ("good.jpg", 0, MIN_QUALITY, []),
        ("blocks.jpg", 0, MIN_QUALITY - 1, ["deblock"]),
        ("poor.jpg", 0, 10, ["deblock"]),
        ("grain.png", 15, 95, ["denoise"]),
        ("faint.png", 3, 95, []),
        ("both.jpg", 25, 60, ["deblock", "denoise"]),
    ],
)
def test_what_a_picture_needs(tmp_path, name, sigma, quality, tasks):
    found = diagnose(image.read(file(tmp_path / name, sigma, quality)))
    assert [need.task for need in found.needs] == tasks
    assert found.quality == (quality if name.endswith("jpg") else None)
    if name.endswith("png"):
        assert found.sigma == pytest.approx(sigma, abs=1)


def test_nothing_is_seen_in_a_picture_of_one_pixel():
    assert diagnose(Picture(pixels=np.zeros((1, 1, 3), np.uint8))).needs == ()


# --- doing ------------------------------------------------------------------------------------------------------------


def test_each_step_is_told_with_its_reason_in_the_right_order(tmp_path):
    path = file(tmp_path / "both.jpg", 25, 60)
    result = run("fix", path, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    deblock, denoise = result.stderr.splitlines()
    assert deblock.endswith("both.jpg: deblock: a JPEG of quality 60, below 70 (deblock/deblocker)")
    assert ": denoise: noise of about " in denoise
    assert denoise.endswith("above 6 (denoise/denoiser)")
    expected = np.minimum(image.read(path).pixels / 2 + 0.25 * 255, 255)  # halved first, then brighter
    assert np.abs(image.read(tmp_path / "out.png").pixels - expected).max() <= 0.5 + 1e-3


def test_a_method_that_does_both_runs_once(monkeypatch):
    both = replace(adds("denoise", lambda y: y + 0.1), other_tasks=("deblock",))
    install(monkeypatch, both, deblock=both, denoise=both)
    noisy = Picture(pixels=np.minimum(scene(20), 200), jpeg_quality=30)
    made = AutoFix(InferenceRequest(device="cpu"))(noisy)
    assert len(made.warnings) == 2  # both reasons are told
    assert np.abs(made.pixels - (noisy.pixels + 25.5)).max() <= 0.5 + 1e-3


def test_nothing_is_rounded_between_two_steps(monkeypatch):
    little = 0.4 / 255  # each step alone would be rounded away
    install(
        monkeypatch, deblock=adds("deblock", lambda y: y + little), denoise=adds("denoise", lambda y: y + little)
    )  # fmt: skip
    noisy = Picture(pixels=np.minimum(scene(20), 250), jpeg_quality=30)
    made = AutoFix(InferenceRequest(device="cpu"))(noisy)
    assert np.array_equal(made.pixels, noisy.pixels + 1)
    assert made.jpeg_quality is None


def test_depth_alpha_and_metadata_are_kept(tmp_path):
    deep = scene(15).astype(np.uint16) * 257
    alpha = np.random.default_rng(1).integers(0, 65536, deep.shape[:2], np.uint16)
    image.write(Picture(pixels=deep, alpha=alpha, dpi=(200.0, 200.0)), tmp_path / "deep.png")
    assert run("fix", tmp_path / "deep.png").exit_code == 0
    made = image.read(tmp_path / "deep-fixed.png")
    assert made.depth == "16-bit"
    assert np.array_equal(made.alpha, alpha)
    assert made.dpi == (200.0, 200.0)
    expected = np.minimum(deep + 0.25 * 65535, 65535)
    assert np.abs(made.pixels - expected).max() <= 1


def test_a_dry_run_only_says(tmp_path):
    path = file(tmp_path / "both.jpg", 25, 60)
    result = run("fix", path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert ": deblock: a JPEG of quality 60" in result.stderr
    assert ": denoise: noise of about" in result.stderr
    assert result.stdout.endswith("planned\n")
    assert list(tmp_path.iterdir()) == [path]


# --- leaving alone ----------------------------------------------------------------------------------------------------


def test_a_picture_that_needs_nothing_gets_no_copy_beside_it(tmp_path):
    path = file(tmp_path / "clean.jpg")
    for flags in ([], ["--dry-run"]):
        result = run("fix", path, "--json", *flags)
        assert result.exit_code == 0, result.output
        facts, summary = lines(result)
        assert facts["status"] == "skipped"
        assert "clean-fixed.jpg is not needed (nothing to do: JPEG quality 95, noise of about 0." in facts["error"]
        assert summary["skipped"] == 1
    assert "skipped: " in run("fix", path).stdout
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_results_gets_the_very_file(tmp_path):
    clean = file(tmp_path / "in/a/clean.jpg", quality=88)
    file(tmp_path / "in/noisy.png", sigma=15)
    result = run("fix", tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    told = {facts["input"].rpartition("/")[2]: facts for facts in lines(result)[:-1]}
    assert told["clean.jpg"]["status"] == "done"
    assert told["clean.jpg"]["warnings"][0].startswith("nothing to do: JPEG quality 88, noise of about ")
    assert told["clean.jpg"]["method"] == "fix"
    assert (tmp_path / "out/a/clean.jpg").read_bytes() == clean.read_bytes()
    assert not np.array_equal(image.read(tmp_path / "out/noisy.png").pixels, scene(15))
    again = lines(run("fix", tmp_path / "in", "-o", tmp_path / "out", "--on-exist", "skip", "--json"))
    assert [facts["status"] for facts in again[:-1]] == ["skipped", "skipped"]
    assert (tmp_path / "out" / NAME).exists()


def test_what_is_asked_for_beside_is_done_to_an_unchanged_picture_too(tmp_path):
    exif = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    path = file(tmp_path / "clean.png", exif=exif)
    assert run("fix", path, "--format", "webp", "-o", f"{tmp_path}/out/").exit_code == 0
    assert image.probe(tmp_path / "out/clean.webp").format == "webp"
    assert run("fix", path, "--strip", "-o", tmp_path / "bare.png").exit_code == 0
    assert image.read(tmp_path / "bare.png").exif is None
    assert np.array_equal(image.read(tmp_path / "bare.png").pixels, scene())
    assert run("fix", path, "--format", "webp").exit_code == 0
    assert image.probe(tmp_path / "clean-fixed.webp").format == "webp"
    piped = run("fix", "-", "-o", "-", stdin=path.read_bytes())
    assert piped.exit_code == 0
    assert np.array_equal(image.read(piped.stdout_bytes).pixels, scene())


# --- in Python --------------------------------------------------------------------------------------------------------


def test_the_same_kind_comes_out_of_python_and_says_why(tmp_path):
    path = file(tmp_path / "both.jpg", 25, 60)
    made = safelight.fix(path)
    assert [warning.split(":")[0] for warning in made.warnings] == ["deblock", "denoise"]
    assert run("fix", path, "-o", tmp_path / "out.png").exit_code == 0
    assert np.array_equal(image.read(tmp_path / "out.png").pixels, made.pixels)
    clean = scene()
    same = safelight.fix(clean)
    assert same.dtype == np.uint8
    assert np.array_equal(same, clean)
    assert safelight.fix(path).jpeg_quality is None


def test_a_step_without_a_method_is_told_at_once(monkeypatch):
    set_defaults(monkeypatch, **dict.fromkeys(tasks.names()))
    with pytest.raises(CardError, match="expected a default method of deblock, got none"):
        AutoFix(InferenceRequest(device="cpu"))
