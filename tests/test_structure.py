"""The shape of the code: names that stand once, few folders at the top, and no face that knows a task or a method.

Each list of exceptions holds exactly what is left, so that it can only shrink: a new case fails, and so does an
exception that is no longer needed.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

import safelight
from safelight import catalog, tasks

ROOT = Path(safelight.__file__).parent
MOST_ENTRIES = 26

# Modules and packages of one name, each with the reason.
SHARED_MODULES = {
    **dict.fromkeys(("upscale", "denoise", "deblock", "stylize"), "a task's record, and the folder of its methods"),
    **dict.fromkeys(("lamp", "tv", "wiener"), "one paper's method in the folders of two tasks"),
    "bench": "the verb, and the part of evaluation that does it",
    "visualize": "the verb, and the folder of the views that it draws",
    "methods": "the verb that lists them, and their folder",
    "cluster": "the flags of a cluster, and the part of batch that runs on one",
    "training": "the protocol of a training, and the part that runs it",
    "inputs": "what a task takes, and what a batch finds",
    "outputs": "what a method gives, and where a batch writes it",
    "state": "the tensors of a foreign checkpoint, and what a stopped training goes on with",
}
SHARED_CLASSES = {
    "Options": "each method's own, named by its module",
    "Source": "a file of a batch, and a folder of training pictures",
}

# Tasks and methods that a file still knows by name, each with the reason.
KNOWN_NAMES = {
    "engine/spatial_graph.py": ({"nearest", "bilinear"}, "modes of torch's interpolate, not methods"),
    "inference/inspection.py": ({"bilinear"}, "a mode of torch's interpolate, not a method"),
    "web/assets/main.js": ({"nearest"}, "a mode of scrolling, not the method"),
}
KINDS_ELSEWHERE = {}

FACES = ("api", "cli", "web", "batch", "engine", "evaluation", "inference")
MATCH_KINDS = {"core/card.py", "inference/executors.py"}
KINDS = {"Interpolation", "ClosedForm", "Optimised", "Trained", "Fitted", "Generator", "Codec"}


def files(*folders, suffix="py"):
    """The files below some folders of the package, by their path within it."""
    for folder in folders or (".",):
        for path in sorted((ROOT / folder).rglob(f"*.{suffix}")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def said_more_than_once(names):
    places = defaultdict(list)
    for name, place in names:
        places[name].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_modules_share_a_name():
    def names():
        for place, _ in files():
            path = Path(place)
            if path.name != "__main__.py":
                yield path.parent.name if path.name == "__init__.py" else path.stem, place

    found = said_more_than_once(names())
    assert set(found) == set(SHARED_MODULES), found


def test_no_two_public_classes_share_a_name():
    def names():
        for place, text in files():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, place

    found = said_more_than_once(names())
    assert set(found) == set(SHARED_CLASSES), found


def test_the_top_of_the_package_can_be_seen_at_a_glance():
    entries = {path.name for path in ROOT.iterdir()} - {"__pycache__"}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def quoted(text, suffix):
    """Every string of a file that has no other string in it."""
    if suffix == "js":
        text = re.sub(r"^\s*(//|\*|/\*).*$", "", text, flags=re.MULTILINE)
        return {match[2] for match in re.finditer(r"""(["'`])([^"'`\n]*)\1""", text)}
    return {
        node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and type(node.value) is str
    }


@pytest.mark.parametrize("suffix", ["py", "js"])
def test_no_face_engine_or_benchmark_knows_a_task_or_a_method_by_name(suffix):
    names = {*tasks.names(), *(card.name for card in catalog.CARDS), *(card.id for card in catalog.CARDS)}
    found = {place: quoted(text, suffix) & names for place, text in files(*FACES, suffix=suffix)}
    allowed = {place: known for place, (known, _) in KNOWN_NAMES.items() if place.endswith(f".{suffix}")}
    assert {place: known for place, known in found.items() if known} == allowed


def test_kinds_of_method_are_told_apart_in_two_files():
    def tells_kinds(text):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                looked_at = ast.walk(node.args[1])
            elif isinstance(node, ast.MatchClass):
                looked_at = ast.walk(node.cls)
            else:
                continue
            if any(getattr(part, "id", getattr(part, "attr", None)) in KINDS for part in looked_at):
                return True
        return False

    found = {place for place, text in files() if tells_kinds(text)}
    assert found == MATCH_KINDS | set(KINDS_ELSEWHERE)
