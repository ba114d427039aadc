"""A benchmark of any task: other metrics than PSNR, no level or one that is no whole number, methods of one scale.

The tasks here are registered in the tests alone, and need no line in ``evaluation``.
"""

import dataclasses
import json

import numpy as np
import pytest

from safelight import catalog, degrade, tasks
from safelight.core.benchmark import Anchor, Benchmark, BenchmarkSample, BenchmarkSet, Measure, to_picture
from safelight.core.card import Card, ClosedForm, Codec, Promise, Score
from safelight.core.outputs import OutputSpec
from safelight.core.solver_input import SolverResult
from safelight.core.task import TaskSpec
from safelight.evaluation import bench
from safelight.evaluation.bench import checks, quality, records
from safelight.evaluation.bench.plot import Point, draw, pareto_front
from safelight.media import image
from safelight.media.image import Picture
from safelight.metrics import Protocol
from safelight.tasks.common_inputs import PICTURE, SCALE, SEED, SIGMA
from support.bench_sets import CLOCK, silent, texture, to_pixels

SETS = (BenchmarkSet(name="Drawn", folder="Drawn", kind="rgb"),)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data/Drawn").mkdir(parents=True)
    for i in range(3):
        image.write(Picture(pixels=texture(60, 66, 3, i)), tmp_path / f"data/Drawn/{i}-{'ab'[i % 2]}.png")
    return tmp_path / "data"


def register(monkeypatch, task, *cards):
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, task))
    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, *cards))


def run(task, folder, out):
    bench.run(task, folder, out, methods=None, report=silent, clock=CLOCK)
    return json.loads((out / f"{task}.json").read_text(encoding="utf-8"))


# --- no level, LPIPS and FID, a method of one scale -------------------------------------------------------------------


def repeated(problem, options):
    return SolverResult(x=problem.y.repeat_interleave(3, -1).repeat_interleave(3, -2))


def shrunk(pixels, level):
    assert level is None
    reference = pixels.unsqueeze(0).double() / 255
    return BenchmarkSample(to_picture(degrade.Downsample(3)(reference)), reference)


def look():
    return Benchmark(
        task="look", sets=SETS, headline="Drawn", metrics=("lpips", "ssim", "fid"), protocol="As drawn.",
        degrade=shrunk, inputs=lambda level: {"scale": 3}, scale=lambda level: 3, plotted=("Drawn",),
        clock="Each makes {width}x{height} pixels", timed_in_colour=True,
        anchor=Anchor(method="look/triple", tolerances={"Drawn": {"ssim": 2.0}}),
    )  # fmt: skip


LOOK = TaskSpec(
    name="look", title="Look", summary="Enlarge threefold", help="Enlarge threefold.",
    inputs=(PICTURE, SCALE, SEED), output=OutputSpec(size="scaled"), default="look/triple", benchmark=look,
)  # fmt: skip
TRIPLE = Card(
    module="tests.look.triple", title="Triple", summary="Drawn for a test.",
    method=ClosedForm(solve=repeated, bytes=64, scales=(3,)),
    published=(Score(task="look", data="Drawn", metrics={"lpips[lens]": 0.25}, ssim=0.5),),
)  # fmt: skip
DOUBLE = Card(
    module="tests.look.double", title="Double", summary="Drawn for a test.",
    method=ClosedForm(solve=repeated, bytes=64, scales=(2,)),
)  # fmt: skip


def test_other_metrics_without_a_level(folder, tmp_path, monkeypatch):
    register(monkeypatch, LOOK, TRIPLE, DOUBLE)
    results = run("look", folder, tmp_path / "out")
    assert [(m["name"], m["unit"], m["higher_is_better"]) for m in results["metrics"]] == [
        ("lpips[lens]", "", False), ("ssim", "", True), ("fid[lens]", "", False),
    ]  # fmt: skip
    (row,) = results["rows"]
    assert (row["method"], row["level"], row["set"]) == ("look/triple", None, "Drawn")
    assert list(row["metrics"]) == ["lpips[lens]", "ssim", "fid[lens]"]
    assert row["published"] == {"lpips[lens]": 0.25, "ssim": 0.5}
    assert row["difference"]["lpips[lens]"] == pytest.approx(row["metrics"]["lpips[lens]"] - 0.25, abs=1e-5)
    # By hand: the metrics on what the method makes of each picture.
    from safelight.evaluation.scoring import Scorer
    from safelight.metrics import FID, LPIPS, SSIM

    scorer = Scorer([LPIPS, SSIM, FID], Protocol(channel="rgb", rounding="8-bit"))
    originals = [image.read(path) for path in sorted((folder / "Drawn").iterdir())]
    made = []
    for path in sorted((folder / "Drawn").iterdir()):
        small = shrunk(to_pixels(path), None).picture.pixels
        made.append(Picture(pixels=small.repeat(3, 0).repeat(3, 1)))
    pairs = [scorer.pair(a, b) for a, b in zip(originals, made, strict=True)]
    for name in ("lpips[lens]", "ssim"):
        assert row["metrics"][name] == pytest.approx(np.mean([numbers[name] for numbers in pairs]), abs=1e-4)
    assert row["metrics"]["fid[lens]"] == pytest.approx(scorer.sets(originals, made)[0]["fid[lens]"], rel=1e-3)
    assert row["seconds_per_megapixel"] > 0
    assert [(m["method"], m["level"], m["reason"]) for m in results["missing"]] == [
        ("look/double", None, "it is for x2 only")
    ]
    (anchor,) = results["anchors"]
    assert (anchor["metric"], anchor["level"], anchor["published"], anchor["passed"]) == ("ssim", None, 0.5, True)
    text = (tmp_path / "out/look.md").read_text(encoding="utf-8")
    assert "| method | measured | published | difference |" in text
    assert "A cell is LPIPS[lens] / SSIM / FID[lens]" in text
    assert "Less is better of LPIPS[lens], FID[lens]." in text
    assert "- double: not measured, it is for x2 only" in text
    svg = (tmp_path / "out/look.svg").read_bytes()
    assert svg == draw(results)
    again = bench.run("look", folder, tmp_path / "out", methods=["triple"], report=silent, clock=CLOCK)
    assert json.loads(again.read_text(encoding="utf-8"))["rows"][0]["metrics"] == row["metrics"]


def test_less_may_be_better():
    points = [Point("a", 1, 0.3), Point("b", 2, 0.4), Point("c", 3, 0.2)]
    assert [p.name for p in pareto_front(points, higher_is_better=False)] == ["a", "c"]


def test_promises_of_a_metric_of_which_less_is_better(monkeypatch):
    register(monkeypatch, LOOK, TRIPLE)
    benchmark = bench.find("look")
    facts = quality.metric_facts(benchmark)
    card = catalog.find("upscale/espcn")
    promise = Promise(task="look", data="Drawn", level=None, psnr=0.2, floor=0.3, metric="lpips[lens]")
    recipe = dataclasses.replace(card.training.recipe, promises=(promise,))
    training = dataclasses.replace(card.method.training, recipe=recipe)
    card = dataclasses.replace(card, method=dataclasses.replace(card.method, training=training))
    row = records.Row(
        method=card.id, options={}, level=None, set="Drawn", metrics={"lpips[lens]": 0.35}, published={}, difference={},
        parameters=0, multiply_adds=None, seconds_per_megapixel=1.0, weights_sha256=None, run="now",
    )  # fmt: skip
    (outcome,) = checks.check_promises(benchmark, facts, card, [row])
    assert (outcome.metric, outcome.short) == ("lpips[lens]", 0.15)
    (shortfall,) = checks.list_shortfalls(benchmark, facts, promises=[outcome])
    assert shortfall.text == (
        "espcn Drawn: 0.3500, 0.1500 over the 0.2000 that the recipe promises, 0.0500 over the limit of 0.3000"
    )


# --- a level that is no whole number, and the task's own metrics ------------------------------------------------------


def compress(network, y, options):
    height, width = y.shape[-2:]
    return bytes([height, width]) + (y * 255).round().byte().numpy().tobytes()


def noisy(pixels, level):
    return BenchmarkSample(Picture(pixels=pixels.permute(1, 2, 0).contiguous().numpy()), None)


def bits(output, sample, path):
    return 8 * len(output.data) / (sample.picture.height * sample.picture.width)


def is_labelled_a(output, sample, path):
    return float(path.stem.endswith("a"))


def pack():
    measures = (
        Measure(name="bpp", title="bits per pixel", unit="bits", higher_is_better=False, digits=2, value=bits),
        Measure(
            name="accuracy",
            title="accuracy",
            higher_is_better=True,
            value=lambda output, sample, path: "a" in path.stem,
        ),
    )
    return Benchmark(
        task="squeeze", sets=SETS, headline="Drawn", metrics=measures, levels=(0.5, 1.5), unit="rate {}",
        protocol="As drawn.", degrade=noisy, clock="Each packs {width}x{height} pixels", timed_in_colour=True,
    )  # fmt: skip


SQUEEZE = TaskSpec(
    name="squeeze", title="Squeeze", summary="Make bytes of a picture", help="Make bytes of a picture.",
    inputs=(PICTURE, SIGMA), output=OutputSpec(kind="bitstream", suffix=".raw"), default="squeeze/raw", benchmark=pack,
)  # fmt: skip
RAW = Card(
    module="tests.squeeze.raw", title="Raw", summary="As it is.",
    method=Codec(compress=compress, decompress=lambda network, data, options: None),
)  # fmt: skip


def test_the_tasks_own_metrics_at_levels_that_are_no_whole_numbers(folder, tmp_path, monkeypatch):
    register(monkeypatch, SQUEEZE, RAW)
    results = run("squeeze", folder, tmp_path / "out")
    assert [row["level"] for row in results["rows"]] == [0.5, 1.5]
    for row in results["rows"]:
        assert row["metrics"] == {"bpp": pytest.approx(24 + 16 / (60 * 66), abs=1e-4), "accuracy": 0.66667}
    text = (tmp_path / "out/squeeze.md").read_text(encoding="utf-8")
    assert "| method | rate 0.5 measured |" in text
    assert "A cell is bits per pixel in bits / accuracy" in text
    assert "## Anchors" not in text
    assert not (tmp_path / "out/squeeze.svg").exists()  # no set of it is plotted


def test_the_command_line_lists_the_tasks_that_have_a_benchmark(folder, monkeypatch):
    from typer.testing import CliRunner

    from safelight.cli import app

    register(monkeypatch, SQUEEZE, RAW)
    refused = CliRunner().invoke(app, ["bench", "inpaint", "--data", str(folder)])
    assert refused.exit_code == 2
    assert "is benchmarked, upscale, denoise, deblock, squeeze, got 'inpaint'" in " ".join(refused.output.split())
