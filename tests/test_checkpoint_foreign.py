"""Published checkpoints: what their own code computes, ours computes with the converted weights."""

import dataclasses
import hashlib
import io
import re
import subprocess
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as serialise
from torch import nn

import safelight
from safelight.catalog import CARDS, find
from safelight.checkpoints import conversion, weights_file, weights_manifest
from safelight.checkpoints.weights_file import CheckpointError
from safelight.core import key_maps
from safelight.core.card import LayoutError, Trained
from safelight.inference import model
from safelight.methods.upscale import edsr, fsrcnn
from support import published_weights as public
from support.legacy_files import old_file

LAYOUTS = {
    ("edsr", "EDSR-PyTorch"): public.AuthorsEdsr,
    ("edsr", "BasicSR"): public.BasicSrEdsr,
    ("vdsr", "pytorch-vdsr"): lambda scale: public.Vdsr1(),
    ("vdsr", "VDSR-PyTorch"): lambda scale: public.Vdsr2(),
    ("fsrcnn", "FSRCNN-pytorch"): public.Fsrcnn1,
    ("fsrcnn", "FSRCNN-PyTorch"): public.Fsrcnn2,
    ("dncnn", "KAIR"): lambda scale: public.KairDncnn(),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "safelight" / "converted"


def written(path, thing):
    path.write_bytes(public.torch_bytes(thing))
    return path


def same(loaded, network):
    """Ours and theirs agree to 1e-5 on a picture in [0, 1], over outputs of about the size of a picture's values."""
    channels = 1 if loaded.channels == "y" else 3
    x = torch.rand(1, channels, 10, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs, ours = network.float()(x), loaded.network(x)
    computed = theirs - x if theirs.shape == x.shape else theirs
    assert 0.05 < computed.std() < 5  # a comparison of nothing with nothing proves nothing
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def refused(name, path, match, **how):
    with pytest.raises(CheckpointError, match=match) as caught:
        model.load(find(name), weights=path, **how)
    assert "\n" not in str(caught.value)


def test_every_layout_on_a_card_is_tested_here_and_documented():
    networks = [card for card in CARDS if isinstance(card.method, Trained)]
    found = [(card.name, layout) for card in networks for layout in card.method.network.foreign_layouts]
    assert {(name, layout.name) for name, layout in found} == set(LAYOUTS)
    text = (Path(__file__).parents[1] / "docs/weights.md").read_text()
    assert all(f"| {name} | [{layout.name}]({layout.link}) |" in text for name, layout in found)


@pytest.mark.parametrize(
    ("name", "layout", "scale"), [(*key, scale) for key in LAYOUTS for scale in find(key[0]).method.network.scales]
)
def test_a_published_checkpoint_gives_its_own_codes_output(tmp_path, cache, name, layout, scale):
    network = public.randomised(LAYOUTS[name, layout](scale))
    path = written(tmp_path / f"{name}_x{scale}.pth", network.state_dict())
    loaded = model.load(find(name), weights=path, scale=scale)
    assert (loaded.scale, loaded.network.training) == (scale, False)
    same(loaded, network)
    (kept,) = cache.iterdir()
    header = weights_file.read_header(kept)
    assert header.method == find(name).id
    assert header.licence.startswith("unknown")
    assert header.converted["layout"] == layout
    assert header.converted["link"].startswith("https://github.com/")
    assert header.converted["file"] == path.name
    assert header.converted["sha256"] == kept.stem == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_scale_and_the_architecture_come_from_the_tensors(tmp_path):
    path = written(tmp_path / "weights.pt", public.randomised(public.BasicSrEdsr(2)).state_dict())
    assert safelight.load("edsr", weights=path).scale == 2
    refused("edsr", path, "expected weights for x4, got those for 2", scale=4)
    network = public.randomised(public.Fsrcnn1(3, d=32, s=8, m=1))
    path = written(tmp_path / "small_x3.pth", network.state_dict())
    loaded = model.load(find("fsrcnn"), weights=path)
    assert (loaded.options, loaded.scale) == (fsrcnn.Options(d=32, s=8, m=1), 3)
    same(loaded, network)


def test_where_the_tensors_do_not_tell_the_scale_the_name_or_the_user_does(tmp_path):
    network = public.randomised(public.Fsrcnn1(2))
    named = written(tmp_path / "fsrcnn_x2-T91.pth.tar", network.state_dict())
    assert model.load(find("fsrcnn"), weights=named).scale == 2
    refused("fsrcnn", named, "expected weights for x3, got those for 2", scale=3)
    nameless = written(tmp_path / "best.pth", network.state_dict())
    refused("fsrcnn", nameless, "tell their scale, got those that fit x2, x3, x4 alike")
    loaded = model.load(find("fsrcnn"), weights=nameless, scale=2)
    same(loaded, network)
    assert model.open_weights(find("fsrcnn"), nameless, 2.0)[1].scales == (2,)
    with pytest.raises(CheckpointError, match="tell their scale"):
        model.open_weights(find("fsrcnn"), nameless, 2.5)
    # One VDSR serves every scale, whatever its file is called.
    vdsr = written(tmp_path / "vdsr_x2.pth", public.randomised(public.Vdsr1()).state_dict())
    assert model.open_weights(find("vdsr"), vdsr)[1].scales == (2, 3, 4)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"params": s},
        lambda s: {"params": {k: v + 1 for k, v in s.items()}, "params_ema": s},
        lambda s: {"epoch": 3, "best_psnr": 31.5, "state_dict": s, "scheduler": None, "sizes": [1, (2, 3)]},
        lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
        lambda s: OrderedDict((f"module.model.{k}", v) for k, v in s.items()),
        lambda s: OrderedDict((k, nn.Parameter(v)) for k, v in s.items()),
    ],
)
def test_the_usual_wrappings_are_taken_off(tmp_path, wrap):
    network = public.randomised(public.Fsrcnn1(3))
    path = written(tmp_path / "x3.pth", wrap(network.state_dict()))
    same(model.load(find("fsrcnn"), weights=path), network)


def test_a_checkpoint_with_the_state_of_its_training_is_read(tmp_path):
    network = public.randomised(public.Fsrcnn1(3))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    optimizer.step()
    path = written(tmp_path / "x3.pth", {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict()})
    same(model.load(find("fsrcnn"), weights=path), network)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_become_float32(tmp_path, dtype):
    network = public.randomised(public.Fsrcnn1(3)).to(dtype)
    path = written(tmp_path / "x3.pth", network.state_dict())
    same(model.load(find("fsrcnn"), weights=path), network)


def test_views_and_strides_are_read_as_they_are_meant(tmp_path):
    network = public.randomised(public.Fsrcnn1(3)).to(memory_format=torch.channels_last)
    path = written(tmp_path / "x3.pth", network.state_dict())
    same(model.load(find("fsrcnn"), weights=path), network)
    # All parameters in one storage, as some optimisers keep them.
    network = network.to(memory_format=torch.contiguous_format)
    flat = nn.utils.parameters_to_vector(network.parameters()).detach()
    nn.utils.vector_to_parameters(flat, network.parameters())
    path = written(tmp_path / "flat_x3.pth", network.state_dict())
    same(model.load(find("fsrcnn"), weights=path), network)


@pytest.mark.parametrize(
    "write",
    [
        lambda s: public.torch_bytes(s, _use_new_zipfile_serialization=False),
        lambda s: public.torch_bytes({"epoch": 1, "state_dict": s}, _use_new_zipfile_serialization=False),
        old_file,
        lambda s: old_file(s, python=2),
        lambda s: old_file(s, kind="torch.cuda\nFloatStorage"),
    ],
)
def test_files_from_before_torch_1_6_are_read(tmp_path, write):
    network = public.randomised(public.Fsrcnn1(3))
    path = tmp_path / "x3.pth"
    path.write_bytes(write(network.state_dict()))
    same(model.load(find("fsrcnn"), weights=path), network)


def test_files_put_together_by_hand_are_what_torch_reads(tmp_path):
    state = public.Fsrcnn1(3).state_dict()
    for python in (3, 2):
        loaded = torch.load(io.BytesIO(old_file(state, python=python)), weights_only=False)
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_views_in_files_from_before_torch_1_6(tmp_path):
    network = public.randomised(public.Fsrcnn1(3)).to(memory_format=torch.channels_last)
    path = tmp_path / "x3.pth"
    path.write_bytes(public.torch_bytes(network.state_dict(), _use_new_zipfile_serialization=False))
    same(model.load(find("fsrcnn"), weights=path), network)
    network = network.to(memory_format=torch.contiguous_format)
    flat = nn.utils.parameters_to_vector(network.parameters()).detach()
    nn.utils.vector_to_parameters(flat, network.parameters())
    path.write_bytes(public.torch_bytes(network.state_dict(), _use_new_zipfile_serialization=False))
    same(model.load(find("fsrcnn"), weights=path), network)


def test_safetensors_of_others_are_taken_too(tmp_path):
    network = public.randomised(public.AuthorsEdsr(3))
    path = tmp_path / "edsr.safetensors"
    path.write_bytes(serialise({f"model.{k}": v for k, v in network.state_dict().items()}, {"format": "pt"}))
    same(model.load(find("edsr"), weights=path), network)


@pytest.mark.parametrize("range_", [1.0, 2.0])
def test_edsr_of_another_range_is_scaled_exactly(tmp_path, range_):
    network = public.randomised(public.AuthorsEdsr(2, range_=range_))
    path = written(tmp_path / "edsr.pt", network.state_dict())
    same(model.load(find("edsr"), weights=path), network)


def test_edsr_of_other_conventions_is_refused(tmp_path):
    network = public.AuthorsEdsr(2, mean=(0.5, 0.5, 0.5))
    refused("edsr", written(tmp_path / "a.pt", network.state_dict()), "another mean than DIV2K's")
    network = public.AuthorsEdsr(2)
    network.sub_mean.weight.data *= 2
    refused("edsr", written(tmp_path / "b.pt", network.state_dict()), "scales or mixes the colours")
    refused("edsr", written(tmp_path / "c.pt", public.BasicSrEdsr(2, blocks=8).state_dict()), "8 blocks of 64 channels")
    network = public.BasicSrEdsr(4)
    network.upsample = nn.Sequential(*public.steps(64, 4), *public.steps(64, 2))
    refused(
        "edsr", written(tmp_path / "d.pt", network.state_dict()), "'upsample.4.weight', which this network does not"
    )


def test_the_full_edsr_is_recognised_and_its_residual_scaled():
    for build, adopt in ((public.AuthorsEdsr, edsr.adopt_authors), (public.BasicSrEdsr, edsr.adopt_basicsr)):
        network = public.randomised(build(2, blocks=32, features=256, res_scale=0.1))
        adopted = adopt(network.state_dict())
        assert (adopted.options, adopted.scales) == ({"variant": "full"}, (2,))
        ours = edsr.EDSR(edsr.Options("full"), 2)
        ours.load_state_dict(adopted.tensors)
        x = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(ours(x), network(x), atol=1e-5, rtol=1e-5)


def test_a_file_of_another_network_is_refused_and_says_what_is_known(tmp_path):
    path = written(tmp_path / "vdsr.pth", public.Vdsr1().state_dict())
    refused("edsr", path, r"expected weights of upscale/edsr \(Safelight, EDSR-PyTorch, BasicSR\), got 20 tensors of")
    refused("espcn", path, r"expected weights of upscale/espcn \(Safelight\), got 20 tensors of another layout")
    state = public.Vdsr1().state_dict()
    state.pop("residual_layer.17.conv.weight")
    refused("vdsr", written(tmp_path / "short.pth", state), r"without middle\.17\.weight")
    state = public.Vdsr1().state_dict()
    state["input.weight"] = torch.zeros(64, 3, 3, 3)
    refused("vdsr", written(tmp_path / "rgb.pth", state), r"of another shape for first\.weight")
    refused("vdsr", written(tmp_path / "numbers.pth", {"epoch": 1}), "without a dictionary of tensors")
    ours = weights_manifest.SHIPPED / "espcn-x2.safetensors"
    refused("vdsr", ours, "expected weights of upscale/vdsr, got upscale/espcn")


def test_a_file_is_converted_once(tmp_path, cache, monkeypatch):
    network = public.randomised(public.Vdsr2())
    path = written(tmp_path / "vdsr.pth", network.state_dict())
    first = conversion.convert_if_needed(find("vdsr"), path)
    same(model.load(find("vdsr"), weights=first), network)  # a file of ours like any other
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("the file was read again"))
    before = first.stat().st_mtime_ns
    copy = tmp_path / "copy.pth"
    copy.write_bytes(path.read_bytes())
    assert conversion.convert_if_needed(find("vdsr"), copy) == first
    assert first.stat().st_mtime_ns == before
    assert [p.name for p in cache.iterdir()] == [first.name]


def test_what_is_kept_is_made_again_when_it_is_no_longer_right(tmp_path, cache):
    network = public.randomised(public.Vdsr2())
    path = written(tmp_path / "vdsr.pth", network.state_dict())
    kept = conversion.convert_if_needed(find("vdsr"), path)
    good = kept.read_bytes()
    kept.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert conversion.convert_if_needed(find("vdsr"), path).read_bytes() == good
    tensors, header = weights_file.load(kept)
    weights_file.save(kept, tensors, dataclasses.replace(header, converted={**header.converted, "rules": "0"}))
    assert conversion.convert_if_needed(find("vdsr"), path).read_bytes() == good


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = written(tmp_path / "vdsr.pth", public.Vdsr1().state_dict())
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "file")) + ".*set XDG_CACHE_HOME"):
        conversion.convert_if_needed(find("vdsr"), path)


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert conversion.cache_folder("converted") == tmp_path / ".cache/safelight/converted"
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "own"))
    assert conversion.cache_folder("converted") == tmp_path / "own/converted"


def test_key_maps_know_every_tensor():
    with pytest.raises(LayoutError, match=r"'b\.weight', which this network does not have"):
        key_maps.rename({"b.weight": torch.zeros(1)}, {"a": "c"})
    with pytest.raises(LayoutError, match="without a"):
        key_maps.channels({}, "a")
