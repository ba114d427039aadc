"""The Python face: what ``import safelight`` gives."""

import inspect
import io

import numpy as np
import pytest
import torch
from PIL import Image

import safelight
from safelight import inference, tasks
from safelight.core.options import CardError
from safelight.media import image
from support.small_methods import DARKEN, FILL, MEAN, install


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def test_the_same_kind_comes_out(pixels, tmp_path):
    path = tmp_path / "a.png"
    safelight.write(pixels, path)
    picture = safelight.read(path)
    content = path.read_bytes()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

    def run(x):
        return safelight.upscale(x, scale=2, method="bicubic")

    array = run(pixels)
    assert array.shape == (18, 24, 3)
    assert array.dtype == np.uint8
    assert isinstance(run(path), safelight.Picture)
    assert isinstance(run(str(path)), safelight.Picture)
    assert isinstance(run(picture), safelight.Picture)
    assert np.array_equal(run(path).pixels, array)
    assert np.array_equal(image.read(run(content)).pixels, array)
    made = run(Image.fromarray(pixels))
    assert isinstance(made, Image.Image)
    assert np.array_equal(np.asarray(made), array)
    assert run(tensor).shape == (3, 18, 24)
    assert run(tensor[None]).shape == (1, 3, 18, 24)
    assert run(pixels[..., 0]).shape == (18, 24)
    assert run(pixels.astype(np.uint16)).dtype == np.uint16
    assert run(pixels.astype(np.float32) / 255).dtype == np.float32


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_memory_that_may_not_be_written_to_is_no_cause_for_a_warning(pixels, kind):
    """As PIL gives it; torch warns of such an array, once in a program unless told otherwise."""
    locked = (pixels / (255 if kind is np.float32 else 1)).astype(kind)
    locked.flags.writeable = False
    torch.set_warn_always(True)
    try:
        made = safelight.upscale(locked, scale=2, method="bicubic")
    finally:
        torch.set_warn_always(False)
    assert np.array_equal(made, safelight.upscale(locked.copy(), scale=2, method="bicubic"))


def test_bytes_keep_their_format(pixels):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "WEBP")
    made = safelight.upscale(held.getvalue(), scale=2, method="nearest")
    assert image.probe(made).format == "webp"


def test_options_are_keywords_and_an_unknown_one_raises(pixels):
    plain = safelight.upscale(pixels, scale=2, method="sharpen", amount=0.0)
    assert np.array_equal(plain, safelight.upscale(pixels, scale=2, method="bicubic"))
    with pytest.raises(CardError, match="has no option 'amout'; it has: amount"):
        safelight.upscale(pixels, scale=2, method="sharpen", amout=1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"method": "bicubik"}, "did you mean"),
        ({"method": "bicubic", "scale": 0.5}, "scale from 1"),
        ({"method": "bicubic", "scale": 2, "size": (3, 4)}, "got both"),
        ({"method": "bicubic", "size": "wide"}, "such as 3840x2160"),
    ],
)
def test_wrong_values_are_told_in_one_line(pixels, settings, reason):
    with pytest.raises(CardError, match=reason) as caught:
        safelight.upscale(pixels, **settings)
    assert "\n" not in str(caught.value)


def test_size(pixels):
    assert safelight.upscale(pixels, size=(30, 20), method="bicubic").shape == (20, 30, 3)
    assert safelight.upscale(pixels, size="24x", method="bicubic").shape == (18, 24, 3)


def test_load_refuses_a_formula():
    with pytest.raises(CardError, match="has no network"):
        safelight.load("upscale/bicubic")


def test_score_is_the_metric_under_its_protocol(pixels):
    noisy = np.clip(pixels.astype(int) + 10, 0, 255).astype(np.uint8)
    mse = np.mean((noisy.astype(float) - pixels) ** 2)
    expected = 10 * np.log10(255**2 / mse)
    assert safelight.score(pixels, noisy, channel="rgb") == pytest.approx(expected)
    assert safelight.score(pixels, pixels) == float("inf")
    with pytest.raises(ValueError, match="metric"):
        safelight.score(pixels, pixels, "psnrr")
    with pytest.raises(ValueError, match="one shape"):
        safelight.score(pixels, noisy[1:])


def test_write_does_not_overwrite_unasked(pixels, tmp_path):
    safelight.write(pixels, tmp_path / "a.png")
    with pytest.raises(image.TargetExistsError):
        safelight.write(pixels, tmp_path / "a.png")
    safelight.write(pixels[:5], tmp_path / "a.png", overwrite=True)
    assert safelight.read(tmp_path / "a.png").height == 5


def test_methods_are_listed():
    assert "upscale/bicubic" in safelight.list_methods()
    assert set(safelight.list_methods("denoise")) < set(safelight.list_methods())
    assert "deblock/dncnn3" in safelight.list_methods("upscale")


@pytest.mark.parametrize("task", tasks.TASKS, ids=tasks.names())
def test_a_function_has_the_inputs_of_its_task_and_the_defaults_of_a_request(task):
    given = inspect.signature(getattr(safelight, task.name)).parameters
    request = inspect.signature(inference.InferenceRequest).parameters
    assert {spec.name for spec in task.conditions} < set(given)
    for own in ("weights", "device", "precision", "ensemble"):
        assert given[own].default == request[own].default, own
    with pytest.raises(TypeError, match="positional"):
        getattr(safelight, task.name)(1, 2, 3, 4)


@pytest.fixture
def methods(monkeypatch):
    install(monkeypatch, DARKEN, FILL, MEAN, denoise=DARKEN, deblock=DARKEN, inpaint=FILL)


def test_denoise_and_deblock_restore_and_mix(pixels, methods, tmp_path):
    dark = (pixels.astype(int) + 1) // 2
    assert np.array_equal(safelight.denoise(pixels), dark)
    assert np.array_equal(safelight.deblock(pixels), dark)
    assert np.array_equal(safelight.denoise(pixels, strength=0.0), pixels)
    path = tmp_path / "a.png"
    safelight.write(pixels, path)
    made = safelight.denoise(path, sigma=51)
    assert np.array_equal(made.pixels, dark)
    assert made.warnings == ("sigma 0.2",)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    assert torch.equal(safelight.denoise(tensor, method="darken"), tensor / 2)
    with pytest.raises(CardError, match="sigma of at least 0"):
        safelight.denoise(pixels, sigma=-1)


def test_inpaint_takes_a_mask_of_any_kind(pixels, methods):
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[2:5, 3:6] = 255
    made = safelight.inpaint(pixels, mask)
    assert (made[2:5, 3:6] == 255).all()
    assert np.array_equal(made[mask == 0], pixels[mask == 0])
    assert np.array_equal(safelight.inpaint(pixels, Image.fromarray(mask)), made)
    assert np.array_equal(safelight.inpaint(pixels, torch.from_numpy(mask)[None] / 255.0), made)
    with pytest.raises(CardError, match="a mask of 12x9, the size of the picture, got 5x5"):
        safelight.inpaint(pixels, np.zeros((5, 5), np.uint8))


def test_upscale_takes_more_frames_of_any_kind(pixels, methods):
    more = [Image.fromarray(pixels), pixels]
    made = safelight.upscale(pixels, scale=2, method="mean", frames=more)
    assert np.array_equal(made, pixels.repeat(2, 0).repeat(2, 1))
    with pytest.raises(CardError, match="frames of one size"):
        safelight.upscale(pixels, method="mean", frames=[pixels[1:]])
    with pytest.raises(CardError, match="takes no several pictures"):
        safelight.upscale(pixels, method="bicubic", frames=[pixels])


def test_numbers_of_numpy_and_torch_are_numbers(pixels):
    expected = safelight.upscale(pixels, scale=2, method="bicubic")
    for scale in (np.float64(2), np.float32(2), np.int64(2), np.array(2.0), torch.tensor(2.0)):
        assert np.array_equal(safelight.upscale(pixels, scale=scale, method="bicubic"), expected)
    safelight.denoise(pixels, method="wiener", sigma=np.float32(5), strength=np.float64(0.5), seed=np.int64(3))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", float("nan")])
def test_a_seed_that_is_none_is_refused(pixels, seed):
    with pytest.raises(CardError, match="seed"):
        safelight.denoise(pixels, method="wiener", seed=seed)


@pytest.mark.parametrize("weights", [0.5, ["a", "b"], [1e308, 1e308]])
def test_weights_of_styles_that_are_none_are_refused(pixels, weights):
    with pytest.raises(CardError, match="weights"):
        safelight.stylize(pixels, [pixels, pixels], style_weights=weights)


@pytest.mark.parametrize("value", ["auto", [5], 2j])
def test_a_sigma_that_is_no_number_is_refused(pixels, value):
    with pytest.raises(CardError, match="sigma: expected a number"):
        safelight.denoise(pixels, method="wiener", sigma=value)


def test_load_takes_the_task_of_a_network_that_serves_several():
    with pytest.raises(CardError, match="no method of inpaint is called 'vdsr'"):
        safelight.load("vdsr", task="inpaint")


def test_the_version_and_unknown_names():
    assert safelight.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = safelight.nothing
