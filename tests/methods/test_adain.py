"""AdaIN: the equation, the decoder that mirrors its encoder, alpha, mixtures, masks, colours, and what is refused."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from safelight import inference, losses
from safelight.catalog import default, find
from safelight.checkpoints import backbones, weights_manifest
from safelight.checkpoints.weights_file import WeightsHeader, save
from safelight.core.options import CardError
from safelight.core.solver_input import SolverInput, Style
from safelight.core.training import UnpairedBatch
from safelight.features import BackboneError
from safelight.inference.model import Model, load
from safelight.media import image
from safelight.media.image import Picture
from safelight.methods.stylize.adain import (
    LAYER,
    MARGIN,
    MULTIPLE,
    AdaIN,
    Options,
    StyleDecoder,
    Transferring,
    complete,
    renormalised,
    shares,
)
from safelight.nn.blocks import moments, pad_reflect
from safelight.ops.color import match_covariance
from safelight.training import loop

CARD = find("stylize/adain")


def smooth(seed, height, width):
    torch.manual_seed(seed)
    small = torch.rand(1, 3, height // 8 + 1, width // 8 + 1)
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")


@pytest.fixture(scope="module")
def backbone():
    return backbones.load("lens", random=0)


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return StyleDecoder(Options(), 1).eval()


def made(decoder, backbone, x, styles, **options):
    problem = SolverInput(task="stylize", y=x, styles=styles, backbone=backbone)
    with torch.no_grad():
        return within(complete(decoder, Options(**options), problem).eval(), x)


def within(network, x):
    """As the engine does: the picture is mirrored around, and what was added is cut off."""
    (height, width), n = x.shape[-2:], MARGIN
    with torch.no_grad():
        return network(pad_reflect(x, MULTIPLE, n))[..., n : n + height, n : n + width]


def undone(decoder, backbone, x):
    """The decoder's idea of the picture as it is."""
    return within(lambda y: decoder(backbone(y, (LAYER,))[LAYER]), x)


def test_it_is_the_default():
    assert default("stylize") is CARD


def test_the_maps_get_the_styles_moments(backbone):
    """Equation 8: exactly the means and deviations, which are what the loss compares."""
    c, s = (backbone(smooth(seed, 96, 88), (LAYER,))[LAYER] for seed in (1, 2))
    mean, deviation = losses.statistics(s)
    t = AdaIN(mean, deviation, 1.0)(c)
    alive = c.std(dim=(2, 3)) > 1e-2  # a dead map has no deviation to change
    found = losses.statistics(t)
    torch.testing.assert_close(found[0], mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1][alive], deviation[alive], rtol=2e-2, atol=1e-3)


def test_a_picture_in_its_own_style_stays_as_it_is(backbone):
    c = backbone(smooth(1, 96, 88), (LAYER,))[LAYER]
    torch.testing.assert_close(renormalised(c, moments(c), *losses.statistics(c)), c, rtol=1e-4, atol=1e-4)


def test_the_decoder_mirrors_the_encoder(backbone):
    """As many convolutions as up to relu4_1, with the channels backwards, and three times twice the size."""
    convolutions = [layer for layer in StyleDecoder(Options(), 1).layers if isinstance(layer, torch.nn.Conv2d)]
    encoder = [layer for layer in backbone.network_up_to(LAYER) if isinstance(layer, torch.nn.Conv2d)]
    assert [(b.out_channels, b.in_channels) for b in reversed(encoder)] == [
        (b.in_channels, b.out_channels) for b in convolutions
    ]
    assert StyleDecoder(Options(), 1)(torch.rand(1, 256, 4, 5)).shape == (1, 3, 32, 40)


def test_the_papers_decoder_has_its_3_5_million_numbers():
    """Nine convolutions from 512 to 3 channels, as in the code: 3,505,219 numbers."""
    assert sum(p.numel() for p in StyleDecoder(Options(encoder="vgg19"), 1).parameters()) == 3_505_219


def test_alpha_goes_from_the_content_to_the_style(decoder, backbone):
    x, style = smooth(1, 64, 72), (Style(x=smooth(2, 80, 80)),)
    none, some, whole = (made(decoder, backbone, x, style, alpha=alpha) for alpha in (0.0, 0.3, 1.0))
    torch.testing.assert_close(none, undone(decoder, backbone, x), rtol=1e-4, atol=1e-4)
    assert (some - none).abs().mean() < (whole - none).abs().mean()


def test_styles_are_mixed_by_their_weights(decoder, backbone):
    x, a, b = smooth(1, 64, 72), smooth(2, 80, 80), smooth(3, 80, 96) ** 3
    only = made(decoder, backbone, x, (Style(x=a),))
    all_but = made(decoder, backbone, x, (Style(x=a, weight=1.0), Style(x=b, weight=0.0)))
    half = made(decoder, backbone, x, (Style(x=a, weight=0.5), Style(x=b, weight=0.5)))
    torch.testing.assert_close(all_but, only)
    assert (half - only).abs().max() > 1e-3


def test_a_mask_gives_each_part_its_own_style(decoder, backbone):
    """Far from the seam the result is that of the one style alone, with the content's statistics under the mask."""
    x, a, b = smooth(1, 64, 160), smooth(2, 80, 80), smooth(3, 80, 96) ** 3
    left = torch.zeros(1, 1, 64, 160)
    left[..., :80] = 1
    both = made(decoder, backbone, x, (Style(x=a, weight=0.5, mask=left), Style(x=b, weight=0.5, mask=1 - left)))
    other = made(decoder, backbone, x, (Style(x=a, weight=0.5, mask=left), Style(x=a**2, weight=0.5, mask=1 - left)))
    torch.testing.assert_close(both[..., :40], other[..., :40], rtol=1e-4, atol=1e-4)
    assert (both[..., 120:] - other[..., 120:]).abs().max() > 1e-3


def test_where_no_mask_is_the_content_stays(decoder, backbone):
    x, nowhere = smooth(1, 64, 72), torch.zeros(1, 1, 64, 72)
    kept = made(decoder, backbone, x, (Style(x=smooth(2, 80, 80), mask=nowhere),))
    assert torch.isfinite(kept).all()
    torch.testing.assert_close(kept, undone(decoder, backbone, x), rtol=1e-4, atol=1e-4)


def test_shares_are_of_the_size_of_the_maps_and_sum_to_the_greatest_mask():
    content = torch.rand(1, 3, 61, 43)
    mask = torch.rand(1, 1, 61, 43)
    parts = shares([Style(x=content, weight=0.3, mask=mask), Style(x=content, weight=0.7, mask=mask * 0.5)], content)
    assert parts.shape == (2, 1, 14, 12)
    assert float(parts.sum(dim=0).max()) <= 1
    assert shares([Style(x=content)], content) is None


def test_the_contents_colours_are_kept(decoder, backbone):
    """The style has the content's mean and covariance before its maps are taken."""
    x, style = smooth(1, 64, 72), smooth(2, 80, 80) * torch.tensor([1.0, 0.3, 0.1]).view(1, 3, 1, 1)
    matched = match_covariance(style, x)
    torch.testing.assert_close(matched.mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.cov(matched[0].flatten(1)), torch.cov(x[0].flatten(1)), rtol=0, atol=1e-3)
    kept = made(decoder, backbone, x, (Style(x=style),), colors="content")
    torch.testing.assert_close(kept, made(decoder, backbone, x, (Style(x=matched.clamp(0, 1)),)), rtol=1e-3, atol=1e-3)


def test_a_large_style_is_reduced(decoder, backbone):
    x, style = smooth(1, 64, 72), smooth(2, 300, 400)
    small = torch.nn.functional.interpolate(style, scale_factor=1)
    assert (
        made(decoder, backbone, x, (Style(x=style),), style_side=64) - made(decoder, backbone, x, (Style(x=small),))
    ).abs().max() > 1e-4


def test_a_style_smaller_than_what_the_layer_sees_is_one_line(decoder, backbone):
    with pytest.raises(CardError, match=r"^expected a style of at least 60x60, .* got 90x59; take a larger picture$"):
        made(decoder, backbone, smooth(1, 64, 72), (Style(x=smooth(2, 59, 90)),))


def test_no_style_is_one_line():
    with pytest.raises(CardError, match="expected a picture of the style, got none; give one by --style"):
        inference.prepare(CARD, inference.InferenceRequest(task="stylize", device="cpu"))


def test_options_of_use_need_no_weights_of_their_own(decoder):
    """The same weights serve every alpha."""
    styles = (Picture(pixels=np.zeros((64, 64, 3), np.uint8)),)
    for alpha in (0.2, 1.0):
        settings = inference.InferenceRequest(
            task="stylize", inputs={"style": styles}, options={"alpha": alpha}, device="cpu"
        )
        model = Model(CARD, Options(alpha=alpha), 1, decoder, task="stylize")
        result = inference.Runner(CARD, settings, {1: model})(Picture(pixels=np.zeros((20, 20, 3), np.uint8)))
        assert result.pixels.shape == (20, 20, 3)


def test_training_brings_the_terms_down(backbone):
    torch.manual_seed(0)
    network = StyleDecoder(Options(), 1).train()
    training = Transferring(network, dataclasses.replace(CARD.method.training.recipe, lr=1e-3), backbone, ())
    batch = UnpairedBatch(a=smooth(1, 32, 32).repeat(2, 1, 1, 1), b=torch.rand(2, 3, 32, 32))
    before = training.validate({"network": network}, [batch]).value
    for _ in range(15):
        terms = training.step(batch)
    assert set(terms) == {"content", "style", "same", "restless"}
    assert training.validate({"network": network}, [batch]).value < 0.7 * before


def test_a_decoder_is_used_with_the_weights_that_it_was_trained_with(tmp_path, decoder):
    y, styles = torch.zeros(1, 3, 16, 16), (Style(x=torch.zeros(1, 3, 64, 64)),)
    for sha256, fits in ((backbones.load("lens").sha256, True), ("0" * 64, False)):
        header = WeightsHeader(
            method=CARD.id, options={"encoder": "lens"}, scales=(1,), recipe={"backbone_sha256": sha256}
        )
        save(tmp_path / "own.safetensors", decoder.state_dict(), header)
        model = load(CARD, weights=tmp_path / "own.safetensors")
        with nullcontext() if fits else pytest.raises(BackboneError, match="expected the weights of lens that its own"):
            model.complete(y, styles)


def test_a_decoder_is_trained_with_its_own_encoder(backbone):
    with pytest.raises(CardError, match="train with --encoder lens --backbone lens"):
        Transferring(StyleDecoder(Options(encoder="vgg19"), 1), CARD.method.training.recipe, backbone, ())


def test_styles_are_drawn_for_each_batch(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("content", "style"):
        (tmp_path / folder).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 255, (80, 90, 3), dtype=np.uint8)
            image.write(image.Picture(pixels=pixels), tmp_path / folder / f"{i}.png")
    recipe = dataclasses.replace(CARD.method.training.recipe, patch=32, batch=2, steps=2, warmup=1)
    plan = loop.TrainConfig(
        card=CARD, options=Options(), scales=(1,), recipe=recipe,
        data={"data": (tmp_path / "content",), "style": (tmp_path / "style",)},
        out=tmp_path / "w.safetensors", device="cpu", precision="float32",
    )  # fmt: skip
    seen = []
    header = loop.train(plan, seen.append)
    assert header.recipe["styles"] == ["style"]
    assert seen[-1].score.name == "loss"
    assert header.steps == 2


@pytest.mark.parametrize("weights", weights_manifest.shipped_weights(CARD.id), ids=lambda weights: weights.file)
def test_shipped_weights_give_the_picture_back_and_take_the_styles_colours(weights):
    yy, xx = np.mgrid[0:128, 0:160]
    disc = np.hypot(xx - 90, yy - 60) < 40
    pixels = np.stack([90 + xx / 2, 200 - yy, np.where(disc, 30, 170)], axis=-1).clip(0, 255).astype(np.uint8)
    red = np.random.default_rng(0).integers(0, 60, (96, 96, 3), dtype=np.uint8) + np.array([170, 0, 0], np.uint8)

    def run(alpha):
        styles = (Picture(pixels=red),)
        settings = inference.InferenceRequest(
            task="stylize", inputs={"style": styles}, options={"alpha": alpha}, device="cpu"
        )
        return inference.prepare(CARD, settings)(Picture(pixels=pixels)).pixels.astype(float)

    same, styled = run(0.0), run(1.0)
    assert np.abs(same - pixels).mean() < 32  # flat drawn colours are what it knows least
    assert np.abs(styled.mean(axis=(0, 1)) - red.mean(axis=(0, 1))).max() < 70
