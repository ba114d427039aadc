"""What several test files share."""

import numpy as np
import torch

from safelight import inference
from safelight.checkpoints import backbones
from safelight.core.card import Trained
from safelight.inference.model import Model
from safelight.inference.request import InferenceRequest
from safelight.media.image import Picture


def random_network(card, scale, options=None):
    """The method's network with random weights, the same each time."""
    torch.manual_seed(0)
    return card.method.network.build(options or card.options(), scale).eval()


def request(task=None, **values):
    """A request of the task's inputs and of how the work is done, both by name."""
    how = {
        name: values.pop(name) for name in ("options", "weights", "precision", "ensemble", "memory") if name in values
    }
    return InferenceRequest(task=task, inputs=values, device="cpu", **how)


def random_runner(card, task="upscale", **settings):
    """A runner whose networks have random weights: what is proved with it holds for all weights."""
    if "style" in card.accepts:
        drawn = np.random.default_rng(7).random((70, 60, 3), dtype=np.float32)
        settings.setdefault("style", (Picture(pixels=drawn),))
    if "backbone" in card.accepts:
        settings.setdefault("backbone", backbones.load("lens", random=0))
    settings = request(task, **settings)
    if not isinstance(card.method, Trained):
        return inference.prepare(card, settings)
    options = card.options()
    scales = [scale for scale in card.method.network.scales if (scale > 1) == (task == "upscale")]
    models = {scale: Model(card, options, scale, random_network(card, scale), task=task) for scale in scales}
    return inference.Runner(card, settings, models)


def stopping_after(runner, reports):
    """Let an iterative method report so often, and then ask it to stop. Returns the list of what it reported."""
    seen = []

    def look(step):
        seen.append(step)
        return len(seen) < reports

    runner.observer = look
    return seen
