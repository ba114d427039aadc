"""The lens: its layers, what they see, the shipped weights, and a distance that grows with the damage."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from safelight import ops
from safelight.checkpoints import backbones, weights_file
from safelight.checkpoints.weights_manifest import SHIPPED, shipped_weights
from safelight.features import lens
from safelight.features.backbone import ReceptiveField

ROOT = Path(__file__).parents[1]
RELUS = ["relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1"]


@pytest.fixture(scope="module")
def shipped():
    return backbones.load("lens")


def colourful(side=96):
    """A disc, stripes, a ramp and a chequered ground in several colours."""
    v, u = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    disc = ((u - 0.4) ** 2 + (v - 0.45) ** 2 < 0.07).float()
    red = 0.2 + 0.5 * u + 0.2 * disc
    green = 0.5 + 0.3 * torch.sin(40 * v) * (u > 0.6)
    blue = 0.3 + 0.4 * v * (1 - disc) + 0.2 * ((16 * u).floor() + (16 * v).floor()) % 2
    return torch.stack([red, green, blue]).clamp(0, 1).unsqueeze(0)


def distance(backbone, x, y):
    """The perceptual distance with the same weight for each channel, written down a second time."""
    total = 0.0
    for a, b in zip(backbone(x, lens.PERCEPTUAL).values(), backbone(y, lens.PERCEPTUAL).values(), strict=True):
        a, b = (f / f.square().sum(1, keepdim=True).sqrt().clamp(min=1e-10) for f in (a, b))
        total += float((a - b).square().sum(1).mean())
    return total


def test_its_layers_are_named_as_in_vgg():
    backbone = lens.build("max")
    assert [layer for layer in backbone.layers if layer.startswith("relu")] == RELUS
    assert [layer for layer in backbone.layers if layer.startswith("pool")] == ["pool1", "pool2", "pool3"]
    assert set(lens.PERCEPTUAL) <= set(RELUS)


def test_it_is_made_of_convolutions_alone():
    modules = list(lens.build("max").network.children())
    assert all(isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) for module in modules)
    assert sum(p.numel() for p in lens.build("max").parameters()) == 729_760


@pytest.mark.parametrize(
    ("layer", "sight"),
    [
        ("relu1_2", ReceptiveField(32, 1, 5)),
        ("relu2_2", ReceptiveField(64, 2, 14)),
        ("relu3_3", ReceptiveField(128, 4, 40)),
        ("relu4_1", ReceptiveField(256, 8, 60)),
    ],
)
def test_what_a_layer_sees(layer, sight):
    backbone = backbones.load("lens", pooling="average", random=0)
    assert backbone.receptive_field(layer) == sight
    # The gradient of one place reaches the pixels of a square of that side, and no other.
    x = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)).requires_grad_()
    maps = backbone(x, [layer])[layer]
    assert maps.shape == (1, sight.channels, 96 // sight.stride, 96 // sight.stride)
    middle = maps.shape[-1] // 2
    maps[0, :, middle, middle].sum().backward()
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == sight.field


def test_the_pools_are_of_the_kind_asked_for():
    x = colourful()
    for pooling, pool in (("average", F.avg_pool2d), ("max", F.max_pool2d)):
        maps = backbones.load("lens", pooling=pooling)(x, ["relu1_2", "pool1"])
        torch.testing.assert_close(maps["pool1"], pool(maps["relu1_2"], 2))


def test_the_shipped_file_is_the_one_that_was_measured():
    (weights,) = shipped_weights("features/lens")
    content = (SHIPPED / weights.file).read_bytes()
    assert len(content) == weights.bytes <= 3 << 20
    assert hashlib.sha256(content).hexdigest() == weights.sha256
    assert json.loads((ROOT / "results/lens.json").read_text())["weights_sha256"] == weights.sha256


def test_its_header_tells_how_it_was_made():
    header = weights_file.read_header(SHIPPED / "lens.safetensors")
    assert (header.method, header.precision) == ("features/lens", "float16")
    assert header.steps > 0
    assert header.seconds > 0
    assert header.commit
    assert "not stated" not in " ".join(header.trained_on)
    for teacher in ("SqueezeNet 1.0", "Tiny Darknet"):
        assert header.scores[f"validation, {teacher}: Spearman"] > 0.9


def test_the_channels_are_of_about_the_same_size(shipped):
    # On the pictures of its training each mean is 1. A drawn picture is another, but no layer may be far off.
    maps = shipped(colourful(), RELUS)
    for layer in RELUS:
        assert 0.2 < float(maps[layer].mean()) < 3, layer


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_gradients_reach_every_pixel(pooling):
    x = colourful(64).requires_grad_()
    maps = backbones.load("lens", pooling=pooling)(x, RELUS)
    sum(values.square().mean() for values in maps.values()).backward()
    assert bool((x.grad.abs().sum(dim=1) > 0).all())


def test_a_picture_is_no_distance_from_itself(shipped):
    assert distance(shipped, colourful(), colourful()) == 0


def test_the_distance_grows_with_noise_and_blur(shipped):
    x = colourful()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    noisy = [distance(shipped, (x + sigma / 255 * noise).clamp(0, 1), x) for sigma in (0, 2, 5, 10, 20, 40)]
    blurred = [distance(shipped, ops.gaussian_blur(x, sigma), x) for sigma in (0.3, 0.6, 1, 2, 4)]
    assert noisy == sorted(noisy)
    assert blurred == sorted(blurred)


def test_it_sees_more_than_the_error_of_pixels(shipped):
    # A blur and a shift of brightness with the same squared error: eyes mind the blur, and so does the lens.
    x = colourful()
    blurred = ops.gaussian_blur(x, 2)
    brighter = x + (blurred - x).square().mean().sqrt()
    assert distance(shipped, blurred, x) > 3 * distance(shipped, brighter, x)


def test_the_figures_in_the_document_are_the_measured_ones():
    results = json.loads((ROOT / "results/lens.json").read_text())
    measures = ("lens", "random weights", "psnr", "ssim")
    text = (ROOT / "docs/internals/lens.md").read_text()
    found = [
        line.split("|")[1:-1] for line in text.splitlines() if re.fullmatch(r"\|[^|]+(\| -?\d\.\d{3} ){4}\|", line)
    ]
    rows = [kind["with_teacher_over_pictures"] for kind in results["kinds"]]
    for kinds in (results["all_kinds"], results["unseen_kinds"]):
        rows += [{name: kinds[name][what] for name in measures} for what in ("mean", "least")]
    rows.append(results["all_together"])
    assert [name.strip(" *") for name, *_ in found][: len(results["kinds"])] == [k["name"] for k in results["kinds"]]
    assert [[float(cell) for cell in cells] for _, *cells in found] == [
        [pytest.approx(row[name], abs=6e-4) for name in measures] for row in rows
    ]


def test_it_ranks_every_kind_as_its_teacher_does():
    results = json.loads((ROOT / "results/lens.json").read_text())
    assert results["below_floor"] == []
    for kind in results["kinds"]:
        ranks = kind["with_teacher"]["lens"]["mean"], kind["with_strength"]["lens"]["mean"]
        assert min(*ranks, kind["with_teacher_over_pictures"]["lens"]) >= results["floor"] == 0.9, kind["name"]
