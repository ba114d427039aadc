"""The catalog: finding methods, and the default that measurement chose."""

import json
import math
from pathlib import Path

import pytest

from safelight import catalog
from safelight.catalog import CARDS, INSPECTORS, default, find, of_task
from safelight.core.options import CardError

RESULTS = Path(__file__).parent.parent / "results" / "upscale.json"
LIMIT = 40_000  # multiply-adds per output pixel that the default may need


def test_find_by_name_and_by_id():
    assert find("vdsr") is find("upscale/vdsr") is find("vdsr", "upscale")


@pytest.mark.parametrize(
    ("name", "close"),
    [("vdrs", "vdsr"), ("upscale/bicubik", "upscale/bicubic"), ("", "nearest"), ("edsr/x", "upscale")],
)
def test_unknown_names_list_the_close_ones(name, close):
    with pytest.raises(CardError, match=close) as caught:
        find(name)
    assert "\n" not in str(caught.value)


def test_every_method_file_is_in_the_catalog():
    home = Path(catalog.__file__).parent / "methods"
    files = {f"{path.parent.name}/{path.stem}" for path in home.glob("*/*") if not path.name.startswith(("_", "."))}
    assert files == {record.id for record in (*CARDS, *INSPECTORS)}
    assert len(CARDS) + len(INSPECTORS) == len(files)


def test_a_method_is_found_under_each_of_its_tasks():
    for card in CARDS:
        for task in card.tasks:
            assert card in of_task(task)
            assert find(f"{task}/{card.name}") is find(card.name, task)
        assert find(card.id) is card


def test_the_default_is_the_best_measured_method_under_the_limit():
    rows = json.loads(RESULTS.read_text())["rows"]
    scores, costs = {}, {}
    for row in rows:
        if not row["options"]:
            scores.setdefault(row["method"], []).append(row["metrics"]["psnr"])
            costs[row["method"]] = max(costs.get(row["method"], 0), row["multiply_adds"] or 0)
    assert {len(values) for values in scores.values()} == {9}, "every method has nine rows: three sets, three scales"
    allowed = {method: math.fsum(values) for method, values in scores.items() if costs[method] < LIMIT}
    assert max(allowed, key=allowed.__getitem__) == default("upscale").id


def test_the_default_for_photographs_is_better_on_average_and_faster():
    rows = json.loads((RESULTS.parent / "blind.json").read_text())["rows"]
    usual = rows.pop("denoise/lamp denoise")
    assert default("denoise").id == default("deblock").id == "denoise/lamp"
    assert {name.split()[0] for name in rows} >= {"denoise/dncnn", "deblock/dncnn3"}
    for name, row in rows.items():
        assert usual["mean"] > row["mean"], name
        assert name == "as it is" or usual["seconds_per_megapixel"] <= row["seconds_per_megapixel"], name
