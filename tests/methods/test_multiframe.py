"""Multiframe: registration, the joint operator, the gain of several frames, and frames that do not belong."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from safelight import inference, ops
from safelight.catalog import find
from safelight.core.options import CardError
from safelight.core.solver_input import SolverInput
from safelight.degrade import Downsample
from safelight.inference.runner import InferenceRequest
from safelight.media.image import Picture
from safelight.methods.upscale.multiframe import Options, fuse, run
from safelight.methods.upscale.multiframe.alignment import Canvas, align
from safelight.methods.upscale.multiframe.fusion import Joint
from safelight.methods.upscale.multiframe.registration import register

SHIFTS = torch.tensor(
    [(0, 0), (0.3, -0.6), (-0.7, 0.25), (1.4, 0.8), (-1.2, -1.35), (0.55, 1.1), (-0.1, 0.5), (0.8, -1)]
)


def scene(place_down, place_right, scale):
    """A drawn scene, sampled anywhere, so that any shift is exact: waves of all lengths, as nature has, and discs.

    The shortest waves are a little too short for the frames, whatever the scale.
    """
    y, x = torch.meshgrid(place_down.double(), place_right.double(), indexing="ij")
    made = torch.full_like(x, 0.5)
    generator = torch.Generator().manual_seed(3)
    for _ in range(150):  # the same energy in each octave
        length, turn, phase = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        pace = 2 * math.pi * 0.01 * (60 / max(scale, 2)) ** length
        made = made + 0.012 * torch.sin(pace * (math.cos(6.3 * turn) * x + math.sin(6.3 * turn) * y) + 6.3 * phase)
    for _ in range(40):
        cy, cx, r, a = (torch.rand(4, generator=generator, dtype=torch.float64) - 0.5).tolist()
        distance = ((y - 96 - 260 * cy) ** 2 + (x - 96 - 260 * cx) ** 2).sqrt()
        made = made + 0.6 * a * torch.sigmoid((8 + 10 * r - distance) / 0.6)
    return made.float()[None, None]


def frames(scale=3, count=8, sigma=2.0, channels=1, side=48, shifts=SHIFTS):
    """Frames of the scene, what they show at full size, and their shifts. The scene is sampled anew for each shift."""
    generator = torch.Generator().manual_seed(5)
    edge = 8 * scale
    place = torch.arange(-edge, side * scale + edge)
    made = []
    for shift in shifts[:count]:
        large = scene(place + float(shift[0]) * scale, place + float(shift[1]) * scale, scale)
        large = torch.cat([large, 0.8 * large + 0.1, 1 - large][:channels], dim=1)
        small = Downsample(scale)(large) if scale > 1 else large
        small = small[..., 8:-8, 8:-8]
        made.append(small + torch.randn(small.shape, generator=generator) * sigma / 255)
    target = scene(place, place, scale)[..., edge:-edge, edge:-edge]
    target = torch.cat([target, 0.8 * target + 0.1, 1 - target][:channels], dim=1)
    return made, target, shifts[:count]


def problem(made, scale=3, sigma=2.0, **more):
    told = None if sigma is None else sigma / 255
    return SolverInput(task="upscale", y=made[0], frames=tuple(made[1:]), scale=scale, sigma=told, **more)


def solve(made, **more):
    return run(problem(made, **more), Options(), lambda step: True)


def psnr(x, target):
    return float(-10 * torch.log10((x - target)[..., 6:-6, 6:-6].square().mean()))


def bicubic(made, target):
    return psnr(ops.resize(made[0], tuple(target.shape[-2:])), target)


# --- registration -------------------------------------------------------------------------------------------------


def test_two_frames_are_registered_to_a_small_part_of_a_pixel():
    made, _, shifts = frames()
    for frame, shift in zip(made, shifts, strict=True):
        found, likeness = register(made[0][0, 0], frame[0, 0])
        assert float((found - shift).abs().max()) <= 0.03  # of the noise and the aliases, which the fit explains
        assert likeness > 0.98


def test_a_shift_of_many_pixels_is_found():
    shifts = torch.tensor([(0.0, 0.0), (11.4, -9.7), (-13.25, 3.5)])
    made, _, _ = frames(shifts=shifts, count=3, side=96)
    for frame, shift in zip(made, shifts, strict=True):
        assert float((register(made[0][0, 0], frame[0, 0])[0] - shift).abs().max()) <= 0.03


@pytest.mark.parametrize("sigma", [2 / 255, None], ids=["told", "estimated"])
def test_the_fit_to_all_frames_is_as_exact_and_knows_the_noise(sigma):
    made, _, shifts = frames()
    aligned = align([frame[0] for frame in made], 3, None, sigma)
    assert aligned.numbers == tuple(range(8))
    assert float((aligned.shifts - shifts).abs().max()) <= 0.02
    assert 1.7 <= aligned.sigma * 255 <= 2.6


# --- the joint operator -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n", "scale"), [(9, 8, 1), (8, 10, 2), (7, 9, 3), (6, 5, 4), (12, 15, 3)])
@pytest.mark.parametrize("blurred", [False, True])
def test_the_adjoint_is_the_transpose_and_the_inverse_solves(m, n, scale, blurred):
    generator = torch.Generator().manual_seed(0)
    kernel = None
    if blurred:
        kernel = torch.rand(3, 5, generator=generator, dtype=torch.float64)
        kernel /= kernel.sum()
    shifts = torch.tensor([(0.0, 0.0), (0.3, -0.41), (-1.2, 0.7)])
    joint = Joint((m, n), scale, kernel, shifts, torch.device("cpu"))
    x = torch.randn(2, m * scale, n * scale, generator=generator)
    y = torch.randn(3, 2, m, n, generator=generator)
    torch.testing.assert_close(joint.picture(joint.spectrum(x)), x, rtol=0, atol=1e-5)
    forward = torch.stack(list(joint.observe(joint.spectrum(x))))
    back = joint.picture(joint.gather(iter(y)))
    assert float((forward * y).sum()) == pytest.approx(float((x * back).sum()), rel=1e-5, abs=1e-4)
    solved = joint.apply(joint.inverse(0.1), joint.spectrum(x))
    again = joint.gather(joint.observe(solved)) + 0.1 * joint.laplacian * solved
    torch.testing.assert_close(joint.picture(again), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_unshifted_frame_is_the_fields_bicubic(scale):
    x = torch.rand(1, 1, 12 * scale, 15 * scale, generator=torch.Generator().manual_seed(0))
    joint = Joint((12, 15), scale, None, torch.zeros(1, 2), torch.device("cpu"))
    (seen,) = joint.observe(joint.spectrum(x[0]))
    torch.testing.assert_close(seen[:, 3:-3, 3:-3], Downsample(scale)(x)[0, :, 3:-3, 3:-3], rtol=0, atol=1e-5)


def test_the_inverse_agrees_with_a_dense_solution():
    """The normal equations, column by column, against LAPACK's solution in float64."""
    joint = Joint((6, 6), 2, None, torch.tensor([(0.0, 0.0), (0.5, 0.25)]), torch.device("cpu"))
    unit = torch.eye(144).view(144, 12, 12)
    forward = torch.stack([frame.flatten(1) for frame in joint.observe(joint.spectrum(unit))]).double()
    matrix = sum(a @ a.T for a in forward)  # rows are what each pixel makes: A' A
    down, right = (unit.roll(-1, dim) - unit for dim in (-2, -1))
    rough = sum(d.flatten(1).double() @ d.flatten(1).double().T for d in (down, right))
    wanted = torch.rand(144, generator=torch.Generator().manual_seed(0))
    dense = torch.linalg.solve(matrix + 0.05 * rough, wanted.double())
    own = joint.picture(joint.apply(joint.inverse(0.05), joint.spectrum(wanted.view(1, 12, 12))))
    torch.testing.assert_close(own.flatten().double(), dense, rtol=0, atol=1e-3)


def test_the_canvas_gives_the_picture_back():
    canvas = Canvas.around(20, 17, 2, None)
    frame = torch.rand(3, 20, 17, generator=torch.Generator().manual_seed(0))
    assert torch.equal(canvas.crop(canvas.extend(frame), 1), frame)
    placed, mask = canvas.place(frame, torch.tensor([3.0, -2.0]))
    assert torch.equal(canvas.crop(placed, 1)[:, 3:, :15], frame[:, :17, 2:])
    assert float(mask.sum()) == 17 * 15


# --- the result ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "gain"), [(2, 3.5), (3, 4.0), (4, 3.0)])
def test_eight_frames_show_more_than_one(scale, gain):
    made, target, shifts = frames(scale)
    base = bicubic(made, target)
    found = psnr(solve(made, scale=scale).x, target)
    told = psnr(fuse(problem(made, scale=scale), Options(), lambda step: True, shifts).x, target)
    assert found >= base + gain
    assert found >= told - 0.3
    assert found >= psnr(solve(made[:1], scale=scale).x, target) + 1  # it is the other frames that help


def test_at_scale_1_the_noise_is_averaged_away():
    made, target, _ = frames(scale=1, sigma=15, side=64)
    assert psnr(solve(made, scale=1, sigma=15).x, target) >= psnr(made[0], target) + 8


def test_blur_that_is_told_is_undone():
    made, target, _ = frames(scale=1, sigma=1, side=64)
    kernel = torch.ones(3, 3, dtype=torch.float64) / 9
    made = [F.avg_pool2d(F.pad(frame, (1, 1, 1, 1), mode="replicate"), 3, 1) for frame in made]
    without, told = (solve(made, scale=1, sigma=1, blur=blur).x for blur in (None, kernel))
    assert psnr(told, target) >= psnr(without, target) + 2


def test_a_frame_of_another_scene_is_left_out_and_named():
    made, target, _ = frames()
    alien = torch.rand(made[0].shape, generator=torch.Generator().manual_seed(9))
    alien = ops.gaussian_blur(alien, 1.5)
    with_alien = solve([*made[:3], alien, *made[3:]])
    assert [note for note in with_alien.notes if "left out" in note] == [
        note for note in with_alien.notes if note.startswith("frame 4 of 9 was left out: it shows something else")
    ]
    assert psnr(with_alien.x, target) >= psnr(solve(made).x, target) - 0.05


def test_a_turned_frame_is_left_out():
    made, _, _ = frames(side=96)
    angle = math.radians(1)
    turn = torch.tensor([[[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]])
    grid = F.affine_grid(turn.float(), list(made[4].shape), align_corners=False)
    made[4] = F.grid_sample(made[4], grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    notes = solve(made).notes
    assert [note.split(":")[0] for note in notes] == ["frame 5 of 8 was left out"]


def test_a_frame_of_another_exposure_is_matched():
    made, target, _ = frames()
    plain = psnr(solve(made).x, target)
    made[2] = 0.8 * made[2] + 0.05
    solution = solve(made)
    (told,) = solution.notes
    gain, offset = re.fullmatch(r".* in frame 3 \(([-+]\d+) %, ([-+][\d.]+)\)", told).groups()
    assert float(gain) == pytest.approx(-20, abs=3)
    assert float(offset) == pytest.approx(0.05 * 255, abs=3)
    assert psnr(solution.x, target) >= plain - 0.3


def test_colour_is_made_of_the_channels():
    made, target, _ = frames(channels=3)
    solution = solve(made, sigma=None)
    assert solution.x.shape == target.shape
    assert psnr(solution.x, target) >= bicubic(made, target) + 4
    (told,) = [note for note in solution.notes if "noise" in note]
    assert 1.7 <= float(told.split()[-3]) <= 2.6


def test_one_picture_alone_still_works_and_says_so():
    made, target, _ = frames(count=1)
    solution = solve(made)
    assert "one picture alone" in solution.notes[0]
    assert psnr(solution.x, target) >= bicubic(made, target) + 0.5


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (17, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_of_a_single_picture(size, channels):
    y = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))
    x = solve([y], sigma=None).x
    assert x.shape == (1, channels, 3 * size[0], 3 * size[1])
    assert bool(torch.isfinite(x).all())


def test_flat_frames_stay_flat():
    x = solve([torch.full((1, 1, 20, 24), 0.25)] * 3, sigma=None).x
    torch.testing.assert_close(x, torch.full((1, 1, 60, 72), 0.25), rtol=0, atol=1e-4)


def test_it_stops_when_told_to_with_the_best_so_far():
    made, target, _ = frames()
    seen = []

    def look(step):
        seen.append(step)
        return len(seen) < 5

    solution = run(problem(made), Options(), look)
    assert len(seen) == 5
    assert [step.fraction for step in seen] == sorted(step.fraction for step in seen)
    assert torch.equal(seen[-1].x, solution.x)
    assert psnr(solution.x, target) >= bicubic(made, target)


def test_a_larger_strength_is_smoother():
    made, _, _ = frames()

    def variation(strength):
        x = run(problem(made), Options(strength=strength), lambda step: True).x
        return float((x[..., 1:] - x[..., :-1]).abs().sum())

    assert variation(1e-4) > variation(1e-2) > variation(1)


# --- through the program --------------------------------------------------------------------------------------------


def pictures(made):
    return [Picture(pixels=(frame[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()) for frame in made]


def test_pictures_go_in_and_one_comes_out():
    made, target, _ = frames(channels=3)
    first, *others = pictures(made)
    settings = InferenceRequest(inputs={"scale": 3, "frames": tuple(others)}, device="cpu")
    result = inference.prepare(find("multiframe", "upscale"), settings)(first)
    x = torch.from_numpy(result.pixels).permute(2, 0, 1)[None] / 255
    assert psnr(x, target.clamp(0, 1)) >= bicubic(made, target) + 3
    assert any("noise was estimated" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 1, 40, 48), "expected frames of one size"), ((1, 3, 48, 48), "all gray or all in colour")],
)
def test_frames_that_do_not_match_are_refused_in_a_line(shape, message):
    made, _, _ = frames(count=1)
    first, other = pictures([made[0], torch.full(shape, 0.5)])
    runner = inference.prepare(
        find("multiframe", "upscale"), InferenceRequest(inputs={"scale": 3, "frames": (other,)}, device="cpu")
    )
    with pytest.raises(CardError, match=message) as caught:
        runner(first)
    assert "\n" not in str(caught.value)


def test_frames_too_small_to_align_are_refused_in_a_line():
    small = [torch.full((1, 1, 15, 40), 0.5)] * 2
    with pytest.raises(CardError, match="at least 16x16 pixels, got 40x15") as caught:
        solve(small)
    assert "\n" not in str(caught.value)
