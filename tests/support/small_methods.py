"""Methods for the tests of the faces: small ones of each kind, whose results are known exactly."""

import signal
from dataclasses import replace

from safelight import catalog, tasks
from safelight.core.card import Card, ClosedForm, Interpolation, Optimised, OptionalPackage
from safelight.core.options import NoOptions
from safelight.core.solver_input import SolverProgress, SolverResult
from safelight.ops.resampling import CUBIC

STEPS = 20


def card(task, name, method, **facts):
    """A card of the tests' own."""
    return Card(module=f"tests.{task}.{name}", title=name, summary="For tests.", method=method, **facts)


def darken(problem, options):
    """Half of the picture, and what was told of it in a note."""
    return SolverResult(x=problem.y / 2, notes=(f"sigma {problem.sigma}",))


def fill(problem, options):
    """White where the mask is."""
    return SolverResult(x=problem.y * (1 - problem.mask) + problem.mask)


def mean(problem, options):
    """The mean of all frames, each pixel a block."""
    x = sum(problem.frames, problem.y) / (1 + len(problem.frames))
    x = x.repeat_interleave(problem.scale, -1).repeat_interleave(problem.scale, -2)
    return SolverResult(x=x, notes=(f"{1 + len(problem.frames)} frames",))


class Climb:
    """From black to white in twenty steps; ``at`` is the step at which the user presses Ctrl-C, ``times`` so often."""

    def __init__(self, at=None, times=1):
        self.at, self.times = at, times
        self.runs = 0

    def __call__(self, problem, options, report):
        self.runs += 1
        x = 0 * problem.y
        for step in range(1, STEPS + 1):
            if step == self.at and self.runs == 1:
                for _ in range(self.times):
                    signal.raise_signal(signal.SIGINT)
            if not report(SolverProgress(fraction=step / STEPS, x=x, remark=f"loss {step}")):
                break
            x = x + 1 / STEPS
        return SolverResult(x=x)


DARKEN = card(
    "denoise", "darken", ClosedForm(solve=darken, bytes=8), accepts=frozenset({"sigma"}), other_tasks=("deblock",)
)
FILL = card("inpaint", "fill", ClosedForm(solve=fill, bytes=8), accepts=frozenset({"mask"}))
MEAN = card("upscale", "mean", ClosedForm(solve=mean, bytes=8), accepts=frozenset({"frames", "blur", "sigma"}))
LACKING = card(
    "denoise", "lacking", Interpolation(kernel=CUBIC), extra=OptionalPackage(module="no_such_package", name="classic")
)


def climbing(climb):
    """The iteration as a method of denoise."""
    return card("denoise", "climb", Optimised(run=climb, bytes=8), options=NoOptions)


def install(monkeypatch, *cards, **defaults):
    """Put cards into the catalog, and make some the usual ones."""
    monkeypatch.setattr(
        catalog, "CARDS", (*cards, *{id(card): card for card in defaults.values()}.values(), *catalog.CARDS)
    )
    set_defaults(monkeypatch, **defaults)


def set_defaults(monkeypatch, **defaults):
    """Give tasks other default methods, by their cards; ``None``: no default."""
    names = {task: None if card is None else card.id for task, card in defaults.items()}
    changed = (replace(task, default=names.get(task.name, task.default)) for task in tasks.TASKS)
    monkeypatch.setattr(tasks, "TASKS", tuple(changed))
