"""Johnson's networks: the paper's facts, what a style loss does, and the shipped styles."""

import dataclasses

import numpy as np
import pytest
import torch

from safelight import inference, losses
from safelight.catalog import find
from safelight.checkpoints import backbones, weights_manifest
from safelight.checkpoints.weights_file import CheckpointError
from safelight.core.options import CardError
from safelight.core.training import PictureBatch
from safelight.engine.samples import to_tensor
from safelight.inference import model as models
from safelight.media import image
from safelight.methods.stylize import johnson
from safelight.methods.stylize.johnson import Johnson, Options, PerceptualLoss, resolve_options
from safelight.training import loop

CARD = find("stylize/johnson")


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_the_network_of_the_paper_has_1_68_million_numbers():
    """The release's, of width 32. The paper's transposed convolutions by 3x3 have as many as the ones here."""
    assert count(Johnson(Options(width=32), 1)) == 1_679_235
    assert count(Johnson(Options(), 1)) == 424_899


def test_it_keeps_the_size_and_goes_down_to_a_quarter():
    network = Johnson(Options(width=4), 1).eval()
    seen = {}
    for name in ("d1", "d2", "blocks", "u1"):
        layer = getattr(network, name)
        layer = layer[4] if name == "blocks" else layer
        layer.register_forward_hook(lambda m, x, y, name=name: seen.update({name: tuple(y.shape[1:])}))
    result = network(torch.rand(2, 3, 40, 32))
    assert result.shape == (2, 3, 40, 32)
    assert seen == {"d1": (8, 20, 16), "d2": (16, 10, 8), "blocks": (16, 10, 8), "u1": (8, 20, 16)}
    assert 0 < float(result.detach().min()) < float(result.detach().max()) < 1


def test_a_flat_picture_has_no_border():
    """Every border reflects: a picture of one colour comes out in one colour."""
    result = Johnson(Options(), 1).eval()(torch.full((1, 3, 32, 32), 0.3))
    assert float((result.amax(dim=(2, 3)) - result.amin(dim=(2, 3))).detach().max()) < 1e-4


def test_a_flat_picture_gets_a_texture():
    """Every network of textures needs noise: of a flat picture, layers make the same at each place of their grid."""
    flat = np.full((64, 64, 3), 128, np.uint8)
    made = inference.prepare(CARD, inference.InferenceRequest(task="stylize", device="cpu"))(
        image.Picture(pixels=flat)
    ).pixels
    inner = made[16:48, 16:48].astype(float)
    assert np.abs(inner[4:] - inner[:-4]).mean() > 2  # of 255; the network alone repeats itself every 4 pixels


def test_training_brings_the_style_nearer():
    torch.manual_seed(0)
    backbone = backbones.load("lens", random=1)
    x = torch.rand(2, 3, 32, 32)
    style = torch.rand(1, 3, 48, 48).round() * torch.tensor([0.9, 0.2, 0.1]).view(1, 3, 1, 1)
    network = Johnson(Options(width=8), 1).train()
    recipe = dataclasses.replace(CARD.method.training.recipe, lr=5e-3)
    training = PerceptualLoss(network, recipe, backbone, [style])
    batch = PictureBatch(pictures=x)
    before = training.validate({"network": network}, [batch]).value
    for _ in range(25):
        terms = training.step(batch)
    assert set(terms) == {"content", "style", "restless"}
    assert training.validate({"network": network}, [batch]).value < 0.5 * before
    with torch.no_grad():
        made, wanted = losses.gram(network(x)), losses.gram(style)
        assert losses.gram_loss(made, wanted, relative=True) < losses.gram_loss(losses.gram(x), wanted, relative=True)


def test_the_style_itself_has_next_to_no_style_loss():
    backbone = backbones.load("lens", random=1)
    style = torch.rand(1, 3, 64, 64)
    training = PerceptualLoss(Johnson(Options(width=4), 1), CARD.method.training.recipe, backbone, [style])

    class Copy(torch.nn.Module):
        def forward(self, x):
            return style

    terms = training._terms(Copy(), style)
    assert float(terms["style"]) < 1e-9
    assert float(terms["content"]) < 1e-9


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for folder, number in (("content", 4), ("style", 1)):
        (tmp_path / folder).mkdir()
        for i in range(number):
            pixels = rng.integers(0, 255, (64, 72, 3), dtype=np.uint8)
            image.write(image.Picture(pixels=pixels), tmp_path / folder / f"{i}.png")
    return tmp_path


def plan(pictures, **changes):
    recipe = dataclasses.replace(CARD.method.training.recipe, patch=32, batch=2, steps=4, warmup=1)
    fields = {
        "card": CARD, "options": Options(width=4), "scales": (1,), "recipe": recipe,
        "data": {"data": (pictures / "content",), "style": (pictures / "style" / "0.png",)},
        "out": pictures / "own.safetensors", "device": "cpu", "precision": "float32", "validate_every": 2,
    }  # fmt: skip
    return loop.TrainConfig(**{**fields, **changes})


def test_a_style_of_ones_own_is_trained_and_used(pictures):
    seen = []
    header = loop.train(plan(pictures), seen.append)
    assert seen[-1].score.name == "loss"
    assert header.scores["validation loss"] == pytest.approx(min(p.score.value for p in seen), abs=1e-3)
    assert header.recipe["styles"] == ["0.png"]
    assert header.recipe["backbone"] == "lens"
    assert (pictures / "own.csv").read_text().startswith("step,seconds,loss,content,style,restless,validation_loss")
    settings = inference.InferenceRequest(task="stylize", weights=pictures / "own.safetensors", device="cpu")
    result = inference.prepare(CARD, settings)(image.read(pictures / "content" / "0.png"))
    assert result.pixels.shape == (64, 72, 3)
    assert models.load(CARD, weights=pictures / "own.safetensors", device="cpu").options.width == 4


def test_a_run_with_another_backbone_of_the_same_name_is_not_resumed(pictures, monkeypatch):
    loop.train(plan(pictures), lambda progress: None)
    other = backbones.load("lens", random=1)
    monkeypatch.setattr(backbones, "load", lambda name, device: other)
    with pytest.raises(CheckpointError, match="settings, pictures or backbone"):
        loop.train(plan(pictures), lambda progress: None)


def test_resumption_is_exact(pictures):
    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    first = plan(pictures, out=pictures / "a.safetensors")
    loop.train(first, lambda progress: None)
    second = plan(pictures, out=pictures / "b.safetensors")
    with pytest.raises(KeyboardInterrupt):
        loop.train(second, stop)
    loop.train(second, lambda progress: None)
    a, b = (models.load(CARD, weights=p.out, device="cpu").network.state_dict() for p in (first, second))
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_without_a_style_nothing_is_trained(pictures):
    with pytest.raises(loop.datasets.DataError, match="expected a picture of the style, got none"):
        loop.train(plan(pictures, data={"data": (pictures / "content",)}), lambda progress: None)


def test_auto_is_the_first_shipped_style():
    settled = resolve_options(Options(), "stylize", False, None)
    assert settled.look == weights_manifest.shipped_weights(CARD.id)[0].options["look"]
    assert resolve_options(Options(look="scream"), "stylize", False, None).look == "scream"


def test_an_unknown_look_lists_the_others():
    with pytest.raises(CardError, match="is one of auto, starry-night"):
        inference.prepare(
            CARD, inference.InferenceRequest(task="stylize", options={"look": "photograph"}, device="cpu")
        )


@pytest.mark.parametrize("weights", weights_manifest.shipped_weights(CARD.id), ids=lambda weights: weights.file)
def test_shipped_styles_change_the_picture_and_keep_its_content(weights, drawn_scene):
    """Content as the method has it: the lens finds the scene in the result, and not the mirrored scene."""
    assert weights.bytes <= 1.2 * 2**20
    made = inference.prepare(
        CARD, inference.InferenceRequest(task="stylize", options=dict(weights.options), device="cpu")
    )(drawn_scene)
    assert np.abs(made.pixels.astype(float) - drawn_scene.pixels).mean() > 12
    lens = backbones.load("lens")
    seen, *scenes = (
        lens(to_tensor(np.ascontiguousarray(pixels)), [johnson.CONTENT])[johnson.CONTENT]
        for pixels in (made.pixels, *(drawn_scene.pixels[::down, ::across] for down in (1, -1) for across in (1, -1)))
    )
    here, *mirrored = (float(losses.content_loss(seen, scene, relative=True)) for scene in scenes)
    assert here < 0.85 * min(mirrored)


@pytest.fixture
def drawn_scene():
    yy, xx = np.mgrid[0:160, 0:200]
    disc = np.hypot(xx - 120, yy - 70) < 45
    pixels = np.stack([90 + xx / 2, 200 - yy / 2, np.where(disc, 30, 170)], axis=-1)
    return image.Picture(pixels=np.where(disc[..., None], pixels / 2, pixels).astype(np.uint8))
