"""The record of an input of a task: its name, its kind, and how it is read, checked and converted.

The flags of the command line, the keywords of the Python functions and their stubs, the fields of the HTTP API and the
controls of the page are all built from these records. This module imports neither torch nor numpy, so that a program's
help is fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from safelight.core.options import CardError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

InputKind = Literal["number", "integer", "flag", "text", "numbers", "picture", "pictures", "bytes"]
"""``numbers`` are several with commas between them; ``pictures`` any number of pictures; ``bytes`` the
content of a file."""

Convert = Callable[[Mapping[str, Any], "Tensor | None"], Any]
"""Converts the inputs of a request to the value that a method receives; the second argument is the picture,
(1, C, H, W) in [0, 1], or ``None`` if the task has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of a task.

    Attributes:
        name: The keyword in Python and the key in ``InferenceRequest.inputs``.
        kind: The type of its value.
        help: One or two sentences for the user.
        flag: The flag on the command line; empty: ``--`` and the name. ``None``: there is no flag.
        short: A flag of one letter, such as ``-s``.
        field: The name of the field in a request of the HTTP API; empty: the name.
        metavar: The placeholder of the value in the help of the command line.
        annotation: The type in the Python stub; empty: derived from the kind.
        default: The value if the user gives none.
        low: The smallest allowed number.
        high: The largest allowed number.
        file: Whether a text may also be the name of a file.
        expects: The range of a number, in words, for the error message, such as "a sigma of at least 0"; empty: the
            bounds are checked where the number is used.
        choices: Returns all values that a text may have; a function, since some lists are slow to build.
        pattern: A regular expression that a text must match in the HTTP API, whose server opens no file by its name.
        main: Whether the task works on it: the files of the command line, the first parameter in Python, the body of
            a request. A task has at most one main input.
        required: Completes the error "expected ..." if a method needs it and it is not given; empty: it is not needed.
        optional: Only methods whose card accepts it take it; else every method of the task does.
        learned: Only methods that have weights take it.
        positional: The second parameter of the Python function may be given by its place.
        several: The Python function takes one picture as well as a sequence of them.
        excludes: Names of inputs that cannot be given together with this one.
        validate: Raises a ``CardError`` if the inputs of a request do not go together; it receives all of them.
        prepare: Makes the value ready, once for all pictures, when a method is: it gets the value and the device. It is
            called with ``None`` too, where a method accepts the input and nothing was told.
        convert: Makes what a method gets of the inputs that are ready; ``None``: the value itself.
        target: The field of ``SolverInput`` that holds the converted value; empty: the name.
    """

    name: str
    kind: InputKind
    help: str
    flag: str | None = ""
    short: str = ""
    field: str = ""
    metavar: str = ""
    annotation: str = ""
    default: Any = None
    low: float | None = None
    high: float | None = None
    file: bool = False
    expects: str = ""
    choices: Callable[[], Sequence[str]] | None = None
    pattern: str = ""
    main: bool = False
    required: str = ""
    optional: bool = False
    learned: bool = False
    positional: bool = False
    several: bool = False
    excludes: tuple[str, ...] = ()
    validate: Callable[[Mapping[str, Any]], None] | None = None
    prepare: Callable[[Any, torch.device], Any] | None = None
    convert: Convert | None = None
    target: str = ""

    @property
    def flag_name(self) -> str | None:
        """The flag on the command line; ``None`` if it has none."""
        return "--" + self.name.replace("_", "-") if self.flag == "" else self.flag

    @property
    def field_name(self) -> str:
        """The name of the field in a request of the HTTP API."""
        return self.field or self.name

    @property
    def is_picture(self) -> bool:
        """Whether its value is one picture or several."""
        return self.kind in ("picture", "pictures")

    def is_given(self, inputs: Mapping[str, Any]) -> bool:
        """Return whether a request gives a value that is not the default and not an empty sequence."""
        value = inputs.get(self.name)
        return value is not None and value != () and (self.kind != "flag" or value != self.default)

    def check(self, value: Any) -> None:  # noqa: ANN401 - of any kind
        """Check that a number is finite and within its bounds.

        Raises:
            CardError: The number is not finite or out of bounds.

        Example:
            >>> InputSpec(name="sigma", kind="number", help="", low=0, expects="a sigma of at least 0").check(-1)
            Traceback (most recent call last):
            safelight.core.options.CardError: expected a sigma of at least 0, got -1
        """
        if value is None or not self.expects:
            return
        inside = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if not (inside and math.isfinite(value)):
            raise CardError(f"expected {self.expects}, got {value:g}")


def read_numbers(text: str, name: str) -> tuple[float, ...]:
    """Read numbers that are separated by commas.

    Args:
        text: The numbers, such as ``0.7,0.3``.
        name: The flag or field, for the error message.

    Raises:
        CardError: A part of the text is not a number.

    Example:
        >>> read_numbers("0.7,0.3", "--style-weights")
        (0.7, 0.3)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CardError(f"{name}: expected numbers with commas, such as 0.7,0.3, got {text!r}") from None
