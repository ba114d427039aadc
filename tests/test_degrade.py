"""How pictures get worse for training: noise, JPEG and shrinking, held against independent implementations."""

import numpy as np
import pytest
import pyvips
import scipy.fft
import torch

from safelight import degrade, ops
from safelight.degrade import BlurError, Jpeg, Noise, Shrink, blur_kernel
from safelight.media import image
from safelight.media.image import Picture
from safelight.ops.color import rgb_to_ycbcr
from support.pictures import lines_and_ring

# --- JPEG -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [5, 10, 30, 50, 75, 95, 99])
@pytest.mark.parametrize("size", [(72, 88), (45, 53)])
def test_jpeg_is_what_libjpeg_gives_back(quality, size):
    """libjpeg's transform is one of integers: where a coefficient lies just between two steps of the table, the two may
    round it apart, which changes a block. So most blocks are equal, and the damage is the same to a few hundredths.
    """
    rough = degrade.add_noise(lines_and_ring(*size), 6, torch.Generator().manual_seed(0)).clamp(0, 1)
    samples = ops.round_half_up(rough * 255).to(torch.uint8)[0, 0].numpy()
    real = image.read(image.encode(Picture(pixels=samples[..., None]), "jpeg", quality=quality)).pixels[..., 0]
    made = degrade.jpeg(torch.from_numpy(samples)[None, None].float() / 255, torch.tensor([quality]))
    ours = (made[0, 0] * 255).round().double().numpy()
    off = np.abs(ours - real)
    assert (off == 0).mean() > 0.7
    assert (off > 1).mean() < 0.1
    damage, theirs = (np.mean((x - samples.astype(np.float64)) ** 2) for x in (ours, real))
    assert damage == pytest.approx(theirs, rel=0.04, abs=0.02)


@pytest.mark.parametrize("quality", [10, 75])
def test_jpeg_is_the_standards_transform(quality):
    """The cosine transform of scipy, quantised by the table, block by block."""
    rough = degrade.add_noise(lines_and_ring(72, 88), 6, torch.Generator().manual_seed(0)).clamp(0, 1)
    samples = ops.round_half_up(rough * 255)[0, 0].double().numpy()
    table = degrade.quantisation_table(torch.tensor([quality]))[0].double().numpy()
    blocks = samples.reshape(9, 8, 11, 8).transpose(0, 2, 1, 3) - 128
    coefficients = scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho") / table
    decoded = scipy.fft.idctn(np.round(coefficients) * table, axes=(2, 3), norm="ortho") + 128
    expected = np.floor(decoded + 0.5).clip(0, 255).transpose(0, 2, 1, 3).reshape(72, 88)
    ours = (degrade.jpeg(rough, torch.tensor([quality]))[0, 0] * 255).round().numpy()
    assert (ours == expected).mean() > 0.98  # float32 rounds a few coefficients the other way


def colours(height=72, width=88):
    """A drawing whose chroma has edges too."""
    luma = lines_and_ring(height, width)
    red = luma.flip(-1).roll(5, -2)
    return torch.cat([luma, 0.7 * red + 0.2, 1 - luma.flip(-2)], dim=1)


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("size", [(72, 88), (45, 53)])
def test_jpeg_of_colours_is_what_libjpeg_gives_back(quality, halved, size):
    """But where a coefficient lies just between two steps. Chroma that is enlarged otherwise is off by 5 on average."""
    rough = degrade.add_noise(colours(*size), 6, torch.Generator().manual_seed(0)).clamp(0, 1)
    samples = ops.round_half_up(rough * 255).to(torch.uint8)[0].permute(1, 2, 0).contiguous().numpy()
    plain = pyvips.Image.new_from_memory(samples.tobytes(), size[1], size[0], 3, "uchar")
    file = plain.jpegsave_buffer(Q=quality, subsample_mode="on" if halved else "off")
    real = image.read(file).pixels
    made = degrade.jpeg(
        torch.from_numpy(samples).permute(2, 0, 1)[None].float() / 255, torch.tensor([quality]), halved=halved
    )
    ours = (made[0] * 255).round().permute(1, 2, 0).double().numpy()
    assert np.abs(ours - real).mean() < 1.5
    damage, theirs = (np.mean((x - samples.astype(np.float64)) ** 2) for x in (ours, real))
    assert damage == pytest.approx(theirs, rel=0.03, abs=0.05)


def test_every_other_colour_crop_has_its_chroma_halved():
    clean = colours(160, 160)[..., :64, :64].expand(4, -1, -1, -1)
    coarse, target = Jpeg(80, 80, halved=True).pair(clean, 40, torch.Generator().manual_seed(0))
    errors = (rgb_to_ycbcr(coarse) - rgb_to_ycbcr(target)).square()[:, 1:].mean(dim=(1, 2, 3))
    assert errors[1] == errors[3] > 1.5 * errors[0] == 1.5 * errors[2]


def test_noise_comes_before_the_compression():
    clean = lines_and_ring(72, 88)[..., :48, :48].expand(8, -1, -1, -1)
    kind = Jpeg(95, 95, noise=40)
    coarse, target = kind.pair(clean, 36, torch.Generator().manual_seed(0))
    errors = (coarse - target).square().mean(dim=(1, 2, 3)).sqrt() * 255
    assert errors.max() > 15
    assert errors.std() > 5  # a level for each crop
    assert torch.equal(coarse * 255, (coarse * 255).round())
    assert kind.describe() == "quality 95 after noise 20"


def test_jpeg_takes_a_quality_for_each_picture():
    x = lines_and_ring(72, 88).expand(3, -1, -1, -1)
    qualities = torch.tensor([5, 40, 95])
    together = degrade.jpeg(x, qualities)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], degrade.jpeg(x[i : i + 1], qualities[i : i + 1]))
    errors = (together - x).square().mean(dim=(1, 2, 3))
    assert errors[0] > errors[1] > errors[2]


def test_crops_of_jpeg_lie_anywhere_on_the_grid_of_blocks():
    """The networks' crops must not all begin at a block's corner, which no crop of a user's picture does."""
    kind = Jpeg(5, 5)
    side = kind.side(24)
    assert side % 8 == 0
    assert side >= 24 + 7
    clean = lines_and_ring(72, 88)[..., :side, :side]
    generator = torch.Generator().manual_seed(0)
    corners = set()
    for _ in range(40):
        coarse, target = kind.pair(clean, 24, generator)
        assert coarse.shape == target.shape == (1, 1, 24, 24)
        # Between blocks, rows jump: the largest mean jump tells where the grid lies.
        jumps = (coarse[0, 0].diff(dim=0) - target[0, 0].diff(dim=0)).abs().mean(dim=1)
        corners.add(int(jumps.argmax()) % 8)
    assert len(corners) >= 4


# --- noise ------------------------------------------------------------------------------------------------------------


def test_noise_is_white_unclipped_and_of_its_sigma():
    x = torch.ones(1, 1, 400, 400)
    noise = (degrade.add_noise(x, 25, torch.Generator().manual_seed(0)) - x)[0, 0] * 255
    assert float(noise.std()) == pytest.approx(25, rel=0.01)
    assert abs(float(noise.mean())) < 0.2
    assert float(noise.max()) > 60  # white stays not at 1
    for shifted in (noise.roll(1, 0), noise.roll(1, 1)):
        assert abs(float((noise * shifted).mean())) < 0.01 * 625


def test_each_crop_draws_its_own_level():
    kind = Noise(0, 55)
    clean = torch.zeros(600, 1, 12, 12)
    noisy, target = kind.pair(clean, 12, torch.Generator().manual_seed(0))
    assert target is clean
    levels = noisy.std(dim=(1, 2, 3)) * 255
    assert float(levels.min()) < 2
    assert float(levels.max()) > 50
    assert float(levels.mean()) == pytest.approx(27.5, rel=0.08)


@pytest.mark.parametrize(("kind", "level"), [(Noise(0, 55), 25), (Noise(15, 15), 15), (Noise(0, 10), 10)])
def test_the_typical_level_is_the_ranges_own(kind, level):
    x = torch.zeros(1, 1, 200, 200)
    assert float(kind.validation_pair(x, torch.Generator().manual_seed(1))[0].std() * 255) == pytest.approx(
        level, rel=0.03
    )
    assert f"{level}" in kind.describe()


# --- shrinking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shrink_counts_the_patch_in_the_large_picture_if_asked(scale):
    kind = Shrink(scale, interpolated=True, of_large=True)
    side = kind.side(40)
    clean = torch.rand(2, 1, side, side)
    enlarged, target = kind.pair(clean, 40, torch.Generator())
    assert enlarged.shape == target.shape == (2, 1, 40 // scale * scale, 40 // scale * scale)
    whole = ops.resize(ops.resize(clean, zoom=1 / scale), (side, side))
    margin = (side - target.shape[-1]) // 2
    torch.testing.assert_close(enlarged, whole[..., margin:-margin, margin:-margin])


# --- blur kernels that users name -------------------------------------------------------------------------------------


def test_a_gaussian_is_centred_and_of_its_sigma():
    kernel = blur_kernel("gaussian:1.6")
    t = torch.arange(-5, 6, dtype=torch.float64)
    assert float(kernel.sum()) == pytest.approx(1)
    assert float((kernel.sum(dim=0) * t).sum()) == pytest.approx(0, abs=1e-12)
    assert float((kernel.sum(dim=0) * t**2).sum()) == pytest.approx(1.6**2, rel=0.03)  # cut at 3 sigma


def test_a_kernel_file_is_scaled_to_sum_one(tmp_path):
    file = tmp_path / "kernel.txt"
    file.write_text("0 1 0\n1, 4, 1\n0 1 0\n")
    assert blur_kernel(file).tolist() == [[0, 0.125, 0], [0.125, 0.5, 0.125], [0, 0.125, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2\n3 4\n", "odd sides"), ("1 2 3\n4 5\n", "odd sides"), ("a b c\n", "odd sides"), ("", "odd sides"),
        ("1 -5 1\n", "positive sum, got -3"), ("0 0 0\n", "positive sum, got 0"), ("nan 1 1\n", "positive sum"),
    ],
)  # fmt: skip
def test_a_kernel_that_is_none_is_refused_in_a_line(tmp_path, content, message):
    file = tmp_path / "kernel.txt"
    file.write_text(content)
    with pytest.raises(BlurError, match=message) as caught:
        blur_kernel(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("blur", ["gaussian:0", "gaussian:-1", "gaussian:x", "gaussian:1e9", "box", "/no/such/file"])
def test_a_blur_that_is_none_is_refused_in_a_line(blur):
    with pytest.raises(BlurError, match="expected a blur"):
        blur_kernel(blur)


def test_a_mixture_gives_each_kind_its_share():
    mixture = degrade.MixedDegradation((Jpeg(5, 5), Noise(50, 50), Shrink(4, interpolated=True, of_large=True)))
    side = mixture.side(24)
    clean = lines_and_ring(120, 120)[..., :side, :side].expand(7, -1, -1, -1)
    degraded, target = mixture.pair(clean, 24, torch.Generator().manual_seed(0))
    assert degraded.shape == target.shape == (7, 1, 24, 24)
    errors = (degraded - target).square().mean(dim=(1, 2, 3))
    assert (errors[3:5] > 4 * errors[[0, 1, 2, 5, 6]].max()).all()  # three, two and two crops, in the kinds' order
    assert mixture.describe() == "quality 5, noise 50, x4"
    odd = mixture.pair(
        lines_and_ring(120, 120)[..., : mixture.side(27), : mixture.side(27)].expand(3, -1, -1, -1),
        27,
        torch.Generator(),
    )
    assert odd[0].shape == odd[1].shape == (3, 1, 24, 24)  # all as large as the least


def test_gray_has_three_equal_channels_and_their_noise_is_equal():
    clean = colours(96, 96).expand(3, -1, -1, -1)
    kind = degrade.Gray(Noise(20, 20))
    noisy, target = kind.pair(clean[..., : kind.side(40), : kind.side(40)], 40, torch.Generator().manual_seed(0))
    assert noisy.shape == target.shape == (3, 3, 40, 40)
    assert torch.equal(noisy[:, 0], noisy[:, 2])
    assert float((noisy - target).std()) * 255 == pytest.approx(20, rel=0.05)
    whole, gray = kind.validation_pair(clean[:1], torch.Generator().manual_seed(0))
    assert whole.shape == gray.shape == (1, 1, 96, 96)
    white = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(kind.validation_pair(white, torch.Generator())[1], torch.ones(1, 1, 8, 8))
    assert kind.describe() == "gray: noise 20"
