"""What all verbs share: errors as one line and an exit code, output, the progress bar, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from safelight.cli.verbs import drop_output, program_help, verbs
from safelight.core.task import Task

if TYPE_CHECKING:
    from safelight.core.card import Card

FAILED, USAGE, ENVIRONMENT, INTERRUPTED = 1, 2, 3, 130

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["exact", "fast"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object on each line, instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]
DeviceFlag = Annotated[
    Device, typer.Option("--device", help="The device to compute on; auto: the fastest that is available.")
]


class UsageError(ValueError):
    """A command line with invalid arguments. The message is one line."""


# --- output -----------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a line of the result."""
    typer.echo(text)


def note(text: str) -> None:
    """Print a line on standard error."""
    typer.echo(text, err=True)


def say_json(facts: Mapping[str, Any], *, err: bool = False) -> None:
    """Print one JSON object in one line, in ASCII, since a file name may hold bytes that are not text."""
    typer.echo(json.dumps(facts, allow_nan=False), err=err)


def finite(value: float) -> float | None:
    """Replace infinity, such as the PSNR of equal pictures, by ``None``, since JSON has no infinity."""
    return value if abs(value) != float("inf") else None


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,), wrap: Sequence[int] = (0,)
) -> None:
    """Print a table: as wide as the terminal allows, or at its natural width into a file or a pipe.

    ``left`` are the columns of text, ``wrap`` those that may break into several lines.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        justify = "left" if i in left else "right"
        # As text: in markup, the brackets of LPIPS[lens] would be a style.
        grid.add_column(Text(column), justify=justify, overflow="fold", no_wrap=i not in wrap)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else 10_000
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as capture:
        console.print(grid)
    for line in capture.get().splitlines():
        if line.strip():
            say(line.rstrip())


class Bar:
    """A progress bar with the remaining time on standard error, if that is a terminal.

    Args:
        total: The total of steps or bytes.
        text: The text before the bar.
        quiet: Whether to show no bar.
    """

    def __init__(self, total: float, text: str, *, quiet: bool) -> None:
        self._progress: Any = None
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        # Standard output stays what it is: it may be a pipe that expects JSON.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._task = self._progress.add_task(text, total=total)

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    @property
    def shown(self) -> bool:
        """Whether the bar is shown."""
        return self._progress is not None

    def show(self, completed: float, text: str, *, total: float | None = None) -> None:
        """Advance the bar and change its text, and its total if one is given."""
        if self._progress is not None:
            self._progress.update(self._task, completed=completed, description=text, total=total)

    def above(self, write: Callable[[], None]) -> None:
        """Call a function that prints lines, so that they appear above the bar."""
        if self._progress is None:
            write()
            return
        self._progress.stop()
        try:
            write()
        finally:
            self._progress.start()


class Stop:
    """Ctrl-C while this context is entered: the first ends the work at its next step, a second one at once.

    The default, an exception wherever the program happens to be, is lost where that is a callback of a C library
    (libvips logs through one), and the batch would go on.
    """

    def __enter__(self) -> Stop:
        self._asked = False
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        if sys.stderr.isatty():
            # Straight to the terminal: a handler may have interrupted a print.
            os.write(2, b"\nsafelight: stopping at the next step; Ctrl-C again stops at once\n")

    @property
    def asked(self) -> bool:
        """Whether the user has asked to stop."""
        return self._asked

    def check(self) -> None:
        """Stop the work if the user has asked for it; call this between its steps.

        Raises:
            KeyboardInterrupt: The user has pressed Ctrl-C.
        """
        if self._asked:
            raise KeyboardInterrupt

    def rest(self, seconds: float) -> bool:
        """Wait, but no longer than until Ctrl-C; return whether the user has asked to stop."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))  # a handler does not end a longer sleep
        return self._asked


# --- errors -----------------------------------------------------------------------------------------------------------


def explain(error: Exception) -> tuple[str, int]:
    """Return the message of an error, in one line, and the exit code of the program."""
    if isinstance(error, UsageError):
        return str(error), USAGE
    from safelight import batch
    from safelight.checkpoints.download import FetchError
    from safelight.checkpoints.weights_file import CheckpointError
    from safelight.core.card import MissingPackageError
    from safelight.core.options import CardError
    from safelight.features.backbone import BackboneError
    from safelight.training.datasets import DataError

    if isinstance(error, DataError | CardError | BackboneError | CheckpointError | batch.BatchError):
        return str(error), USAGE
    if isinstance(error, MissingPackageError | FetchError):
        return str(error), ENVIRONMENT
    if isinstance(error, ModuleNotFoundError):
        return f"expected the package {error.name}, which is not installed; run: pip install {error.name}", ENVIRONMENT
    message, environment = batch.explain(error)
    return message, ENVIRONMENT if environment else FAILED


class Verb(TyperCommand):
    """A command whose errors are one line on standard error, with a traceback only after ``--debug``."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's context comes from a private module
        """Run the verb and return its exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("safelight: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (BrokenPipeError, typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "format_message"):  # one of click's own
                raise
            if ctx.params.get("debug"):
                note("".join(traceback.format_exception(error)).rstrip())
            message, code = explain(error)
            note(f"safelight: {message}")
            raise typer.Exit(code) from None


class Verbs(TyperGroup):
    """The program: a verb's module is imported when the verb is called, and usage errors are one line.

    ``commands`` holds a placeholder with name and help for each verb of the table, which serves to list and to complete
    verbs; ``get_command`` returns the verb itself.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's settings
        super().__init__(**settings)
        self.commands = {verb.name: TyperCommand(verb.name, help=verb.help) for verb in verbs().values()}
        self._loaded: dict[str, Any] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - as click calls it
        """List the names of the verbs."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - as click calls it
        """Import a verb's module and return the verb; ``None`` if there is none of this name."""
        if cmd_name not in self._loaded:
            verb = verbs().get(cmd_name)
            if verb is None:
                return None
            maker = typer.Typer(add_completion=False, rich_markup_mode=None)
            import_module(verb.module).add(maker)
            maker.registered_commands = [
                info for info in maker.registered_commands
                if cmd_name == (info.name or getattr(info.callback, "__name__", None))
            ]  # fmt: skip
            self._loaded[cmd_name] = typer.main.get_group(maker).commands[cmd_name]
        return self._loaded[cmd_name]

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401, ARG002 - as click calls it
        """Return the program's help, as the light path prints it."""
        return program_help()

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401 - as click has it
        """Complete the name of a verb or an option of the program, without any verb's module."""
        placeholders: dict[str, Any] = self.commands
        listing = TyperGroup(name=self.name, commands=placeholders, params=self.params)
        with listing.context_class(listing, info_name=ctx.info_name, resilient_parsing=True) as inner:
            return listing.shell_complete(inner, incomplete)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run a command line and exit with its code."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        # Before torch is loaded: its threads must not spin while they wait, for there are others on the same cores.
        # While pictures are decoded and encoded beside it, small ones are computed four times as fast for it.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except (BrokenPipeError, OSError) as error:
            if not isinstance(error, BrokenPipeError):
                raise
            drop_output()
            code = FAILED
        except typer.Abort:
            code = INTERRUPTED
        except Exception as error:
            message: Any = getattr(error, "format_message", None)  # click's errors, wherever typer keeps them
            if message is None:
                raise
            context: Any = getattr(error, "ctx", None)
            path = "safelight" if context is None else context.command_path
            note(f"safelight: {' '.join(message().split())} (see {path} --help)")
            code = USAGE
        sys.exit(code if isinstance(code, int) else 0)


# --- values -----------------------------------------------------------------------------------------------------------


def amount(text: str, flag: str, *, step: int) -> int:
    """Read a count such as 250M; ``step`` is 1000 for things and 1024 for bytes.

    Raises:
        UsageError: The text is not such a number.

    Example:
        >>> amount("1.5K", "--max-pixels", step=1000)
        1500
    """
    number, power = text.strip().upper().removesuffix("B"), 0
    if number[-1:] in tuple("KMGT"):
        number, power = number[:-1], "KMGT".index(number[-1]) + 1
    try:
        value = float(number) * step**power
        if not 1 <= value < 2**63:
            raise ValueError
    except ValueError:
        raise UsageError(f"{flag}: expected a number such as 500K, 250M or 2G, got {text!r}") from None
    return int(value)


def the_card(name: str | None, task: Task | None) -> Card:
    """Find a method by its name, or the default of a task.

    Raises:
        CardError: There is no such method; the message lists the close ones.
        UsageError: No method is named, and the task has no default method.
    """
    from safelight import catalog

    if name is None:
        assert task is not None
        default = catalog.default(task)
        if default is None:
            known = ", ".join(card.name for card in catalog.of_task(task)) or "none yet"
            raise UsageError(
                f"{task}: expected --method, got none, and the task has no default method; choose one of: {known}"
            )
        return default
    return catalog.find(name, task)
