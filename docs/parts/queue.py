"""The training queue: what falls short of its promise, the command that a GPU has to run, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parts.common import NONE, decibels, no_results, stored, table, trained
from parts.methods import cost
from safelight.catalog import find
from safelight.checkpoints.weights_manifest import shipped_weights
from safelight.core.benchmark import Benchmark, Level
from safelight.core.card import Card, Trained
from safelight.core.options import make_options, option_facts
from safelight.core.training import Promise, Recipe
from safelight.evaluation import bench
from safelight.evaluation.bench import quality
from safelight.evaluation.bench.records import Missing, Values, label


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperWork:
    """What a paper's own training took: steps of ``batch`` crops of ``side`` x ``side`` pixels.

    ``of_input`` says that the side counts pixels of the small picture; otherwise those of the result.
    """

    steps: int
    batch: int
    side: int
    of_input: bool = False

    def describe(self) -> str:
        """Say it in a cell of a table."""
        grid = " of the small picture" if self.of_input else ""
        return f"{self.steps:,} steps of {self.batch} crops of {self.side}x{self.side} pixels{grid}"


# By method, and by its options where its networks were trained differently.
PAPER_WORK = {
    # "80 epochs (9960 iterations with batch size 64)", of 41x41 pixels.
    "vdsr": PaperWork(steps=9960, batch=64, side=41),
    # The authors' code: 300 epochs of 1,000 batches of 16 crops of 48x48 pixels.
    "edsr": PaperWork(steps=300_000, batch=16, side=48, of_input=True),
    # Section IV of DnCNN's paper: 50 epochs of 128 x 3,000 patches of 50x50 (B and its form for colour), of 128 x 8,000
    # patches of 50x50 (DnCNN-3), in batches of 128.
    "dncnn B": PaperWork(steps=150_000, batch=128, side=50),
    "dncnn CB": PaperWork(steps=150_000, batch=128, side=50),
    "dncnn3": PaperWork(steps=400_000, batch=128, side=50),
}
# Networks that begin from another method's weights, or from those of another network of the method: whose they are.
BEGINS_FROM: Mapping[str, tuple[str, Values]] = {
    name: ("denoise/dncnn", {"variant": "B"}) for name in ("dncnn CB", "dncnn3")
}
FLOP_PER_MULTIPLY_ADD = 6  # 2 forward, 4 backward
SUSTAINED = 40e12  # FLOP a second
LONGER = 10  # times the recipe's steps, where the paper's work is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A network that is not as good at a level as its recipe promises, or that has no weights at all."""

    card: Card
    method: Trained
    benchmark: Benchmark
    options: Values
    level: Level
    promise: Promise | None
    measured: float | None

    @property
    def name(self) -> str:
        """As tables write it."""
        return label(self.card.id, self.options)

    @property
    def scale(self) -> int:
        """The zoom; 1 where the size stays."""
        return self.benchmark.scale(self.level)

    @property
    def work(self) -> PaperWork | None:
        """What the paper did, where it says so."""
        return PAPER_WORK.get(self.name)

    def under(self, mark: float | None) -> float:
        """How far it is below a mark, in dB to the two digits that papers print; 0 if it is not."""
        if mark is None or self.measured is None:
            return 0.0
        return max(0.0, round(mark - round(self.measured, 2), 2))

    @property
    def order(self) -> tuple[bool, float]:
        """What is worth most comes first: no weights, then the decibels that lack."""
        return self.measured is not None, -self.under(None if self.promise is None else self.promise.value)


def waiting() -> list[Queued]:
    """List what a GPU has to train, in the order of its worth.

    A network with weights is judged by the benchmark; where its task has no results, it is left out.
    """
    found: list[Queued] = []
    for benchmark in bench.benchmarks().values():
        results = stored(f"{benchmark.task}.json")
        rows = [] if results is None else results["rows"]
        measured = {
            (row["method"], label("", row["options"]), row["set"], row["level"]): row["metrics"] for row in rows
        }
        for card, method in trained():
            if benchmark.task not in card.tasks:
                continue
            for options in quality.variants(card, benchmark.task):
                made = make_options(card, options)
                for level in quality.levels(benchmark, card, options):
                    promises: list[Promise | None] = [
                        promise
                        for promise in method.training.recipe.promises
                        if (promise.task, promise.level) == (benchmark.task, level)
                        and make_options(card, promise.options) == made
                    ]
                    lacking = isinstance(quality.find_weights(benchmark, card, options, level), Missing)
                    for promise in promises or [None]:
                        name = benchmark.headline if promise is None else promise.data
                        metric = "psnr" if promise is None else promise.metric
                        numbers = measured.get((card.id, label("", options), name, level), {})
                        value = None if lacking else numbers.get(metric)
                        one = Queued(
                            card=card, method=method, benchmark=benchmark, options=options, level=level,
                            promise=promise, measured=value,
                        )  # fmt: skip
                        if lacking or one.under(None if promise is None else promise.value):
                            found.append(one)
    # A network that is promised nothing somewhere, but is waited for already, needs no line of its own.
    known: set[str] = {command(one) for one in found if one.promise is not None}
    kept: list[Queued] = []
    for one in found:
        if one.promise is None and command(one) in known:
            continue
        known.add(command(one))
        kept.append(one)
    return sorted(kept, key=lambda one: one.order)


def queue() -> str:
    """What a GPU has to train."""
    absent = [task for task in bench.benchmarks() if stored(f"{task}.json") is None]
    notes = "".join(f"\n\n{no_results(task)}" for task in absent)
    if len(absent) == len(bench.benchmarks()):
        return notes.strip()
    rows: list[list[str]] = []
    for one in waiting():
        promise = one.promise
        rows.append(
            [
                one.name,
                NONE if promise is None else promise.data,
                NONE if promise is None and one.method.network.scale_agnostic else one.benchmark.label(one.level),
                "no weights" if one.measured is None else f"{one.measured:.2f}",
                decibels(None if promise is None else promise.value),
                decibels(None if promise is None else promise.floor),
                NONE if one.measured is None or promise is None else f"{one.under(promise.value):.2f}",
                f"`{command(one)}`",
                NONE if one.work is None else one.work.describe(),
                NONE if one.work is None else estimate(one, one.work),
            ]
        )
    if not rows:
        return "Nothing waits: every network meets its promise." + notes
    heads = ["method", "set", "level", "measured", "promised", "floor", "short of promise", "command"]
    return table([*heads, "paper's work", "estimated time on a GPU"], rows, right=(3, 4, 5, 6)) + notes


def command(one: Queued) -> str:
    """The one command to run, with the paper's own work where it is known, else with ten times the recipe's steps."""
    recipe = one.method.training.recipe
    parts = [f"safelight train {one.card.id}", *(f"--data DIR/{name}" for name in recipe.data)]
    if not one.method.network.scale_agnostic:
        parts.append(f"--scale {one.scale}")
    flags = {fact.name: fact.name.replace("_", "-") for fact in option_facts(one.card.options)}
    parts += [f"--{flags[name]} {value}" for name, value in one.options.items()]
    work = one.work
    if work is None:
        parts.append(f"--steps {LONGER * _usual_steps(recipe, one.scale)}")
    else:
        parts.append(f"--steps {work.steps} --batch {work.batch}")
        if recipe.stages and recipe.start in (None, one.scale):
            parts.append("--whole")  # as the paper's own steps were
        # Elsewhere a patch counts other pixels than the paper.
        if work.of_input or one.method.training.degradations is not None:
            parts.append(f"--patch {work.side}")
    if one.name in BEGINS_FROM:
        name, options = BEGINS_FROM[one.name]
        parts.append(f"--start {_file(find(name), options, 1)}")
    elif recipe.start is not None and recipe.start != one.scale:
        parts.append(f"--start {_file(one.card, one.options, recipe.start)}")
    return " ".join(parts)


def _usual_steps(recipe: Recipe, scale: int) -> int:
    if recipe.start in (None, scale) or recipe.steps_after_start is None:
        return recipe.steps
    return recipe.steps_after_start


def _file(card: Card, options: Values, scale: int) -> str:
    """The shipped weights of some options and scale, or what training these leaves."""
    assert isinstance(card.method, Trained)
    made = make_options(card, options)
    for weights in shipped_weights(card.id):
        if scale in weights.scales and make_options(card, weights.options) == made:
            return f"src/safelight/weights/{weights.file}"
    variant = "".join(f"-{value}" for value in options.values())
    return f"{card.name}{variant}{'' if card.method.network.scale_agnostic else f'-x{scale}'}.safetensors"


def estimate(one: Queued, work: PaperWork) -> str:
    """The time that the arithmetic takes, at the assumed rate; loading, validation and small layers cost extra."""
    side = work.side * one.scale if work.of_input else work.side
    counted = cost(one.card, one.method, make_options(one.card, one.options), one.scale)
    per_pixel = FLOP_PER_MULTIPLY_ADD * counted.multiply_adds
    minutes = per_pixel * side**2 * work.batch * work.steps / SUSTAINED / 60
    if minutes >= 120:
        return f"{minutes / 60:.0f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 1 else "under a minute"


def assumptions() -> str:
    """What the estimates rest on."""
    return (
        f"The times are estimates, not measurements: {FLOP_PER_MULTIPLY_ADD} floating point operations for each "
        f"multiply-add (forward and backward), the multiply-adds that `safelight info` prints, the paper's own work, "
        f"and a GPU that sustains {SUSTAINED / 1e12:g} TFLOP/s. Small networks keep a GPU less busy than that. Where "
        f"the paper's work is not known, the command runs {LONGER} times the recipe's steps and no time is given."
    )
