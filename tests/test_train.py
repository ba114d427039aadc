"""Training: it learns, its resumption is exact, its data are what the papers say."""

import csv
import dataclasses
import math

import numpy as np
import pytest
import torch

from safelight import ops
from safelight.catalog import find
from safelight.checkpoints import weights_file
from safelight.checkpoints.weights_file import CheckpointError
from safelight.core.training import GrowthStage, PairBatch, Regression
from safelight.degrade import Jpeg, Noise, Shrink
from safelight.engine import device as devices
from safelight.inference import model as models
from safelight.media import image
from safelight.ops.color import rgb_to_y
from safelight.training import datasets, loop
from safelight.training.datasets import Crops, DataError
from safelight.training.loop import TrainConfig

ESPCN, VDSR, EDSR = find("espcn"), find("vdsr"), find("edsr")
DNCNN, DNCNN3 = find("dncnn"), find("dncnn3")


@pytest.fixture
def folder(tmp_path):
    """Twelve drawn pictures of stripes and discs, two of them gray, in a tree."""
    (tmp_path / "pictures/more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[0:96, 0:110]
    for i in range(12):
        a, b, c = rng.uniform(-1, 1, 3)
        wave = np.sin((a * xx + b * yy) / 3) + np.sign(np.hypot(xx - 50 - 20 * c, yy - 40) - 25)
        colours = 127 + 50 * wave[..., None] * rng.uniform(0.4, 1, 3)
        pixels = colours.clip(0, 255).astype(np.uint8)
        place = tmp_path / "pictures" / ("more" if i % 2 else "") / f"{i}.png"
        image.write(image.Picture(pixels=pixels[..., :1] if i > 9 else pixels), place)
    return tmp_path / "pictures"


def plan(folder, out, card=ESPCN, steps=30, **changes):
    recipe = dataclasses.replace(card.method.training.recipe, patch=8, batch=4, steps=steps, warmup=5)
    fields = {
        "card": card, "options": card.options(), "scales": (2,), "recipe": recipe, "data": {"data": (folder,)},
        "out": out,
        "device": "cpu", "precision": "float32", "validate_every": 10,
    }  # fmt: skip
    return TrainConfig(**{**fields, **changes})


# --- data -----------------------------------------------------------------------------------------------------------


def test_split_depends_on_content_alone(folder, tmp_path):
    first = datasets.load([folder], "y")
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    (moved / "3.png").exists() or (moved / "more" / "3.png").rename(moved / "renamed.png")
    second = datasets.load([moved], "y")
    assert first.sha256 == second.sha256
    assert len(first.train) == 11
    assert len(first.validation) == 1
    assert torch.equal(first.validation[0], second.validation[0])


def test_a_picture_twice_is_read_once(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    assert len(datasets.load([folder], "rgb").train) == 11


def test_luma_is_the_8_bit_y_of_matlab(folder):
    pixels = torch.from_numpy(image.read(folder / "0.png").pixels).permute(2, 0, 1)
    expected = torch.floor(rgb_to_y(pixels.double() / 255) * 255 + 0.5 + 1e-9).to(torch.uint8)
    assert torch.equal(datasets.read_tensor(folder / "0.png", "y"), expected)


def test_gray_pictures_are_y_as_they_are(folder):
    gray = next(p for p in datasets.files(folder) if p.stem == "10")
    y, rgb = datasets.read_tensor(gray, "y"), datasets.read_tensor(gray, "rgb")
    assert y.shape[0] == 1
    assert torch.equal(rgb, y.expand(3, -1, -1))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("interpolated", [False, True])
def test_crops_are_those_of_the_whole_picture_degraded(scale, interpolated):
    """Away from the picture's border, degrading a crop is cropping the degraded picture: no seam, no shift."""
    whole = torch.randint(256, (1, 120, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    crops = Crops([whole], Shrink(scale, interpolated), patch=6, batch=5)
    batch = crops.draw(torch.Generator().manual_seed(2))
    assert batch.target.shape == (5, 1, 6 * scale, 6 * scale)
    x = whole[None].float() / 255
    found = 0
    for k in range(8):
        turned = ops.dihedral(x, k)
        small = ops.resize(turned, (120 // scale, 120 // scale))
        enlarged = ops.resize(small, (120, 120))
        windows = turned.unfold(2, 6 * scale, 1).unfold(3, 6 * scale, 1)[0, 0]
        for i in range(5):
            hits = (windows - batch.target[i, 0]).abs().amax(dim=(2, 3)).argmin()
            top, left = divmod(int(hits), windows.shape[1])
            if not torch.equal(windows[top, left], batch.target[i, 0]) or top % scale or left % scale:
                continue
            if interpolated:
                expected = enlarged[0, :, top : top + 6 * scale, left : left + 6 * scale]
            else:
                expected = small[0, :, top // scale : top // scale + 6, left // scale : left // scale + 6]
            torch.testing.assert_close(batch.input[i], expected, atol=1e-5, rtol=0)
            found += 1
    # Crops start anywhere; those whose start is a multiple of the scale have a counterpart in the degraded picture.
    assert found or scale > 2


def test_crops_refuse_pictures_that_are_too_small():
    with pytest.raises(DataError, match="smaller than a crop of"):
        Crops([torch.zeros(1, 20, 90, dtype=torch.uint8)], Shrink(4, interpolated=False), patch=8, batch=1)


@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_folders_without_pictures_are_one_line(tmp_path, make):
    with pytest.raises(DataError, match=r"expected a folder|no picture lies in"):
        datasets.load([make(tmp_path)], "y")


# --- the loop -------------------------------------------------------------------------------------------------------


def test_it_learns_and_says_how_far_it_is(folder, tmp_path):
    out, seen = tmp_path / "w.safetensors", []
    header = loop.train(plan(folder, out, steps=150, validate_every=50), seen.append)
    log = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert [int(row["step"]) for row in log] == [50, 100, 150]
    assert float(log[-1]["loss"]) < 0.5 * float(log[0]["loss"])
    assert seen[-1].step == seen[-1].steps == 150
    assert seen[-1].crops_per_second > 0
    assert seen[-1].seconds_left == 0
    assert header == weights_file.read_header(out)
    assert header.scores["validation PSNR"] == max(float(row["psnr"]) for row in log)
    assert header.trained_on == ("pictures (terms not stated)",)
    assert header.recipe["steps"] == 150
    assert models.load(ESPCN, weights=out, device="cpu")(torch.rand(1, 3, 5, 5)).shape == (1, 3, 10, 10)


class StopError(Exception):
    pass


@pytest.mark.parametrize(("card", "scales"), [(ESPCN, (2,)), (VDSR, (2, 3, 4))], ids=["espcn", "vdsr"])
@pytest.mark.parametrize("every", [4, 5, 12])
def test_resumption_is_exact(folder, tmp_path, card, scales, every):
    """Stopped in the eighth step's report, with a state of the step before or of the last validation."""
    drawn = Crops.draw

    def weights(name, stop):
        out = tmp_path / name
        made = plan(folder, out, card=card, scales=scales, steps=12, validate_every=every, save_every=0.0)
        if stop:
            count = 0

            def draw(self, generator):
                nonlocal count
                count += 1
                if count == 9:
                    raise StopError
                return drawn(self, generator)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Crops, "draw", draw)
                with pytest.raises(StopError):
                    loop.train(made, lambda progress: None)
        loop.train(made, lambda progress: None)
        return weights_file.load(out)[0], out.with_suffix(".csv").read_text()

    (straight, log), (resumed, log2) = weights("a.safetensors", False), weights("b.safetensors", True)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    without_seconds = [[row[0], *row[2:]] for row in csv.reader(log.splitlines())]
    assert without_seconds == [[row[0], *row[2:]] for row in csv.reader(log2.splitlines())]


def test_a_finished_run_is_not_run_again(folder, tmp_path):
    made = plan(folder, tmp_path / "w.safetensors", steps=10)
    loop.train(made, lambda progress: None)
    seen = []
    loop.train(made, seen.append)
    assert seen == []


def test_another_plan_does_not_resume(folder, tmp_path):
    out = tmp_path / "w.safetensors"
    loop.train(plan(folder, out, steps=10), lambda progress: None)
    with pytest.raises(CheckpointError, match="--restart"):
        loop.train(plan(folder, out, steps=10, seed=1), lambda progress: None)
    loop.train(plan(folder, out, steps=10, seed=1), lambda progress: None, resume=False)


def test_the_seed_decides(folder, tmp_path):
    def weights(name, seed):
        loop.train(plan(folder, tmp_path / name, steps=5, seed=seed), lambda progress: None)
        return weights_file.load(tmp_path / name)[0]["conv1.weight"]

    assert torch.equal(weights("a", 0), weights("b", 0))
    assert not torch.equal(weights("a", 0), weights("c", 1))


def test_start_takes_the_body_of_another_scale(folder, tmp_path):
    loop.train(plan(folder, tmp_path / "x2", steps=5), lambda progress: None)
    made = plan(folder, tmp_path / "x3", steps=1, scales=(3,), start=tmp_path / "x2")
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, lr=0.0))
    loop.train(made, lambda progress: None)
    two, three = weights_file.load(tmp_path / "x2")[0], weights_file.load(tmp_path / "x3")[0]
    assert torch.equal(two["conv1.weight"], three["conv1.weight"])
    assert three["conv3.weight"].shape[0] == 9
    with pytest.raises(CheckpointError, match="no tensor of it fits"):
        loop.train(plan(folder, tmp_path / "e", card=EDSR, start=tmp_path / "x2"), lambda progress: None)


def test_a_loss_that_diverges_stops_the_run(folder, tmp_path):
    made = plan(folder, tmp_path / "w", steps=40)
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, lr=1e30))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        loop.train(made, lambda progress: None)


def test_the_rate_warms_up_and_falls_to_zero():
    recipe = dataclasses.replace(ESPCN.method.training.recipe, steps=1000, warmup=100)
    rates = [loop.learning_rate(recipe, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[100] == 1
    assert rates[-1] < 1e-4
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_the_rate_follows_the_time_of_a_network_that_grows():
    stages = (GrowthStage(width=0.25, steps=0.8, time=0.5), GrowthStage(width=1, steps=0.2, time=0.5))
    recipe = dataclasses.replace(ESPCN.method.training.recipe, steps=1000, warmup=0, stages=stages)
    rates = [loop.learning_rate(recipe, step) for step in range(1001)]
    assert rates[0] == 1
    assert rates[400] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert rates[800] == pytest.approx(0.5)
    assert rates[900] == pytest.approx(0.5 * (1 + math.cos(math.pi * 3 / 4)))
    assert rates[1000] == pytest.approx(0, abs=1e-12)
    widths = [loop.stage(recipe, step / 1000)[1] for step in range(1000)]
    assert widths == [0.25] * 800 + [1] * 200


def test_a_network_grows_where_its_recipe_says_so(folder, tmp_path):
    made = plan(folder, tmp_path / "a", steps=8, card=VDSR)
    stages = (GrowthStage(width=0.25, steps=0.75, time=0.5), GrowthStage(width=1, steps=0.25, time=0.5))
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, stages=stages))
    widths = []
    spec = dataclasses.replace(VDSR.method.training, grow=lambda network, width: widths.append(width))
    method = dataclasses.replace(VDSR.method, training=spec)
    made = dataclasses.replace(made, card=dataclasses.replace(VDSR, method=method))
    loop.train(made, lambda progress: None)
    whole = dataclasses.replace(made, out=tmp_path / "b", recipe=dataclasses.replace(made.recipe, stages=()))
    loop.train(whole, lambda progress: None)
    assert widths == [0.25] * 6 + [1] * 2 + [1] * 8
    assert weights_file.read_header(tmp_path / "a").recipe["stages"] == [[0.25, 0.75, 0.5], [1, 0.25, 0.5]]
    assert "stages" not in weights_file.read_header(tmp_path / "b").recipe


@pytest.mark.parametrize(
    ("precision", "share", "expected"),
    [
        ("auto", 0.25, ["bfloat16"] * 6 + ["float32"] * 2),
        ("auto", 0, ["bfloat16"] * 8),
        ("auto", 1, ["float32"] * 8),
        ("bfloat16", 0.25, ["bfloat16"] * 8),
        ("float32", 0.25, ["float32"] * 8),
    ],
)
def test_the_last_steps_compute_in_float32(folder, tmp_path, monkeypatch, precision, share, expected):
    monkeypatch.setattr(devices, "bfloat16_pays", lambda: True)
    made = plan(folder, tmp_path / "w", steps=8, precision=precision)
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, fp32_tail=share))
    computed = []
    step = Regression.step

    def watched(self, batch):
        assert batch.input.dtype == torch.float32  # the crops, whatever the network computes in
        with torch.no_grad():
            computed.append(str(self.network(batch.input).dtype).removeprefix("torch."))
        return step(self, batch)

    monkeypatch.setattr(Regression, "step", watched)
    header = loop.train(made, lambda progress: None)
    assert computed == expected
    assert ("bfloat16" in header.device) == ("bfloat16" in expected)


def test_bfloat16_trains(folder, tmp_path):
    loop.train(plan(folder, tmp_path / "w", steps=10, precision="bfloat16"), lambda progress: None)
    assert "bfloat16" in weights_file.read_header(tmp_path / "w").device


def test_edsr_step_is_l1():
    net = EDSR.method.network.build(EDSR.options(), 2)
    batch = PairBatch(input=torch.rand(1, 3, 8, 8), target=torch.rand(1, 3, 16, 16))
    with torch.no_grad():
        expected = (net(batch.input) - batch.target).abs().mean()
    loss = EDSR.method.training.algorithm(net, EDSR.method.training.recipe).step(batch)["loss"]
    torch.testing.assert_close(loss, expected)


def test_a_denoiser_learns(folder, tmp_path):
    options = DNCNN.options("B")
    recipe = dataclasses.replace(DNCNN.method.training.recipe, patch=20, batch=4, steps=60, warmup=5)
    spec = dataclasses.replace(DNCNN.method.training, degradations=lambda options: (Noise(25, 25),))
    card = dataclasses.replace(DNCNN, method=dataclasses.replace(DNCNN.method, training=spec))
    chosen = plan(folder, tmp_path / "w.safetensors", card=card, options=options, scales=(1,), recipe=recipe)
    header = loop.train(chosen, lambda progress: None)
    assert header.options == {"variant": "B"}
    assert header.scales == (1,)
    # Noise of 25 alone is 20.2 dB, and clipped to 8 bits a little more.
    assert header.scores["validation PSNR"] > 22


def test_a_denoiser_of_colour_is_trained_on_colour(folder, tmp_path):
    options = DNCNN.options("CB")
    chosen = plan(folder, tmp_path / "w.safetensors", card=DNCNN, options=options, scales=(1,), steps=2)
    loop.train(chosen, lambda progress: None)
    assert weights_file.read_shapes(tmp_path / "w.safetensors")[0]["first.weight"] == (64, 3, 3, 3)


def test_one_network_is_trained_for_three_tasks(folder, tmp_path, monkeypatch):
    kinds = set()
    for kind in (Jpeg, Noise, Shrink):
        pair = kind.pair

        def noted(self, clean, patch, generator, pair=pair):
            kinds.add(self.describe())
            return pair(self, clean, patch, generator)

        monkeypatch.setattr(kind, "pair", noted)
    recipe = dataclasses.replace(DNCNN3.method.training.recipe, patch=12, batch=5, steps=2, warmup=5)
    chosen = plan(folder, tmp_path / "w.safetensors", card=DNCNN3, scales=(1, 2, 3, 4), recipe=recipe)
    assert loop.train(chosen, lambda progress: None).scales == (1, 2, 3, 4)
    assert kinds == {"quality 20", "noise 25", "x2", "x3", "x4"}


def test_the_gray_networks_layers_start_the_one_for_colour(folder, tmp_path):
    blind = plan(
        folder, tmp_path / "b.safetensors", card=DNCNN, options=DNCNN.options("B"), scales=(1,), steps=1,
        validate_every=1,
    )  # fmt: skip
    loop.train(blind, lambda progress: None)
    colour = dataclasses.replace(
        plan(folder, tmp_path / "c.safetensors", card=DNCNN, options=DNCNN.options("CB"), scales=(1,), steps=1),
        start=tmp_path / "b.safetensors", validate_every=1,
    )  # fmt: skip
    loop.train(colour, lambda progress: None)
    before, after = (weights_file.load(tmp_path / name)[0] for name in ("b.safetensors", "c.safetensors"))
    torch.testing.assert_close(after["middle.14.weight"], before["middle.14.weight"], rtol=0, atol=0.05)
    assert before["first.weight"].shape != after["first.weight"].shape
