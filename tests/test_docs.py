"""The documents are true: generated parts are fresh, examples run, links lead somewhere, commands and tests exist."""

import ast
import functools
import importlib
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from safelight import catalog, tasks
from safelight.cli import app
from safelight.core.card import Trained
from safelight.core.options import make_options
from safelight.evaluation import bench
from safelight.evaluation.bench import checks, quality, records
from safelight.media import image

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path for pattern in ("*.md", ".github/*.md", "docs/**/*.md") for path in ROOT.glob(pattern))
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
TRAINED = [card for card in catalog.CARDS if isinstance(card.method, Trained)]

sys.path.append(str(ROOT / "docs"))  # where python looks for docs/generate.py's own parts
generate = importlib.import_module("generate")
parts = importlib.import_module("parts")
common, engine, guides, measured, methods, queue, results_part, scale_part = (
    importlib.import_module(f"parts.{name}")
    for name in ("common", "engine", "guides", "measured", "methods", "queue", "results", "scale")
)


def every_document():
    return pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def blocks(text, language):
    """The fenced blocks of a language that a person wrote: a generated part is made of tested code already."""
    own = re.sub(r"<!-- generated: .*?<!-- end -->", "", text, flags=re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```", own, flags=re.DOTALL | re.MULTILINE)


def prose(text):
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


# --- generated parts --------------------------------------------------------------------------------------------------


@every_document()
def test_generated_parts_are_fresh(path):
    assert generate.fresh(TEXTS[path]) == TEXTS[path], "stale; run: make docs"


@pytest.mark.parametrize("name", generate.FILES)
def test_generated_files_are_fresh(name):
    assert (ROOT / name).read_text(encoding="utf-8") == generate.FILES[name](), "stale; run: make docs"


@every_document()
def test_every_marker_is_one(path):
    text = TEXTS[path]
    starts, ends = (len(re.findall(rf"^<!-- {word}.*-->$", text, re.MULTILINE)) for word in ("generated: ", "end "))
    assert starts == ends == len(generate._PART.findall(text))


def test_every_part_is_used():
    used = {match["name"] for text in TEXTS.values() for match in generate._PART.finditer(text)}
    assert used == set(generate.PARTS)


def test_check_tells_what_is_stale_and_writes_nothing(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text("<!-- generated: options-upscale -->\nold\n<!-- end -->\n")
    files = [tmp_path / name for name in generate.FILES]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    files[0].write_text("old")  # the others are not there
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generate.main() == 1
    told = [f"{name}: stale; run: make docs\n" for name in ("README.md", *generate.FILES)]
    assert capsys.readouterr().out == "".join(told)
    assert "old" in page.read_text()
    assert [file.read_text() for file in files if file.exists()] == ["old"]
    monkeypatch.setattr("sys.argv", ["generate.py"])
    assert generate.main() == 0
    assert "| sharpen | `--amount` |" in page.read_text()
    assert [file.read_text(encoding="utf-8") for file in files] == [make() for make in generate.FILES.values()]
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generate.main() == 0
    monkeypatch.setattr("sys.argv", ["generate.py"])
    page.write_text("<!-- generated: nothing -->\n<!-- end -->\n")
    with pytest.raises(SystemExit, match="expected a generated part out of methods-upscale, methods-denoise"):
        generate.main()


def row(card, level, psnr, *, task="upscale", name="Set5", ssim=0.9, **other):
    """A row of the benchmark, as the JSON has it."""
    trained = isinstance(card.method, Trained)
    options = other.get("options", {})
    published = next(
        (s.psnr for s in card.published if (s.task, s.data, s.level, s.options) == (task, name, level, options)), None
    )
    facts = {
        "method": card.id, "options": {}, "level": level, "set": name, "metrics": {"psnr": psnr, "ssim": ssim},
        "published": {} if published is None else {"psnr": published},
        "difference": {} if published is None else {"psnr": psnr - published},
        "parameters": 1234 if trained else 0, "multiply_adds": 5678.0 if trained else None,
        "seconds_per_megapixel": 0.25, "weights_sha256": None, "run": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    return records.Row(**(facts | other))


def write_results(folder, rows, task="upscale"):
    """Results of made-up rows, through the benchmark's own records."""
    machine = records.Machine(
        processor="A processor", device="cpu: 2 threads", threads=2, load=None, system="Linux", python="3", torch="2"
    )
    run = records.Run(id="2026-01-02T03:04:05Z", commit="abc", safelight="0", machine=machine, methods=())
    benchmark = bench.find(task)
    facts = quality.metric_facts(benchmark)
    known = {(r.set, r.level): r.metrics for r in rows if r.method == benchmark.anchor.method}
    results = records.Results(
        task=task, level=benchmark.unit, metrics=facts, plotted=benchmark.plotted,
        timed_by_level=benchmark.timed_by_level, protocol={"quality": "As the papers.", "time": "Once."}, runs=(run,),
        data=(records.DataSet(name=benchmark.headline, kind="gray", pictures=5, sha256="0"),), resize=(),
        anchors=checks.check_anchors(benchmark, facts, known), rows=tuple(rows), missing=(), comparisons=(),
        promises=(), shortfalls=(),
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / f"{task}.json").write_text(results.to_json())


def shipped_everywhere(monkeypatch, but=()):
    """As if weights of every network were shipped, but for some: names as tables have them, with the level."""
    found_weights = quality.find_weights

    def find_weights(benchmark, card, options, level):
        found = found_weights(benchmark, card, options, level)
        if (records.label(card.id, options), level) in but:
            return records.Missing(method=card.id, options=options, level=level, reason="a test")
        return Path("there") if isinstance(found, records.Missing) and "weights" in found.reason else found

    monkeypatch.setattr(quality, "find_weights", find_weights)


def promised_rows(task, low):
    """Rows that meet every promise of a task, but for those in ``low``, by name, set and level."""
    rows = []
    for card in TRAINED:
        for promise in card.method.training.recipe.promises:
            if promise.task == task:
                options = quality.differing(card, make_options(card, promise.options))
                key = records.label(card.id, options), promise.data, promise.level
                psnr = low.get(key, promise.psnr)
                rows.append(row(card, promise.level, psnr, task=task, name=promise.data, options=options))
    return rows


@pytest.fixture
def results(tmp_path, monkeypatch):
    """All promises are met, but FSRCNN x3 and VDSR x2, and RED and DnCNN somewhere; ESPCN x2 and DnCNN-CB lack."""
    known = ((2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104))
    bicubic = [row(catalog.find("bicubic"), scale, psnr, ssim=ssim) for scale, psnr, ssim in known]
    low = {
        ("fsrcnn", "Set5", 3): 33.0, ("vdsr", "Set5", 2): 37.0, ("dncnn B", "BSD68", 50): 26.0,
        ("dncnn B", "BSD68", 25): 28.7, ("dncnn3", "classic5", 40): 33.5,
    }  # fmt: skip
    extra = [row(catalog.find("srcnn"), 3, 32.0, options={"kernels": "9-1-5"}, published={}, difference={})]
    for task in bench.benchmarks():
        more = [*bicubic, *extra] if task == "upscale" else []
        write_results(tmp_path / "results", [*more, *promised_rows(task, low)], task)
    shipped_everywhere(monkeypatch, but={("espcn", 2), ("dncnn CB", 15), ("dncnn CB", 25), ("dncnn CB", 50)})
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_without_results_the_parts_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    for task in bench.benchmarks():
        sentence = f"`results/{task}.json` is missing. `safelight bench {task} --data DIR` measures and writes it."
        assert results_part.short(task) == results_part.everything(task) == sentence
        assert sentence in queue.queue()
    assert measured.measured("dip") == (
        "`results/dip.json` is missing. `python tools/measure_dip.py --data DIR` measures and writes it."
    )


def test_methods_stand_under_each_of_their_tasks():
    tables = {task: methods.methods(task) for task in tasks.names()}
    for card in catalog.CARDS:
        for task, text in tables.items():
            link = f"[{card.name}](../src/safelight/methods/{card.id}"
            assert text.count(f"{link}.py)") + text.count(f"{link})") == (task in card.tasks)
    for task in tasks.names():
        card = catalog.default(task)
        assert card is not None
        assert re.search(rf"^\| \[{card.name}\]\S+ \(default\) \|", tables[task], re.MULTILINE)


def test_networks_that_cost_the_same_share_a_line():
    lines = [cells(line) for line in methods.costs().splitlines()]
    assert ["johnson starry-night, wave, composition-vii, scream", "–", "424,899"] in [line[:3] for line in lines]  # noqa: RUF001
    assert [line[1] for line in lines if line[0] == "dncnn3"] == ["–", "x2", "x3", "x4"]  # noqa: RUF001
    assert len({line[0] for line in lines if line[0].startswith("dncnn ")}) == 2


def test_the_short_tables(results):
    text = results_part.short("upscale")
    lines = {cells(line)[0]: cells(line)[1:] for line in text.splitlines() if "|" in line}
    dash = common.NONE
    assert lines["bicubic"] == [dash, dash, "33.66 (33.66)", "30.39 (30.39)", "28.42 (28.42)", "0.25"]
    assert lines["fsrcnn"] == ["1,234", "5,678", "37.00 (37.00)", "33.00 (33.16)", "30.71 (30.71)", "0.25"]
    assert lines["espcn"] == ["1,234", "5,678", dash, "33.13 (33.13)", dash, "0.25"]
    assert lines["srcnn 9-1-5"] == ["1,234", "5,678", dash, f"32.00 ({dash})", dash, "0.25"]
    assert "Measured on 2026-01-02: A processor, cpu: 2 threads." in text
    lines = {cells(line)[0]: cells(line)[1:] for line in results_part.short("denoise").splitlines() if "|" in line}
    assert lines["method"][2:5] == ["BSD68 sigma 15", "BSD68 sigma 25", "BSD68 sigma 50"]
    assert lines["dncnn B"][2:5] == ["31.61 (31.61)", "28.70 (29.16)", "26.00 (26.23)"]


def test_runs_of_one_machine_share_their_words():
    machine = {"processor": "A", "threads": 2, "device": "cpu: 2 threads"}
    runs = [{"id": f"2026-01-0{day}T00:00", "machine": machine} for day in (2, 1, 3)]
    runs.append({"id": "2026-01-04T00:00", "machine": machine | {"processor": "B"}})
    assert results_part.measured_on(runs) == (
        "Measured on 2026-01-01 to 2026-01-03: A, cpu: 2 threads; on 2026-01-04: B, cpu: 2 threads."
    )


def test_guides_set_the_best_beside_the_default(results):
    text = guides.choice("upscale")
    (line,) = [cells(line) for line in text.splitlines() if line.startswith("| Set5")]
    # Promises are the rows here. The best at x3 on Set5 is EDSR's, and nothing is promised there for the default.
    assert line == ["Set5, x3", "30.39", "edsr: 34.37 dB, 0.25 s/MP", common.NONE]
    assert guides.overview().count("Measured on") == 1


def test_failed_anchors_give_no_table(tmp_path, monkeypatch):
    write_results(tmp_path, [row(catalog.find("bicubic"), 2, 30.0, ssim=0.9299)])
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    assert results_part.short("upscale") == ("1 of 2 anchors fail in `results/upscale.json`: believe no number in it.")


def test_all_tables_stand_below_the_documents_heading(results):
    text = results_part.everything("denoise")
    assert "Measured 2026-01-02" in text
    assert {line.split()[0] for line in text.splitlines() if line.startswith("#")} == {"##", "###"}
    (results / "denoise.svg").write_text("<svg/>")
    assert results_part.everything("denoise").startswith(
        "![PSNR against time per megapixel](../results/denoise.svg)\n\n"
    )


def test_the_queue_is_in_order_and_its_commands_can_be_run(results):
    lines = [cells(line) for line in queue.queue().splitlines()[2:]]
    dash = common.NONE
    assert [line[:3] for line in lines] == [
        ["espcn", dash, "x2"], ["dncnn CB", dash, dash], ["vdsr", "Set5", "x2"], ["dncnn B", "BSD68", "sigma 25"],
        ["dncnn3", "classic5", "quality 40"], ["dncnn B", "BSD68", "sigma 50"], ["fsrcnn", "Set5", "x3"],
    ]  # fmt: skip
    assert [line[3:7] for line in lines[2:4]] == [
        ["37.00", "37.53", "37.10", "0.53"],
        ["28.70", "29.16", "29.01", "0.46"],
    ]
    for line in lines:
        (command,) = commands(line[7].strip("`"))
        parse(*command)
        assert {f"DIR/{name}" for name in catalog.find(line[0].split()[0]).method.training.recipe.data} < set(command)
    by_name = {line[0]: line[7].strip("`") for line in lines}
    assert "--variant B --steps 150000 --batch 128 --patch 50" in by_name["dncnn B"]
    assert "--scale" not in by_name["vdsr"]
    assert "--start dncnn-B.safetensors" in by_name["dncnn CB"] or "weights/dncnn-B" in by_name["dncnn CB"]
    assert "--start" not in by_name["dncnn B"]
    assert "--start" in by_name["espcn"]
    assert "--start" not in by_name["fsrcnn"]


def test_a_network_with_weights_but_no_results_is_not_judged(results):
    (results / "denoise.json").unlink()
    text = queue.queue()
    assert "| dncnn B |" not in text
    assert "| dncnn CB |" in text
    assert text.endswith(common.no_results("denoise"))


def test_the_estimate_is_the_arithmetic_it_states():
    """EDSR x2 by hand: 343,152 multiply-adds a pixel, 6 FLOP each, 16 crops of 96x96, 300,000 steps, 40 TFLOP/s."""
    card = catalog.find("edsr")
    queued = queue.Queued(
        card=card,
        method=card.method,
        benchmark=bench.find("upscale"),
        options={},
        level=2,
        promise=None,
        measured=None,
    )
    minutes = 343_152 * 6 * 16 * 96**2 * 300_000 / 40e12 / 60
    assert queue.estimate(queued, queue.PAPER_WORK["edsr"]) == f"{minutes:.0f} minutes"


def test_nothing_waits_when_every_promise_is_met(tmp_path, monkeypatch):
    for task in bench.benchmarks():
        write_results(tmp_path, promised_rows(task, {}), task)
    shipped_everywhere(monkeypatch)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    assert queue.queue() == "Nothing waits: every network meets its promise."


def test_tools_tables_are_made_of_their_json(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    rows = [
        {"data": "Set12", "sigma": 5, "clipped": True, "mean_error": -0.25, "commit": "abc", "curve": [1]},
        {"data": "Set12", "sigma": 50, "clipped": False, "mean_error": None, "commit": "abc", "curve": [2]},
    ]
    (tmp_path / "consistent.json").write_text(json.dumps({"what": "Errors.", "rows": rows}))
    dash = common.NONE
    assert measured.measured("consistent").splitlines() == [
        "| sigma | clipped | mean error |", "| ---: | --- | ---: |", "| 5 | yes | -0.25 |", f"| 50 | no | {dash} |", "",
        "Errors. In all rows: data Set12, commit abc.",
    ]  # fmt: skip
    # A tool that sums its rows up makes its own table.
    rows = [
        {"scale": 3, "picture": name, "method": "tv", "strength": "auto, sigma told", "psnr": psnr, "seconds": 1.0}
        for name, psnr in (("a", 28.0), ("b", 29.0))
    ]
    what = {"what": "Blurred.", "command": "python tools/measure_inverse.py", "rows": rows}
    (tmp_path / "inverse.json").write_text(json.dumps(what))
    assert "| tv | 28.50 |" in measured.measured("inverse")


# --- several machines -------------------------------------------------------------------------------------------------


def test_the_cost_of_a_million_is_the_arithmetic_it_states(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    assert scale_part.million() == scale_part.pictures() == scale_part.NO_SCALE
    row = {
        "method": "upscale/edsr", "scale": 2, "precision": "float32", "seconds": 36.0, "decode_seconds": 0.36,
        "encode_seconds": 0.72, "peak_bytes": 1.2e9, "bytes_in": 4e6, "bytes_out": 15e6,
    }  # fmt: skip
    actors = {"pictures": 32, "method": "edsr", "one": 0.5, "two": 0.9, "ratio": 1.8}
    found = {"what": "a photograph", "processor": "A processor", "torch": "2", "actors": actors, "rows": [row]}
    (tmp_path / "scale.json").write_text(json.dumps(found))
    (pictures,), (traffic,), (million,) = (
        [cells(line) for line in part().splitlines() if line.startswith("| edsr")]
        for part in (scale_part.pictures, scale_part.traffic, scale_part.million)
    )
    assert pictures[1:] == ["36.0", "0.0278", "0.36 (1.0%)", "0.72 (2.0%)", "1,200"]
    assert traffic[1:] == ["4.0", "15.0", "11.1", "41.7"]  # 100 cores: 100 / 36 pictures a second
    assert million[1:] == ["10,000", "4.2", "4.0", "15.0", "400"]
    assert "1.80 times as many" in scale_part.actors()


# --- no document contradicts what was measured ------------------------------------------------------------------------


@every_document()
def test_no_document_has_a_placeholder(path):
    text = prose(TEXTS[path]) if path.name == "CHANGELOG.md" else TEXTS[path]
    assert not re.search(r"`results/[\w-]+\.json` is missing|\bTODO\b|\bTBD\b|\bFIXME\b|to be written", text)


def test_listed_precisions_cost_what_the_engines_page_says():
    """docs/internals/engine.md: at most 0.01 dB on Set14 at every scale, 0.02 dB on other sets."""
    rows = json.loads((ROOT / "results/precision.json").read_text())["rows"]
    for row in rows:
        limit = 0.01 if row["set"] == "Set14" else 0.02
        assert not row["listed"] or row["loss"] <= limit, row
    for name in {row["method"] for row in rows if not row["listed"]}:
        assert max(row["loss"] for row in rows if row["method"] == name) > 0.01
    summary = engine.precision_summary()
    for method, scales in (("srcnn", 3), ("fsrcnn", 3), ("espcn", 3)):
        losses = [row["loss"] for row in rows if row["method"] == f"upscale/{method}"]
        assert len(losses) == scales
        assert f"{method} {min(losses):.2f} to {max(losses):.2f} dB" in summary


def test_speeds_and_gains_in_words_are_those_measured():
    rows = json.loads((ROOT / "results/engine-cpu.json").read_text())["networks"]
    times = [row["exact"]["times_plain"] for row in rows]
    assert (round(min(times)), round(max(times))) == (2, 6)
    assert "two to six times as fast as torch" in TEXTS[ROOT / "README.md"]
    rows = json.loads((ROOT / "results/denoise.json").read_text())["rows"]
    gray = {}
    for row in rows:
        if row["set"] in ("Set12", "BSD68"):
            gray[records.label(row["method"], row["options"]), row["set"], row["level"]] = row["metrics"]["psnr"]
    gains = [gray["dncnn B", *key[1:]] - psnr for key, psnr in gray.items() if key[0] == "lamp"]
    assert (round(min(gains), 1), round(max(gains), 1)) == (0.3, 0.5)
    assert "0.3 to 0.5 dB\nbetter by DnCNN's gray network" in TEXTS[ROOT / "docs/fix.md"]
    rows = json.loads((ROOT / "results/consistent.json").read_text())["rows"]
    assert all(row["gain"] > 0 for row in rows)  # docs/internals/consistent.md: a little is gained


def test_what_guides_say_of_the_defaults_is_measured():
    """The reasons that docs/upscale.md, denoise.md and deblock.md give for the method to take."""

    def rows(task, name):
        found = json.loads((ROOT / f"results/{task}.json").read_text())["rows"]
        return [row for row in found if row["set"] == name]

    def of(found, name):
        return {row["level"]: row for row in found if records.label(row["method"], row["options"]) == name}

    for name in ("Set5", "Set14", "BSD100"):  # lamp is the best; small takes about half of its time
        found = rows("upscale", name)
        lamp, small = of(found, "lamp"), of(found, "lamp small")
        for level in lamp:
            assert lamp[level]["metrics"]["psnr"] == max(
                row["metrics"]["psnr"] for row in found if row["level"] == level
            )
            assert 1.8 < lamp[level]["seconds_per_megapixel"] / small[level]["seconds_per_megapixel"] < 2.8
    colour = rows(
        "denoise", "BSD20 RGB"
    )  # lamp is the best in colour, dncnn on gray pictures, in several times the time
    for level, row in of(colour, "lamp").items():
        assert row["metrics"]["psnr"] == max(row["metrics"]["psnr"] for row in colour if row["level"] == level)
    for name in ("Set12", "BSD68"):
        found = rows("denoise", name)
        for level, row in of(found, "dncnn B").items():
            assert row["metrics"]["psnr"] == max(row["metrics"]["psnr"] for row in found if row["level"] == level)
            assert row["seconds_per_megapixel"] > 5 * of(found, "lamp")[level]["seconds_per_megapixel"]
    for name, most in (("classic5", 0.4), ("BSD20 RGB", 0.25)):  # within a few tenths, at an eighth of the time
        found = rows("deblock", name)
        lamp, best = of(found, "lamp"), of(found, "dncnn3")
        for level in lamp:
            assert 0 <= best[level]["metrics"]["psnr"] - lamp[level]["metrics"]["psnr"] < most
            assert 6 < best[level]["seconds_per_megapixel"] / lamp[level]["seconds_per_megapixel"] < 10


@pytest.mark.parametrize("task", [*tasks.names(), "fix"])
def test_every_task_has_a_guide_and_a_picture(task):
    guide, picture = ROOT / f"docs/{task}.md", ROOT / f"docs/gallery/{task}.jpg"
    assert picture.stat().st_size <= 60_000
    assert f"gallery/{task}.jpg" in TEXTS[guide]
    for index in (ROOT / "README.md", ROOT / "docs/index.md"):
        assert any(target.endswith(f"{task}.md") for _, target in links(TEXTS[index])), index
    assert f"]({task}.jpg)" in TEXTS[ROOT / "docs/gallery/README.md"]
    assert len([line for block in blocks(TEXTS[guide], "sh") for line in block.splitlines()]) >= 3


def test_the_index_leads_to_every_document():
    found = {(ROOT / "docs" / target.partition("#")[0]).resolve() for _, target in links(TEXTS[ROOT / "docs/index.md"])}
    shown = {path for path in DOCUMENTS if path.is_relative_to(ROOT / "docs")}
    assert shown - found <= {ROOT / "docs/index.md", ROOT / "docs/gallery/cnn101.md"}


def test_the_map_of_the_tree_is_true():
    (text,) = re.findall(r"^    src/safelight/\n((?:      .*\n)+)", TEXTS[ROOT / "CONTRIBUTING.md"], re.MULTILINE)
    told = re.findall(r"^ {6}(\S+)", text, re.MULTILINE)
    there = {
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in (ROOT / "src/safelight").iterdir()
        if not entry.name.startswith("__") and entry.suffix in ("", ".py")
    }
    assert sorted(told) == sorted(there)


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## \[(\d\S*)\]", TEXTS[ROOT / "CHANGELOG.md"], re.MULTILINE)[1] == version


@every_document()
def test_files_and_modules_that_are_named_exist(path):
    """Paths and dotted names in backticks; the changelog tells of names that are gone.

    What a command writes need not be there yet, and words in capitals stand for a name.
    """
    if path.name == "CHANGELOG.md":
        return
    named = r"(?<!writes[ \n])`((?:src|docs|tools|tests|examples|results|web)/[\w./-]+)`"
    for name in re.findall(named, prose(TEXTS[path])):
        assert (
            re.search(r"\b[A-Z]{3,}\b", name) or (ROOT / name).exists() or (ROOT / "src/safelight" / name).exists()
        ), name
    for name in re.findall(r"`(safelight(?:\.\w+)+)`", prose(TEXTS[path])):
        assert resolves(name), name


def resolves(name):
    """Whether a dotted name leads to a module, or to something in one."""
    head, *rest = name.split(".")
    found = importlib.import_module(head)
    for word in rest:
        if not hasattr(found, word):
            try:
                importlib.import_module(f"{found.__name__}.{word}")
            except (ImportError, AttributeError):
                return False
        found = getattr(found, word)
    return True


@every_document()
def test_imports_in_the_documents_work(path):
    for block in blocks(TEXTS[path], "python") + blocks(TEXTS[path], "py"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "safelight":
                assert all(resolves(f"{node.module}.{alias.name}") for alias in node.names), ast.unparse(node)


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(blocks(TEXTS[ROOT / "README.md"], "python"))))
def test_python_of_the_readme_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    image.write(image.Picture(pixels=pixels), tmp_path / "photo.jpg")
    exec(blocks(TEXTS[ROOT / "README.md"], "python")[number], {})


@every_document()
def test_python_of_the_documents_is_python(path):
    for block in blocks(TEXTS[path], "python"):
        compile(block, path.name, "exec")


def commands(line):
    """The calls of Safelight in a line of shell."""
    words = shlex.split(line, comments=True)
    cut = [i for i, word in enumerate(words) if word in ("|", ">", "<", "&&")]
    for start, end in zip([0, *(i + 1 for i in cut)], [*cut, len(words)], strict=True):
        if words[start:end][:1] == ["safelight"]:
            yield words[start + 1 : end]


def parse(verb, *arguments):
    """Let the program's own parser read a command: an unknown verb, flag or choice, or a missing one, raises."""
    command = the_program().get_command(None, verb)
    assert command is not None, verb
    if arguments == ("--help",):
        return
    values = command.make_context(verb, list(arguments)).params
    named = [values.get("method"), *(values.get("methods") or "").split(",")] if verb != "methods" else []
    files = [name for name in values.get("candidates") or () if "." in name]
    for name in filter(None, [*named, *(set(values.get("candidates") or ()) - set(files))]):
        catalog.find(name)


@functools.cache
def the_program():
    return get_command(app)


@functools.cache
def flags(verb):
    command = the_program().get_command(None, verb)
    return {flag for param in command.get_params(command.context_class(command, info_name=verb)) for flag in param.opts}


@every_document()
def test_commands_in_shell_blocks_parse(path):
    for block in blocks(TEXTS[path], "sh"):
        for line in block.splitlines():
            for command in commands(line):
                parse(*command)


@every_document()
def test_verbs_and_flags_in_prose_exist(path):
    """In prose a verb stands with a flag or alone, which is no whole command."""
    for line in re.findall(r"`(safelight [^`]+)`", prose(re.sub(r"^\|.*\|$", "", TEXTS[path], flags=re.MULTILINE))):
        (command,) = commands(line)
        verb, *rest = command
        if verb == "VERB" or verb.startswith("-"):
            continue
        assert {word for word in rest if word.startswith("-")} <= flags(verb), line
    everywhere = {"--help", "--check"}.union(*(flags(verb) for verb in the_program().commands))
    assert set(re.findall(r"`(--[a-z][a-z-]*)", prose(TEXTS[path]))) <= everywhere


# --- links ------------------------------------------------------------------------------------------------------------


def links(text):
    return re.findall(r"!?\[([^\]]*)\]\(<?([^)>\s]+)>?\)", prose(text))


def anchors(text):
    heads = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@every_document()
def test_links_lead_somewhere(path):
    for text, target in links(TEXTS[path]):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(TEXTS[found]), target
        name = text.strip("`")
        if name.startswith("test_"):
            assert re.search(rf"^ *def {name}\(", found.read_text(encoding="utf-8"), re.MULTILINE), name


def test_every_contract_test_is_explained():
    tests = re.findall(r"^def (test_\w+)", (ROOT / "tests/contract/test_methods.py").read_text(), re.MULTILINE)
    explained = re.findall(r"^\| `(test_\w+)` \|", TEXTS[ROOT / "docs/adding-a-method.md"], re.MULTILINE)
    assert explained == tests
