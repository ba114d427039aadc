"""Weights as int8 with a scale for each output channel: near to the floats, half as large, and refused when damaged."""

import dataclasses

import pytest
import torch
from safetensors.torch import load as parse
from torch import nn

from safelight.catalog import find
from safelight.checkpoints import weights_file
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader
from safelight.inference.model import load
from support.runners import random_network

HEADER = WeightsHeader(method="upscale/fsrcnn", options={}, scales=(2,))


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-3, 1, 6)  # channels of very different sizes: one scale for all would lose the small ones
    return {
        "conv.weight": torch.randn(6, 4, 3, 3, generator=generator) * spread[:, None, None, None],
        "up.weight": torch.randn(4, 6, 3, 3, generator=generator) * spread[None, :, None, None],
        "conv.bias": torch.randn(6, generator=generator),
        "count": torch.tensor(7),
    }


def test_each_output_channel_is_as_exact_as_its_own_scale_allows(tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER, dtype=torch.int8, output_axes={"up.weight": 1})
    loaded, header = weights_file.load(path)
    assert header.precision == "int8"
    assert loaded.keys() == tensors.keys()
    assert torch.equal(loaded["count"], tensors["count"])
    torch.testing.assert_close(loaded["conv.bias"], tensors["conv.bias"].half().float(), rtol=0, atol=0)
    for name, others in (("conv.weight", (1, 2, 3)), ("up.weight", (0, 2, 3))):
        assert loaded[name].dtype == torch.float32
        step = tensors[name].abs().amax(dim=others, keepdim=True) / 127
        assert ((loaded[name] - tensors[name]).abs() <= 0.5001 * step).all()
    assert weights_file.read_shapes(path)[0] == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    stored = parse(path.read_bytes())
    assert stored["conv.weight"].dtype == stored["up.weight"].dtype == torch.int8
    assert stored["conv.weight:scale"].shape == (6, 1, 1, 1)
    assert stored["up.weight:scale"].shape == (1, 6, 1, 1)


def test_a_channel_of_zeros_stays_one(tmp_path):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, {"w": torch.zeros(2, 3)}, HEADER, dtype=torch.int8)
    assert torch.equal(weights_file.load(path)[0]["w"], torch.zeros(2, 3))


def test_a_network_runs_from_int8_and_gives_nearly_what_its_floats_give(tmp_path):
    card = find("fsrcnn")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = random_network(card, 2)
    header = dataclasses.replace(HEADER, options={})
    x = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    results, sizes = [], []
    axes = {f"{name}.weight": 1 for name, module in network.named_modules() if isinstance(module, nn.ConvTranspose2d)}
    for dtype in (torch.float16, torch.int8):
        path = tmp_path / f"{dtype}.safetensors"
        weights_file.save(path, network.state_dict(), header, dtype=dtype, output_axes=axes)
        results.append(load(card, weights=path, device="cpu")(x))
        sizes.append(path.stat().st_size)
    change = (results[1] - results[0]).square().mean().sqrt() / results[0].square().mean().sqrt()
    assert 0 < change < 0.05
    assert sizes[1] < 0.75 * sizes[0]


def rewritten(path, change):
    """The file with other tensors behind a right digest: what somebody could write on purpose."""
    header = weights_file.read_header(path)
    stored = parse(path.read_bytes())
    change(stored)
    weights_file.save(path, stored, header)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("conv.weight:scale"), "'?conv.weight'? as int8 without its scales"),
        (lambda t: t.update({"conv.weight:scale": torch.ones(6, 4, 1, 1)}), "conv.weight:scale that fit no tensor"),
        (lambda t: t.update({"conv.weight:scale": torch.ones(7, 1, 1, 1)}), "conv.weight:scale that fit no tensor"),
        (lambda t: t.update({"conv.weight:scale": torch.ones(6)}), "conv.weight:scale that fit no tensor"),
        (lambda t: t.update({"other:scale": torch.ones(1 << 16)}), "other:scale that fit no tensor"),
        (lambda t: t["conv.weight:scale"].fill_(float("inf")), "conv.weight that are not finite"),
    ],
)
def test_scales_that_do_not_fit_are_refused_in_one_line(change, match, tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER, dtype=torch.int8)
    rewritten(path, change)
    with pytest.raises(CheckpointError, match=match) as caught:
        weights_file.load(path)
    assert "\n" not in str(caught.value)


def test_a_changed_bit_of_a_scale_is_noticed(tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER, dtype=torch.int8)
    good = path.read_bytes()
    for at in range(len(good) - 600, len(good), 37):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(CheckpointError):
            weights_file.load(path)
