"""Looking into networks: what is found is what is there, sheets are laid out as told, and bad input is one line."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import safelight
from safelight import catalog
from safelight.checkpoints import backbones
from safelight.cli import app
from safelight.cli.visualize import complete_subject, complete_view
from safelight.core.inspector import InspectorInput
from safelight.core.options import CardError, make_options, option_facts
from safelight.core.progress import never_stop
from safelight.features.backbone import BackboneError
from safelight.features.inspected_network import OUTPUT, InspectedNetwork
from safelight.inference import inspection
from safelight.media import image
from safelight.methods.visualize import attribution, feature, inversion
from safelight.ops import drawing
from safelight.ops.drawing import Section, Tile, letters
from safelight.solvers import fourier_image
from support.cli import run
from support.runners import random_network


def plain(*layers, channels=1, name="net"):
    """A network of some layers in a row, with random weights that are the same each time."""
    torch.manual_seed(0)
    network = nn.Sequential(*layers).eval()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel()))
    return InspectedNetwork(network, name, channels=channels)


def conv(inputs, outputs, side, **other):
    return nn.Conv2d(inputs, outputs, side, padding=other.pop("padding", side // 2), **other)


def picture(side=32, channels=1):
    """A ramp with a disc and a bar."""
    v, u = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    gray = 0.25 + 0.3 * u + 0.3 * ((u - 0.4) ** 2 + (v - 0.5) ** 2 < 0.06) - 0.15 * ((u - v).abs() < 0.08)
    planes = [gray, gray.flip(0), gray.T][:channels]
    return torch.stack(planes)[None]


def draw(kind, subject, x=None, report=never_stop, **asked):
    shown = None if x is None else image.Picture(pixels=x[0].permute(1, 2, 0).contiguous().numpy())
    return inspection.draw(catalog.find_inspector(kind), subject, shown, inspection.InspectionRequest(**asked), report)


# --- the subject ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "stride", "field"),
    [
        ([conv(1, 4, 3), nn.ReLU(), conv(4, 2, 5)], 1, 7),
        ([conv(1, 4, 3, dilation=2, padding=2), conv(4, 4, 1)], 1, 5),
        ([conv(1, 4, 3, stride=2), conv(4, 4, 3)], 2, 3 + 2 * 2),
        ([conv(1, 4, 3), nn.AvgPool2d(2), conv(4, 4, 3), nn.AvgPool2d(2)], 4, 3 + 1 + 2 * 2 + 2),
        ([conv(1, 4, 3), nn.PixelShuffle(2), conv(1, 1, 3)], 0.5, 4),
        ([conv(1, 4, 1), nn.ConvTranspose2d(4, 1, 9, stride=3, padding=4, output_padding=2)], 1 / 3, 3),
    ],
)
def test_what_a_layer_sees_is_found_by_running_the_network(layers, stride, field):
    """The last ones: neighbours lie in two cells; and of a kernel of 9 with stride 3, three taps meet a value."""
    made = plain(*layers).layer(OUTPUT)
    assert (made.stride, made.field) == (stride, field)


def test_a_layer_that_sees_everything_says_so():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv(1, 1, 3)

        def forward(self, x):
            return self.conv(x) - x.mean(dim=(2, 3), keepdim=True)

    subject = InspectedNetwork(Centred(), "net", channels=1)
    assert (subject.layer("conv").field, subject.layer(OUTPUT).field) == (3, None)


def test_behind_a_normalisation_of_whole_maps_everything_is_seen():
    """Deeper layers too, which a row of light through equal weights does not reach."""
    names = [f"blocks.{i}.conv2" for i in range(5)]
    card = catalog.find("stylize/johnson")
    subject = InspectedNetwork(random_network(card, 1), "johnson", channels=3)
    assert [subject.layer(name).field for name in ("c9", "norm_c9", "d1", *names, OUTPUT)] == [9, *[None] * 8]


@pytest.mark.parametrize("name", ["upscale/fsrcnn", "upscale/espcn", "upscale/srcnn", "upscale/vdsr"])
def test_networks_see_as_far_as_their_cards_declare(name):
    card = catalog.find(name)
    scale = max(card.method.network.scales)
    subject = InspectedNetwork(random_network(card, scale), name, channels=1)
    declared, made = 2 * card.method.network.receptive_radius(card.options(), scale) + 1, subject.layer(OUTPUT)
    assert made.stride == (1 if card.method.network.input == "interpolated" else 1 / scale)
    # FSRCNN's card counts for a whole pixel of the input, of which no single pixel of the result sees all.
    assert declared - 2 <= made.field <= declared
    fields = [subject.layer(layer).field for layer in subject.layers]
    assert fields == sorted(fields)


def test_a_border_that_is_reflected_needs_a_wider_strip():
    layers = (nn.Conv2d(1, 2, 9, padding=4, padding_mode="reflect"), conv(2, 2, 3, stride=2), conv(2, 1, 3))
    assert plain(*layers).layer(OUTPUT).field == 9 + 2 + 2 * 2


def test_a_sigmoid_at_the_end_hides_nothing():
    deep = plain(*(conv(1 if i == 0 else 2, 2, 3) for i in range(40)), nn.Sigmoid())
    assert deep.layer(OUTPUT).field == 81


def test_a_network_is_run_no_further_than_asked():
    class Bomb(nn.Module):
        def forward(self, x):
            if x.shape[-1] == 40:
                raise AssertionError
            return x

    subject = plain(conv(1, 2, 3), nn.ReLU(), Bomb())
    assert subject.maps(torch.zeros(1, 1, 40, 40), ["1"])["1"].shape == (1, 2, 40, 40)


def test_maps_are_those_before_a_layer_that_works_in_place():
    subject = plain(conv(1, 4, 3), nn.ReLU(inplace=True))
    maps = subject.maps(picture(), ["0", "1"])
    assert maps["0"].min() < 0 <= maps["1"].min()


def test_a_picture_is_brought_to_what_the_network_takes():
    x = picture(channels=3)
    luma = InspectedNetwork(plain(conv(1, 1, 1)).network, "net", channels=1, zoom=2).prepare(x)
    assert luma.shape == (1, 1, 64, 64)
    expected = (16 + 65.481 * x[:, 0] + 128.553 * x[:, 1] + 24.966 * x[:, 2]) / 255
    assert torch.allclose(luma[0, 0, 20:40, 20:40].mean(), expected[0, 10:20, 10:20].mean(), atol=1e-2)
    assert InspectedNetwork(nn.Identity(), "net", channels=3).prepare(picture()).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("name", ["lens", "vgg16", "alexnet", "squeezenet"])
def test_the_kernels_of_a_backbone_are_found_by_their_layers(name):
    backbone = backbones.load(name, random=0)
    subject = inspection.of_backbone(backbone)
    first, weights = subject.kernels()
    expected = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    assert first == backbone.layers[0]
    assert torch.equal(weights, expected.weight)


def test_a_layer_without_kernels_names_those_inside_or_near_it():
    subject = inspection.of_model(safelight.load("upscale/fsrcnn", device="cpu"))
    with pytest.raises(BackboneError, match=r"extract is no convolution; there is: extract\.0"):
        subject.kernels("extract")
    with pytest.raises(BackboneError, match="relu1_1 is no convolution; there is: conv1_1"):
        inspection.of_backbone(backbones.load("lens", random=0)).kernels("relu1_1")


# --- the views --------------------------------------------------------------------------------------------------------


def grating(side, cycles):
    """A kernel of stripes across the diagonal, so many cycles a pixel in each direction, mean zero."""
    v, u = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    kernel = torch.cos(2 * math.pi * cycles * (u + v)) * torch.hann_window(side + 2, False)[1:-1].outer(
        torch.hann_window(side + 2, False)[1:-1]
    )
    return kernel - kernel.mean()


def strongest_wave(x):
    """Cycles a pixel of the strongest wave, down and across."""
    spectrum = torch.fft.fft2(x[0, 0] - x.mean()).abs()
    place = int(spectrum[: x.shape[-2] // 2 + 1].argmax())
    down, across = divmod(place, x.shape[-1])
    return down / x.shape[-2], (across - x.shape[-1] * (across > x.shape[-1] // 2)) / x.shape[-1]


@pytest.mark.parametrize("cycles", [0.125, 0.2])
def test_feature_finds_the_pattern_of_a_known_filter(cycles):
    subject = plain(conv(1, 2, 11), nn.ReLU(), name="gratings")
    with torch.no_grad():
        subject.network[0].weight[1, 0] = grating(11, cycles)
        subject.network[0].bias.zero_()
    options = feature.Options(iterations=50, transforms="no")
    x, first, last = feature.climb(subject, "1", 1, 48, options, 0, never_stop)
    down, across = strongest_wave(x)
    assert (abs(down), abs(across)) == (pytest.approx(cycles, abs=1.5 / 48), pytest.approx(cycles, abs=1.5 / 48))
    assert down * across > 0  # the stripes lie along the same diagonal
    assert last > 20 * first


def test_feature_of_both_signs_and_of_a_layer_through_transformations():
    subject = plain(conv(1, 2, 5), name="net")
    for asked in ({"sign": "positive"}, {"sign": "negative"}, {"objective": "layer"}, {"objective": "neuron"}):
        options = feature.Options(iterations=20, **asked)
        channel = None if "objective" in asked and asked["objective"] == "layer" else 1
        x, first, last = feature.climb(subject, "0", channel, 32, options, 0, never_stop)
        assert last > first + 0.03, asked
        with torch.no_grad():
            mean = float(subject.maps(x, ["0"])["0"][:, 1].mean())
        assert "sign" not in asked or mean == pytest.approx(last if asked["sign"] == "positive" else -last, rel=1e-4)
    again = [feature.climb(subject, "0", 1, 32, feature.Options(iterations=3), 5, never_stop)[0] for _ in range(2)]
    assert torch.equal(*again)


def test_a_silent_channel_is_woken_or_told():
    subject = plain(conv(1, 2, 3), nn.ReLU(), name="net")
    with torch.no_grad():
        subject.network[0].weight[:] = torch.tensor([[-1.0, 2, -1]] * 3) / 3
        subject.network[0].bias[:] = torch.tensor([-0.8, -100.0])
    options = {"iterations": 60}
    woken = draw("feature", subject, layers=("1",), channels=(0,), options=options)
    assert woken.facts["1 0.first"] == 0 < woken.facts["1 0.last"]
    silent = draw("feature", subject, layers=("1",), channels=(1,), options=options)
    assert silent.notes == ("1 1 is silent: no picture was found that excites it",)


def test_inversion_of_an_early_layer_recovers_the_picture():
    subject = plain(conv(3, 12, 3), nn.ReLU(), conv(12, 12, 3), nn.ReLU(), nn.AvgPool2d(4), channels=3)
    x0 = picture(channels=3)
    scene = InspectorInput(subject=subject, picture=x0)
    seen = []

    def report(step):
        seen.append(step)
        return True

    x, first, last = inversion.invert(scene, "2", x0, inversion.Options(iterations=80), report)
    assert x.shape == x0.shape
    assert last < first / 20
    assert -10 * math.log10(float((x - x0).square().mean())) > 32
    assert len(seen) == 80
    assert seen[-1].fraction == 1
    deeper, *_ = inversion.invert(scene, "4", x0, inversion.Options(iterations=80), report)
    assert (deeper - x0).square().mean() > 3 * (x - x0).square().mean()


def test_inversion_stops_when_asked_and_says_how_near_it_came():
    subject = plain(conv(1, 8, 3), conv(8, 8, 3))
    made = draw("inversion", subject, picture(), lambda step: False, layers=("0", "1"))
    assert {name.partition(".")[2] for name in made.facts} == {"psnr", "distance", "distance_at_first"}
    assert 0 < made.facts["0.psnr"] < 40


def test_the_measured_field_is_the_declared_one():
    subject = plain(conv(1, 6, 3), nn.Tanh(), conv(6, 6, 5), nn.Tanh(), conv(6, 2, 3), name="small")
    made = draw("receptive", subject).facts
    assert made["theoretical"] == made["measured"] == 9
    assert 1 < made["effective"] <= 9
    assert made["half_radius"] < 4.5
    backbone = inspection.of_backbone(backbones.load("lens", random=0))
    lens = draw("receptive", backbone, picture(channels=3), layers=("relu2_2",), channels=(3, 4)).facts
    assert lens["theoretical"] == lens["measured"] == backbone.layer("relu2_2").field == 14


def test_depth_makes_the_effective_field_a_smaller_part():
    """Luo et al.: it grows with the root of the depth, where the theoretical one grows with the depth."""
    parts = []
    for depth in (3, 12):
        subject = plain(*(conv(1 if i == 0 else 4, 4, 3) for i in range(depth)))
        made = draw("receptive", subject, options={"samples": 2}).facts
        parts.append(made["effective"] / made["theoretical"])
    assert parts[1] < 0.8 * parts[0]


def restorer(name="net"):
    """A network that enlarges by 2 and sees 7 pixels."""
    return plain(conv(1, 8, 3), nn.Tanh(), conv(8, 8, 3), nn.Tanh(), conv(8, 4, 3), nn.PixelShuffle(2), name=name)


def test_shares_sum_to_what_blurring_takes_away():
    """The completeness of integrated gradients."""
    x, subject = picture(40), restorer()
    found = attribution.attribute(subject, x, (26, 30), 12, attribution.Options(), never_stop)
    assert abs(found.detail - found.blurred) > 0.1
    assert float(found.map.sum()) == pytest.approx(found.detail - found.blurred, rel=0.05)
    # The ends are those of the whole picture, though only a part of it was restored.
    with torch.no_grad():
        whole = subject.maps(x, [OUTPUT])[OUTPUT]
    assert float(attribution.size_of_gradient(whole[..., 30:42, 26:38])) == pytest.approx(found.detail, rel=1e-4)


def test_pixels_out_of_sight_have_no_share():
    x = picture(40) + 0.05 * torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    at, side, half = (26, 30), 12, 3
    shares = attribution.attribute(restorer(), x, at, side, attribution.Options(steps=4), never_stop).map[0].abs()
    seen = torch.zeros(40, 40, dtype=torch.bool)
    seen[at[1] // 2 - half : (at[1] + side) // 2 + half, at[0] // 2 - half : (at[0] + side) // 2 + half] = True
    assert shares[~seen].max() == 0
    assert (shares[seen] > 0).float().mean() > 0.9


def test_attribution_of_a_network_that_gets_the_picture_enlarged():
    """Its shares are those of the pixels of the small picture."""
    model = safelight.load("upscale/srcnn", scale=3, device="cpu")
    subject = inspection.of_model(model)
    assert attribution.scale_of(subject) == 3
    made = draw("attribution", subject, picture(24, channels=3), at=(30, 30), side=9, options={"steps": 8}).facts
    assert made["sum"] == pytest.approx(made["detail"] - made["detail_of_blurred"], rel=0.1)
    receptive_radius = 8 / 3 + 3  # pixels of the small picture
    assert 9 < made["pixels"] <= (3 + 2 * receptive_radius + 1) ** 2


def test_the_diffusion_index_tells_one_pixel_from_all():
    spread = torch.zeros(100)
    spread[0] = 1
    assert 100 * (1 - attribution.gini(spread)) == pytest.approx(1)
    assert 100 * (1 - attribution.gini(torch.ones(100))) == pytest.approx(100)
    values = torch.rand(50, generator=torch.Generator().manual_seed(0)).double()
    pairs = (values[:, None] - values).abs().sum() / (2 * 50**2 * values.mean())
    assert attribution.gini(values) == pytest.approx(float(pairs))


def test_the_maps_drawn_are_those_of_the_network():
    subject = plain(conv(1, 3, 3), nn.ReLU())
    x = picture(32)
    sheet = draw("activations", subject, x, layers=("0",), options={"columns": 3}).sheet
    with torch.no_grad():
        maps = subject.maps(x, ["0"])["0"][0]
    # Margin 6; a line of text, the picture with its gap; a line of text; then the row of maps.
    top = 6 + 8 + 6 + 32 + 6 + 8 + 6
    for i in range(3):
        left = 6 + i * (32 + 6)
        tile = sheet[0, 0, top : top + 32, left : left + 32]
        assert torch.allclose(tile, drawing.stretched(maps[i]), atol=1e-5)


def test_a_large_picture_is_shrunk_and_that_is_told():
    made = draw("activations", plain(conv(1, 3, 3)), picture(300), layers=("0",))
    assert made.notes == ("the picture was shrunk from 300x300 to 128x128; --size N changes that",)
    assert draw("activations", plain(conv(1, 3, 3)), picture(300), layers=("0",), size=300).notes == ()


def test_kernels_are_drawn_about_mid_gray():
    subject = plain(conv(1, 2, 5))
    with torch.no_grad():
        subject.network[0].weight[0, 0] = torch.linspace(-1, 0.5, 25).view(5, 5)
    sheet = draw("filters", subject).sheet
    tile = sheet[0, 0, 6 + 8 + 6 :, 6:][:40, :40]
    assert tile[0, 0] == 0
    assert tile[-1, -1] == pytest.approx(0.75, abs=1e-4)  # half of the way from 0 to the largest magnitude
    assert (tile[:8, :8] == 0).all()  # each weight is a square of 8 pixels


def test_deeper_kernels_are_a_grid_and_single_pixels_a_matrix():
    subject = plain(conv(1, 6, 3), conv(6, 5, 3), conv(5, 7, 1))
    facts = draw("filters", subject, layers=("1",)).facts
    assert (facts["outputs"], facts["inputs"]) == (5, 6)
    assert draw("filters", subject, layers=("2",)).facts["height"] == 1
    few, many = (draw("filters", subject, layers=("1",), channels=c).sheet for c in ((1,), (1, 2, 3)))
    assert few.shape[-2] < many.shape[-2]


# --- sheets -----------------------------------------------------------------------------------------------------------


def test_a_sheet_keeps_columns_rows_and_labels_apart():
    tiles = [Tile(torch.full((1, 10, 20), 0.2 * i), str(i)) for i in range(5)]
    made = drawing.sheet([Section(tiles, 3, "hello")])
    # Margins of 6; a heading of 8; two rows of a tile, a gap of 2 and a label of 8; gaps of 6 between all of them.
    assert made.shape == (1, 3, 6 + 8 + 2 * (6 + 10 + 2 + 8) + 6, 6 + 3 * 20 + 2 * 6 + 6)
    top = 6 + 8 + 6
    for i in range(5):
        row, column = divmod(i, 3)
        y, x = top + row * 26, 6 + column * 26
        assert torch.allclose(made[0, :, y : y + 10, x : x + 20], torch.tensor(0.2 * i))
        ink = made[0, 0, y + 12 : y + 20, x : x + 5]
        assert torch.equal(ink < 0.5, letters.write(str(i)) > 0)
    assert (made[0, :, :6] == 1).all()
    assert (made[0, :, top : top + 10, 26:32] == 1).all()
    with pytest.raises(ValueError, match="expected tiles"):
        drawing.sheet([Section([], 3)])


def test_every_printable_character_of_the_labels_is_drawn():
    known = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;-+_/()[]%=<>^*'#!?|&"
    shapes = {tuple(letters.write(character).flatten().tolist()) for character in known}
    assert len(shapes) == len(known)
    assert torch.equal(letters.write("é"), letters.write("?"))
    assert letters.width("abc") == letters.write("abc").shape[1] == 17


def test_a_chart_goes_through_its_points():
    x = torch.linspace(-1, 1, 21)
    paper = drawing.chart([drawing.Curve(x, x, (0.0, 0.0, 0.0))], x=(-1, 1), y=(-1, 1), size=(200, 150))
    ink = (paper.mean(0) < 0.3).nonzero()
    inside = ink[(ink[:, 1] > 40) & (ink[:, 0] < 130)].float()
    rows, columns = inside.T
    slope = ((rows - rows.mean()) * (columns - columns.mean())).sum() / (columns - columns.mean()).square().sum()
    assert slope == pytest.approx(-(150 - 16 - 1 - 8) / (200 - 34 - 8 - 1), rel=0.03)


def test_a_box_is_drawn_around_a_part():
    drawn = drawing.boxed(torch.zeros(1, 10, 12), 3, 4, 2, 5, (1.0, 1.0, 1.0))
    assert drawn.shape == (3, 10, 12)
    assert (drawn[0, 3:5, 4:9] == 0).all()
    assert drawn[0].sum() == 2 * 7 + 2 * 2  # a frame of one pixel around 2 x 5


def test_waves_begin_as_natural_pictures_do():
    """The energy of a frequency falls with its square, so that halving it makes the amplitude twice as large."""
    x = fourier_image.picture(fourier_image.draw(1, (128, 128), 0.005, torch.Generator().manual_seed(0)), (128, 128))
    spectrum = torch.fft.fft2(x[0, 0] - 0.5).abs()
    f = torch.hypot(torch.fft.fftfreq(128)[:, None], torch.fft.fftfreq(128)[None])
    near, far = (spectrum[(f > low) & (f < 2 * low)].mean() for low in (0.05, 0.2))
    assert near / far == pytest.approx(4, rel=0.15)
    colour = fourier_image.picture(fourier_image.draw(3, (64, 64), 0.3, torch.Generator().manual_seed(0)), (64, 64))[0]
    assert torch.corrcoef(colour.flatten(1))[0, 2] > 0.6


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        ("activations", {}, "expected a picture, after the network's name, got none; name one"),
        ("inversion", {"x": True}, "expected --layer, got none"),
        ("feature", {"layers": ("0",)}, "expected a channel of 0 from 0 to 7, got none; give --channel"),
        ("feature", {"layers": ("0",), "channels": (8,)}, "expected a channel of 0 from 0 to 7, got 8"),
        ("feature", {"layers": ("0", "1"), "channels": (0,)}, "expected one layer, got 2"),
        ("feature", {"layers": ("0",), "channels": (0,), "size": 8}, "expected a size of 16 to 2048 pixels, got 8"),
        ("filters", {"x": True}, "visualize/filters takes no picture; leave it out"),
        ("filters", {"at": (1, 1)}, "visualize/filters takes no --at; leave it out"),
        ("receptive", {"layers": ("9",)}, "net has no layer '9'; did you mean"),
        ("receptive", {"channels": (99,)}, "expected a channel of output from 0 to 0, got 99"),
        ("activations", {"x": True, "layers": ("0",), "channels": (0, 70)}, "from 0 to 7, got 70"),
        ("attribution", {"x": True, "at": (60, 0)}, "within the result of 64x64 pixels, got one of 16 at 60,0"),
        ("attribution", {"x": True, "at": (-1, 0)}, "got one of 16 at -1,0"),
        ("attribution", {"x": True, "side": 1}, "got one of 1 at"),
        ("filters", {"options": {"output": 3}}, "visualize/filters has no option 'output'; it has: outputs"),
        ("filters", {"options": {"outputs": 0}}, "option outputs goes from 1 to 1024; got 0"),
    ],
)
def test_what_cannot_be_meant_is_one_line(kind, asked, message):
    x = picture() if asked.pop("x", False) else None
    with pytest.raises((CardError, BackboneError)) as refusal:
        draw(kind, restorer(), x, **asked)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_patch_without_detail_and_numbers_that_are_none_are_refused():
    flat = torch.full((1, 1, 32, 32), 0.5)
    with pytest.raises(CardError, match="expected a patch with detail, got a flat one"):
        draw("attribution", plain(conv(1, 1, 1)), flat)
    broken = restorer()
    with torch.no_grad():
        broken.network[0].weight[:] = math.nan
    with pytest.raises(CardError, match="expected numbers, got NaN or infinity in net"):
        draw("activations", broken, picture(), layers=("0",))


def test_a_picture_too_small_for_a_backbone_is_refused():
    with pytest.raises(BackboneError, match="larger picture than 6x6"):
        draw(
            "activations",
            inspection.of_backbone(backbones.load("lens", random=0)),
            picture(6, channels=3),
            layers=("relu4_1",),
        )


def test_a_network_of_something_else_than_pictures_is_refused():
    """A decoder of features, say."""
    with pytest.raises(BackboneError, match="expected a network from picture to picture, got one that takes something"):
        draw("filters", plain(conv(256, 3, 3), channels=3))


def test_weights_learn_again_after_they_were_looked_at():
    subject = restorer()
    draw("filters", subject)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in subject.network.parameters())


# --- the command line and Python --------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path):
    pixels = (picture(40, channels=3)[0].permute(1, 2, 0) * 255).byte().numpy()
    image.write(image.Picture(pixels=pixels), tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_sheet_is_written_and_its_numbers_told(photo, tmp_path):
    out = tmp_path / "map.png"
    asked = ("attribution", "upscale/fsrcnn", photo, "--at", "40,52", "--side", "16", "--steps", "4", "-o", out)
    result = run("visualize", *asked, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    made = image.read(out)
    assert (facts["width"], facts["height"]) == (made.width, made.height)
    assert (facts["view"], facts["network"], facts["output"]) == ("attribution", "upscale/fsrcnn x4", str(out))
    assert (facts["facts"]["x"], facts["facts"]["y"]) == (40, 52)
    again = safelight.visualize("attribution", "upscale/fsrcnn", photo, at=(40, 52), side=16, steps=4)
    assert np.array_equal(again.pixels, made.pixels)
    assert again.warnings[0].startswith("x 40, y 52, side 16, diffusion_index ")


def test_a_sheet_that_exists_is_replaced_only_when_asked(tmp_path):
    out = tmp_path / "sheet.png"
    out.write_bytes(b"mine")
    asked = ("filters", "upscale/fsrcnn", "-o", out)
    result = run("visualize", *asked)
    assert result.exit_code == 1
    assert "expected a new file, got one that exists" in result.stderr
    assert run("visualize", *asked, "--on-exist", "skip").exit_code == 0
    assert out.read_bytes() == b"mine"
    assert run("visualize", *asked, "--on-exist", "rename").exit_code == 0
    assert image.read(tmp_path / "sheet-2.png").channels == 3
    assert run("visualize", *asked, "--on-exist", "overwrite").exit_code == 0
    assert out.read_bytes() == (tmp_path / "sheet-2.png").read_bytes()
    piped = CliRunner().invoke(app, ["visualize", "filters", "upscale/fsrcnn", "-o", "-"])
    assert piped.stdout_bytes == out.read_bytes()


def test_the_input_is_never_the_output(photo):
    before = photo.read_bytes()
    result = run("visualize", "activations", "upscale/fsrcnn", photo, "-o", photo, "--on-exist", "overwrite")
    assert result.exit_code == 2
    assert "expected a sheet that is not the picture" in result.stderr
    assert photo.read_bytes() == before


def test_the_picture_is_seen_as_it_forms(tmp_path):
    seen = tmp_path / "forming.png"
    asked = ("feature", "upscale/fsrcnn", "--layer", "map.1", "--channel", "3", "--size", "24", "--iterations", "2")
    assert run("visualize", *asked, "-o", tmp_path / "a.png", "--preview", seen).exit_code == 0
    assert (image.read(seen).width, image.read(seen).channels) == (24, 1)
    refused = run("visualize", *asked, "-o", tmp_path / "b.png", "--preview", seen)
    assert refused.exit_code == 2
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["featur", "lens", "-o", "x.png"], "did you mean feature"),
        (
            ["filters", "upscale/edsrr", "-o", "x.png"],
            "expected a network, got 'upscale/edsrr'; did you mean upscale/edsr",
        ),
        (["filters", "upscale/bicubic", "-o", "x.png"], "expected a network, got upscale/bicubic, which has none"),
        (["filters", "vgg19", "-o", "x.png"], "safelight fetch vgg19"),
        (["filters", "upscale/fsrcnn"], "expected -o FILE for the sheet, got none"),
        (["filters", "upscale/fsrcnn", "-o", "x.doc"], "x.doc"),
        (["filters", "upscale/fsrcnn", "-o", "nowhere/x.png"], "expected a folder that exists, got nowhere"),
        (["filters", "-o", "x.png"], "expected the name of a network, got none"),
        (["filters", "upscale/fsrcnn", "--scale", "7", "-o", "x.png"], "has no scale 7; it has: 2, 3, 4"),
        (["filters", "denoise/dncnn", "--scale", "2", "-o", "x.png"], "expected no scale, got 2"),
        (["filters", "denoise/dncnn", "--network", "variant", "-o", "x.png"], "--network: expected NAME=VALUE"),
        (["filters", "denoise/dncnn", "--network", "variant=Q", "-o", "x.png"], "option variant is one of auto"),
        (["filters", "upscale/fsrcnn", "--layer", "map.9", "-o", "x.png"], "has no layer 'map.9'; did you mean map."),
        (["filters", "upscale/fsrcnn", "--channel", "5-", "-o", "x.png"], "--channel: expected numbers such as 12"),
        (["filters", "upscale/fsrcnn", "--iterations", "3", "-o", "x.png"], "has no option 'iterations'"),
        (["attribution", "upscale/fsrcnn", "missing.png", "-o", "x.png"], "missing.png"),
        (["attribution", "upscale/fsrcnn", "--at", "3", "-o", "x.png"], "--at: expected X,Y, such as 40,52, got '3'"),
        (["attribution", "lens", "-o", "x.png"], "expected"),
        (["layers", "upscale/fsrcnn", "--side", "3"], "visualize layers takes no --side"),
    ],
)
def test_bad_input_on_the_command_line_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = run("visualize", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(Path().glob("*.png"))


def test_kinds_and_layers_are_listed():
    text = run("visualize").stdout
    assert all(view.summary in text for view in catalog.INSPECTORS)
    kinds = [json.loads(line)["view"] for line in run("visualize", "--list", "--json").stdout.splitlines()]
    assert kinds == [view.name for view in catalog.INSPECTORS]
    lines = [
        json.loads(line)
        for line in run("visualize", "layers", "upscale/fsrcnn", "--scale", "3", "--json").stdout.splitlines()
    ]
    assert lines[0] == {"layer": "extract.0", "channels": 56, "stride": 1.0, "field": 5}
    assert lines[-1] == {"layer": "output", "channels": 1, "stride": 1 / 3, "field": 15}
    assert "deconv" in run("visualize", "layers", "upscale/fsrcnn").stdout


def test_names_complete():
    assert complete_view("fe") == ["feature"]
    assert set(complete_view("")) == {*(view.name for view in catalog.INSPECTORS), "layers"}
    assert complete_subject("upscale/fs") == ["upscale/fsrcnn"]


def test_flags_of_views_hide_none_of_the_verb():
    from typer.main import get_command

    taken = {name for param in get_command(app).commands["visualize"].params for name in (param.name, *param.opts)}
    for view in catalog.INSPECTORS:
        make_options(view, {})
        for fact in option_facts(view.options):
            assert not {fact.name, f"--{fact.name.replace('_', '-')}"} & taken, f"{view.id}: {fact.name}"


@pytest.mark.parametrize("view", catalog.INSPECTORS, ids=lambda view: view.name)
def test_every_view_takes_a_gray_and_a_colour_network(view):
    """Of each there is a sheet in [0, 1], the same each time."""
    quick = {"iterations": 2, "steps": 2, "samples": 1}
    options = {fact.name: quick[fact.name] for fact in option_facts(view.options) if fact.name in quick}
    for subject in (restorer(), plain(conv(3, 8, 3), nn.ReLU(), conv(8, 3, 3), channels=3, name="colour")):
        asked = {"options": options}
        if view.needs & {"layer", "layers"}:
            asked |= {"layers": ("0",)}
        if "channels" in view.accepts:
            asked |= {"channels": (0,)}
        x = picture(24, subject.channels) if "picture" in view.needs else None
        first, second = (draw(view.name, subject, x, **asked) for _ in range(2))
        assert torch.equal(first.sheet, second.sheet)
        assert 0 <= first.sheet.min() < first.sheet.max() <= 1


def test_python_takes_networks_that_are_loaded():
    model = safelight.load("upscale/fsrcnn", scale=2, device="cpu")
    named, given = (
        safelight.visualize("filters", network, scale=scale) for network, scale in (("fsrcnn", 2), (model, None))
    )
    assert np.array_equal(named.pixels, given.pixels)
    backbone = backbones.load("lens", random=1)
    assert safelight.visualize("filters", backbone).warnings[0].startswith("layer conv1_1, outputs 32, inputs 3")


def test_every_kind_and_option_is_explained():
    page = Path(__file__).parents[2] / "docs" / "visualize.md"
    text = page.read_text(encoding="utf-8").partition("## The options")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert list(rows) == [view.name for view in catalog.INSPECTORS]
    for view in catalog.INSPECTORS:
        for fact in option_facts(view.options):
            assert f"`--{fact.name}`" in rows[view.name], view.id


def test_only_what_a_patch_sees_is_worked_on():
    """A large picture costs no more than a small one: the network is never given more than the patch can see."""
    subject, seen = restorer(), []
    maps = subject.maps
    subject.maps = lambda x, layers: (seen.append(tuple(x.shape[-2:])), maps(x, layers))[1]
    attribution.attribute(subject, picture(600), (600, 580), 16, attribution.Options(steps=2), never_stop)
    assert max(max(size) for size in seen) < 8 + 2 * (4 + 3 + 1) + 2
