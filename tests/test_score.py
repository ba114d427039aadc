"""The verb ``score`` and its Python face: what applies, sets, the worst five, and what cannot be measured."""

import statistics
import subprocess
import sys

import numpy as np
import pytest
import torch

import safelight
from safelight import metrics
from safelight.checkpoints import backbones
from safelight.evaluation import scoring
from safelight.features.backbone import BackboneError
from safelight.media import image
from safelight.metrics import Protocol
from support.cli import lines, run
from support.pictures import draw_waves

USUAL = ["psnr", "ssim", "ms_ssim", "ifc", "nqm", "wpsnr", "lpips[lens]"]


@pytest.fixture
def two(tmp_path):
    return draw_waves(tmp_path / "a.png", (180, 190)), draw_waves(tmp_path / "b.png", (180, 190), noise=8)


# --- a pair -----------------------------------------------------------------------------------------------------------


def test_all_that_apply_with_their_protocol(two):
    facts, summary = lines(run("score", *two, "--json"))
    assert [name for name in facts if name not in ("reference", "result", "status", "error")] == USUAL
    for name in USUAL:
        assert facts[name] == pytest.approx(safelight.score(*two, name.split("[")[0]))
        assert summary[name] == summary["medians"][name] == facts[name]
    assert summary["protocols"]["nqm"].startswith("Y (BT.601 studio range), 8-bit picture, shave 0; ")
    assert summary["protocols"]["lpips[lens]"].startswith("RGB, 8-bit picture, shave 0; ")
    told = run("score", *two).stdout.splitlines()
    assert [line.split()[0] for line in told] == ["PSNR", "SSIM", "MS-SSIM", "IFC", "NQM", "WPSNR", "LPIPS[lens]"]
    assert all("shave 0; " in line for line in told)


def test_what_is_too_small_is_left_out_unless_it_was_named(tmp_path):
    small = draw_waves(tmp_path / "a.png", (40, 50)), draw_waves(tmp_path / "b.png", (40, 50), noise=8)
    facts, summary = lines(run("score", *small, "--json"))
    assert [name for name in facts if name in USUAL] == ["psnr", "ssim", "nqm", "wpsnr", "lpips[lens]"]
    assert "ifc" not in summary
    refused = run("score", *small, "--metric", "ifc")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "at least 65x65 pixels" in refused.stderr
    tiny = draw_waves(tmp_path / "c.png", (5, 6)), draw_waves(tmp_path / "d.png", (5, 6), noise=8)
    assert [name for name in lines(run("score", *tiny, "--json"))[0] if name in USUAL] == ["psnr", "wpsnr"]
    refused = run("score", *tiny, "--metric", "lpips")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_variants_and_layers_stand_in_the_name(two):
    chosen = run(
        "score", *two, "--metric", "ms_ssim[mux],wpsnr[miyahara],lpips", "--layers", "relu1_2,relu2_2", "--json"
    )
    facts, _ = lines(chosen)
    names = [name for name in facts if name not in ("reference", "result", "status", "error")]
    assert names == ["ms_ssim[mux]", "wpsnr[miyahara]", "lpips[lens:relu1_2,relu2_2]"]
    made, original = (torch.tensor(safelight.read(path).pixels).permute(2, 0, 1)[None] / 255 for path in reversed(two))
    lens = backbones.load("lens")
    expected = metrics.lpips(made, original, backbone=lens, layers=["relu1_2", "relu2_2"]).item()
    assert facts[names[2]] == pytest.approx(expected, rel=1e-5)
    assert facts["wpsnr[miyahara]"] == pytest.approx(safelight.score(*two, "wpsnr[miyahara]"))


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_published_heads(two, tmp_path, kind):
    from safetensors.torch import save_file

    tensors = {f"lin{i}.model.1.weight": torch.full((1, c, 1, 1), 0.5) for i, c in enumerate((32, 64, 128, 256))}
    file = tmp_path / f"heads.{kind}"
    if kind == "pth":
        torch.save(tensors, file)
    else:
        save_file(tensors, file)
    facts, _ = lines(run("score", *two, "--metric", "lpips", "--heads", file, "--json"))
    assert facts["lpips[lens+heads]"] == pytest.approx(safelight.score(*two, "lpips") / 2, rel=1e-5)
    assert safelight.score(*two, "lpips", heads=file) == facts["lpips[lens+heads]"]
    torch.save({"lin0.model.1.weight": torch.ones(1, 7, 1, 1)}, tmp_path / "other.pth")
    for wrong in (tmp_path / "other.pth", two[0], tmp_path / "none.pth"):
        refused = run("score", *two, "--metric", "lpips", "--heads", wrong)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), wrong


def test_equal_pictures(two):
    facts, _ = lines(run("score", two[0], two[0], "--json"))
    assert [facts[name] for name in ("psnr", "ssim", "nqm", "wpsnr", "lpips[lens]")] == [None, 1, None, None, 0]
    told = run("score", two[0], two[0]).stdout
    assert "NQM inf (equal)" in told
    flat = image.Picture(pixels=np.full((64, 64, 3), 128, np.uint8))
    image.write(flat, two[0].parent / "flat.png")
    noisy = draw_waves(two[0].parent / "noisy.png", (64, 64))
    assert "NQM -inf " in run("score", two[0].parent / "flat.png", noisy, "--metric", "nqm").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--metric", "psnrr"), "do you mean psnr"),
        (("--metric", "lpips", "--backbone", "len"), "lens"),
        (("--metric", "lpips", "--layers", "relu1_9"), "relu1_1"),
        (("--metric", "psnr", "--layers", "relu1_1"), "expected a metric that sees through a network"),
        (("--metric", "fid"), "expected two folders"),
        (("--metric", "psnr", "--channel", "rgb", "--rounding", "8-bit-y"), "8-bit-y"),
        (("--shave", "90"), "got 10x0"),
    ],
)
def test_what_cannot_be_meant(two, arguments, reason):
    refused = run("score", *two, *arguments)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert reason in refused.stderr


def test_a_network_without_weights(two, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused = run("score", *two, "--metric", "lpips", "--backbone", "vgg16")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "safelight fetch vgg16" in refused.stderr
    with pytest.raises(BackboneError, match="fetch vgg16"):
        safelight.score(*two, "lpips", backbone="vgg16")


def test_pictures_of_different_sizes(two, tmp_path):
    refused = run("score", two[0], draw_waves(tmp_path / "c.png", (180, 189)))
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "(1, 3, 180, 189) and (1, 3, 180, 190)" in refused.stderr


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    for i, noise in enumerate((3, 20, 8, 1, 30, 12, 5)):
        name = "x/1.png" if i == 1 else f"{i}.png"
        draw_waves(tmp_path / "a" / name, (40, 44))
        draw_waves(tmp_path / "b" / name, (40, 44), noise=noise)
    return tmp_path / "a", tmp_path / "b"


def test_folders_have_a_mean_and_a_median(folders):
    *files, summary = lines(run("score", *folders, "--metric", "psnr,lpips", "--json"))
    assert len(files) == summary["done"] == 7
    for name in ("psnr", "lpips[lens]"):
        values = [facts[name] for facts in files]
        assert summary[name] == pytest.approx(statistics.fmean(values))
        assert summary["medians"][name] == statistics.median(values)
    told = run("score", *folders, "--metric", "psnr,lpips").stdout
    assert "mean of 7" in told
    assert "median of 7" in told
    assert "LPIPS[lens]" in told.splitlines()[0]


def test_the_worst_five_become_sheets(folders, tmp_path):
    out = tmp_path / "worst"
    *_, summary = lines(run("score", *folders, "--metric", "psnr,ssim", "--worst", out, "--json"))
    names = ["1-4.png", "2-x_1.png", "3-5.png", "4-2.png", "5-6.png"]  # by falling noise
    assert sorted(path.name for path in out.iterdir()) == names
    assert summary["worst"] == [str(out / name) for name in names]
    sheet = image.read(out / names[0]).pixels
    assert sheet.shape[1] >= 3 * 44
    reference, made = (image.read(folder / "4.png").pixels for folder in folders)
    for picture in (reference, made):
        assert any(
            (sheet[top : top + 40, left : left + 44] == picture).all()
            for top in range(sheet.shape[0] - 39)
            for left in range(sheet.shape[1] - 43)
        )
    again = run("score", *folders, "--metric", "psnr", "--worst", out)
    assert (again.exit_code, again.stdout, again.stderr.count("\n")) == (2, "", 1)
    assert "expected a new or empty folder" in again.stderr
    # The worst of what is better when lower are the highest.
    run("score", *folders, "--metric", "lpips", "--worst", tmp_path / "far")
    assert (tmp_path / "far/1-4.png").exists()


def test_sets_need_no_pairs(folders):
    (folders[1] / "0.png").rename(folders[1] / "other.png")
    chosen = run("score", *folders, "--metric", "fid,kid", "--json")
    assert chosen.exit_code == 0
    (summary,) = lines(chosen)
    assert chosen.stderr.count("\n") == 1
    assert "need 2048 pictures and more in each, got 7 and 7" in chosen.stderr
    assert summary["warnings"][0] in chosen.stderr
    files = [sorted(folder.rglob("*.png")) for folder in folders]
    with pytest.warns(UserWarning, match="need 2048"):
        assert summary["fid[lens]"] == pytest.approx(safelight.score_sets(*files), rel=1e-6)
    with pytest.warns(UserWarning, match="need 2048"):
        assert summary["kid[lens]"] == pytest.approx(safelight.score_sets(*files, "kid"), rel=1e-6)
    told = run("score", *folders, "--metric", "fid", "--layers", "relu1_2").stdout
    assert told.startswith("FID[lens:relu1_2] ")
    refused = run("score", *folders, "--metric", "fid", "--layers", "relu1_2,relu2_2")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_metrics_of_one_kind_are_not_asked_of_the_other(two):
    with pytest.raises(ValueError, match="got 'fid', one of sets; use score_sets"):
        safelight.score(*two, "fid")
    with pytest.raises(ValueError, match="got 'psnr', one of two pictures; use score"):
        safelight.score_sets([two[0]], [two[1]], "psnr")
    with pytest.raises(ValueError, match="expected lpips with its heads"):
        scoring.Scorer([metrics.FID], Protocol("y"), heads=two[0])
    refused = run("compare", *two, "--metric", "fid", "-r", two[0], "-o", two[0].parent / "report.html")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_compare_takes_the_other_metrics(two):
    *rows, _ = lines(
        run("compare", *two, "-r", two[0], "--metric", "nqm,lpips", "-o", two[0].parent / "r.html", "--json")
    )
    assert rows[1]["lpips[lens]"] == pytest.approx(safelight.score(*two, "lpips"))
    page = (two[0].parent / "r.html").read_text()
    assert f"{rows[1]['nqm']:.2f} dB" in page


def test_help_loads_no_torch():
    code = "import sys; from safelight.cli import app; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
