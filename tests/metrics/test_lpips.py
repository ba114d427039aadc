"""LPIPS through small networks, against plain numpy; its heads, its layers, and its bands of rows."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from safelight import features
from safelight.features.backbone import Backbone, BackboneError, BackboneLayer
from safelight.metrics import METRICS, FeatureMetric, Protocol, find, heads_of, label, lpips
from safelight.metrics.bands import maps_by_row_bands


def tiny() -> Backbone:
    """Two convolutions with a pooling between them."""
    generator = torch.Generator().manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
    for conv in (first, second):
        nn.init.normal_(conv.weight, 0, 0.5, generator)
        nn.init.normal_(conv.bias, 0, 0.1, generator)
    steps = [
        BackboneLayer(name="conv1", module=first, channels=4, kernel=3),
        BackboneLayer(name="relu1", module=nn.ReLU(), channels=4),
        BackboneLayer(name="pool1", module=nn.AvgPool2d(2), channels=4, kernel=2, stride=2, least=2),
        BackboneLayer(name="conv2", module=second, channels=5, kernel=3),
        BackboneLayer(name="relu2", module=nn.ReLU(), channels=5),
    ]
    network = nn.ModuleList([first, second])
    made = Backbone("tiny", network, steps, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return made.eval().requires_grad_(False)


LAYERS = ("relu1", "relu2")


def pair(height: int = 24, width: int = 20, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    result, reference = torch.rand((2, 2, channels, height, width), generator=generator)
    return result, reference


def by_numpy(result: Tensor, reference: Tensor, heads: list[np.ndarray] | None = None) -> float:
    """One picture, by the formula of the authors' code on inputs in [-1, 1] with their shift and scale."""
    backbone = tiny()
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    first, second = backbone.network.children()
    total = 0.0
    maps = []
    for picture in (result, reference):
        x = torch.relu(first((2 * picture - 1 - shift) / scale))
        maps.append([x.numpy(), torch.relu(second(nn.functional.avg_pool2d(x, 2))).numpy()])
    for k in range(2):
        a, b = (m[k][0].astype(np.float64) for m in maps)
        a, b = (v / (np.sqrt((v**2).sum(axis=0)) + 1e-10) for v in (a, b))
        weights = np.ones(len(a)) if heads is None else heads[k]
        total += ((a - b) ** 2 * weights[:, None, None]).sum(axis=0).mean()
    return float(total)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_plain_numpy(weighted: bool) -> None:
    result, reference = pair()
    heads = [np.linspace(0, 1, 4), np.linspace(2, 0.5, 5)] if weighted else None
    given = None if heads is None else [torch.tensor(head) for head in heads]
    values = lpips(result, reference, backbone=tiny(), layers=LAYERS, heads=given, rounding="none")
    expected = [by_numpy(result[i : i + 1], reference[i : i + 1], heads) for i in range(2)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-5)


def test_properties() -> None:
    result, reference = pair()
    backbone = tiny()
    values = lpips(result, reference, backbone=backbone, layers=LAYERS)
    assert (values.shape, values.dtype) == ((2,), torch.float64)
    assert bool((values > 0).all())
    assert bool((values <= 2 * len(LAYERS)).all())
    torch.testing.assert_close(values, lpips(reference, result, backbone=backbone, layers=LAYERS))
    assert lpips(reference, reference, backbone=backbone, layers=LAYERS).tolist() == [0, 0]
    steps = [
        lpips(reference + a * (result - reference), reference, backbone=backbone, layers=LAYERS) for a in (0.1, 0.4)
    ]
    assert bool((steps[0] < steps[1]).all())
    cut = lpips(result[..., 2:-2, 2:-2], reference[..., 2:-2, 2:-2], backbone=backbone, layers=LAYERS)
    torch.testing.assert_close(lpips(result, reference, backbone=backbone, layers=LAYERS, shave=2), cut)


def test_gray_is_three_equal_channels() -> None:
    result, reference = pair(channels=1)
    backbone = tiny()
    gray = lpips(result, reference, backbone=backbone, layers=LAYERS)
    rgb = lpips(result.expand(-1, 3, -1, -1), reference.expand(-1, 3, -1, -1), backbone=backbone, layers=LAYERS)
    torch.testing.assert_close(gray, rgb)


def test_layers_are_those_of_the_facts() -> None:
    result, reference = pair(32, 32)
    lens = features.facts("lens").build("average")
    named = lpips(result, reference, backbone=lens, layers=features.facts("lens").perceptual)
    torch.testing.assert_close(lpips(result, reference, backbone=lens), named)
    with pytest.raises(BackboneError, match="tiny"):
        lpips(result, reference, backbone=tiny())  # a network that no facts are known of
    with pytest.raises(BackboneError, match="lens has no layer 'relu9_1'"):
        lpips(result, reference, backbone=lens, layers=["relu9_1"])
    with pytest.raises(BackboneError, match="expected layers to compare, got none"):
        lpips(result, reference, backbone=lens, layers=[])
    with pytest.raises(BackboneError, match="lens"):
        lpips(result[..., :4, :4], reference[..., :4, :4], backbone=lens)


def test_heads_of_a_published_file() -> None:
    tensors = {f"lin{i}.model.1.weight": torch.full((1, c, 1, 1), float(i)) for i, c in enumerate((4, 5))}
    heads = heads_of(tensors)
    assert [head.tolist() for head in heads] == [[0] * 4, [1] * 5]
    result, reference = pair()
    only_second = lpips(result, reference, backbone=tiny(), layers=["relu2"])
    weighted = lpips(result, reference, backbone=tiny(), layers=LAYERS, heads=heads)
    torch.testing.assert_close(weighted, only_second)
    with pytest.raises(ValueError, match=r"expected heads of tiny, for \[5, 4\] channels, got \[4, 5\]"):
        lpips(result, reference, backbone=tiny(), layers=LAYERS[::-1], heads=heads)
    with pytest.raises(ValueError, match="expected heads of 0 and more"):
        lpips(result, reference, backbone=tiny(), layers=LAYERS, heads=[-heads[0] - 1, heads[1]])
    with pytest.raises(ValueError, match=r"of shape \(1, channels, 1, 1\), got \(4, 1\)"):
        heads_of({"lin0.model.1.weight": torch.ones(4, 1)})
    with pytest.raises(ValueError, match=r"expected weights of LPIPS, .* got 'conv1.weight'"):
        heads_of({"conv1.weight": torch.ones(4, 1)})


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("alexnet", [64, 192, 384, 256, 256]),
        ("vgg16", [64, 128, 256, 512, 512]),
        ("squeezenet", [64, 128, 256, 384, 384, 512, 512]),
    ],
)
def test_the_usual_layers_are_those_that_the_published_heads_are_for(name: str, widths: list[int]) -> None:
    # The channels of the authors' code, `chns` in lpips.py.
    facts = features.facts(name)
    with torch.device("meta"):
        backbone = facts.build(facts.pooling)
    assert [backbone.receptive_field(layer).channels for layer in facts.perceptual] == widths


@pytest.mark.parametrize("name", ["lens", "vgg16", "alexnet", "squeezenet", "inception"])
def test_bands_are_the_whole(name: str) -> None:
    torch.manual_seed(0)
    facts = features.facts(name)
    backbone = facts.build(facts.pooling).eval()
    layers = facts.perceptual
    picture = torch.rand((1, 3, 901, 33), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = backbone(picture, layers)
    bands = list(maps_by_row_bands(backbone, picture, layers, pixels=33 * 32))
    assert len(bands) > 1 or name == "inception"
    for layer in layers:
        joined = torch.cat([band[layer] for band in bands], dim=2)
        torch.testing.assert_close(joined, whole[layer], atol=1e-5, rtol=1e-4)


def test_gradients_are_on_between_bands_and_after() -> None:
    result, reference = pair(64, 20)
    for _ in maps_by_row_bands(tiny(), result[:1], LAYERS, pixels=20):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    lpips(result, reference, backbone=tiny(), layers=LAYERS)
    assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (True, False)


def test_the_name_says_what_it_depends_on() -> None:
    metric = find("lpips")
    assert isinstance(metric, FeatureMetric)
    assert metric in METRICS
    names = {
        label("lpips", "lens"), label("lpips", "vgg16"), label("lpips", "vgg16", heads=True),
        label("lpips", "lens", ["relu1_2"]), label("lpips", "lens", ["relu1_2", "relu2_2"]),
    }  # fmt: skip
    assert len(names) == 5
    result, reference = pair(32, 32)
    lens = features.facts("lens").build("average")
    rounded = metric.score(result, reference, Protocol("y", shave=3, rounding="8-bit-y"), lens)
    torch.testing.assert_close(rounded, lpips(result, reference, backbone=lens, shave=3))
    exact = metric.score(result, reference, Protocol("y", rounding="none"), lens)
    torch.testing.assert_close(exact, lpips(result, reference, backbone=lens, rounding="none"))
