"""Write the generated parts of the documents: ``python docs/generate.py``; ``--check`` tells whether they are fresh.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. Each is made from the code, from the
headers of the shipped weights or from ``results/upscale.json``, so that no fact is written down twice.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from safelight import bench, checkpoint, model
from safelight.bench.records import label
from safelight.card import Card, Recipe, Trained, Weights, option_facts
from safelight.catalog import CARDS, DEFAULTS
from safelight.engine.cost import Cost, measure
from safelight.image.formats import ABILITIES
from safelight.methods.upscale import espcn

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "upscale.json"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md")

NO_RESULTS = "`results/upscale.json` is missing. `make bench DATA=DIR` measures the methods and writes it."
NO_ENGINE = "`results/engine-cpu.json` is missing. `make bench-engine` measures and writes it."
NO_WEIGHTS = "No weights are shipped yet."
NONE = "–"  # noqa: RUF001 - the typographer's dash for an empty cell

_PART = re.compile(r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


# --- the training queue's estimate ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperWork:
    """What a paper's own training took: steps of ``batch`` crops of ``side`` x ``side`` pixels.

    ``of_input`` says that the side counts pixels of the small picture; otherwise those of the enlarged one.
    """

    steps: int
    batch: int
    side: int
    of_input: bool

    def describe(self) -> str:
        """Say it in a cell of a table."""
        grid = "the small picture" if self.of_input else "the enlarged picture"
        return f"{self.steps:,} steps of {self.batch} crops of {self.side}x{self.side} pixels of {grid}"


PAPER_WORK = {
    # "80 epochs (9960 iterations with batch size 64)", of 41x41 pixels.
    "upscale/vdsr": PaperWork(steps=9960, batch=64, side=41, of_input=False),
    # The authors' code: 300 epochs of 1,000 batches of 16 crops of 48x48 pixels.
    "upscale/edsr": PaperWork(steps=300_000, batch=16, side=48, of_input=True),
}
FLOP_PER_MULTIPLY_ADD = 6  # 2 forward, 4 backward
SUSTAINED = 40e12  # FLOP a second
LONGER = 10  # times the recipe's steps, where the paper's work is not known


# --- tables -----------------------------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Write a table in Markdown; ``right`` numbers the columns of figures."""
    rule = ["---:" if i in right else "---" for i in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def trained() -> list[tuple[Card, Trained]]:
    """List the networks."""
    return [(card, card.method) for card in CARDS if isinstance(card.method, Trained)]


def cost(method: Trained, options: Any, scale: int) -> Cost:  # noqa: ANN401 - each method has its own Options class
    """Count without memory or arithmetic."""
    with torch.device("meta"):
        network = method.network(options, scale)
    return measure(network, 1 if method.channels == "y" else 3)


def methods() -> str:
    """All methods: what each is, its paper, its scales."""
    defaults = {card.id for card in DEFAULTS.values()}
    rows: list[list[str]] = []
    for card in CARDS:
        paper = NONE if card.paper is None else f"[{card.paper.venue}]({_address(card.paper.link)})"
        scales = f"x{' x'.join(map(str, card.method.scales))}" if isinstance(card.method, Trained) else "any"
        default = " (default)" if card.id in defaults else ""
        rows.append([f"[{card.name}](src/safelight/methods/{card.id}.py){default}", card.summary, paper, scales])
    return table(["method", "what it does", "paper", "trained for"], rows)


def _address(link: str) -> str:
    """Escape what ends an address in Markdown: an old DOI holds brackets of both kinds."""
    return quote(link, safe=":/.-_;")


def options() -> str:
    """The options of all methods."""
    rows: list[list[str]] = []
    for card in CARDS:
        for fact in option_facts(card.options):
            extent = ", ".join(fact.choices) or f"{fact.low} to {fact.high}"
            flag = f"`--{fact.name.replace('_', '-')}`"
            rows.append([card.name, flag, fact.help, extent, str(fact.default)])
    return table(["method", "flag", "what it does", "values", "default"], rows)


def costs() -> str:
    """Size and work of the networks at every scale."""
    rows: list[list[str]] = []
    for card, method in trained():
        for scale in method.scales:
            found = cost(method, card.options(), scale)
            reach = method.reach(card.options(), scale)
            rows.append(
                [
                    card.name, f"x{scale}", f"{found.parameters:,}", f"{found.weights:,}",
                    f"{found.multiply_adds:,.0f}", str(2 * reach + 1),
                    "enlarged" if method.input == "interpolated" else "small", method.channels.upper(),
                ]
            )  # fmt: skip
    heads = ["method", "scale", "parameters", "weights alone", "multiply-adds per output pixel"]
    heads += ["receptive field, input pixels", "input", "channels"]
    return table(heads, rows, right=(2, 3, 4, 5))


def formats() -> str:
    """What each file format holds."""
    rows: list[list[str]] = []
    for name, able in ABILITIES.items():
        depth = f"{'8' if able.bits == 8 else f'8, {able.bits}'} bits{', float' if able.floats else ''}"
        alpha = "no" if not able.alpha else "clear or opaque" if name == "gif" else "yes"
        kept = "ICC, EXIF, XMP, DPI" if able.metadata else "nothing"
        side = f"{able.max_side:,}"
        quality = "lossless" if able.quality is None else str(able.quality)
        if name == "gif":
            quality = "256 colours"
        rows.append([name.upper(), " ".join(able.suffixes), depth, alpha, kept, side, quality])
    return table(
        ["format", "suffixes", "depth", "alpha", "metadata", "most pixels a side", "quality"], rows, right=(5,)
    )


def method_file() -> str:
    """The file of a real method, whole."""
    path = Path(inspect.getfile(espcn))
    return f"```python\n{path.read_text(encoding='utf-8').rstrip()}\n```"


# --- results ----------------------------------------------------------------------------------------------------------


def read_results() -> dict[str, Any] | None:
    """Read the benchmark's JSON, if it is there."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else None


def results_short() -> str:
    """One line a method: cost, Set5 measured beside published, time."""
    results = read_results()
    if results is None:
        return NO_RESULTS
    failed = sum(not anchor["passed"] for anchor in results["anchors"])
    if failed:
        return f"{failed} of {len(results['anchors'])} anchors fail in `results/upscale.json`: believe no number in it."
    scales = (2, 3, 4)
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for row in results["rows"]:
        if row["set"] == "Set5":
            by_name.setdefault(label(row["method"], row["options"]), {})[row["scale"]] = row
    lines: list[list[str]] = []
    for name, rows in by_name.items():
        last = rows[max(rows)]
        work = last["multiply_adds"]
        cells = [
            name,
            f"{last['parameters']:,}" if work is not None else NONE,
            NONE if work is None else f"{work:,.0f}",
        ]
        for scale in scales:
            row = rows.get(scale)
            published = NONE if row is None or row["published_psnr"] is None else f"{row['published_psnr']:.2f}"
            cells.append(NONE if row is None else f"{row['psnr']:.2f} ({published})")
        lines.append([*cells, f"{last['seconds_per_megapixel']:.3g}"])
    heads = [
        "method",
        "parameters",
        "multiply-adds per pixel",
        *(f"Set5 x{s}" for s in scales),
        "seconds per megapixel",
    ]
    written = table(heads, lines, right=range(1, len(heads)))
    notes = [
        "Y-PSNR in dB, measured (published). Parameters, multiply-adds and seconds are those of the largest scale, for "
        "each pixel or megapixel of the result."
    ]
    for run in results["runs"]:
        machine = run["machine"]
        threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
        notes.append(f"Measured on {run['id'][:10]}: {machine['processor']}, {threads}, {machine['device']}.")
    return "\n\n".join([written, " ".join(notes)])


def results_all() -> str:
    """Everything that the benchmark found, below this document's own headings."""
    results = read_results()
    if results is None:
        return NO_RESULTS
    text = bench.tables(results).split("\n", 1)[1].strip()
    text = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
    plot = RESULTS.with_suffix(".svg")
    picture = (
        f"![PSNR against time per megapixel](../{plot.relative_to(ROOT).as_posix()})\n\n" if plot.is_file() else ""
    )
    return picture + text


# --- training ---------------------------------------------------------------------------------------------------------


def recipes() -> str:
    """What every recipe prescribes and promises."""
    rows: list[list[str]] = []
    for card, method in trained():
        recipe = method.recipe
        after = "" if recipe.steps_after_start is None else f" (then {recipe.steps_after_start:,})"
        start = NONE if recipe.start is None else f"x{recipe.start}"
        promise = ", ".join(f"x{scale} {psnr:.2f}" for scale, psnr in recipe.expected.items())
        floor = ", ".join(f"x{scale} {psnr:.2f}" for scale, psnr in recipe.floor.items())
        crops = f"{recipe.batch} of {recipe.patch}x{recipe.patch}"
        steps = f"{recipe.steps:,}{after}"
        rows.append([card.name, ", ".join(recipe.data), steps, crops, f"{recipe.rate:g}", start, promise, floor])
    heads = ["method", "pictures", "steps", "crops a step", "peak rate", "others start from", "promised", "floor"]
    return table(heads, rows)


def throughput() -> str:
    """How each shipped file was trained, by its own header."""
    rows: list[list[str]] = []
    for card, method in trained():
        for weights in method.weights:
            header = checkpoint.read_header(model.SHIPPED / weights.file)
            crops = header.steps * int(header.recipe.get("batch", 0))
            speed = f"{crops / header.seconds:,.0f}" if crops and header.seconds else NONE
            patch = header.recipe.get("patch", "?")
            rows.append(
                [
                    label(card.id, weights.options), " ".join(f"x{scale}" for scale in weights.scales),
                    ", ".join(header.trained_on), f"{header.steps:,}",
                    f"{header.recipe.get('batch', '?')} of {patch}x{patch}",
                    f"{header.seconds:,.0f}", speed, header.device, header.commit or NONE,
                ]
            )  # fmt: skip
    if not rows:
        return NO_WEIGHTS
    heads = ["method", "scales", "trained on", "steps", "crops a step", "seconds", "crops a second", "device", "commit"]
    return table(heads, rows, right=(3, 5, 6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A network of one scale that is not as good as its recipe promises, or has no weights at all."""

    card: Card
    method: Trained
    scale: int
    measured: float | None

    @property
    def promised(self) -> float | None:
        """Set5 Y-PSNR in dB."""
        return self.method.recipe.expected.get(self.scale)

    @property
    def floor(self) -> float | None:
        """Set5 Y-PSNR in dB."""
        return self.method.recipe.floor.get(self.scale)

    def under(self, mark: float | None) -> float:
        """How far it is below a mark, in dB to the two digits that papers print; 0 if it is not."""
        if mark is None or self.measured is None:
            return 0.0
        return max(0.0, round(mark - round(self.measured, 2), 2))

    @property
    def order(self) -> tuple[int, float]:
        """What is worth most comes first: no weights, then below the floor, then below the promise."""
        if self.measured is None:
            return 0, 0.0
        below = self.under(self.floor)
        return (1, -below) if below else (2, -self.under(self.promised))


def queue() -> str:
    """What a GPU has to train."""
    results = read_results()
    if results is None:
        return NO_RESULTS
    measured = {
        (row["method"], row["scale"]): row["psnr"]
        for row in results["rows"]
        if row["set"] == "Set5" and not row["options"]
    }
    found = [
        Queued(card=card, method=method, scale=scale, measured=measured.get((card.id, scale)))
        for card, method in trained()
        for scale in method.scales
    ]
    waiting = sorted((q for q in found if q.measured is None or q.under(q.promised)), key=lambda q: q.order)
    if not waiting:
        return "Nothing waits: every network meets its promise."
    rows: list[list[str]] = []
    for q in waiting:
        work = PAPER_WORK.get(q.card.id)
        rows.append(
            [
                q.card.name,
                f"x{q.scale}",
                "no weights" if q.measured is None else f"{q.measured:.2f}",
                _decibels(q.promised),
                _decibels(q.floor),
                NONE if q.measured is None else f"{q.under(q.promised):.2f}",
                f"`{command(q)}`",
                NONE if work is None else work.describe(),
                NONE if work is None else estimate(q, work),
            ]
        )
    heads = ["method", "scale", "measured", "promised", "floor", "short of promise", "command"]
    return table([*heads, "paper's work", "estimated time on a GPU"], rows, right=(2, 3, 4, 5))


def _decibels(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def command(q: Queued) -> str:
    """The one command to run, with the paper's own work where it is known, else with ten times the recipe's steps."""
    recipe = q.method.recipe
    parts = [f"safelight train {q.card.id}", *(f"--data DIR/{name}" for name in recipe.data)]
    if not q.method.one_for_all:
        parts.append(f"--scale {q.scale}")
    work = PAPER_WORK.get(q.card.id)
    if work is None:
        parts.append(f"--steps {LONGER * _usual_steps(recipe, q.scale)}")
    else:
        parts.append(f"--steps {work.steps} --batch {work.batch}")
        if work.of_input:
            parts.append(f"--patch {work.side}")
    if recipe.start not in (None, q.scale):
        parts.append(f"--start {_start(q, recipe.start)}")
    return " ".join(parts)


def _usual_steps(recipe: Recipe, scale: int) -> int:
    if recipe.start in (None, scale) or recipe.steps_after_start is None:
        return recipe.steps
    return recipe.steps_after_start


def _start(q: Queued, scale: int | None) -> str:
    """The shipped weights of the scale that the recipe starts from, or what training that scale leaves."""
    shipped: Iterable[Weights] = q.method.weights
    for weights in shipped:
        if scale in weights.scales and not weights.options:
            return f"src/safelight/weights/{weights.file}"
    return f"{q.card.name}-x{scale}.safetensors"


def estimate(q: Queued, work: PaperWork) -> str:
    """The time that the arithmetic takes, at the assumed rate; loading, validation and small layers cost extra."""
    side = work.side * q.scale if work.of_input else work.side
    per_pixel = FLOP_PER_MULTIPLY_ADD * cost(q.method, q.card.options(), q.scale).multiply_adds
    minutes = per_pixel * side**2 * work.batch * work.steps / SUSTAINED / 60
    return f"{minutes:.0f} minutes" if minutes >= 1 else "under a minute"


def queue_assumptions() -> str:
    """What the estimates rest on."""
    return (
        f"The times are estimates, not measurements: {FLOP_PER_MULTIPLY_ADD} floating point operations for each "
        f"multiply-add (forward and backward), the multiply-adds that `safelight info` prints, the paper's own work, "
        f"and a GPU that sustains {SUSTAINED / 1e12:g} TFLOP/s. Small networks keep a GPU less busy than that. Where "
        f"the paper's work is not known, the command runs {LONGER} times the recipe's steps and no time is given."
    )


# --- documents --------------------------------------------------------------------------------------------------------


def stored(name: str) -> dict[str, Any] | None:
    """Read a JSON of ``results/``, or return ``None`` where it is not there yet."""
    path = ROOT / "results" / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def training_speed() -> str:
    """Crops and arithmetic a second of every recipe."""
    found = stored("training-cpu.json")
    if found is None:
        return "`results/training-cpu.json` is missing."
    rows = [
        [
            row["method"].split("/")[1], row["precision"], f"{row['batch']} of {row['patch']}x{row['patch']}",
            f"{row['crops_per_second']:,.0f}", f"{row['gflop_per_second']:,.0f}",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    heads = ["method at x3", "precision", "crops a step", "crops a second", "GFLOP a second"]
    return f"{found['processor']}, {found['device']}, torch {found['torch']}.\n\n{table(heads, rows, right=(3, 4))}"


def optimisers() -> str:
    """What SOAP is worth against Adam."""
    found = stored("optimisers.json")
    if found is None:
        return "`results/optimisers.json` is missing."
    rows = [
        [
            run["optimiser"],
            f"{run['rate']:g}",
            f"{run['steps']:,}",
            f"{run['validation_psnr']:.2f}",
            f"{run['seconds']:.0f}",
        ]
        for run in found["runs"]
    ]
    return table(["optimiser", "rate", "steps", "validation dB", "seconds"], rows, right=(1, 2, 3, 4))


# --- the engine -------------------------------------------------------------------------------------------------------


def engine_speed() -> str:
    """Each network plainly in torch and by the engine, with the limit of the machine."""
    found = stored("engine-cpu.json")
    if found is None:
        return NO_ENGINE
    rows: list[list[str]] = []
    for row in found["networks"]:
        cells = [f"{row['method'].split('/')[1]} x{row['scale']}", f"{row['plain']['seconds']:.2f}"]
        for way in ("exact", "fast"):
            made = row.get(way)
            cells += (
                [NONE] * 3
                if made is None
                else [f"{made['seconds']:.2f}", f"{made['times_plain']:.2f}", f"{made['of_limit']:.0%}"]
            )
        rows.append(cells)
    heads = [
        "method",
        "plain torch, s",
        "exact, s",
        "times plain",
        "of the limit",
        "fast, s",
        "times plain",
        "of the limit",
    ]
    limits = ", ".join(f"{value['gflop_per_second']:.0f} GFLOP/s in {name}" for name, value in found["limits"].items())
    return (
        f"{table(heads, rows, right=range(1, len(heads)))}\n\nThe network alone, on 1920x1080 pixels of its input "
        f"(those of VDSR and SRCNN are the enlarged picture's). Plain torch is the module on the whole picture. The "
        f"limit is what one 3x3 convolution of 64 channels reaches in the cache, in the same run: {limits}. "
        f"{found['machine']['processor']}, {found['machine']['threads']} threads, torch {found['machine']['torch']}."
    )


def engine_race() -> str:
    """FSRCNN against SRCNN 9-5-5."""
    found = stored("engine-cpu.json")
    if found is None:
        return NO_ENGINE
    race = found["fsrcnn_against_srcnn_9_5_5"]
    return (
        f"FSRCNN against SRCNN 9-5-5 at scale 3, for each pixel of the result: {race['paper']} times as fast in its "
        f"paper. "
        f"Here {race['both_plain']} times when both run plainly in torch, {race['both_by_the_engine']} times when the "
        f"engine runs both, and {race['engine_against_plain']} times for FSRCNN by the engine against SRCNN plainly. "
        f"41.3 is the ratio of their multiply-adds."
    )


def engine_memory() -> str:
    """The peaks of very large results."""
    found = stored("engine-cpu.json")
    if found is None:
        return NO_ENGINE
    rows = [
        [f"JPEG, {row['input_megapixels']} megapixels", row["result"], f"{row['peak_mib']:,}", f"{row['seconds']:.0f}"]
        for row in found["memory"]
    ]
    heads = ["input", "result", "peak, MiB", "seconds"]
    return (
        f"{table(heads, rows, right=(2, 3))}\n\nBy FSRCNN x4, on the command line. The peak is the resident memory "
        f"of the "
        f"program and of its decoding worker together, torch itself included."
    )


def engine_start() -> str:
    """What a small picture costs beyond importing torch."""
    found = stored("engine-cpu.json")
    if found is None:
        return NO_ENGINE
    start = found["start"]
    return (
        f"A 256x256 picture through FSRCNN x4 takes {start['upscale_seconds']:.2f} s from the command line, of which "
        f"`import torch` alone takes {start['import_torch_seconds']:.2f} s: "
        f"{start['more_than_import_torch_seconds']:.2f} s "
        f"more. The least of {start['runs']} runs of each, in turns."
    )


def backends() -> str:
    """What could run the networks, by which the choice was made."""
    found = stored("backends.json")
    if found is None:
        return "`results/backends.json` is missing. `python tools/compare_backends.py` writes it."
    names = list(dict.fromkeys(row["method"] for row in found["rows"]))
    ways = list(dict.fromkeys((row["way"], row["precision"]) for row in found["rows"]))
    rates = {(row["way"], row["precision"], row["method"]): row["gflop_per_second"] for row in found["rows"]}
    rows = [
        [
            way,
            precision,
            *(f"{rates[key]:,.0f}" if (key := (way, precision, name)) in rates else NONE for name in names),
        ]
        for way, precision in ways
    ]
    heads = ["way", "precision", *(name.split("/")[1] for name in names)]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{table(heads, rows, right=range(2, len(heads)))}\n\nGFLOP/s of the network's own arithmetic. {versions}."


def precision() -> str:
    """What the fast precision costs."""
    found = stored("precision.json")
    if found is None:
        return "`results/precision.json` is missing. `python tools/measure_precision.py --data DIR` writes it."
    rows = [
        [
            f"{row['method'].split('/')[1]} x{row['scale']}", "yes" if row["listed"] else "no",
            f"{row['exact_psnr']:.3f}", f"{row['fast_psnr']:.3f}", f"{row['loss']:.4f}", f"{row['pixels_changed']:.1%}",
            str(row["largest_change"]),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    heads = ["method", "bfloat16 listed", "exact, dB", "bfloat16, dB", "loss, dB", "samples changed", "by at most"]
    return f"{table(heads, rows, right=range(2, 7))}\n\n{found['what']}"


# --- several machines -------------------------------------------------------------------------------------------------

NO_SCALE = "`results/scale.json` is missing. `python tools/measure_scale.py` measures and writes it."
MILLION = 1_000_000  # pictures
CORES = 100
CORE_HOUR = 0.04  # dollars, for the worked example


def scale_pictures() -> str:
    """What a photograph costs an actor of one core."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    rows: list[list[str]] = []
    for row in found["rows"]:
        seconds, decode, encode = row["seconds"], row["decode_seconds"], row["encode_seconds"]
        name = f"{row['method'].split('/')[1]} x{row['scale']}, {row['precision']}"
        shares = [f"{part:.2f} ({part / seconds:.1%})" for part in (decode, encode)]
        rows.append([name, f"{seconds:,.1f}", f"{1 / seconds:.4f}", *shares, f"{row['peak_bytes'] / 1e6:,.0f}"])
    heads = ["method", "seconds a picture", "pictures a second", "decoding, seconds", "encoding, seconds", "memory, MB"]
    written = table(heads, rows, right=range(1, len(heads)))
    return f"{written}\n\nMeasured: {found['what']}. {found['processor']}, torch {found['torch']}."


def scale_traffic() -> str:
    """What the network and the storage carry."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    rows: list[list[str]] = []
    for row in found["rows"]:
        name = f"{row['method'].split('/')[1]} x{row['scale']}"
        cells = [f"{row[key] / 1e6:.1f}" for key in ("bytes_in", "bytes_out")]
        rates = [f"{row[key] / 1e6 * CORES / row['seconds']:.1f}" for key in ("bytes_in", "bytes_out")]
        rows.append([name, *cells, *rates])
    heads = ["method", "MB read a picture", "MB written a picture"]
    heads += [f"MB/s read by {CORES} cores", f"MB/s written by {CORES} cores"]
    return table(heads, rows, right=range(1, len(heads)))


def scale_actors() -> str:
    """Two actors against one."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    actors = found["actors"]
    return (
        f"On {actors['pictures']} pictures by {actors['method']}, one actor of one thread did {actors['one']:.2f} "
        f"pictures a second and two did {actors['two']:.2f}: {actors['ratio']:.2f} times as many."
    )


def scale_million() -> str:
    """A million photographs: hours, storage, and money under a stated price."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    rows: list[list[str]] = []
    for row in found["rows"]:
        hours = row["seconds"] * MILLION / 3600
        name = f"{row['method'].split('/')[1]} x{row['scale']}"
        volume = [f"{row[key] * MILLION / 1e12:.1f}" for key in ("bytes_in", "bytes_out")]
        rows.append([name, f"{hours:,.0f}", f"{hours / CORES / 24:,.1f}", *volume, f"{hours * CORE_HOUR:,.0f}"])
    heads = ["method", "core hours", f"days on {CORES} cores", "TB read", "TB written"]
    heads += [f"dollars at ${CORE_HOUR:.2f} a core hour"]
    return table(heads, rows, right=range(1, len(heads)))


PARTS: dict[str, Callable[[], str]] = {
    "methods": methods,
    "options": options,
    "costs": costs,
    "formats": formats,
    "method-file": method_file,
    "results-short": results_short,
    "results": results_all,
    "recipes": recipes,
    "throughput": throughput,
    "training-speed": training_speed,
    "optimisers": optimisers,
    "queue": queue,
    "queue-assumptions": queue_assumptions,
    "scale-pictures": scale_pictures,
    "scale-traffic": scale_traffic,
    "scale-actors": scale_actors,
    "scale-million": scale_million,
    "engine-speed": engine_speed,
    "engine-race": engine_race,
    "engine-memory": engine_memory,
    "engine-start": engine_start,
    "backends": backends,
    "precision": precision,
}


def documents() -> list[Path]:
    """List the Markdown files that may hold generated parts."""
    return sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))


def fresh(text: str) -> str:
    """Return a document with its generated parts made anew.

    Raises:
        KeyError: A part has a name that nothing makes.
    """
    return _PART.sub(lambda m: f"{m['start']}\n{PARTS[m['name']]()}\n\n{m['end']}", text)


def main() -> int:
    """Write or check all documents; the exit code is 1 if one was stale under ``--check``."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documents.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a part is stale")
    check: bool = parser.parse_args().check
    stale: list[Path] = []
    for path in documents():
        old = path.read_text(encoding="utf-8")
        try:
            new = fresh(old)
        except KeyError as error:
            known = ", ".join(PARTS)
            sys.exit(f"{path}: expected a generated part out of {known}, got {error}; correct its name")
        if new != old:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'stale; run: make docs' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
