"""What several test files share."""

import torch

from safelight import infer
from safelight.card import Trained
from safelight.infer import Model, Settings


def random_network(card, scale, options=None):
    """The method's network with random weights, the same each time."""
    torch.manual_seed(0)
    return card.method.network(options or card.options(), scale).eval()


def random_runner(card, **settings):
    """A runner whose networks have random weights: what is proved with it holds for all weights."""
    settings = Settings(device="cpu", **settings)
    if not isinstance(card.method, Trained):
        return infer.prepare(card, settings)
    runner = object.__new__(infer.Runner)
    runner.card, runner.settings, runner.options = card, settings, card.options()
    runner.device, runner.precision, runner.scales = torch.device("cpu"), "float32", card.method.scales
    runner._models = {s: Model(card, runner.options, s, random_network(card, s)) for s in card.method.scales}
    return runner
