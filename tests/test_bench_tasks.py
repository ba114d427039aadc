"""The benchmark of several tasks, on drawn pictures: which method runs where, on what, and what is said of it."""

import dataclasses
import json
import math
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch

from safelight import catalog, tasks
from safelight.checkpoints import weights_manifest
from safelight.core.card import Card, ClosedForm, Interpolation, Optimised, Score
from safelight.core.options import option
from safelight.core.solver_input import SolverProgress, SolverResult
from safelight.core.training import Promise
from safelight.evaluation import bench
from safelight.evaluation.bench import checks, quality, records, speed
from safelight.evaluation.bench.records import Missing
from safelight.inference import model as models
from safelight.media import image
from safelight.methods.denoise.dncnn import DnCNN
from safelight.ops.resampling import CUBIC
from safelight.training.datasets import DataError
from support.bench_sets import CLOCK, ship_random, silent, to_pixels, write_sets

BENCHMARKS = bench.benchmarks()
DENOISE, DEBLOCK, UPSCALE = BENCHMARKS["denoise"], BENCHMARKS["deblock"], BENCHMARKS["upscale"]
FACTS = quality.metric_facts(DENOISE)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"))


# --- methods that are drawn for these tests ---------------------------------------------------------------------------


def mean_of(problem, options):
    """A third of the way to the picture's mean; says what it was told."""
    x = problem.y + (problem.y.mean() - problem.y) / 3
    if problem.scale > 1:
        x = x.repeat_interleave(problem.scale, -1).repeat_interleave(problem.scale, -2)
    return SolverResult(x=x, notes=(f"sigma {problem.sigma}",))


def in_steps(problem, options, report):
    x = problem.y.clone()
    for i in range(4):
        x = x + (problem.y.mean() - x) / 12
        if not report(SolverProgress(fraction=(i + 1) / 4, x=x)):
            break
    return SolverResult(x=x)


def whole(name, method, **other):
    facts = {"module": f"safelight.methods.denoise.{name}", "title": name, "summary": "Drawn for a test."}
    return Card(**(facts | {"method": method} | other))


FORMULA = whole(
    "formula", ClosedForm(solve=mean_of, bytes=64), accepts=frozenset({"sigma"}), other_tasks=("deblock", "upscale")
)
STEPS = whole("steps", Optimised(run=in_steps, bytes=64))
FRAMES = whole("frames", ClosedForm(solve=mean_of, bytes=64), accepts=frozenset({"frames"}))


@dataclasses.dataclass(frozen=True, slots=True)
class Variants:
    """Options of a method that also has networks for one level: S15, S25 and S50."""

    variant: Literal["auto", "B", "S15", "S25", "S50", "CB"] = option("auto", "which network")


def with_levels(card):
    """DnCNN as the paper has it: with numbers, and promises, of networks for one level."""
    table = {"S15": (15, 31.73, 32.86), "S25": (25, 29.23, 30.44), "S50": (50, 26.23, 27.18)}
    numbers = [
        (data, variant, level, psnr)
        for variant, (level, *both) in table.items()
        for data, psnr in zip(("BSD68", "Set12"), both, strict=True)
    ]
    scores = tuple(
        Score(task="denoise", data=data, level=level, psnr=psnr, options={"variant": variant})
        for data, variant, level, psnr in numbers
    )
    promises = tuple(
        Promise(task="denoise", data=data, level=level, psnr=psnr, floor=psnr - 0.15, options={"variant": variant})
        for data, variant, level, psnr in numbers
    )

    def named(options):
        return "CB" if options.variant == "CB" else "B"

    method = card.method
    network = dataclasses.replace(
        method.network,
        build=lambda options, scale: DnCNN(dataclasses.replace(card.options(), variant=named(options)), scale),
    )
    recipe = dataclasses.replace(method.training.recipe, promises=(*promises, *method.training.recipe.promises))
    training = dataclasses.replace(method.training, recipe=recipe)
    method = dataclasses.replace(method, network=network, training=training)
    return dataclasses.replace(card, method=method, options=Variants, published=(*scores, *card.published))


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """DnCNN B, S25 and CB, DnCNN-3, and methods for the whole picture; bicubic for the anchors of upscale."""
    dncnn, dncnn3 = with_levels(catalog.find("denoise/dncnn")), catalog.find("deblock/dncnn3")
    folder = tmp_path / "weights"
    folder.mkdir()
    for variant in ("B", "S25", "CB"):
        ship_random(dncnn, folder, (1,), {"variant": variant})
    ship_random(dncnn3, folder, (1, 2, 3, 4))
    monkeypatch.setattr(weights_manifest, "SHIPPED", folder)
    found = (catalog.find("bicubic"), dncnn, dncnn3, FORMULA, STEPS, FRAMES)
    monkeypatch.setattr(catalog, "CARDS", found)
    return found


# --- which method runs where ------------------------------------------------------------------------------------------


def test_options_are_settled_by_the_picture_and_measured_one_by_one(cards):
    dncnn = cards[1]
    assert quality.variants(dncnn, "denoise") == tuple({"variant": v} for v in ("B", "CB", "S25", "S15", "S50"))
    assert quality.levels(DENOISE, dncnn, {"variant": "S25"}) == (25,)
    assert quality.levels(DENOISE, dncnn, {"variant": "B"}) == (15, 25, 50)
    assert quality.levels(DENOISE, dncnn, {"variant": "CB"}) == (15, 25, 50)
    assert quality.variants(catalog.find("deblock/dncnn3"), "deblock") == ({},)
    assert quality.variants(FORMULA, "denoise") == ({},)


def test_a_network_of_another_task_is_no_variant(tmp_path, monkeypatch):
    red = catalog.find("denoise/red")
    ship_random(red, tmp_path, (1,), {"work": "noise", "layers": "20", "width": 4})
    monkeypatch.setattr(weights_manifest, "SHIPPED", tmp_path)
    named = [records.label("", values).strip() for values in quality.variants(red, "denoise")]
    assert named == ["noise", "20 4 noise"]
    assert all(values["work"] == "enlarge" for values in quality.variants(red, "upscale"))


@pytest.mark.parametrize("value", ["B", "CB"])
def test_each_network_is_measured_on_its_own_pictures(cards, value):
    entry = quality.prepare(DENOISE, cards[1], {"variant": value}, 25)
    assert [entry.suits(spec.kind) for spec in DENOISE.sets] == [value == "B"] * 2 + [value == "CB"]
    assert entry.parameters > 0
    assert entry.runner.request.inputs == {"sigma": 25}


def run(task, sets, out, methods=None):
    """Benchmark, knowing that small pictures meet no anchor to the last digit."""
    with pytest.raises(bench.AnchorError, match=r"anchor rows fail"):
        bench.run(task, sets, out, methods=methods, report=silent, clock=CLOCK)
    return json.loads((out / f"{task}.json").read_text(encoding="utf-8"))


def test_denoise_from_sets_to_tables(sets, cards, tmp_path):
    results = run("denoise", sets, tmp_path)
    rows = {(records.label(r["method"], r["options"]), r["set"], r["level"]): r for r in results["rows"]}
    every = {(name, level) for name in ("Set12", "BSD68", "BSD20 RGB") for level in (15, 25, 50)}
    places = {name: {key[1:] for key in rows if key[0] == name} for name in {key[0] for key in rows}}
    assert places == {
        "dncnn B": {place for place in every if place[0] != "BSD20 RGB"},
        "dncnn CB": {place for place in every if place[0] == "BSD20 RGB"},
        "dncnn S25": {("Set12", 25), ("BSD68", 25)},
        "dncnn3": every,
        "formula": every,
        "steps": every,
    }
    assert [(data["name"], data["pictures"]) for data in results["data"]] == [
        ("Set12", 2), ("BSD68", 2), ("BSD20 RGB", 2),
    ]  # fmt: skip
    assert rows["dncnn S25", "BSD68", 25]["published"]["psnr"] == 29.23
    assert rows["dncnn B", "BSD68", 50]["published"]["psnr"] == 26.23
    assert rows["dncnn3", "BSD68", 15]["published"]["psnr"] == 31.46
    assert rows["dncnn3", "Set12", 15]["published"] == {}
    assert len({r["seconds_per_megapixel"] for key, r in rows.items() if key[0] == "dncnn B"}) == 1
    assert [a["method"] for a in results["anchors"]] == ["input"] * 9

    # The network by hand: the noisy picture in floating point, then 8 bits, over the whole picture.
    dncnn = cards[1]
    model = models.load(dncnn, options={"variant": "B"})
    values = []
    for path in sorted((sets / "Set12").iterdir()):
        sample = DENOISE.degrade(to_pixels(path), 25)
        restored = model(torch.from_numpy(sample.picture.pixels).permute(2, 0, 1)[None])
        restored = np.clip(np.floor(restored[0, 0].numpy() * 255.0 + 0.5), 0, 255)
        values.append(10 * math.log10(255**2 / np.mean((restored - image.read(path).pixels[..., 0]) ** 2)))
    assert rows["dncnn B", "Set12", 25]["metrics"]["psnr"] == pytest.approx(np.mean(values), abs=2e-3)

    short = {(p["options"].get("variant"), p["set"], p["level"]): p for p in results["promises"]}
    assert short["S25", "Set12", 25]["promised"] == 30.44
    assert short["S25", "Set12", 25]["measured"] == rows["dncnn S25", "Set12", 25]["metrics"]["psnr"]
    assert short["S15", "Set12", 15]["measured"] is None
    texts = [item["text"] for item in results["shortfalls"]]
    assert "dncnn S15 sigma 15: not measured, no weights are shipped; safelight train denoise/dncnn makes them" in texts
    reason = "not measured, it needs several pictures of one scene, and the sets have one each"
    assert f"frames sigma 15, 25, 50: {reason}" in texts
    b = rows["dncnn B", "BSD68", 50]["metrics"]["psnr"]
    assert any(
        text.startswith(f"dncnn B sigma 50 BSD68: {b:.2f} dB, {26.23 - round(b, 2):.2f} under") for text in texts
    )
    text = (tmp_path / "denoise.md").read_text(encoding="utf-8")
    assert "### BSD20 RGB (2 pictures)" in text
    assert "| input Set12 sigma 15 PSNR | 24.61 |" in text
    assert (tmp_path / "denoise.svg").read_bytes().startswith(b"<?xml")

    # One method again: the other rows stay.
    later = run("denoise", sets, tmp_path, ["formula"])
    assert [r for r in later["rows"] if r["method"] != FORMULA.id] == [
        r for r in results["rows"] if r["method"] != FORMULA.id
    ]
    assert {r["run"] for r in later["rows"] if r["method"] == FORMULA.id} == {later["runs"][-1]["id"]}


def test_rows_of_other_weights_are_stale(cards, sets, tmp_path):
    dncnn = cards[1]
    sha256 = weights_manifest.shipped_weights("denoise/dncnn")[0].sha256
    plain = records.Row(
        method=dncnn.id, options={"variant": "B"}, level=25, set="Set12", metrics={"psnr": 30.0, "ssim": 0.9},
        published={}, difference={}, parameters=0, multiply_adds=None,
        seconds_per_megapixel=0.1, weights_sha256=sha256, run="now",
    )  # fmt: skip
    other = dataclasses.replace(plain, weights_sha256="0" * 64)
    gone = dataclasses.replace(plain, options={"variant": "S50"}, level=50)
    assert checks.list_outdated(DENOISE, [dncnn], [plain, other, gone]) == [other, gone]


def test_a_method_of_several_tasks_is_measured_at_each(sets, cards, tmp_path):
    for task, names in (("deblock", ["formula", "dncnn3"]), ("upscale", ["formula"])):
        results = run(task, sets, tmp_path, names)
        methods = {row["method"].split("/")[1] for row in results["rows"]}
        assert methods - {"bicubic"} == set(names)
        assert {row["level"] for row in results["rows"]} == set(BENCHMARKS[task].levels)
    for benchmark in BENCHMARKS.values():
        level = benchmark.levels[-1]
        assert quality.prepare(benchmark, cards[2], {}, level).runner.task.name == benchmark.task
    assert "denoise/steps" not in {card.id for card in catalog.of_task("upscale")}


def test_only_denoise_tells_sigma(cards):
    told = {
        benchmark.task: quality.prepare(benchmark, FORMULA, {}, benchmark.levels[0]).runner.request.inputs.get("sigma")
        for benchmark in (DENOISE, DEBLOCK, UPSCALE)
    }
    assert told == {"denoise": 15, "deblock": None, "upscale": None}
    assert quality.prepare(DENOISE, STEPS, {}, 15).runner.request.inputs == {}


def test_what_takes_too_long_runs_only_when_it_is_named(sets, tmp_path, monkeypatch):
    slow = dataclasses.replace(DENOISE, left_out={"denoise/steps": "it takes an hour; name it with --methods"})
    spec = dataclasses.replace(tasks.find("denoise"), benchmark=lambda: slow)
    monkeypatch.setattr(tasks, "TASKS", (spec,))
    monkeypatch.setattr(catalog, "CARDS", (FORMULA, STEPS))
    results = run("denoise", sets, tmp_path)
    assert "denoise/steps" not in {row["method"] for row in results["rows"]}
    assert [(m["method"], m["level"]) for m in results["missing"] if "an hour" in m["reason"]] == [
        ("denoise/steps", level) for level in (15, 25, 50)
    ]
    results = run("denoise", sets, tmp_path, ["steps"])
    assert "denoise/steps" in {row["method"] for row in results["rows"]}
    assert not [m for m in results["missing"] if "an hour" in m["reason"]]


def test_a_missing_package_is_a_reason(monkeypatch):
    from safelight.core.card import OptionalPackage

    card = dataclasses.replace(FORMULA, extra=OptionalPackage(module="no_such_module", name="classic"))
    found = quality.prepare(DENOISE, card, {}, 15)
    assert isinstance(found, Missing)
    assert found.reason == "it needs a package that is not installed; pip install 'safelight[classic]'"


def test_a_closed_form_for_one_scale_is_missing_at_the_others():
    card = whole("double", ClosedForm(solve=mean_of, bytes=64, scales=(2,)), other_tasks=("upscale",))
    assert quality.find_weights(UPSCALE, card, {}, 2) is None
    assert quality.find_weights(UPSCALE, card, {}, 3).reason == "it is for x2 only"
    assert quality.find_weights(UPSCALE, whole("any", Interpolation(kernel=CUBIC)), {}, 3) is None


def test_published_numbers_are_of_the_same_options(cards):
    card = dataclasses.replace(
        FORMULA,
        published=(Score(data="Set12", level=15, psnr=30.0, task="denoise"), Score(data="Set12", level=15, psnr=9)),
    )
    entry = quality.prepare(DENOISE, card, {}, 15)
    assert bench._published(DENOISE, entry, "Set12") == {"psnr": 30.0}
    assert bench._published(DEBLOCK, entry, "Set12") == {}


def test_promises_of_other_tasks_are_not_held(cards):
    promises = checks.check_promises(DEBLOCK, FACTS, cards[2], [])
    assert [(p.set, p.level) for p in promises] == [("classic5", level) for level in (10, 20, 30, 40)]
    extra = Promise(data="classic5", level=10, psnr=99, floor=98)  # of upscale
    spec = cards[2].method.training
    spec = dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, promises=(extra,)))
    card = dataclasses.replace(cards[2], method=dataclasses.replace(cards[2].method, training=spec))
    assert checks.check_promises(DEBLOCK, FACTS, card, []) == []


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_slow_method_is_timed_once_on_a_smaller_picture(cards):
    entries = [quality.prepare(DENOISE, card, {}, 15) for card in (FORMULA, STEPS)]
    patient = bench.Clock(width=96, height=64, rounds=1, small=(48, 32))
    assert [timing.on for timing in speed.time_entries(DENOISE, entries, patient)] == ["", ""]
    hasty = dataclasses.replace(patient, patience=0.0)
    found = speed.time_entries(DENOISE, entries, hasty)
    assert [timing.on for timing in found] == ["48x32 pixels, once"] * 2
    assert all(timing.seconds > 0 for timing in found)


def test_gray_methods_are_timed_on_gray_pictures(cards, monkeypatch):
    seen = {}
    for value in ("B", "CB"):
        entry = quality.prepare(DENOISE, cards[1], {"variant": value}, 25)
        runner = entry.runner
        watched = SimpleNamespace(run=lambda p, r=runner, v=value: seen.setdefault(v, p.channels) and r.run(p))
        entry = dataclasses.replace(entry, runner=watched)
        speed.time_entries(DENOISE, [entry], CLOCK)
    assert seen == {"B": 1, "CB": 3}


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_task_without_a_benchmark_is_refused(tmp_path):
    with pytest.raises(DataError, match="that can be benchmarked, upscale, denoise, deblock, got inpaint"):
        bench.run("inpaint", tmp_path, tmp_path, methods=None, report=silent)
