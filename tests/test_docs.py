"""The documents are true: generated parts are fresh, examples run, links lead somewhere, commands and tests exist."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from safelight import bench, catalog, image
from safelight.bench import records, verdict
from safelight.card import Trained
from safelight.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path for pattern in ("*.md", "docs/*.md") for path in ROOT.glob(pattern))
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
TRAINED = [card for card in catalog.CARDS if isinstance(card.method, Trained)]

spec = importlib.util.spec_from_file_location("safelight_docs_generate", ROOT / "docs/generate.py")
generate = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
spec.loader.exec_module(generate)


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
    page.write_text("<!-- generated: options -->\nold\n<!-- end -->\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert capsys.readouterr().out == "README.md: stale; run: make docs\n"
    assert "old" in page.read_text()
    monkeypatch.setattr("sys.argv", ["generate.py"])
    assert generate.main() == 0
    assert "| sharpen | `--amount` |" in page.read_text()
    page.write_text("<!-- generated: nothing -->\n<!-- end -->\n")
    with pytest.raises(SystemExit, match="expected a generated part out of methods, options"):
        generate.main()


def row(card, scale, psnr, **other):
    """A row of the benchmark, as the JSON has it."""
    trained = isinstance(card.method, Trained)
    published = next((s.psnr for s in card.published if (s.data, s.scale) == ("Set5", scale)), None)
    facts = {
        "method": card.id, "options": {}, "scale": scale, "set": "Set5", "psnr": psnr, "ssim": 0.9,
        "published_psnr": published, "published_ssim": None,
        "psnr_difference": None if published is None else psnr - published, "ssim_difference": None,
        "parameters": 1234 if trained else 0, "multiply_adds": 5678.0 if trained else None,
        "seconds_per_megapixel": 0.25, "weights_sha256": None, "run": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    return records.Row(**(facts | other))


def write_results(folder, rows):
    """Results of made-up rows, through the benchmark's own records."""
    machine = records.Machine(
        processor="A processor", device="cpu: 2 threads", threads=2, load=None, system="Linux", python="3", torch="2"
    )
    run = records.Run(id="2026-01-02T03:04:05Z", commit="abc", safelight="0", machine=machine, methods=())
    anchors = verdict.anchors(rows)
    results = records.Results(
        task="upscale", protocol={"quality": "As the papers.", "time": "Once."}, runs=(run,),
        data=(records.DataSet(name="Set5", pictures=5, sha256="0"),), resize=(), anchors=anchors, rows=tuple(rows),
        missing=(), comparison=None, promises=(), shortfalls=(),
    )  # fmt: skip
    path = folder / "results" / "upscale.json"
    path.parent.mkdir()
    path.write_text(results.to_json())
    return path


@pytest.fixture
def results(tmp_path, monkeypatch):
    """All promises are met, but FSRCNN x3 is below its own, VDSR x2 and EDSR x4 below the floor, and ESPCN x2 lacks."""
    rows = [row(catalog.find("bicubic"), scale, psnr) for scale, psnr in ((2, 33.66), (3, 30.39), (4, 28.42))]
    low = {("fsrcnn", 3): 33.0, ("vdsr", 2): 37.0, ("edsr", 4): 31.0}
    for card in TRAINED:
        for scale in card.method.scales:
            if (card.name, scale) != ("espcn", 2):
                usual = card.method.recipe.expected.get(scale, 36.0)
                rows.append(row(card, scale, low.get((card.name, scale), usual)))
    rows.append(row(catalog.find("srcnn"), 3, 32.0, options={"kernels": "9-1-5"}, published_psnr=None))
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "RESULTS", write_results(tmp_path, rows))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_without_results_the_parts_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "RESULTS", tmp_path / "upscale.json")
    assert generate.results_short() == generate.results_all() == generate.queue() == generate.NO_RESULTS


def test_the_short_table(results):
    lines = {cells(line)[0]: cells(line)[1:] for line in generate.results_short().splitlines() if "|" in line}
    dash = generate.NONE
    assert lines["bicubic"] == [dash, dash, "33.66 (33.66)", "30.39 (30.39)", "28.42 (28.42)", "0.25"]
    assert lines["fsrcnn"] == ["1,234", "5,678", "37.00 (37.00)", "33.00 (33.16)", "30.71 (30.71)", "0.25"]
    assert lines["espcn"] == ["1,234", "5,678", dash, "33.13 (33.13)", f"36.00 ({dash})", "0.25"]
    assert lines["srcnn 9-1-5"] == ["1,234", "5,678", dash, f"32.00 ({dash})", dash, "0.25"]
    assert "Measured on 2026-01-02: A processor, 2 threads, cpu: 2 threads." in generate.results_short()


def test_failed_anchors_give_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "RESULTS", write_results(tmp_path, [row(catalog.find("bicubic"), 2, 30.0)]))
    assert generate.results_short() == "1 of 1 anchors fail in `results/upscale.json`: believe no number in it."


def test_all_tables_stand_below_the_documents_headings(results):
    text = generate.results_all()
    assert "Measured 2026-01-02" in text
    assert {line.split()[0] for line in text.splitlines() if line.startswith("#")} == {"###", "####"}
    assert not bench.tables(json.loads(generate.RESULTS.read_text())).startswith("##")
    generate.RESULTS.with_suffix(".svg").write_text("<svg/>")
    assert generate.results_all().startswith("![PSNR against time per megapixel](../results/upscale.svg)\n\n")


def test_the_queue_is_in_order_and_its_commands_can_be_run(results):
    lines = [cells(line) for line in generate.queue().splitlines()[2:]]
    assert [line[:2] for line in lines] == [["espcn", "x2"], ["edsr", "x4"], ["vdsr", "x2"], ["fsrcnn", "x3"]]
    assert [line[2:6] for line in lines[1:]] == [
        ["31.00", "32.09", "31.40", "1.09"], ["37.00", "37.53", "37.10", "0.53"], ["33.00", "33.16", "32.80", "0.16"],
    ]  # fmt: skip
    for line in lines:
        (command,) = commands(line[6].strip("`"))
        parse(*command)
        assert {f"DIR/{name}" for name in catalog.find(line[0]).method.recipe.data} < set(command)
    espcn, edsr, vdsr, fsrcnn = (line[6].strip("`") for line in lines)
    assert "--scale 4 --steps 300000 --batch 16 --patch 48 --start" in edsr
    assert "--scale" not in vdsr
    assert "--start" in espcn
    assert "--start" not in fsrcnn


def test_the_estimate_is_the_arithmetic_it_states(results):
    """EDSR x2 by hand: 343,152 multiply-adds a pixel, 6 FLOP each, 16 crops of 96x96, 300,000 steps, 40 TFLOP/s."""
    card = catalog.find("edsr")
    queued = generate.Queued(card=card, method=card.method, scale=2, measured=None)
    minutes = 343_152 * 6 * 16 * 96**2 * 300_000 / 40e12 / 60
    assert generate.estimate(queued, generate.PAPER_WORK["upscale/edsr"]) == f"{minutes:.0f} minutes"


def test_nothing_waits_when_every_promise_is_met(tmp_path, monkeypatch):
    every = [(card, scale) for card in TRAINED for scale in card.method.scales]
    rows = [row(card, scale, card.method.recipe.expected.get(scale, 36.0)) for card, scale in every]
    monkeypatch.setattr(generate, "RESULTS", write_results(tmp_path, rows))
    assert generate.queue() == "Nothing waits: every network meets its promise."


# --- several machines -------------------------------------------------------------------------------------------------


def test_the_cost_of_a_million_is_the_arithmetic_it_states(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.scale_million() == generate.scale_pictures() == generate.NO_SCALE
    row = {
        "method": "upscale/edsr", "scale": 2, "precision": "float32", "seconds": 36.0, "decode_seconds": 0.36,
        "encode_seconds": 0.72, "peak_bytes": 1.2e9, "bytes_in": 4e6, "bytes_out": 15e6,
    }  # fmt: skip
    actors = {"pictures": 32, "method": "edsr", "one": 0.5, "two": 0.9, "ratio": 1.8}
    found = {"what": "a photograph", "processor": "A processor", "torch": "2", "actors": actors, "rows": [row]}
    (tmp_path / "results").mkdir()
    (tmp_path / "results/scale.json").write_text(json.dumps(found))
    (pictures,), (traffic,), (million,) = (
        [cells(line) for line in part().splitlines() if line.startswith("| edsr")]
        for part in (generate.scale_pictures, generate.scale_traffic, generate.scale_million)
    )
    assert pictures[1:] == ["36.0", "0.0278", "0.36 (1.0%)", "0.72 (2.0%)", "1,200"]
    assert traffic[1:] == ["4.0", "15.0", "11.1", "41.7"]  # 100 cores: 100 / 36 pictures a second
    assert million[1:] == ["10,000", "4.2", "4.0", "15.0", "400"]
    assert "1.80 times as many" in generate.scale_actors()


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
    program = get_command(app)
    assert verb in program.commands
    if arguments == ("--help",):
        return
    values = program.commands[verb].make_context(verb, list(arguments)).params
    named = [values.get("method"), *(values.get("methods") or "").split(",")] if verb != "methods" else []
    for name in filter(None, [*named, *(values.get("candidates") or ())]):
        catalog.find(name)


def flags(verb):
    command = get_command(app).commands[verb]
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
    everywhere = {"--help", "--check"}.union(*(flags(verb) for verb in get_command(app).commands))
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
