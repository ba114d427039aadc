"""Files as torch.save wrote them before version 1.6, put together by hand."""

import math
import pickle
import struct

MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def legacy_bytes(described, rows, *, keys=None, magic=0x1950A86A20F9469CFC6C, version=1001, machine=MACHINE):
    """A whole file: ``described`` are the instructions for what was saved, ``rows`` the counts and bytes by key."""
    head = b"".join(pickle.dumps(part, 2) for part in (magic, version, machine))
    numbers = b"".join(struct.pack("<q", count) + content for count, content in rows.values())
    return head + b"\x80\x02" + described + b"." + pickle.dumps(list(rows) if keys is None else keys, 2) + numbers


def text(value, python=3):
    """A string: Python 2 had instructions of its own for its short ones."""
    content = value.encode()
    return b"U" + bytes([len(content)]) + content if python == 2 else b"X" + struct.pack("<L", len(content)) + content


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key, count, *, python=3, kind="torch\nFloatStorage", part=b"N"):
    names = text("storage", python) + b"c" + kind.encode() + b"\n" + text(key, python) + text("cpu", python)
    return b"(" + names + number(count) + part + b"tQ"


def tensor(key, shape, *, count=None, stride=None, python=3, **how):
    """A tensor as before torch 0.4: with four facts, and not yet whether it wants a gradient."""
    count = math.prod(shape) if count is None else count
    stride = [math.prod(shape[i + 1 :]) for i in range(len(shape))] if stride is None else stride
    facts = storage(key, count, python=python, **how) + number(0) + numbers(shape) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor\n(" + facts + b"tR"


def named(described):
    """A dictionary of one entry."""
    return b"}" + text("a") + described + b"s"


def old_file(state, *, python=3, kind="torch\nFloatStorage"):
    """A state dictionary as the first versions of torchvision's weights were written, by Python 3 or 2."""
    rows, items = {}, []
    for i, (name, value) in enumerate(state.items()):
        key = str(94_000_000 + i)
        rows[key] = (value.numel(), value.float().contiguous().numpy().tobytes())
        items.append((text(name, python), tensor(key, tuple(value.shape), python=python, kind=kind)))
    if python == 2:
        pairs = b"".join(b"](" + name + value + b"e" for name, value in items)
        described = b"ccollections\nOrderedDict\n](" + pairs + b"e\x85R"
    else:
        described = b"ccollections\nOrderedDict\n)R(" + b"".join(name + value for name, value in items) + b"u"
    return legacy_bytes(described, rows, keys=sorted(rows))


def hostile_legacy(good, payload, torch_bytes):
    """Files of that kind that must be refused, by their names; ``payload`` would write a file if it were unpickled."""
    whole = torch_bytes(good, _use_new_zipfile_serialization=False)
    row = {"7": (4, bytes(16))}
    one = tensor("7", (4,))
    return {
        "legacy-inside.pth": torch_bytes({"state_dict": good, "x": payload}, _use_new_zipfile_serialization=False),
        "legacy-cut.pth": whole[: len(whole) // 2],
        "legacy-cut-end.pth": whole[:-1],
        "legacy-longer.pth": whole + b"\0",
        "legacy-stride-0.pth": legacy_bytes(named(tensor("7", (1 << 30, 40), count=4, stride=(0, 0))), row),
        "legacy-outside.pth": legacy_bytes(named(tensor("7", (8,), count=4)), row),
        "legacy-count.pth": legacy_bytes(named(tensor("7", (1 << 30,))), {"7": (1 << 30, bytes(16))}),
        "legacy-two-counts.pth": legacy_bytes(named(tensor("7", (8,))), row),
        "legacy-keys.pth": legacy_bytes(named(one), row, keys=["8"]),
        "legacy-no-list.pth": legacy_bytes(named(one), row, keys={"7": 1}),
        "legacy-part.pth": legacy_bytes(named(tensor("7", (4,), part=b"(" + text("7") + number(0) + b"t")), row),
        "legacy-twice.pth": legacy_bytes(b"}(" + text("a") + one + text("b") + tensor("7", (5,)) + b"u", row),
        "legacy-magic.pth": legacy_bytes(b"}", {}, magic=7),
        "legacy-version.pth": legacy_bytes(b"}", {}, version=1002),
        "legacy-order.pth": legacy_bytes(b"}", {}, machine={"little_endian": False}),
        "legacy-lists.pth": legacy_bytes(b"]" * ((1 << 20) - 300), {}),
        "legacy-pairs.pth": legacy_bytes(b"ccollections\nOrderedDict\n](" + number(1) + b"e\x85R", {}),
        "protocol-0.pth": pickle.dumps(good, 0),
        "tar.pth": b"pickle".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"),
    }
