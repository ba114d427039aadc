"""The pickle inside a checkpoint, walked opcode by opcode: it describes tensors, and nothing in it is ever called.

A pickle is a program for a stack machine, and unpickling runs it. Here a few opcodes are known, those that
``torch.save`` writes for dictionaries of tensors, and a few names, each with a meaning of ours. Anything else ends the
reading. (The opcodes are documented in Python's ``pickletools``.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from safelight.checkpoints.foreign.archive import ForeignError, shown

MAX_PICKLE = 1 << 20  # bytes; a network of a thousand layers takes a quarter of it
MAX_INSTRUCTIONS = 300_000  # of which a tensor takes 25
_MAX_DIMENSIONS = 8

# Torch's names of storages, what a number of it is called, and its bytes.
STORAGES = {
    "DoubleStorage": ("float64", 8), "FloatStorage": ("float32", 4), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names. It is a name and stays one."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers elsewhere in the file, under a key."""

    dtype: str
    width: int
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor: numbers of a storage, from ``offset`` on, in steps of ``stride``."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Walked:
    """What a pickle describes, where it ends, and the rows of numbers that it speaks of, by their keys."""

    root: object
    end: int
    storages: dict[str, Storage]


_MARK = object()


def walk(pickled: bytes) -> object:
    """Read a pickle: dictionaries, lists, tuples, numbers and text as they are, and every tensor as a ``TensorView``.

    Raises:
        ForeignError: It is damaged, too long, or would do anything but describe these.
    """
    if len(pickled) > MAX_PICKLE:
        raise ForeignError(f"a pickle of {len(pickled)} bytes, more than the {MAX_PICKLE} that are read")
    walked = walk_from(pickled, 0)
    if walked.end != len(pickled):
        raise ForeignError("a pickle with something after its end")
    return walked.root


def walk_from(content: bytes, start: int) -> Walked:
    """Read one pickle out of bytes that may hold more.

    Raises:
        ForeignError: As ``walk``.
    """
    walker = _Walker(content, start)
    root = walker.run()
    return Walked(root, walker.at, walker.storages)


def _lengths(value: object) -> tuple[int, ...]:
    """Accept the shape or the strides of a tensor."""
    if not isinstance(value, tuple) or len(value) > _MAX_DIMENSIONS:  # pyright: ignore[reportUnknownArgumentType]
        raise ForeignError("a damaged pickle, or a tensor of an unknown kind")
    lengths = cast("tuple[object, ...]", value)
    if not all(isinstance(length, int) and length >= 0 for length in lengths):
        raise ForeignError("a damaged pickle, or a tensor of an unknown kind")
    return cast("tuple[int, ...]", lengths)


def _flat(pairs: object) -> list[object]:
    """List the keys and values of a list of pairs, in turn."""
    items: list[object] = []
    for pair in cast("list[object]", pairs) if isinstance(pairs, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2:  # pyright: ignore[reportUnknownArgumentType]
            raise ForeignError("a damaged pickle")
        items.extend(cast("list[object]", pair))
    return items


class _Walker:
    """The stack machine, for the opcodes of protocol 2 that describe dictionaries of tensors."""

    def __init__(self, pickled: bytes, start: int) -> None:
        self.pickled, self.at = pickled, start
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}

    def run(self) -> object:
        """Walk to the end and return what the pickle describes.

        Raises:
            ForeignError: An opcode or a name that is not known here, or a pickle that is damaged.
        """
        try:
            for _ in range(MAX_INSTRUCTIONS):
                opcode = self.take(1)
                if opcode == b".":
                    return self.pop()
                handler = _OPCODES.get(opcode)
                if handler is None:
                    raise ForeignError(f"a pickle with the instruction {shown(opcode.decode('latin-1'))}, "
                                       "which describes no weights")  # fmt: skip
                handler(self)
            raise ForeignError(f"a pickle of more than {MAX_INSTRUCTIONS} instructions")
        except (IndexError, KeyError, struct.error, UnicodeDecodeError):
            raise ForeignError("a damaged pickle") from None

    def take(self, size: int) -> bytes:
        """Read the next bytes."""
        piece = self.pickled[self.at : self.at + size]
        if len(piece) != size:
            raise ForeignError("a damaged pickle, which breaks off")
        self.at += size
        return piece

    def number(self, form: str) -> Any:  # noqa: ANN401 - the form says
        """Read a number, in a form of ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Read to the end of the line, which is near."""
        end = self.pickled.find(b"\n", self.at, self.at + 256)
        if end < 0:
            raise ForeignError("a damaged pickle")
        return self.take(end + 1 - self.at)[:-1].decode()

    def pop(self) -> object:
        """Take the topmost value."""
        value = self.stack.pop()
        if value is _MARK:
            raise ForeignError("a damaged pickle")
        return value

    def top(self) -> object:
        """Look at the topmost value."""
        return self.stack[-1]

    def to_mark(self) -> list[object]:
        """Take all values above the last mark, and the mark."""
        values: list[object] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    # --- the opcodes --------------------------------------------------------------------------------------------------

    def protocol(self) -> None:
        """Accept the protocol that ``torch.save`` writes."""
        if self.number("<B") != 2:
            raise ForeignError("a pickle of another protocol than torch.save's own")

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def text(self) -> None:
        """A string."""
        self.push(self.take(self.number("<L")).decode())

    def old_text(self, form: str) -> None:
        """A string of Python 2."""
        self.push(self.take(self.number(form)).decode("ascii"))

    def integer(self) -> None:
        """A whole number of up to 255 bytes."""
        self.push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def name(self) -> None:
        """A class or function: known ones only, so a pickle that would call anything else is refused here."""
        name = Name(f"{self.line()}.{self.line()}")
        if name.text not in _NAMES:
            raise ForeignError(f"a pickle that would run {shown(name.text)}; only tensors in dictionaries are read, "
                               "so save it again by torch.save(model.state_dict(), FILE)")  # fmt: skip
        self.push(name)

    def storage(self) -> None:
        """A row of numbers, which lies in the file under the key that the pickle gives.

        Before torch 1.6 a sixth value said which part of another row it was; ``None`` for one of its own.
        """
        match self.pop():
            case ("storage", Name(text), str(key), str(), int(count)) | (
                "storage",
                Name(text),
                str(key),
                str(),
                int(count),
                None,
            ) if text in _STORAGES and count >= 0:
                storage = Storage(*_STORAGES[text], key, count)
                if self.storages.setdefault(key, storage) != storage:
                    raise ForeignError("a damaged pickle, with two storages of one name")
                self.push(storage)
            case _:
                raise ForeignError("a damaged pickle, or a storage of an unknown kind")

    def call(self) -> None:
        """What unpickling would call is one of three functions, and is understood instead."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ForeignError("a damaged pickle")
        match function.text, cast("tuple[object, ...]", arguments):
            case "collections.OrderedDict", ():
                self.push({})
            case "collections.OrderedDict", (pairs,):  # as Python 2 wrote it
                self.push({})
                self.set_items(_flat(pairs))
            case "torch._utils._rebuild_tensor", (Storage() as storage, int(offset), shape, stride):  # before 0.4
                self.push(TensorView(storage, offset, _lengths(shape), _lengths(stride)))
            case "torch._utils._rebuild_parameter", (TensorView() as view, bool(), dict()):
                self.push(view)
            case "torch._utils._rebuild_tensor_v2", (Storage() as storage, int(offset), shape, stride, bool(), dict()):
                self.push(TensorView(storage, offset, _lengths(shape), _lengths(stride)))
            case _:
                raise ForeignError("a damaged pickle, or a tensor of an unknown kind")

    def set_state(self) -> None:
        """Pass over the attributes of a dictionary, where torch keeps the versions of layers."""
        self.pop()
        if not isinstance(self.top(), dict):
            raise ForeignError("a damaged pickle")

    def set_items(self, items: list[object]) -> None:
        """Fill a dictionary. Keys other than text are passed over: they name no weights, and cost time to hash."""
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise ForeignError("a damaged pickle")
        target = cast("dict[str, object]", target)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                target[key] = value

    def set_item(self) -> None:
        """Fill a dictionary by one."""
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self, items: list[object]) -> None:
        """Lengthen a list."""
        target = self.top()
        if not isinstance(target, list):
            raise ForeignError("a damaged pickle")
        cast("list[object]", target).extend(items)

    def tuple_of(self, size: int) -> None:
        """Make a tuple of the topmost values."""
        values = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(values)))

    def remember(self, form: str) -> None:
        """Keep the topmost value under a number."""
        self.memo[self.number(form)] = self.top()

    def recall(self, form: str) -> None:
        """Fetch a value that was kept."""
        self.push(self.memo[self.number(form)])


_STORAGES = {f"{place}.{name}": facts for name, facts in STORAGES.items() for place in ("torch", "torch.cuda")}
_NAMES = _STORAGES.keys() | {
    "collections.OrderedDict", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
}  # fmt: skip

_OPCODES: dict[bytes, Callable[[_Walker], None]] = {
    b"\x80": _Walker.protocol,
    b"}": lambda w: w.push({}),
    b"]": lambda w: w.push([]),
    b")": lambda w: w.push(()),
    b"N": lambda w: w.push(None),
    b"\x88": lambda w: w.push(True),
    b"\x89": lambda w: w.push(False),
    b"(": lambda w: w.push(_MARK),
    b"K": lambda w: w.push(w.number("<B")),
    b"M": lambda w: w.push(w.number("<H")),
    b"J": lambda w: w.push(w.number("<i")),
    b"G": lambda w: w.push(w.number(">d")),
    b"\x8a": _Walker.integer,
    b"X": _Walker.text,
    b"U": lambda w: w.old_text("<B"),
    b"T": lambda w: w.old_text("<L"),
    b"c": _Walker.name,
    b"Q": _Walker.storage,
    b"R": _Walker.call,
    b"b": _Walker.set_state,
    b"s": _Walker.set_item,
    b"u": lambda w: w.set_items(w.to_mark()),
    b"a": lambda w: w.append([w.pop()]),
    b"e": lambda w: w.append(w.to_mark()),
    b"t": lambda w: w.push(tuple(w.to_mark())),
    b"\x85": lambda w: w.tuple_of(1),
    b"\x86": lambda w: w.tuple_of(2),
    b"\x87": lambda w: w.tuple_of(3),
    b"q": lambda w: w.remember("<B"),
    b"r": lambda w: w.remember("<L"),
    b"h": lambda w: w.recall("<B"),
    b"j": lambda w: w.recall("<L"),
}
