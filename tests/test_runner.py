"""From picture to picture: sizes, colour, depth, errors; tensors through ``load``."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safelight import inference, ops
from safelight.catalog import find
from safelight.checkpoints import weights_file
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader
from safelight.core.options import CardError
from safelight.engine.samples import to_tensor
from safelight.engine.sizes import SizeError, scale_chain, target_size
from safelight.inference import model as models
from safelight.inference.runner import InferenceRequest, NumericError
from safelight.media.image import Picture
from safelight.ops.color import rgb_to_ycbcr
from support.runners import random_network, random_runner

BICUBIC, ESPCN, EDSR, VDSR, SHARPEN = (find(name) for name in ("bicubic", "espcn", "edsr", "vdsr", "sharpen"))


def noise(height, width, channels=3, dtype=np.uint8):
    values = np.random.default_rng(0).random((height, width, channels), dtype=np.float32)
    return values if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (400, 200)),
        ({"scale": 2}, (200, 100)),
        ({"scale": 2.5}, (250, 125)),
        ({"scale": 1}, (100, 50)),
        ({"scale": 1.01}, (101, 51)),
        ({"size": "300x200"}, (300, 200)),
        ({"size": "300X200"}, (300, 200)),
        ({"size": "300x"}, (300, 150)),
        ({"size": "x300"}, (600, 300)),
        ({"size": (30, 20)}, (30, 20)),
    ],
)
def test_target_size(settings, size):
    assert target_size(settings.get("scale"), settings.get("size"), 100, 50) == size


@pytest.mark.parametrize(
    "settings",
    [{"scale": 0.5}, {"scale": 33}, {"scale": math.nan}, {"scale": 2, "size": "3x"}]
    + [{"size": text} for text in ("x", "", "3", "0x5", "-3x4", "3x4x5", "axb", "100000x", "3.5x2", "²x2")],
)
def test_sizes_that_are_refused(settings):
    with pytest.raises(SizeError, match="expected") as caught:
        target_size(settings.get("scale"), settings.get("size"), 100, 50)
    assert "\n" not in str(caught.value)


@given(st.floats(1.001, 32), st.sets(st.sampled_from([2, 3, 4]), min_size=1))
def test_chain_is_the_smallest_that_reaches(zoom, scales):
    found = scale_chain(tuple(sorted(scales)), zoom)
    assert math.prod(found) >= zoom - 1e-9
    assert set(found) <= scales
    if scales == {2, 3, 4} and zoom <= 4:
        assert found == (math.ceil(zoom - 1e-9),) or zoom < 2
    # No shorter product would do: leaving the last network out falls short.
    assert math.prod(found[:-1]) < zoom


@pytest.mark.parametrize(
    ("zoom", "scales"), [(1, ()), (1.5, (2,)), (4, (4,)), (5, (3, 2)), (8, (4, 2)), (9, (3, 3)), (16, (4, 4))]
)
def test_chain_examples(zoom, scales):
    assert scale_chain((2, 3, 4), zoom) == scales


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_bicubic_on_8_bits_is_the_resize_of_ops():
    picture = Picture(pixels=noise(20, 30))
    result = inference.apply(BICUBIC, picture, InferenceRequest(inputs={"scale": 2.5}))
    expected = ops.resize(torch.from_numpy(picture.pixels).permute(2, 0, 1).float() / 255, (50, 75)).clamp(0, 1)
    expected = torch.floor(expected * 255 + 0.5).permute(1, 2, 0).to(torch.uint8)
    assert np.array_equal(result.pixels, expected.numpy())


def test_fraction_is_the_next_network_then_an_exact_resize():
    picture = Picture(pixels=noise(16, 20, dtype=np.float32))
    runner = random_runner(ESPCN, scale=2.5)
    whole = runner._executor._model(3, gray=False)(to_tensor(picture.pixels))
    expected = ops.resize(whole, (40, 50)).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(runner(picture).pixels, expected, atol=1e-5)


def test_16_bits_are_not_passed_through_8():
    ramp = np.linspace(20000, 20400, 64).astype(np.uint16)
    pixels = np.broadcast_to(ramp[None, :, None], (8, 64, 3)).copy()
    result = inference.apply(BICUBIC, Picture(pixels=pixels), InferenceRequest(inputs={"scale": 2}))
    assert result.pixels.dtype == np.uint16
    assert len(np.unique(result.pixels[4, :, 0])) > 100


def test_alpha_goes_its_own_way_and_metadata_stays():
    alpha = np.zeros((10, 12), np.uint8)
    alpha[:, 6:] = 255
    picture = Picture(
        pixels=noise(10, 12), alpha=alpha, icc=b"icc", exif=b"exif", xmp=b"xmp", dpi=(72.0, 72.0), format="png"
    )
    result = random_runner(ESPCN, scale=2)(picture)
    assert result.alpha.shape == (20, 24)
    assert result.alpha[:, :8].max() == 0
    assert result.alpha[:, 16:].min() == 255
    kept = dataclasses.replace(result, pixels=picture.pixels, alpha=alpha)
    for name in ("icc", "exif", "xmp", "dpi", "format", "warnings"):
        assert getattr(kept, name) == getattr(picture, name)


def test_luma_networks_leave_the_chroma_to_bicubic():
    x = torch.rand(1, 3, 9, 8)
    model = models.Model(ESPCN, ESPCN.options(), 3, random_network(ESPCN, 3))
    out = rgb_to_ycbcr(model(x))
    torch.testing.assert_close(out[:, 1:], ops.resize(rgb_to_ycbcr(x)[:, 1:], (27, 24)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[:, :1], model(rgb_to_ycbcr(x)[:, :1]), atol=1e-5, rtol=0)


def test_gray_through_a_network_of_rgb_is_the_mean_of_its_answers():
    x = torch.rand(1, 1, 6, 7)
    model = models.Model(EDSR, EDSR.options(), 2, random_network(EDSR, 2))
    torch.testing.assert_close(model(x), model(x.expand(-1, 3, -1, -1)).mean(1, keepdim=True))


def test_warnings_say_what_a_user_should_know():
    picture = Picture(pixels=noise(20, 30))
    stretched = inference.apply(BICUBIC, picture, InferenceRequest(inputs={"size": "60x60"}))
    assert "changes the shape" in stretched.warnings[0]
    shrunk = random_runner(ESPCN, size="15x10")(picture)
    assert "no network ran" in shrunk.warnings[0]
    hdr = inference.apply(
        BICUBIC, Picture(pixels=noise(4, 4, dtype=np.float32) * 3), InferenceRequest(inputs={"scale": 2})
    )
    assert "clipped" in hdr.warnings[0]
    assert inference.apply(BICUBIC, picture, InferenceRequest(inputs={"scale": 2})).warnings == ()


def test_nan_is_an_error_and_never_a_black_picture():
    runner = random_runner(ESPCN, scale=2)
    with torch.no_grad():
        runner._executor._model(2, gray=False).network.conv2.bias[3] = math.nan
    with pytest.raises(NumericError, match="not numbers"):
        runner(Picture(pixels=noise(8, 8)))


def test_ensemble_is_the_mean_of_eight():
    runner = random_runner(ESPCN, scale=2, ensemble=True)
    picture = Picture(pixels=noise(9, 7, dtype=np.float32))
    expected = ops.self_ensemble(runner._executor._model(2, gray=False), to_tensor(picture.pixels)).clamp(0, 1)
    np.testing.assert_allclose(runner(picture).pixels, expected[0].permute(1, 2, 0).numpy(), atol=1e-6)
    assert "+" in runner.describe()


def test_sharpen_sharpens():
    edge = np.zeros((8, 16, 3), np.float32) + 0.25
    edge[:, 8:] = 0.75
    plain = inference.apply(BICUBIC, Picture(pixels=edge), InferenceRequest(inputs={"scale": 2})).pixels
    sharp = inference.apply(
        SHARPEN, Picture(pixels=edge), InferenceRequest(inputs={"scale": 2}, options={"amount": 1.0})
    ).pixels
    none = inference.apply(
        SHARPEN, Picture(pixels=edge), InferenceRequest(inputs={"scale": 2}, options={"amount": 0})
    ).pixels
    assert np.abs(np.diff(sharp[8, :, 0])).max() > 1.2 * np.abs(np.diff(plain[8, :, 0])).max()
    np.testing.assert_allclose(none, plain, atol=1e-6)


# --- loading ----------------------------------------------------------------------------------------------------------


def save(path, card, scale, **changes):
    net = random_network(card, scale)
    header = WeightsHeader(method=card.id, options=dataclasses.asdict(card.options()), scales=(scale,))
    weights_file.save(path, net.state_dict(), dataclasses.replace(header, **changes))
    return path


def test_a_users_weights_serve_their_scale_alone(tmp_path):
    path = save(tmp_path / "w.safetensors", ESPCN, 2)
    runner = inference.prepare(ESPCN, InferenceRequest(inputs={"scale": 2}, weights=path))
    assert runner(Picture(pixels=noise(5, 6))).pixels.shape == (10, 12, 3)
    # Scale 4 is then twice scale 2.
    assert len(inference.prepare(ESPCN, InferenceRequest(inputs={"scale": 4}, weights=path)).stages(6, 5, 3)[0]) == 2
    with pytest.raises(CheckpointError, match="expected weights for x3"):
        models.load(ESPCN, scale=3, weights=path)


def test_weights_of_another_method_are_refused(tmp_path):
    path = save(tmp_path / "w.safetensors", ESPCN, 2)
    with pytest.raises(CheckpointError, match="expected weights of upscale/vdsr, got upscale/espcn"):
        models.load(VDSR, weights=path)
    path = save(tmp_path / "v.safetensors", ESPCN, 2, method="upscale/vdsr", options={})
    with pytest.raises(CheckpointError, match="another network"):
        models.load(VDSR, weights=path)


def test_what_cannot_be_asked_of_a_formula_or_a_network():
    with pytest.raises(CardError, match="no trained method"):
        models.load(BICUBIC)
    with pytest.raises(CardError, match="takes no weights"):
        inference.prepare(BICUBIC, InferenceRequest(weights="w.safetensors"))
    with pytest.raises(CardError, match="has no scale 5"):
        models.load(VDSR, scale=5)
    with pytest.raises(CardError, match="ships no weights"):
        models.load(EDSR, scale=2, options={"variant": "full"})
    with pytest.raises(CardError, match="has no option 'radius'"):
        inference.prepare(BICUBIC, InferenceRequest(options={"radius": 3}))
    with pytest.raises(SizeError, match="from 1 to 32"):
        inference.prepare(BICUBIC, InferenceRequest(inputs={"scale": 0.5}))


def test_model_refuses_other_shapes():
    model = models.Model(ESPCN, ESPCN.options(), 2, random_network(ESPCN, 2))
    for shape in ((3, 8, 8), (1, 2, 8, 8), (1, 4, 8, 8)):
        with pytest.raises(ValueError, match="expected"):
            model(torch.zeros(shape))
