"""Options are checked and resolved once, into a frozen record, and that record finds its weights."""

import sys
from pathlib import Path

import numpy as np
import pytest

import safelight
from safelight.catalog import find
from safelight.checkpoints.weights_manifest import shipped_weights
from safelight.core import options as module
from safelight.core.options import fits_weights, make_options
from safelight.inference.model import find_weights


@pytest.mark.parametrize("name", ["upscale/lamp", "denoise/dncnn", "denoise/red", "stylize/johnson", "upscale/edsr"])
def test_each_of_a_methods_weights_fits_the_options_that_it_was_made_with_and_no_others(name):
    card = find(name)
    for weights in shipped_weights(card.id):
        made = make_options(card, weights.options)
        fitting = [other.file for other in shipped_weights(card.id) if fits_weights(made, other.options)]
        assert weights.file in fitting
        assert {Path(find_weights(card, made, scale)).name for scale in weights.scales} <= set(fitting)
        assert all(make_options(card, w.options) == made for w in shipped_weights(card.id) if w.file in fitting)


def test_what_belongs_to_a_networks_use_alone_decides_no_weights():
    card = find("stylize/adain")
    (weights,) = shipped_weights(card.id)
    assert fits_weights(make_options(card, {"alpha": 0.5}), weights.options)
    assert not fits_weights(make_options(card, {"encoder": "vgg19"}), weights.options)


@pytest.mark.parametrize(
    ("task", "method"),
    [("upscale", "lamp"), ("upscale", "sharpen"), ("denoise", "dncnn"), ("deblock", "dncnn3"), ("denoise", "wavelet")],
)
def test_a_run_resolves_its_options_once(task, method, monkeypatch):
    calls = []

    def counted(card, values):
        calls.append(dict(values))
        return make_options(card, values)

    for loaded in list(sys.modules.values()):
        if (
            getattr(loaded, "__name__", "").startswith("safelight")
            and getattr(loaded, "make_options", 0) is make_options
        ):
            monkeypatch.setattr(loaded, "make_options", counted)
    monkeypatch.setattr(module, "make_options", counted)
    picture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    getattr(safelight, task)(picture, method=method)
    assert calls == [{}]
