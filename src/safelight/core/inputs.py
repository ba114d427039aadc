"""One record for each thing that a user may tell a method: how it is written, read, checked and handed over.

The flags of the command line, the keywords of the Python functions and their stubs, the fields of the HTTP API and the
controls of the page are all made of these records. This module imports neither torch nor numpy, so that a program's
help is quick.
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
"""``numbers`` are several with commas between them; ``pictures`` any number of pictures; ``bytes`` a file as it is."""

Convert = Callable[[Mapping[str, Any], "Tensor | None"], Any]
"""Turns a request's inputs, and the picture (1, C, H, W) where the task has one, into what a method gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One thing that a user may tell beside the method and its options.

    Attributes:
        name: The keyword in Python and the key in ``InferenceRequest.inputs``.
        kind: What it is.
        help: One or two sentences, for every face.
        flag: On the command line; empty: ``--`` and the name. ``None``: it has no flag of its own there.
        short: A flag of one letter, such as ``-s``.
        field: In a request of the HTTP API; empty: the name.
        metavar: What stands for the value in the help of the command line.
        annotation: The type in Python, as a stub has it; empty: by the kind.
        default: What holds where nothing is told.
        low: The least of a number.
        high: The most.
        file: A text may also be the name of a file.
        expects: What a number out of bounds is told, such as "a sigma of at least 0"; empty: its bounds are checked
            where it is used.
        choices: Lists all values that a text may have; a function, since some lists are long to make.
        pattern: What a text of the HTTP API looks like, as a regular expression; a server opens no file by its name.
        main: It is what the task works on: the files of the command line, the first parameter in Python, the body of a
            request. A task has one at most.
        required: Completes "expected ..." where it is not given to a method that takes it; empty: it may be left out.
        optional: Only methods whose card accepts it take it; else every method of the task does.
        learned: Only methods that have weights take it.
        positional: The second parameter of the Python function may be given by its place.
        several: The Python function takes one picture as well as a sequence of them.
        excludes: Names of inputs that can't be told together with this one.
        validate: Refuses, by a ``CardError``, what does not go together; it gets all inputs of a request.
        prepare: Makes the value ready, once for all pictures, when a method is: it gets the value and the device. It is
            called with ``None`` too, where a method accepts the input and nothing was told.
        convert: Makes what a method gets of the inputs that are ready; ``None``: the value itself.
        target: The field of ``SolverInput`` that the converted value goes into; empty: the name.
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
        """The flag on the command line; ``None``: there is none."""
        return "--" + self.name.replace("_", "-") if self.flag == "" else self.flag

    @property
    def field_name(self) -> str:
        """The name of the field in a request of the HTTP API."""
        return self.field or self.name

    @property
    def is_picture(self) -> bool:
        """Whether it comes from picture files."""
        return self.kind in ("picture", "pictures")

    def is_given(self, inputs: Mapping[str, Any]) -> bool:
        """Say whether a request tells it: another value than the default, and not an empty sequence."""
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
    """Read numbers with commas between them.

    Raises:
        CardError: There is something else.

    Example:
        >>> read_numbers("0.7,0.3", "--style-weights")
        (0.7, 0.3)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise CardError(f"{name}: expected numbers with commas, such as 0.7,0.3, got {text!r}") from None
