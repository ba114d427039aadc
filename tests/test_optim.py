"""SOAP: it solves what Adam cannot, and survives the gradients that networks really have."""

import pytest
import torch

from safelight.nn.soap import Soap


def solve(make, shape, steps=400, rate=0.05):
    """Linear regression whose inputs are a thousand times stronger in some directions than in others."""
    g = torch.Generator().manual_seed(0)
    inputs = shape[1] if len(shape) == 2 else shape[1] * shape[2] * shape[3]
    turn = torch.linalg.qr(torch.randn(inputs, inputs, generator=g))[0]
    x = torch.randn(4 * inputs, inputs, generator=g) @ torch.diag(torch.logspace(0, -3, inputs)) @ turn
    y = x @ torch.randn(shape[0], inputs, generator=g).T
    weight = torch.nn.Parameter(torch.zeros(shape))
    optimizer = make([weight], rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        loss = (x @ weight.reshape(shape[0], -1).T - y).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("shape", [(5, 20), (4, 3, 3, 3)], ids=["matrix", "kernel"])
def test_it_solves_an_ill_conditioned_problem_that_adam_does_not(shape):
    adam = solve(lambda p, rate: torch.optim.Adam(p, lr=rate), shape)
    soap = solve(lambda p, rate: Soap(p, rate), shape)
    assert soap < adam / 100


def test_long_axes_are_split_and_still_solved():
    assert solve(lambda p, rate: Soap(p, rate, longest=10), (4, 3, 3, 3)) < 1e-3


def test_the_first_step_only_looks():
    weight = torch.nn.Parameter(torch.randn(3, 4))
    before = weight.detach().clone()
    weight.grad = torch.randn(3, 4)
    Soap([weight], 0.1).step()
    assert torch.equal(weight, before)


def test_a_step_is_about_the_rate_long_whatever_the_gradients_size():
    for size in (1e-12, 1.0, 1e6):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.zeros(6, 5))
        optimizer = Soap([weight], 0.1)
        for _ in range(3):
            weight.grad = size * torch.randn(6, 5)
            optimizer.step()
        assert 0.01 < weight.abs().max() < 2 or size < 1e-8


@pytest.mark.parametrize("gradient", ["zero", "tiny", "rank one"])
def test_gradients_without_rank_give_no_nan(gradient):
    """A dead layer, a trained network's last digits, and one active input: the moments are singular."""
    weight = torch.nn.Parameter(torch.randn(64, 64, 3, 3))
    optimizer = Soap([weight], 1e-3)
    for _ in range(25):
        one = torch.randn(64, 1, 1, 1) * torch.randn(1, 64, 3, 3)
        weight.grad = {"zero": 0 * one, "tiny": 1e-20 * one, "rank one": one}[gradient]
        optimizer.step()
    assert torch.isfinite(weight).all()


def test_vectors_are_left_to_adam():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.zeros(7)) for _ in range(2))
    soap, adam = Soap([ours], 0.01), torch.optim.Adam([theirs], lr=0.01, betas=(0.95, 0.95))
    ours.grad = torch.randn(7)
    soap.step()  # looks
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(7)
        soap.step()
        adam.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_bfloat16_around_it_does_not_reach_it():
    weights = []
    for enabled in (False, True):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(8, 9))
        optimizer = Soap([weight], 0.01)
        for _ in range(12):
            weight.grad = torch.randn(8, 9)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                optimizer.step()
        weights.append(weight)
    assert torch.equal(*weights)


def test_channels_without_a_gradient_stay_as_they_are():
    """A network that grows trains its first channels alone, whatever basis their moments have."""
    g = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.ones(4, 8, 3, 3))
    optimizer = Soap([weight], 0.01, longest=16)
    for _ in range(25):
        weight.grad = torch.zeros(4, 8, 3, 3)
        low_rank = torch.randn(2, 1, 3, 3, generator=g) * torch.randn(1, 4, 1, 1, generator=g)
        weight.grad[:2, :4] = 1e-4 * low_rank
        optimizer.step()
    assert (weight[:2, :4] - 1).abs().min() > 0
    assert torch.equal(weight[2:], torch.ones(2, 8, 3, 3))
    assert torch.equal(weight[:, 4:], torch.ones(4, 4, 3, 3))
