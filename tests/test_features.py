"""The backbones: what they are, what their layers see, and how their weights are found."""

import dataclasses
import fnmatch
import io
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as serialise
from torch import nn
from torch.nn import functional as F

from safelight import features
from safelight.checkpoints import backbones, conversion, download, weights_file, weights_manifest
from safelight.checkpoints.weights_file import CheckpointError
from safelight.features import inception
from safelight.features.backbone import BackboneError
from support.legacy_files import old_file

NAMES = [facts.name for facts in features.BACKBONES]
OTHERS = [facts.name for facts in features.BACKBONES if facts.published is not None]

# Numbers of the convolutions alone. VGG and Inception: Keras' totals "without top" (14,714,688; 20,024,384; 21,802,784
# with means and variances, 34,432, and without the scales, 17,216). AlexNet and SqueezeNet: torchvision's totals,
# 61,100,840, 1,235,496 and 1,248,424, without the classifiers, 58,631,144 and 513,000.
PARAMETERS = {
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "squeezenet": 1_235_496 - 513_000,
    "squeezenet1_0": 1_248_424 - 513_000,
    "alexnet": 61_100_840 - 58_631_144,
    "inception": 21_802_784 - 34_432 + 17_216,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and no network."""
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "download_file", lambda *a, **k: pytest.fail("the network was used"))
    return tmp_path / "cache"


def state_of(name, seed=1):
    """What a publisher's file of a backbone would hold, with an end that is passed over."""
    tensors = dict(backbones.load(name, random=seed).network.state_dict())
    if name == "inception":
        norms = [key.removesuffix("running_var") for key in tensors if key.endswith("running_var")]
        tensors |= {f"{norm}num_batches_tracked": torch.tensor(7) for norm in norms}
        return tensors | {"fc.weight": torch.zeros(1008, 8), "AuxLogits.conv0.conv.weight": torch.zeros(128, 8)}
    return tensors | {"classifier.6.weight": torch.zeros(1000, 8), "classifier.6.bias": torch.zeros(1000)}


def written(path, tensors, **how):
    file = io.BytesIO()
    torch.save(tensors, file, **how)
    path.write_bytes(file.getvalue())
    return path


def refused(error, match, act, *arguments, **how):
    with pytest.raises(error, match=match) as caught:
        act(*arguments, **how)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


# --- what they are ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_are_true(name):
    facts, backbone = features.facts(name), backbones.load(name, random=0)
    assert backbone.name == name
    count = sum(p.numel() for p in backbone.network.parameters())
    assert count == facts.parameters == PARAMETERS.get(name, facts.parameters)
    backbone.check([*facts.style, *facts.content, *facts.perceptual])
    order = [backbone.layers.index(layer) for layer in facts.perceptual]
    assert order == sorted(order)
    assert (facts.published is None) == (len(weights_manifest.shipped_weights(f"features/{name}")) == 1)
    if facts.published is not None:
        assert facts.published.sha256.startswith(re.findall(r"-([0-9a-f]{8})\.pth$", facts.published.url)[0])
        assert facts.published.size > 4 * facts.parameters


def test_an_unknown_backbone_or_layer_lists_the_close_ones():
    refused(BackboneError, "got 'vgg18'; did you mean vgg1[69], vgg1[69]", features.facts, "vgg18")
    refused(BackboneError, "did you mean squeezenet", features.facts, "SqueezeNet")
    refused(BackboneError, "did you mean lens, vgg16, vgg19, squeezenet", features.facts, "?\n")
    vgg = backbones.load("vgg16", random=0)
    refused(
        BackboneError,
        "vgg16 has no layer 'relu3_4'; did you mean .*relu3_3",
        vgg,
        torch.zeros(1, 3, 32, 32),
        ["relu3_4"],
    )


# The layers of torchvision's networks, by their places in ``features``: convolutions by kernel, stride and padding.
def conv(n_in, n_out, k=3, s=1, p=1):
    return [nn.Conv2d(n_in, n_out, k, s, p), nn.ReLU(inplace=True)]


def reference_vgg(blocks):
    layers, n = [], 3
    for n_out, count in zip((64, 128, 256, 512, 512), blocks, strict=True):
        for _ in range(count):
            layers += conv(n, n_out)
            n = n_out
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def reference_alexnet():
    return nn.Sequential(
        *conv(3, 64, 11, 4, 2), nn.MaxPool2d(3, 2), *conv(64, 192, 5, 1, 2), nn.MaxPool2d(3, 2),
        *conv(192, 384), *conv(384, 256), *conv(256, 256), nn.MaxPool2d(3, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("vgg16", lambda: reference_vgg((2, 2, 3, 3, 3))),
        ("vgg19", lambda: reference_vgg((2, 2, 4, 4, 4))),
        ("alexnet", reference_alexnet),
    ],
)
def test_the_network_is_torchvisions(name, reference):
    backbone = backbones.load(name, random=3)
    network = nn.ModuleDict({"features": reference()})
    network.load_state_dict(backbone.network.state_dict())
    x = torch.rand(2, 3, 70, 81, generator=torch.Generator().manual_seed(1))
    normal = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    last = backbone.layers[-1]
    with torch.no_grad():
        assert torch.equal(backbone(x, [last])[last], network["features"](normal))


@pytest.mark.parametrize(
    ("name", "places", "channels"),
    [
        ("squeezenet", (3, 4, 6, 7, 9, 10, 11, 12), (64, 64, 128, 128, 192, 192, 256, 256)),
        ("squeezenet1_0", (3, 4, 5, 7, 8, 9, 10, 12), (64, 64, 128, 128, 192, 192, 256, 256)),
    ],
)
def test_the_fires_are_where_torchvision_has_them(name, places, channels):
    state = backbones.load(name, random=0).network.state_dict()
    parts = ("squeeze", "expand1x1", "expand3x3")
    names = {f"features.{i}.{part}.{leaf}" for i in places for part in parts for leaf in ("weight", "bias")}
    assert set(state) == names | {"features.0.weight", "features.0.bias"}
    assert [state[f"features.{i}.expand3x3.weight"].shape[0] for i in places] == list(channels)


def test_the_parts_of_inception_are_named_as_in_the_published_file():
    state = backbones.load("inception", random=0).network.state_dict()
    assert len(state) == 94 * 5
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_mean": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5c.branch_pool.conv.weight": (64, 256, 1, 1),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_3.conv.weight": (192, 192, 7, 1),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch_pool.bn.weight": (192,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_inception_does_what_the_graph_of_the_fid_does():
    backbone = backbones.load("inception", random=0)
    x = torch.rand(1, 3, 64, 90)
    resized = backbone(x, ["resize"])["resize"]
    assert torch.equal(resized, F.interpolate(2 * x - 1, size=(299, 299), mode="bilinear", antialias=False))
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(inception.mean3(ones), ones)  # at the border too: padding does not count
    network = backbone.network
    assert not network["Mixed_7b"].greatest
    assert network["Mixed_7c"].greatest
    norm = nn.BatchNorm2d(8, eps=1e-3).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.01, 1)
    ours = inception.Norm(8)
    ours.load_state_dict({name: t for name, t in norm.state_dict().items() if name != "num_batches_tracked"})
    y = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(ours.train()(y), norm(y))  # nothing to be changed by training
    pooled = backbone(x, ["Mixed_7c", "pool3"])
    torch.testing.assert_close(pooled["pool3"], pooled["Mixed_7c"].mean((2, 3), keepdim=True))
    sides = {"Conv2d_1a_3x3": 149, "pool1": 73, "pool2": 35, "Mixed_6a": 17, "Mixed_7a": 8, "pool3": 1}
    maps = backbone(x, list(sides))
    assert {layer: maps[layer].shape[-1] for layer in sides} == sides


# --- what their layers see --------------------------------------------------------------------------------------------


def even(network):
    """Give all weights one sign, so that nothing cancels out, and a size that keeps maps as large as they are."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    return network


def seen(y, x, at):
    """From and to which column a value depends on the input."""
    (gradient,) = torch.autograd.grad(y[0, :, y.shape[-2] // 2, at].sum(), x, retain_graph=True)
    columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    return int(columns[0]), int(columns[-1])


@pytest.mark.parametrize("name", NAMES)
def test_every_step_sees_what_it_declares(name):
    """Alone: the side of what a value depends on, and how far the next value's lies from it."""
    backbone, n = backbones.load(name, random=0, pooling="average"), 3
    even(backbone.network)
    for step in backbone._steps:
        side = 8 if step.name == "pool3" and name == "inception" else 3 * max(step.kernel, step.stride)
        x = torch.rand(1, n, side, side).requires_grad_()
        if step.name == "resize":
            continue  # how much it sees depends on the size of the picture
        y = step.module(x)
        assert y.shape[1] == step.channels, step.name
        middle = y.shape[-1] // 2
        first, last = seen(y, x, middle)
        assert last - first + 1 == step.kernel, step.name
        if y.shape[-1] > 2:
            assert first - seen(y, x, middle - 1)[0] == step.stride, step.name
        n = step.channels


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("lens", ("relu1_2", "relu2_2", "relu3_3", "relu4_1")),
        ("vgg16", ("relu2_2", "relu3_3", "relu4_3")),
        ("vgg19", ("relu2_1", "relu3_1", "relu4_2")),
        ("squeezenet", ("relu1", "fire3", "fire5", "fire9")),
        ("squeezenet1_0", ("relu1", "fire4", "fire9")),
        ("alexnet", ("relu1", "relu3", "relu5")),
        ("inception", ("Conv2d_2b_3x3", "pool2", "Mixed_5d")),
    ],
)
def test_a_layer_sees_what_its_steps_add_up_to(name, layers):
    backbone = backbones.load(name, random=0, pooling="average")
    even(backbone.network)
    width = 299 if name == "inception" else 16 + 2 * backbone.receptive_field(layers[-1]).field
    x = torch.ones(1, 3, 299 if name == "inception" else 32, width).requires_grad_()
    for layer, y in backbone(x, layers).items():
        sight = backbone.receptive_field(layer)
        first, last = seen(y, x, y.shape[-1] // 2)
        assert (y.shape[1], last - first + 1) == (sight.channels, sight.field), layer
        assert first - seen(y, x, y.shape[-1] // 2 - 1)[0] == sight.stride, layer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_small_pictures_work_or_are_refused(name, pooling):
    backbone = backbones.load(name, random=0, pooling=pooling)
    last, worked = backbone.layers[-1], []
    sides = (1, 300) if name == "inception" else (1, 2, 3, 5, 7, 9, 13, 15, 16, 17, 20, 21, 30, 31, 32, 33, 62, 63)
    for side in sides:
        try:
            y = backbone(torch.rand(1, 3, side, side + 3), [last])[last]
        except BackboneError as error:
            told = str(error)
            assert f"needs a larger picture than {side + 3}x{side}; take an earlier layer" in told
            worked.append(False)
        else:
            assert y.isfinite().all()
            worked.append(True)
    assert worked == sorted(worked)
    assert worked[-1]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_picture_and_nothing_else(name):
    backbone = backbones.load(name, random=0)
    assert not backbone.training
    x = torch.rand(1, 1, 64, 64).requires_grad_()
    sum(y.square().mean() for y in backbone(x, features.facts(name).perceptual).values()).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())


def test_pools_take_the_greatest_or_the_mean():
    x = torch.rand(1, 3, 64, 64)
    for name in NAMES:
        layer = "pool1"
        greatest, mean = (
            backbones.load(name, random=0, pooling=kind)(x, [layer])[layer] for kind in ("max", "average")
        )
        assert (greatest >= mean).all(), name
        assert not torch.equal(greatest, mean), name
        usual = backbones.load(name, random=0)(x, [layer])[layer]
        assert torch.equal(usual, mean if features.facts(name).pooling == "average" else greatest)


# --- how their weights are found --------------------------------------------------------------------------------------


def test_random_weights_are_drawn_by_their_seed():
    x = torch.rand(1, 3, 32, 32)
    a, b, c = (backbones.load("squeezenet", random=seed)(x, ["fire9"])["fire9"] for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert 0.1 < a.std() < 10
    refused(BackboneError, "weights or a seed", backbones.load, "vgg16", random=0, weights=io)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", ["zip", "before 1.6", "before 0.4"])
def test_a_publishers_file_is_taken(tmp_path, name, kind):
    state = state_of(name)
    path = tmp_path / "weights.pth"
    if kind == "before 0.4":
        path.write_bytes(old_file(state))
    else:
        written(path, state, _use_new_zipfile_serialization=kind == "zip")
    backbone = backbones.load(name, weights=path)
    expected = backbones.load(name, random=1).network.state_dict()
    assert backbone.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.network.state_dict().items())
    assert re.fullmatch(r"weights\.pth \(not the published file, sha256 [0-9a-f]{16}\)", backbone.weights)


def test_safetensors_and_wrapped_ones_are_taken(tmp_path):
    state = state_of("squeezenet")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(serialise(state))
    expected = backbones.load("squeezenet", random=1).network.state_dict()
    loaded = backbones.load("squeezenet", weights=path).network.state_dict()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
    wrapped = written(tmp_path / "w.pth", {"state_dict": {f"module.{k}": v.double() for k, v in state.items()}})
    loaded = backbones.load("squeezenet", weights=wrapped).network.state_dict()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_only_the_end_is_passed_over(tmp_path):
    state = state_of("squeezenet")
    without = {key: tensor for key, tensor in state.items() if not key.startswith("classifier.")}
    backbones.load("squeezenet", weights=written(tmp_path / "a.pth", without))
    load, path = backbones.load, tmp_path / "b.pth"
    for broken, match in (
        ({k: v for k, v in state.items() if k != "features.12.squeeze.bias"}, "without features.12.squeeze.bias"),
        (state | {"extra.weight": torch.zeros(1)}, "weights of SqueezeNet 1.1, got some with the unknown extra.weight"),
        (state | {"fc.weight": torch.zeros(1)}, "with the unknown fc.weight"),
        (state | {"features.0.weight": torch.zeros(64, 3, 5, 5)}, "of another shape for features.0.weight"),
        (state | {"features.0.bias": torch.full((64,), float("nan"))}, "not finite"),
        ({"classifier.1.weight": state["features.0.weight"]}, "without features.0.bias and 49 more"),
    ):
        refused(CheckpointError, match, load, "squeezenet", weights=written(path, broken))
    path.write_bytes(b"<html>")
    refused(CheckpointError, "expected weights of SqueezeNet 1.1, got a web page", load, "squeezenet", weights=path)
    refused(CheckpointError, "expected a weights file, but there is none", load, "vgg16", weights=tmp_path / "none.pth")


@pytest.mark.parametrize(("asked", "given"), [("vgg19", "vgg16"), ("squeezenet", "squeezenet1_0"), ("alexnet", "lens")])
def test_the_file_of_another_backbone_is_told(tmp_path, asked, given):
    state = backbones.load(given, random=0).network.state_dict()
    path = written(tmp_path / "a.pth", state)
    titles = [re.escape(features.facts(name).title) for name in (asked, given)]
    match = rf"a\.pth: expected weights of {titles[0]}, got those of {titles[1]}, which is called {given} here"
    refused(CheckpointError, match, backbones.load, asked, weights=path)


def test_what_is_put_by_is_found(tmp_path, cache):
    for name in OTHERS[:1]:
        match = rf"{name}: expected its weights, got none; .*\(553 MB\) by: safelight fetch {name}$"
        refused(BackboneError, match, backbones.load, name)
    assert backbones.installed_backbone("squeezenet") is None
    source = written(tmp_path / "mine.pth", state_of("squeezenet"))
    kept = backbones.install("squeezenet", source)
    source.unlink()
    assert kept == backbones.installed_backbone("squeezenet")
    assert kept.path == cache / "backbones/squeezenet.safetensors"
    assert (kept.source, kept.published) == ("mine.pth", False)
    assert kept.path.stat().st_size < 3_000_000  # without the end
    assert weights_file.read_header(kept.path).licence.startswith("unknown")
    backbone = backbones.load("squeezenet")
    assert backbone.weights == kept.description
    expected = backbones.load("squeezenet", random=1).network.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.network.state_dict().items())
    # It is a file of ours, which can be carried elsewhere; but it is no other backbone's.
    assert backbones.load("squeezenet", weights=kept.path).weights == kept.description
    refused(
        CheckpointError,
        "expected weights of AlexNet, got weights of features/squeezenet",
        backbones.load,
        "alexnet",
        weights=kept.path,
    )


def test_the_published_file_is_known_by_its_checksum(tmp_path, monkeypatch):
    source = written(tmp_path / "squeezenet.pth", state_of("squeezenet"))
    known = features.facts("squeezenet")
    published = dataclasses.replace(known.published, sha256=download.digest(source)[:8])
    monkeypatch.setattr(features, "BACKBONES", (dataclasses.replace(known, published=published),))
    assert backbones.load("squeezenet", weights=source).weights == "squeezenet.pth"
    kept = backbones.install("squeezenet", source)
    assert kept.published
    assert weights_file.read_header(kept.path).licence == published.licence
    assert weights_file.read_header(kept.path).converted["link"] == published.url
    assert backbones.install("squeezenet") == kept  # and nothing is fetched: the fixture would fail


def test_what_is_kept_and_damaged_or_old_is_told(tmp_path):
    kept = backbones.install("squeezenet", written(tmp_path / "mine.pth", state_of("squeezenet"))).path
    good = kept.read_bytes()
    kept.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused(CheckpointError, "damaged; run again: safelight fetch squeezenet", backbones.load, "squeezenet")
    kept.write_bytes(good)
    tensors, header = weights_file.load(kept)
    weights_file.save(kept, tensors, dataclasses.replace(header, converted={**header.converted, "rules": "0"}))
    assert backbones.installed_backbone("squeezenet") is None
    refused(BackboneError, "another version; run again: safelight fetch", backbones.load, "squeezenet")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    source = written(tmp_path / "mine.pth", state_of("squeezenet"))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "file"))
    refused(OSError, "SAFELIGHT_CACHE to one that can be written", backbones.install, "squeezenet", source)


def test_what_comes_with_the_program_is_not_fetched():
    refused(BackboneError, "lens: .* weights come with the program", backbones.install, "lens")


def test_large_files_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "large.pth"
    with path.open("wb") as file:
        file.write(b"PK")
        file.truncate(backbones.MAX_BYTES + 1)
    refused(CheckpointError, "1073741825 bytes, more than the 1073741824", backbones.load, "vgg16", weights=path)


def test_the_patterns_of_the_end_spare_every_layer():
    for facts in features.BACKBONES:
        names = backbones.load(facts.name, random=0).network.state_dict()
        assert not [name for name in names for end in facts.ignored if fnmatch.fnmatchcase(name, end)]


def test_the_cache_is_one_for_all(monkeypatch, tmp_path):
    monkeypatch.delenv("SAFELIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert conversion.cache_folder("backbones") == tmp_path / "safelight/backbones"


def test_the_document_tells_the_facts():
    text = (Path(__file__).parents[1] / "docs/backbones.md").read_text(encoding="utf-8")
    for facts in features.BACKBONES:
        size = "nothing" if facts.published is None else f"{facts.published.size / 1e6:.0f} MB"
        network = f"[{facts.title}]({facts.link})" if facts.link else f"{facts.title}, the project's own"
        assert f"\n| {facts.name} | {network} | {facts.parameters:,} | {size} | " in text
        layers = " | ".join(", ".join(names) for names in (facts.style, facts.content, facts.perceptual))
        assert f"\n| {facts.name} | {layers} |\n" in text
        (row,) = re.findall(rf"^\| {facts.name} \| (`.*) \|$", text, re.MULTILINE)
        backbones.load(facts.name, random=0).check(re.findall(r"`(\w+)`", row))
