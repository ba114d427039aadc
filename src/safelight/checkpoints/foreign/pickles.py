"""Interpreter of the pickle in a checkpoint: it only describes tensors, and never calls anything.

A pickle is a program for a stack machine, and unpickling executes it. This interpreter supports only the opcodes that
``torch.save`` writes for dictionaries of tensors, and a few global names with a fixed meaning. Anything else is an
error. (The opcodes are documented in Python's ``pickletools``.)
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

# Torch's storage classes, with the name of their data type and its bytes.
STORAGES = {
    "DoubleStorage": ("float64", 8), "FloatStorage": ("float32", 4), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GlobalName:
    """The name of a class or function in a pickle; it is never imported."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """An array of values elsewhere in the file, under a key."""

    dtype: str
    width: int
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor: a strided view of a storage that begins at ``offset``."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PickleContents:
    """The object that a pickle describes, the offset of its end, and its storages by their keys."""

    root: object
    end: int
    storages: dict[str, Storage]


_MARK = object()


def read_pickle(pickled: bytes) -> object:
    """Read a pickle of dictionaries, lists, tuples, numbers, text and tensors; tensors become ``TensorView``.

    Raises:
        ForeignError: It is damaged, too long, or contains anything else.
    """
    if len(pickled) > MAX_PICKLE:
        raise ForeignError(f"a pickle of {len(pickled)} bytes, more than the {MAX_PICKLE} that are read")
    walked = read_pickle_at(pickled, 0)
    if walked.end != len(pickled):
        raise ForeignError("a pickle with something after its end")
    return walked.root


def read_pickle_at(content: bytes, start: int) -> PickleContents:
    """Read one pickle at an offset of bytes that may contain more.

    Raises:
        ForeignError: As ``read_pickle``.
    """
    walker = _Walker(content, start)
    root = walker.run()
    return PickleContents(root, walker.at, walker.storages)


def _lengths(value: object) -> tuple[int, ...]:
    """Check the shape or the strides of a tensor."""
    if not isinstance(value, tuple) or len(value) > _MAX_DIMENSIONS:  # pyright: ignore[reportUnknownArgumentType]
        raise ForeignError("a damaged pickle, or a tensor of an unknown kind")
    lengths = cast("tuple[object, ...]", value)
    if not all(isinstance(length, int) and length >= 0 for length in lengths):
        raise ForeignError("a damaged pickle, or a tensor of an unknown kind")
    return cast("tuple[int, ...]", lengths)


def _flat(pairs: object) -> list[object]:
    """Return the keys and values of a list of pairs, alternating."""
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
        """Interpret the pickle to its end and return the object that it describes.

        Raises:
            ForeignError: An unsupported opcode or name, or a damaged pickle.
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
        """Read a number in a format of ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Read to the end of the line, at most 256 bytes."""
        end = self.pickled.find(b"\n", self.at, self.at + 256)
        if end < 0:
            raise ForeignError("a damaged pickle")
        return self.take(end + 1 - self.at)[:-1].decode()

    def pop(self) -> object:
        """Pop the topmost value."""
        value = self.stack.pop()
        if value is _MARK:
            raise ForeignError("a damaged pickle")
        return value

    def top(self) -> object:
        """Return the topmost value."""
        return self.stack[-1]

    def to_mark(self) -> list[object]:
        """Pop all values above the last mark, and the mark."""
        values: list[object] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    # --- the opcodes --------------------------------------------------------------------------------------------------

    def protocol(self) -> None:
        """Check for the protocol that ``torch.save`` writes."""
        if self.number("<B") != 2:
            raise ForeignError("a pickle of another protocol than torch.save's own")

    def push(self, value: object) -> None:
        """Push a value onto the stack."""
        self.stack.append(value)

    def text(self) -> None:
        """Push a string."""
        self.push(self.take(self.number("<L")).decode())

    def old_text(self, form: str) -> None:
        """Push a string of Python 2."""
        self.push(self.take(self.number(form)).decode("ascii"))

    def integer(self) -> None:
        """Push an integer of up to 255 bytes."""
        self.push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def name(self) -> None:
        """Push a class or function; only known names are accepted, so pickles that would call others are refused."""
        name = GlobalName(f"{self.line()}.{self.line()}")
        if name.text not in _NAMES:
            raise ForeignError(f"a pickle that would run {shown(name.text)}; only tensors in dictionaries are read, "
                               "so save it again by torch.save(model.state_dict(), FILE)")  # fmt: skip
        self.push(name)

    def storage(self) -> None:
        """Push a storage, whose values lie in the file under the key that the pickle gives.

        Before torch 1.6 a sixth value named the storage that it is a view of; ``None`` for its own.
        """
        match self.pop():
            case ("storage", GlobalName(text), str(key), str(), int(count)) | (
                "storage",
                GlobalName(text),
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
        """Interpret a call of one of the known functions, without calling it."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
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
        """Ignore the attributes of a dictionary, where torch keeps the versions of layers."""
        self.pop()
        if not isinstance(self.top(), dict):
            raise ForeignError("a damaged pickle")

    def set_items(self, items: list[object]) -> None:
        """Set items of a dictionary. Keys other than text are ignored: they name no weights, and take time to hash."""
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise ForeignError("a damaged pickle")
        target = cast("dict[str, object]", target)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                target[key] = value

    def set_item(self) -> None:
        """Set one item of a dictionary."""
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self, items: list[object]) -> None:
        """Append to a list."""
        target = self.top()
        if not isinstance(target, list):
            raise ForeignError("a damaged pickle")
        cast("list[object]", target).extend(items)

    def tuple_of(self, size: int) -> None:
        """Push a tuple of the topmost values."""
        values = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(values)))

    def remember(self, form: str) -> None:
        """Store the topmost value in the memo."""
        self.memo[self.number(form)] = self.top()

    def recall(self, form: str) -> None:
        """Push a value from the memo."""
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
