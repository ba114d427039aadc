import dataclasses
import json
import math
import sys

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from safelight import catalog, ops
from safelight.checkpoints import weights_manifest
from safelight.core.options import CardError
from safelight.engine import device as devices
from safelight.evaluation import bench
from safelight.evaluation.bench import checks, quality, records
from safelight.evaluation.bench.plot import draw
from safelight.inference import model as models
from safelight.media import image
from safelight.media.image import Picture
from safelight.training.datasets import DataError
from support.bench_sets import CLOCK, ship_random, silent, texture

UPSCALE = bench.find("upscale")
FACTS = quality.metric_facts(UPSCALE)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Three sets of two pictures, of sides that no scale divides; one picture is gray."""
    folder = tmp_path_factory.mktemp("sets")
    for number, name in enumerate(("Set5", "Set14", "BSD100")):
        (folder / name).mkdir()
        image.write(Picture(pixels=texture(49, 63, 3, number)), folder / name / "a.png")
        channels = 1 if name == "Set14" else 3
        image.write(Picture(pixels=texture(53, 50, channels, number + 10)), folder / name / "b.png")
    return folder


def results_of(folder):
    return json.loads((folder / "upscale.json").read_text(encoding="utf-8"))


def run(sets, out, methods, lines=None):
    """Benchmark, knowing that pictures which are not Set5 can't meet its anchors."""
    report = silent if lines is None else lines.append
    with pytest.raises(
        bench.AnchorError, match=r"^\d+ of 12 anchor rows fail, the first: upscale/bicubic x2 Set5: PSNR"
    ):
        bench.run("upscale", sets, out, methods=methods, report=report, clock=CLOCK)
    return results_of(out)


@pytest.fixture(scope="module")
def out(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "new"
    run(sets, folder, ["nearest", "upscale/bicubic"])
    return folder


def luma(pixels):
    """MATLAB's rgb2ycbcr on 8-bit samples; a gray picture is Y."""
    if pixels.shape[2] == 1:
        return pixels[..., 0].astype(np.float64)
    r, g, b = np.moveaxis(pixels.astype(np.float64), 2, 0)
    return np.floor(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255 + 0.5 + 1e-9)


def scores(result, reference, scale):
    """PSNR and SSIM of two 8-bit planes, by numpy and scikit-image."""
    a, b = (plane[scale:-scale, scale:-scale] for plane in (result, reference))
    psnr = 10 * math.log10(255**2 / np.mean((a - b) ** 2))
    _, ssim = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return psnr, ssim[5:-5, 5:-5].mean()


def rounded(plane):
    return np.clip(np.floor(plane * 255 + 0.5), 0, 255)


def expected(folder, scale, enlarge):
    """Mean PSNR and SSIM of a method of the luma over a set."""
    found = []
    for path in sorted(folder.iterdir()):
        y = luma(image.read(path).pixels)
        y = y[: y.shape[0] // scale * scale, : y.shape[1] // scale * scale]
        small = ops.resize(torch.from_numpy(y)[None, None] / 255, zoom=1 / scale)
        found.append(scores(rounded(enlarge(small)[0, 0].double().numpy()), y, scale))
    return np.mean(found, axis=0)


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_scores_equal_an_independent_computation(sets, out, name, scale):
    rows = {row["method"]: row for row in results_of(out)["rows"] if (row["set"], row["level"]) == (name, scale)}
    enlarge = {
        "upscale/nearest": lambda x: x.repeat_interleave(scale, -1).repeat_interleave(scale, -2),
        "upscale/bicubic": lambda x: ops.resize(x, zoom=scale),
    }
    assert rows.keys() == enlarge.keys()
    for method, function in enlarge.items():
        psnr, ssim = expected(sets / name, scale, function)
        # A sample that lies on a half may fall to the other side in single precision.
        assert rows[method]["metrics"]["psnr"] == pytest.approx(psnr, abs=2e-3)
        assert rows[method]["metrics"]["ssim"] == pytest.approx(ssim, abs=5e-5)


def test_published_numbers_stand_beside_the_measured(out):
    for row in results_of(out)["rows"]:
        if row["method"] == "upscale/nearest":
            assert row["published"] == row["difference"] == {}
        else:
            measured, published = row["metrics"], row["published"]
            assert row["difference"] == {
                "psnr": round(measured["psnr"] - published["psnr"], 4),
                "ssim": round(measured["ssim"] - published["ssim"], 5),
            }
    published = {(row["set"], row["level"]): row["published"]["psnr"] for row in results_of(out)["rows"][9:]}
    assert published["Set5", 3] == 30.39
    assert published["BSD100", 4] == 25.96


def test_the_json_says_what_was_measured_and_where(sets, out):
    text = (out / "upscale.json").read_text(encoding="utf-8")
    results = json.loads(text)
    assert list(results) == ["format", *(field.name for field in dataclasses.fields(records.Results))]
    assert text == json.dumps(results, indent=1) + "\n"
    (only,) = results["runs"]
    assert only["methods"] == ["upscale/nearest", "upscale/bicubic"]
    assert only["machine"]["threads"] == torch.get_num_threads()
    assert only["machine"]["torch"] == torch.__version__
    assert [(data["name"], data["pictures"]) for data in results["data"]] == [("Set5", 2), ("Set14", 2), ("BSD100", 2)]
    rows = [(row["method"], row["level"], row["set"]) for row in results["rows"]]
    sets_in_order = ("Set5", "Set14", "BSD100")
    assert rows == [
        (method, scale, name) for method in only["methods"] for scale in (2, 3, 4) for name in sets_in_order
    ]
    assert {row["run"] for row in results["rows"]} == {only["id"]}
    assert all(row["seconds_per_megapixel"] > 0 for row in results["rows"])
    assert len(results["anchors"]) == 12
    assert not any(anchor["passed"] for anchor in results["anchors"] if anchor["metric"] == "psnr")


def test_fingerprints_cover_the_pixels_and_not_the_files(sets, out, tmp_path):
    for name in ("Set5", "Set14", "BSD100"):
        (tmp_path / name).mkdir()
        for path in (sets / name).iterdir():
            image.write(image.read(path), tmp_path / name / f"other-{path.stem}.tiff")
    found = [item.facts.sha256 for item in quality.read_sets(UPSCALE, tmp_path)]
    assert found == [data["sha256"] for data in results_of(out)["data"]]
    image.write(Picture(pixels=texture(49, 63, 3, 99)), tmp_path / "Set5" / "other-a.tiff", overwrite=True)
    assert quality.read_sets(UPSCALE, tmp_path)[0].facts.sha256 != found[0]


# --- anchors and shortfalls -------------------------------------------------------------------------------------------


def anchor_row(**changed):
    plain = records.Row(
        method="upscale/bicubic", options={}, level=3, set="Set5", metrics={"psnr": 30.3922, "ssim": 0.86821},
        published={"psnr": 30.39, "ssim": 0.8682}, difference={}, parameters=0, multiply_adds=None,
        seconds_per_megapixel=0.1, weights_sha256=None, run="now",
    )  # fmt: skip
    return dataclasses.replace(plain, **changed)


def held(psnr, ssim, name="Set5"):
    return [anchor.passed for anchor in checks.check_anchors(UPSCALE, FACTS, {(name, 3): {"psnr": psnr, "ssim": ssim}})]


def test_anchors_hold_within_their_tolerances():
    assert held(30.3922, 0.86821) == [True, True]
    assert held(30.41, 0.86821) == [False, True]
    assert held(30.3922, 0.8688) == [True, False]
    (anchor,) = checks.check_anchors(UPSCALE, FACTS, {("Set14", 3): {"psnr": 27.5405, "ssim": 0.7736}})
    assert (anchor.method, anchor.metric, anchor.tolerance, anchor.passed) == ("upscale/bicubic", "psnr", 0.015, True)


def test_promises_are_held_against_their_set():
    card = catalog.find("fsrcnn")
    rows = [
        anchor_row(method=card.id, level=scale, metrics={"psnr": psnr})
        for scale, psnr in ((2, 36.71), (3, 33.0), (4, 30.7051))
    ]
    promises = checks.check_promises(UPSCALE, FACTS, card, rows)
    assert [(p.set, p.level, p.promised, p.floor, p.short) for p in promises] == [
        ("Set5", 2, 37.0, 36.8, 0.29), ("Set5", 3, 33.16, 32.8, 0.16), ("Set5", 4, 30.71, 30.5, 0.0),
        ("Set14", 2, 32.63, 32.53, None), ("Set14", 3, 29.43, 29.33, None), ("Set14", 4, 27.59, 27.49, None),
    ]  # fmt: skip
    below, above = checks.list_shortfalls(UPSCALE, FACTS, promises=promises)
    assert below.kind == "floor"
    assert below.text == (
        "fsrcnn x2 Set5: 36.71 dB, 0.29 under the 37.00 that the recipe promises, 0.09 under the floor of 36.80"
    )
    assert above.kind == "promise"
    assert above.text.endswith("not under the floor of 32.80")
    assert checks.check_promises(UPSCALE, FACTS, catalog.find("bicubic"), rows) == []


# --- the fast precision -----------------------------------------------------------------------------------------------


def test_the_fast_precision_is_timed_where_it_differs(monkeypatch):
    monkeypatch.setattr(devices, "bfloat16_pays", lambda: True)
    card = catalog.find("vdsr")
    entries = [quality.prepare(UPSCALE, catalog.find(name), {}, 3) for name in ("bicubic", "espcn", "vdsr")]
    assert [entry.fast is not None for entry in entries] == [
        False,
        False,
        "bfloat16" in card.method.execution.precisions,
    ]
    clock = bench.Clock(width=72, height=48, rounds=1, small=(36, 24))
    timings = bench.speed.time_entries(UPSCALE, entries, clock)
    assert [timing.fast is not None for timing in timings] == [False, False, True]
    assert all(timing.seconds > 0 for timing in timings)


def test_the_fast_precision_has_a_point_of_its_own():
    rows = [
        dataclasses.asdict(anchor_row(set=name, metrics={"psnr": psnr}, fast_seconds_per_megapixel=0.05))
        for name, psnr in (("Set14", 30.0), ("BSD100", 28.0))
    ]
    data = [{"name": "Set14", "pictures": 1}, {"name": "BSD100", "pictures": 3}]
    found = bench.plot.points(
        {"metrics": [{"name": "psnr"}], "plotted": ["Set14", "BSD100"], "rows": rows, "data": data}, 3
    )
    assert [(p.name, p.seconds, p.value) for p in found] == [("bicubic", 0.1, 28.5), ("bicubic fast", 0.05, 28.5)]


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Bicubic, and networks of the luma and of RGB; the folder holds random weights for their x3 alone."""
    folder = tmp_path_factory.mktemp("weights")
    cards = tuple(map(catalog.find, ("srcnn", "fsrcnn", "edsr")))
    for seed, card in enumerate(cards):
        ship_random(card, folder, (3,), seed=seed)
    ship_random(cards[0], folder, (3,), {"kernels": "9-1-5"}, seed=7)
    return folder, (catalog.find("bicubic"), *cards)


def test_networks_are_measured_where_weights_are_shipped(sets, networks, tmp_path, monkeypatch):
    folder, cards = networks
    monkeypatch.setattr(weights_manifest, "SHIPPED", folder)
    monkeypatch.setattr(catalog, "CARDS", cards)
    results = run(sets, tmp_path, None)
    rows = {
        (records.label(row["method"], row["options"]), row["set"]): row for row in results["rows"] if row["level"] == 3
    }
    assert {name for name, _ in rows} == {"bicubic", "srcnn", "srcnn 9-1-5", "fsrcnn", "edsr"}
    assert {row["level"] for row in results["rows"] if row["method"] != "upscale/bicubic"} == {3}
    assert rows["srcnn", "Set5"]["published"]["psnr"] == 32.75
    assert rows["srcnn 9-1-5", "Set5"]["published"] == {}
    assert (rows["fsrcnn", "Set5"]["multiply_adds"], rows["srcnn", "Set5"]["multiply_adds"]) == (1384.9, 57184.0)
    assert rows["srcnn", "Set5"]["parameters"] == 57184 + 64 + 32 + 1
    for card in cards[2:]:
        (weights,) = weights_manifest.shipped_weights(card.id)
        assert rows[card.name, "Set5"]["weights_sha256"] == weights.sha256

    fsrcnn = models.load(cards[2], scale=3)
    psnr, ssim = expected(sets / "Set14", 3, lambda x: fsrcnn(x.float()))
    assert rows["fsrcnn", "Set14"]["metrics"]["psnr"] == pytest.approx(psnr, abs=2e-3)
    assert rows["fsrcnn", "Set14"]["metrics"]["ssim"] == pytest.approx(ssim, abs=5e-5)

    edsr = models.load(cards[3], scale=3)
    found = []
    for path in sorted((sets / "Set14").iterdir()):
        pixels = image.read(path).pixels
        pixels = pixels[: pixels.shape[0] // 3 * 3, : pixels.shape[1] // 3 * 3]
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
        result = edsr(ops.resize(x, zoom=1 / 3).float())[0].permute(1, 2, 0).double().numpy()
        found.append(scores(luma(rounded(result)), luma(pixels), 3))
    assert rows["edsr", "Set14"]["metrics"]["psnr"] == pytest.approx(np.mean(found, axis=0)[0], abs=2e-3)
    assert rows["edsr", "Set14"]["metrics"]["ssim"] == pytest.approx(np.mean(found, axis=0)[1], abs=5e-5)

    absent = {(records.label(item["method"], item["options"]), item["level"]) for item in results["missing"]}
    assert absent == {(name, scale) for name in ("srcnn", "srcnn 9-1-5", "fsrcnn", "edsr") for scale in (2, 4)}
    texts = [item["text"] for item in results["shortfalls"]]
    assert "edsr x2 x4: not measured, no weights are shipped; safelight train upscale/edsr makes them" in texts
    # SRCNN and FSRCNN promise a number of Set5 and one of Set14, EDSR of Set5; random weights reach none.
    assert [item["levels"] for item in results["shortfalls"] if item["kind"] == "floor"] == [[3]] * 5
    (race,) = results["comparisons"]
    assert race["multiply_adds"]["ratio"] == 41.29
    assert race["network"]["ratio"] == pytest.approx(race["network"]["slow"] / race["network"]["fast"], abs=0.01)
    assert "## Speed" in (tmp_path / "upscale.md").read_text(encoding="utf-8")

    # Measured again without fsrcnn: its rows and the race stay, and newly shipped weights make the rows stale.
    ship_random(cards[2], folder, (3,), seed=5)
    later = run(sets, tmp_path, ["edsr"])
    assert later["comparisons"] == [race]
    assert len(later["runs"]) == 2
    assert [row for row in later["rows"] if row["method"] == "upscale/fsrcnn"] == [
        row for row in results["rows"] if row["method"] == "upscale/fsrcnn"
    ]
    assert {row["run"] for row in later["rows"] if row["method"] == "upscale/edsr"} == {later["runs"][1]["id"]}
    assert [(item["method"], item["levels"]) for item in later["shortfalls"] if item["kind"] == "stale"] == [
        ("upscale/fsrcnn", [3])
    ]
    assert "Not all rows are of one run" in (tmp_path / "upscale.md").read_text(encoding="utf-8")


# --- tables and plot --------------------------------------------------------------------------------------------------


def test_tables_are_made_from_the_json(out):
    results = results_of(out)
    text = bench.tables(results)
    assert text == (out / "upscale.md").read_text(encoding="utf-8")
    row = next(row for row in results["rows"] if row["method"] == "upscale/bicubic")
    measured = f"{row['metrics']['psnr']:.2f} / {row['metrics']['ssim']:.4f}"
    assert f"| bicubic | {measured} | 33.66 / 0.9299 | {row['difference']['psnr']:+.2f} |" in text
    assert "of 12 anchors fail: no number below is to be believed.**" in text
    assert "| bicubic Set5 x2 PSNR | 33.66 |" in text
    assert all(f"- {item['text']}" in text for item in results["shortfalls"])


def test_the_plot_is_an_svg_and_always_the_same(out):
    svg = (out / "upscale.svg").read_bytes()
    assert svg.startswith(b"<?xml")
    assert svg == draw(results_of(out))


def test_without_matplotlib_a_line_says_what_to_install(sets, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    lines = []
    run(sets, tmp_path, ["bicubic"], lines)
    assert "no plot was drawn: it needs matplotlib; pip install 'safelight[plot]'" in lines
    assert {path.name for path in tmp_path.iterdir()} == {"upscale.json", "upscale.md"}
    assert any(line.startswith("x2 Set5: 2 of 2 pictures") for line in lines)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def refused(error, sets, out, methods, match):
    with pytest.raises(error, match=match) as caught:
        bench.run("upscale", sets, out, methods=methods, report=silent, clock=CLOCK)
    assert "\n" not in str(caught.value)


def test_a_missing_set_is_named(tmp_path):
    (tmp_path / "Set5").mkdir()
    refused(DataError, tmp_path, tmp_path, None, "expected the folders Set5, Set14, BSD100 in .* called Set14, BSD100")


def test_an_unknown_method_is_refused(sets, tmp_path):
    refused(CardError, sets, tmp_path, ["bicubci"], "did you mean bicubic")


def copy_with(sets, folder, pixels):
    for name in ("Set5", "Set14", "BSD100"):
        (folder / name).mkdir(parents=True)
        for path in (sets / name).iterdir():
            image.write(image.read(path), folder / name / path.name)
    image.write(Picture(pixels=pixels), folder / "Set5" / "c.png")


def test_a_small_picture_is_refused(sets, tmp_path):
    copy_with(sets, tmp_path / "data", texture(20, 64, 3, 0))
    refused(DataError, tmp_path / "data", tmp_path, None, r"c\.png: expected at least 32 pixels a side, got 64x20")


def test_a_plain_picture_is_refused(sets, tmp_path):
    copy_with(sets, tmp_path / "data", np.full((48, 48, 3), 128, np.uint8))
    refused(DataError, tmp_path / "data", tmp_path, ["bicubic"], r"c\.png: expected a picture with detail")


def test_rows_of_other_pictures_are_not_mixed_in(sets, out, tmp_path):
    copy_with(sets, tmp_path / "data", texture(48, 48, 3, 0))
    (tmp_path / "upscale.json").write_bytes((out / "upscale.json").read_bytes())
    refused(DataError, tmp_path / "data", tmp_path, ["bicubic"], "expected results of the pictures in")


def test_a_foreign_file_is_not_added_to(sets, tmp_path):
    (tmp_path / "upscale.json").write_text('{"format": "other"}', encoding="utf-8")
    refused(DataError, sets, tmp_path, ["bicubic"], "expected the results of an earlier benchmark")


def test_results_of_an_older_format_say_to_run_again(sets, tmp_path):
    (tmp_path / "upscale.json").write_text('{"format": "safelight-bench/2"}', encoding="utf-8")
    told = (
        "expected the format safelight-bench/3, got 'safelight-bench/2' .*; run the benchmark again without --methods"
    )
    refused(DataError, sets, tmp_path, ["bicubic"], told)


def test_matlab_files_are_compared_sample_by_sample(tmp_path):
    """Files made by the documented rule are reproduced; a sample changed by one is counted."""
    from safelight.evaluation.bench import matlab

    large = torch.randint(256, (3, 37, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (tmp_path / "Set5").mkdir()
    image.write(image.Picture(pixels=large.permute(1, 2, 0).numpy()), tmp_path / "Set5/a.png")
    for scale, change in ((2, 0), (3, 1)):
        place = tmp_path / f"LR_bicubic/Set5/X{scale}"
        place.mkdir(parents=True)
        small = ops.resize(ops.crop_to_multiple(large, scale), zoom=1 / scale)
        small[0, 0, 0] ^= change
        image.write(image.Picture(pixels=small.permute(1, 2, 0).numpy()), place / f"ax{scale}.png")
    proofs = matlab.check_resize(tmp_path, "LR_bicubic")
    assert [(p.scale, p.pictures, p.different) for p in proofs] == [(2, 1, 0), (3, 1, 1)]
    assert matlab.check_resize(tmp_path / "Set5", "LR_bicubic") == ()
