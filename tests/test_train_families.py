"""Training of families: several networks, domains, scores of their own, fits, and several processes."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from safelight import catalog
from safelight.catalog import find
from safelight.checkpoints import weights_file
from safelight.core.card import Fitted, TrainingSpec
from safelight.core.training import (
    CaptionBatch,
    ClipBatch,
    Export,
    FitData,
    FitSpec,
    LabelledBatch,
    PairBatch,
    Phase,
    PictureBatch,
    Role,
    UnpairedBatch,
    ValidationScore,
)
from safelight.media import image
from safelight.metrics.fid import fid
from safelight.training import datasets, loop
from safelight.training.datasets import DataError, Samples, load_samples
from test_train import plan

ESPCN = find("espcn")


def draw(folder, count=12, *, size=(40, 44), tint=(1.0, 1.0, 1.0), seed=0):
    """Pictures of random blocks in a tint."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        blocks = rng.uniform(60, 255, (size[0] // 4 + 1, size[1] // 4 + 1, 3)) * np.array(tint)
        pixels = blocks.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(np.uint8)
        image.write(image.Picture(pixels=pixels), folder / f"{i}.png")
    return folder


def taught(card, algorithm, **changes):
    """The card with another training."""
    spec = TrainingSpec(algorithm=algorithm, recipe=card.method.training.recipe, **changes)
    return dataclasses.replace(card, method=dataclasses.replace(card.method, training=spec))


def colours(card, algorithm, **changes):
    """A card whose network recolours each pixel, with a training of its own."""
    network = dataclasses.replace(
        find("dncnn").method.network, build=lambda options, scale: nn.Conv2d(3, 3, 1), channels="rgb", scales=(1,)
    )
    made = taught(find("dncnn"), algorithm, **changes)
    return dataclasses.replace(made, method=dataclasses.replace(made.method, network=network))


# --- a generator against a discriminator ------------------------------------------------------------------------------


class Gan:
    """SRGAN in small: a pixel loss first, then a discriminator's opinion as well."""

    def __init__(self, network, recipe):
        self.generator = network
        self.discriminator = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2), nn.LeakyReLU(0.2), nn.BatchNorm2d(8), nn.Dropout(0.3), nn.Conv2d(8, 1, 3)
        )
        self.modules = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), recipe.lr) for name, module in self.modules.items()
        }
        self.phase = ""
        self.seen = []

    def step(self, batch):
        self.seen.append((self.phase, *(o.param_groups[0]["lr"] for o in self.optimizers.values())))
        made = self.generator(batch.input)
        losses = {"pixel": F.mse_loss(made, batch.target)}
        if self.phase == "adversarial":
            real, fake = self.discriminator(batch.target), self.discriminator(made.detach())
            losses["discriminator"] = F.softplus(-real).mean() + F.softplus(fake).mean()
            self.optimizers["discriminator"].zero_grad()
            losses["discriminator"].backward()
            self.optimizers["discriminator"].step()
            losses["adversarial"] = 0.01 * F.softplus(-self.discriminator(made)).mean()
        self.optimizers["generator"].zero_grad()
        (losses["pixel"] + losses.get("adversarial", 0)).backward()
        self.optimizers["generator"].step()
        return {name: loss.detach() for name, loss in losses.items()}


PHASES = (
    Phase(name="pixels", steps=0.4),
    Phase(name="adversarial", steps=0.6, lr={"generator": 1e-4, "discriminator": 4e-4}, schedule="constant"),
)


def gan_plan(folder, out, algorithm=Gan, **changes):
    card = taught(ESPCN, algorithm, exports=(Export("generator"), Export("discriminator", "judge")))
    made = plan(folder, out, card=card, steps=20, validate_every=4, **changes)
    return dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, phases=PHASES, warmup=2))


def test_a_gan_has_phases_rates_and_losses_by_name(tmp_path):
    folder, out, trainers, seen = draw(tmp_path / "data"), tmp_path / "g.safetensors", [], []

    def algorithm(network, recipe):
        trainers.append(Gan(network, recipe))
        return trainers[-1]

    header = loop.train(gan_plan(folder, out, algorithm), seen.append)
    own = ESPCN.method.training.recipe.lr
    steps = trainers[0].seen
    assert [name for name, _, _ in steps] == ["pixels"] * 8 + ["adversarial"] * 12
    assert steps[0][1:] == (own / 2, own / 2)
    assert 0 < steps[7][1] < own / 10
    assert steps[10] == ("adversarial", 1e-4, 4e-4) == steps[-1]
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert list(rows[0]) == ["step", "seconds", "loss", "pixel", "discriminator", "adversarial", "psnr"]
    assert rows[0]["adversarial"] == ""
    assert float(rows[-1]["adversarial"]) > 0
    assert float(rows[-1]["loss"]) == pytest.approx(
        sum(float(rows[-1][name]) for name in ("pixel", "discriminator", "adversarial")), rel=1e-4
    )
    assert set(seen[-1].losses) == {"pixel", "discriminator", "adversarial"}
    assert (seen[0].phase, seen[-1].phase) == ("pixels", "adversarial")
    assert seen[-1].score.name == "PSNR"
    assert header.recipe["phases"][1]["lr"] == {"generator": 1e-4, "discriminator": 4e-4}
    assert "0.weight" in weights_file.load(tmp_path / "g-judge.safetensors")[0]


def test_a_resumed_gan_is_the_gan_that_was_stopped(tmp_path):
    folder = draw(tmp_path / "data")
    straight, halves = gan_plan(folder, tmp_path / "a.safetensors"), gan_plan(folder, tmp_path / "b.safetensors")
    loop.train(straight, lambda progress: None)
    for last in (4, 12):  # in the first phase, in the second

        def stop(progress, last=last):
            if progress.step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            loop.train(halves, stop)
    loop.train(halves, lambda progress: None)
    one, two = load_file(tmp_path / "a.state"), load_file(tmp_path / "b.state")
    assert set(one) == set(two)
    assert {name.split(".")[0] for name in one} == {"module", "average", "optimizer", "tensor"}
    assert {name.split(".")[1] for name in one if name[0] in "mo"} == {"generator", "discriminator"}
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("{}.safetensors", "{}-judge.safetensors"):
        one, two = (load_file(tmp_path / name.format(which)) for which in "ab")
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_phases_share_the_steps_and_exclude_growth():
    recipe = ESPCN.method.training.recipe
    with pytest.raises(ValueError, match="add up to 1"):
        dataclasses.replace(recipe, phases=PHASES[:1])
    made = dataclasses.replace(recipe, phases=PHASES, steps=7)
    assert [loop.phase_at(made, step)[0].name[0] for step in range(7)] == list("pppaaaa")


# --- two domains, and scores of one's own -----------------------------------------------------------------------------


class Cycle:
    """Two recolourings, one the inverse of the other, whose results have the other domain's mean colour."""

    def __init__(self, network, recipe):
        self.modules = {"network": network, "back": nn.Conv2d(3, 3, 1)}
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        self.optimizers = {"both": torch.optim.Adam(parameters, recipe.lr)}

    def losses(self, networks, batch):
        there, back = networks["network"](batch.a), networks["back"](batch.b)
        return {
            "cycle": (networks["back"](there) - batch.a).abs().mean()
            + (networks["network"](back) - batch.b).abs().mean(),
            "domain": (there.mean((0, 2, 3)) - batch.b.mean((0, 2, 3))).abs().mean()
            + (back.mean((0, 2, 3)) - batch.a.mean((0, 2, 3))).abs().mean(),
        }

    def step(self, batch):
        assert isinstance(batch, UnpairedBatch)
        losses = self.losses(self.modules, batch)
        self.optimizers["both"].zero_grad()
        sum(losses.values()).backward()
        self.optimizers["both"].step()
        return {name: loss.detach() for name, loss in losses.items()}

    def validate(self, networks, batches):
        found = [float(self.losses(networks, batch)["domain"]) for batch in batches]
        return ValidationScore("domain gap", sum(found) / len(found))


DOMAINS = (Role("a", "pictures of the first domain"), Role("b", "pictures of the second domain"))


@pytest.fixture
def translator():
    """A card for a training between two folders, as if it were in the catalog."""
    made = colours(
        find("dncnn"), Cycle, batch=UnpairedBatch, roles=DOMAINS, symmetries=2,
        exports=(Export("network"), Export("back", "back")),
    )  # fmt: skip
    return dataclasses.replace(made, module="safelight.methods.denoise.translator")


def test_two_folders_are_translated_into_each_other(tmp_path, translator):
    warm, cold = draw(tmp_path / "summer", tint=(1, 0.7, 0.3)), draw(tmp_path / "winter", tint=(0.3, 0.6, 1), seed=1)
    out, seen = tmp_path / "w.safetensors", []
    made = plan(
        tmp_path, out, card=translator, options=translator.options(), scales=(1,), steps=150, validate_every=50,
        data={"a": (warm,), "b": (cold,)},
    )  # fmt: skip
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, lr=0.03, ema=0.9))
    header = loop.train(made, seen.append)
    gaps = [progress.score.value for progress in seen if progress.score is not None]
    assert min(gaps) < 0.1 < gaps[0] + 0.1
    assert header.scores == {"validation domain gap": pytest.approx(min(gaps), abs=1e-4)}
    assert header.recipe["data"] == {"a": ["summer"], "b": ["winter"]}
    assert len(header.trained_on) == 2
    warm_pixels = datasets.read_tensor(warm / "0.png", "rgb")[None] / 255
    there = F.conv2d(warm_pixels, *(weights_file.load(out)[0][name] for name in ("weight", "bias")))
    assert there[0, 2].mean() > there[0, 0].mean()
    assert (tmp_path / "w-back.safetensors").exists()


def test_roles_are_flags(tmp_path, translator, monkeypatch, capsys):
    from typer.testing import CliRunner

    from safelight.cli import app

    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, translator))
    warm, cold = draw(tmp_path / "summer"), draw(tmp_path / "winter", seed=1)

    def run(*words):
        return CliRunner().invoke(app, ["train", "denoise/translator", *map(str, words)])

    out = tmp_path / "w.safetensors"
    flags = ("--steps", 2, "--batch", 2, "--patch", 8, "-o", out, "--json")
    result = run("--data-a", warm, "--data-b", cold, *flags)
    assert result.exit_code == 0, result.output
    first = json.loads(result.stdout.splitlines()[0])
    assert set(first["losses"]) == {"cycle", "domain"}
    assert first["domain gap"] > 0
    assert weights_file.read_header(out).recipe["data"] == {"a": ["summer"], "b": ["winter"]}
    assert "give it by --data-b" in run("--data-a", warm, *flags).stderr
    assert "it takes --data-a, --data-b" in run("--data", warm, *flags).stderr


class ByFid:
    """A recolouring towards white, scored by the distance of sets."""

    def __init__(self, network, recipe):
        self.modules, self.network = {"network": network}, network
        self.optimizers = {"network": torch.optim.SGD(network.parameters(), 0.1)}

    def step(self, batch):
        assert isinstance(batch, PictureBatch)
        loss = (self.network(batch.pictures) - 1).square().mean()
        self.optimizers["network"].zero_grad()
        loss.backward()
        self.optimizers["network"].step()
        return {"loss": loss.detach()}

    def validate(self, networks, batches):
        pictures = torch.cat([batch.pictures for batch in batches])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the sets are small
            distance = fid(networks["network"](pictures).mean((2, 3)), pictures.mean((2, 3)))
        return ValidationScore("FID", float(distance))


@pytest.mark.parametrize("higher", [False, True])
def test_the_best_by_ones_own_score_is_kept(tmp_path, higher):
    class Scored(ByFid):
        def validate(self, networks, batches):
            return dataclasses.replace(super().validate(networks, batches), higher_is_better=higher)

    card = colours(find("dncnn"), Scored, batch=PictureBatch)
    folder, out, seen = draw(tmp_path / "data"), tmp_path / "w.safetensors", []
    header = loop.train(
        plan(folder, out, card=card, options=card.options(), scales=(1,), steps=12, validate_every=3), seen.append
    )
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    values = [float(row["fid"]) for row in rows]
    best = max(values) if higher else min(values)
    assert header.scores == {"validation FID": best}
    assert header.steps == 3 * (values.index(best) + 1)
    assert seen[-1].score == ValidationScore("FID", pytest.approx(values[-1], abs=1e-4), higher)


def test_only_pairs_have_a_psnr(tmp_path):
    class Unscored(ByFid):
        validate = property()

    card = colours(find("dncnn"), Unscored, batch=PictureBatch)
    with pytest.raises(ValueError, match="expected a training with `validate`"):
        loop.train(plan(draw(tmp_path / "data"), tmp_path / "w", card=card, scales=(1,)), lambda progress: None)


# --- data sets --------------------------------------------------------------------------------------------------------


def batches(kind, split, **changes):
    return Samples(kind, split.train, **{"side": 16, "batch": 64, **changes}).draw(torch.Generator().manual_seed(0))


def test_labels_are_the_names_of_sub_folders(tmp_path):
    draw(tmp_path / "zebra", tint=(1, 0, 0))
    draw(tmp_path / "apple", tint=(0, 1, 0), seed=1)
    assert datasets.classes([tmp_path]) == ("apple", "zebra")
    batch = batches(LabelledBatch, load_samples(LabelledBatch, [[tmp_path]], "rgb"))
    assert set(batch.labels.tolist()) == {0, 1}
    assert torch.equal(batch.pictures[:, 0].mean((1, 2)) > 0.1, batch.labels == 1)
    draw(tmp_path, 1)
    with pytest.raises(DataError, match="a sub-folder for each class"):
        datasets.classes([tmp_path])


def test_captions_lie_beside_or_in_one_file(tmp_path):
    texts, together = draw(tmp_path / "texts"), draw(tmp_path / "together", seed=1)
    for i in range(12):
        (texts / f"{i}.txt").write_text(f"text {i}\n\nsecond {i}\n")
    (together / "captions.json").write_text(json.dumps({f"{i}.png": [f"json {i}"] for i in range(12)}))
    split = load_samples(CaptionBatch, [[tmp_path]], "rgb")
    words = {caption.split()[0] for caption in batches(CaptionBatch, split).captions}
    assert words == {"text", "second", "json"}
    (texts / "3.txt").write_text("another\n")
    assert load_samples(CaptionBatch, [[tmp_path]], "rgb").sha256 != split.sha256
    (texts / "3.txt").unlink()
    with pytest.raises(DataError, match="expected a caption"):
        load_samples(CaptionBatch, [[tmp_path]], "rgb")


def test_clips_are_folders_of_frames_in_the_order_of_their_names(tmp_path):
    for clip in range(4):
        (tmp_path / f"{clip}").mkdir()
        for frame in range(2 if clip == 3 else 5):  # too short: left out
            pixels = np.full((20, 20, 3), 50 * clip + 10 * frame, np.uint8)
            image.write(image.Picture(pixels=pixels), tmp_path / f"{clip}/{frame:02}.png")
    split = load_samples(ClipBatch, [[tmp_path]], "rgb", frames=3)
    assert len(split.train) + len(split.validation) == 3
    batch = batches(ClipBatch, split, frames=3)
    assert batch.frames.shape == (64, 3, 3, 16, 16)
    steps = (batch.frames.mean((2, 3, 4)) * 255).round().diff(dim=1)
    assert torch.equal(steps, torch.full_like(steps, 10))


def test_pairs_of_two_folders_are_aligned(tmp_path):
    bright = draw(tmp_path / "bright")
    (tmp_path / "dark").mkdir()
    for path in bright.iterdir():
        picture = image.read(path)
        image.write(dataclasses.replace(picture, pixels=picture.pixels // 2), tmp_path / "dark" / path.name)
    split = load_samples(PairBatch, [[tmp_path / "dark"], [bright]], "rgb")
    batch = batches(PairBatch, split)
    assert torch.equal((batch.target * 255).round() // 2, (batch.input * 255).round())
    image.write(image.Picture(pixels=np.zeros((8, 8, 3), np.uint8)), tmp_path / "dark" / "0.png", overwrite=True)
    with pytest.raises(DataError, match="pictures of one size"):
        load_samples(PairBatch, [[tmp_path / "dark"], [bright]], "rgb")


@pytest.mark.parametrize(("symmetries", "expected"), [(1, 1), (2, 2), (8, 8)])
def test_crops_are_turned_only_as_they_may_be(symmetries, expected):
    picture = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    source = Samples(PictureBatch, [datasets.Sample(picture)], side=8, batch=200, symmetries=symmetries)
    made = source.draw(torch.Generator().manual_seed(0)).pictures
    assert len({tuple(x.flatten().tolist()) for x in made}) == expected


def test_a_batch_is_shared_equally():
    batch = CaptionBatch(pictures=torch.arange(4.0).view(4, 1, 1, 1), captions=("a", "b", "c", "d"))
    parts = [batch.share(i, 2) for i in range(2)]
    assert [part.captions for part in parts] == [("a", "b"), ("c", "d")]
    assert torch.equal(torch.cat([part.pictures for part in parts]), batch.pictures)
    with pytest.raises(ValueError, match="that 3 processes share"):
        batch.share(0, 3)


# --- fits -------------------------------------------------------------------------------------------------------------


def least_squares(examples: FitData, options, generator, progress):
    """The 5x5 filter of the bicubically enlarged picture that comes nearest to the original, and a bias."""
    (degradation,) = examples.degradations
    rows, wanted = [], []
    for i, picture in enumerate(examples.pictures):
        clean = picture[None, :, : picture.shape[1] // 2 * 2, : picture.shape[2] // 2 * 2].float() / 255
        x, target = degradation.validation_pair(clean, generator)
        if x.shape != target.shape:
            x = F.interpolate(x, size=target.shape[-2:])
        rows.append(F.unfold(x, 5, padding=2)[0].T)
        wanted.append(target.flatten())
        progress((i + 1) / len(examples.pictures))
    a = torch.cat(rows)
    found = torch.linalg.lstsq(F.pad(a, (0, 1), value=1.0), torch.cat(wanted)[:, None]).solution[:, 0]
    return {"weight": found[:25].view(1, 1, 5, 5).contiguous(), "bias": found[25:].contiguous()}


def test_a_fit_goes_through_the_same_command(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from safelight.cli import app

    srcnn = find("srcnn")
    network = dataclasses.replace(
        srcnn.method.network, build=lambda options, scale: nn.Conv2d(1, 1, 5, padding=2),
        receptive_radius=lambda options, scale: 2, scales=(2,), foreign_layouts=(),
    )  # fmt: skip
    method = Fitted(network=network, fit=FitSpec(fit=least_squares, data=("t91",), time="a second"))
    card = dataclasses.replace(srcnn, module="safelight.methods.upscale.fitted", method=method)
    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, card))
    out = tmp_path / "w.safetensors"
    words = ["train", "upscale/fitted", "--data", str(draw(tmp_path / "data", 20)), "--scale", "2", "-o", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"{out}: validation PSNR" in result.stdout
    header = weights_file.read_header(out)
    assert (header.method, header.scales, header.recipe["data"]) == ("upscale/fitted", (2,), {"data": ["data"]})
    assert header.trained_on == ("data (terms not stated)",)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert len(rows) == len(range(18)) + 1
    assert float(rows[-1]["psnr"]) == header.scores["validation PSNR"] > 15
    small = draw(tmp_path / "small", 1, size=(12, 16)) / "0.png"
    run = ["upscale", str(small), "-m", "fitted", "--scale", "2", "--weights", str(out)]
    result = CliRunner().invoke(app, [*run, "-o", str(tmp_path / "l.png")])
    assert result.exit_code == 0, result.output
    assert image.read(tmp_path / "l.png").pixels.shape == (24, 32, 3)
    assert CliRunner().invoke(app, words).exit_code == 2  # what is there is not written over
    assert CliRunner().invoke(app, [*words, "--restart", "--quiet"]).exit_code == 0


# --- several processes ------------------------------------------------------------------------------------------------

SCRIPT = """
import dataclasses, sys
from pathlib import Path
import torch
import torch.nn.functional as F
from safelight.catalog import find
from safelight.core.training import Regression
from safelight.training import loop

folder, out, count, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

class Watched(Regression):
    done = 0

    def step(self, batch):
        if self.done == last:
            sys.exit(9)
        self.done += 1
        assert len(batch.input) == 4 // count
        return super().step(batch)

card = find("espcn")
algorithm = lambda network, recipe: Watched(network, torch.optim.SGD(network.parameters(), 0.1), F.mse_loss)
method = dataclasses.replace(card.method, training=dataclasses.replace(card.method.training, algorithm=algorithm))
card = dataclasses.replace(card, method=method)
recipe = dataclasses.replace(method.training.recipe, patch=8, batch=4, steps=6, warmup=1, ema=0.5)
loop.train(
    loop.TrainConfig(
        card=card, options=card.options(), scales=(2,), recipe=recipe, data={"data": (folder,)}, out=out,
        device="cpu", devices=count, precision="float32", validate_every=3,
    ),
    lambda progress: None,
)
"""


def test_two_processes_train_what_one_does(tmp_path):
    pytest.importorskip("lightning_fabric")
    folder, script = draw(tmp_path / "data"), tmp_path / "script.py"
    script.write_text(SCRIPT)

    def run(name, count, last=-1):
        words = [sys.executable, script, folder, tmp_path / f"{name}.safetensors", str(count), str(last)]
        return subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300)

    done = run("one", 1)
    assert done.returncode == 0, done.stderr.decode()
    assert run("two", 2, last=4).returncode == 9
    assert json.loads(weights_file.read_file(tmp_path / "two.state")[1]["facts"])["step"] == 3
    done = run("two", 2)
    assert done.returncode == 0, done.stderr.decode()
    one, two = load_file(tmp_path / "one.state"), load_file(tmp_path / "two.state")
    assert set(one) == set(two)
    moved = max(
        float((one[name] - load_file(tmp_path / "one.state")[name]).abs().max()) for name in one if name[0] == "m"
    )
    assert moved == 0
    for name, tensor in one.items():  # the crops are equal, the weights but for the order of sums
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-6)
    assert torch.equal(one["tensor.generator"], two["tensor.generator"])
