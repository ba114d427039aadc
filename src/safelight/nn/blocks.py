"""What networks share: how they begin and grow, deconvolution as a convolution, and steps by statistics of maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from safelight import ops

_NOISE_PERIOD = 1024  # pixels: the side of the noise tile, which is repeated
EPSILON = 1e-5  # added to variances, as is usual in style transfer


def init_small_residual(network: nn.Module, last: str) -> None:
    """Initialise a ReLU network that predicts a residual, so that its first outputs are close to zero.

    Biases are zero, the weights of the layer named ``last`` have a standard deviation of 0.001, and all other weights
    are drawn as in He et al. 2015.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name == f"{last}.weight":
            nn.init.normal_(parameter, std=1e-3)
        else:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")


@torch.no_grad()
def init_pass_through(layer: nn.Conv2d) -> None:
    """Initialise a convolution so that its first output channel equals its first input channel.

    A network of such layers passes the picture through before any training. The kernel's sides must be odd.
    """
    nn.init.zeros_(layer.weight[0])
    layer.weight[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
    if layer.bias is not None:
        layer.bias[0] = 0


@torch.no_grad()
def init_near_identity(layers: Iterable[nn.Conv2d]) -> None:
    """Initialise convolutions from C to C channels as the identity plus a tenth of their present weights."""
    for layer in layers:
        layer.weight.mul_(0.1)
        layer.weight[:, :, layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] += torch.eye(layer.out_channels)


class GrowingNetwork(nn.Module):
    """A network of convolutions whose channels can be trained in stages: at first a share of them, in the end all.

    Attributes:
        share: Of its channels, in (0, 1], which ``Narrowed`` computes.
        ends: The names of the two layers that read the picture and make it. The picture's channels always stay.
    """

    share: float = 1.0
    ends: tuple[str, str]

    def channels(self, layer: nn.Conv2d, share: float) -> tuple[int, int]:
        """Count the channels of the result and of the input that a layer has at this share."""
        first, last = (self.get_submodule(name) for name in self.ends)
        outputs = layer.out_channels if layer is last else int(layer.out_channels * share)
        return outputs, layer.in_channels if layer is first else int(layer.in_channels * share)

    @torch.no_grad()
    def prepare_growth(self, shares: Iterable[float]) -> None:
        """Let the first channels of each layer begin by depending on the first ones of its input alone.

        So the network computes the same when the other channels join them, and these learn from then on.
        """
        for share in shares:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    outputs, inputs = self.channels(layer, share)
                    nn.init.zeros_(layer.weight[:outputs, inputs:])


def grow(network: GrowingNetwork, width: float) -> None:
    """Train a share of the channels."""
    network.share = width


class Narrowed(nn.Module):
    """A network with the share of its channels that it has grown to: its own ``forward``, on views of its weights.

    Args:
        network: The network that grows.
        form: A module that holds the network and computes the same, if it is not the network that is called.
    """

    def __init__(self, network: GrowingNetwork, form: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.form: nn.Module = network if form is None else form

    def forward(self, x: Tensor) -> Tensor:
        """Compute what the network does of a picture, without the channels that have not joined."""
        if self.network.share == 1:
            return self.form(x)
        views: dict[str, Tensor] = {}
        for name, parameter in self.form.named_parameters():
            layer = self.form.get_submodule(name.rpartition(".")[0])
            if isinstance(layer, nn.Conv2d):
                outputs, inputs = self.network.channels(layer, self.network.share)
                views[name] = parameter[:outputs, :inputs] if parameter.ndim == 4 else parameter[:outputs]
        return functional_call(self.form, views, (x,))


class ResidualChain(GrowingNetwork):
    """Layers of 3x3 convolutions without branches, a ReLU between them, which compute a residual.

    Args:
        channels: Of the picture.
        depth: The layers, the first and the last included.
        width: The channels between them.
        shares: Of its channels, with which it is trained one after the other.
        identity: Whether the layers between begin near the identity; otherwise as He et al. 2015 draw them.
    """

    ends = ("first", "last")

    def __init__(
        self, channels: int, depth: int, width: int = 64, shares: Iterable[float] = (), *, identity: bool = False
    ) -> None:
        super().__init__()
        middle = [nn.Conv2d(width, width, 3, padding=1) for _ in range(depth - 2)]
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.middle = nn.ModuleList(middle)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        init_small_residual(self, "last")
        if identity:
            init_near_identity(middle)
        self.prepare_growth(shares)

    def residual(self, x: Tensor) -> Tensor:
        """Compute (B, channels, H, W) from a picture of that shape."""
        r = F.relu(self.first(x))
        for conv in self.middle:
            r = F.relu(conv(r))
        return self.last(r)


def bicubic_impulse_response(s: int) -> Tensor:
    """Enlarge a single pixel of 1 in the middle of 9 x 9 zeros ``s`` times by the bicubic kernel: (9, s, 9, s)."""
    with torch.device("cpu"):  # also where networks are built without numbers, to count their work
        dot = torch.zeros(9, 9)
        dot[4, 4] = 1
        return ops.resize(dot, (9 * s, 9 * s)).view(9, s, 9, s)


def transposed_as_convolution(weight: Tensor, s: int, p: int) -> tuple[Tensor, int, int, int]:
    """Rewrite a transposed convolution that enlarges exactly s times, its stride, as a convolution and a pixel shuffle.

    Result row o takes the input row m by the kernel's row o + p - s m (p the padding). With o = s i + a - d, a the
    place in the cell and d the shift, this is s (i - m) + a + p - d: the taps i - m lie between the bounds below, and
    d is chosen so that there are fewest of them.

    Args:
        weight: (in, out, k, k), of the transposed convolution.
        s: Its stride.
        p: Its padding.

    Returns:
        The weight, (out s s, in, n, n), differentiable; how many rows of the input it looks up and
        down, and columns likewise; and the shift d: cell i begins at s i - d.
    """
    k = weight.shape[-1]

    def taps(d: int) -> tuple[int, int]:
        """The least and the largest i - m of any place in the cell."""
        return -((p - d + s - 1) // s), (k - 1 - (p - d)) // s

    shift = min(range(s), key=lambda d: (taps(d)[1] - taps(d)[0], d))
    low, high = taps(shift)
    n = high - low + 1
    before = -(s * low + p - shift)
    after = s * n - k - before
    # Tap t reads the input row i - t: a convolution's kernel row high - t.
    rows = F.pad(weight, (before, after, before, after)).view(*weight.shape[:2], n, s, n, s).flip(2, 4)
    return rows.permute(1, 3, 5, 0, 2, 4).flatten(0, 2), high, -low, shift


@cache
def _noise_tile() -> Tensor:
    return torch.randn(1, 3, _NOISE_PERIOD, _NOISE_PERIOD, generator=torch.Generator().manual_seed(0))


def fixed_noise(top: int, left: int, height: int, width: int) -> Tensor:
    """Return fixed white Gaussian noise of standard deviation 1 for a region of a picture, (1, 3, height, width).

    The noise depends only on the position, so that regions fit together. The pattern repeats every 1,024 pixels.
    """
    rows, columns = ((torch.arange(n) + first) % _NOISE_PERIOD for first, n in ((top, height), (left, width)))
    return _noise_tile()[..., rows[:, None], columns]


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, variance and number of places of each map, in N sets: one for each picture of a batch, or for each mask.

    ``mean`` and ``variance`` (of all places, not of a sample) are (N, C, 1, 1), ``places`` is (N, 1, 1, 1).
    """

    mean: Tensor
    variance: Tensor
    places: Tensor


def moments(x: Tensor, masks: Tensor | None = None) -> Moments:
    """Take the moments of maps, (B, C, h, w); with masks, (N, 1, h, w), of one picture's maps under each of them."""
    if masks is None:
        variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
        return Moments(mean, variance, x.new_full((len(x), 1, 1, 1), x.shape[2] * x.shape[3]))
    places = masks.sum(dim=(2, 3), keepdim=True)
    most = places.clamp(min=1e-12)
    mean = (masks * x).sum(dim=(2, 3), keepdim=True) / most
    variance = (masks * (x - mean).square()).sum(dim=(2, 3), keepdim=True) / most
    return Moments(mean, variance, places)


class Normalisation(nn.Module):
    """A layer that needs the moments of whole maps and is otherwise pointwise.

    The engine takes the moments over the whole picture and calls ``normalise`` for parts of it (engine/statistics.py).

    Args:
        masks: (N, 1, h, w), of the maps' size: the weights with which each set of moments is taken. ``None``: one set
            of the whole maps.
    """

    masks: Tensor | None

    def __init__(self, masks: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("masks", masks, persistent=False)

    def normalise(self, x: Tensor, given: Moments, masks: Tensor | None) -> Tensor:
        """Normalise a region of the maps, (B, C, h, w), with the same region of the masks."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Normalise whole maps."""
        x = x.float()  # where convolutions compute in bfloat16, a mean over a picture needs the digits
        return self.normalise(x, moments(x, self.masks), self.masks)


class InstanceNorm(Normalisation):
    """Instance normalisation with a scale and an offset for each channel.

    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization",
    arXiv:1607.08022.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def normalise(self, x: Tensor, given: Moments, masks: Tensor | None) -> Tensor:  # noqa: ARG002 - it has none
        """``weight * (x - mean) / deviation + bias``, as one multiplication and one addition."""
        factor = self.weight.view(1, -1, 1, 1) * (given.variance + EPSILON).rsqrt()
        return torch.addcmul(self.bias.view(1, -1, 1, 1) - given.mean * factor, x, factor)


def pad_reflect(x: Tensor, multiple: int, margin: int = 0) -> Tensor:
    """Pad pictures (..., H, W) by reflection without repeating the edge.

    A margin is added on each side, and further rows below and columns on the right make the sides multiples of
    ``multiple``.
    """
    if multiple == 1 and margin == 0:
        return x
    rows, columns = (reflected_indices(side, multiple, margin).to(x.device) for side in (x.shape[-2], x.shape[-1]))
    return x[..., rows, :][..., columns]


def reflected_indices(side: int, multiple: int, margin: int) -> Tensor:
    """Return the source index, in an axis of ``side`` samples, of each sample of the axis that ``pad_reflect`` pads.

    With a multiple above 1 the padded axis has at least two multiples.

    Example:
        >>> reflected_indices(5, 4, 1).tolist()
        [1, 0, 1, 2, 3, 4, 3, 2]
    """
    whole = side + 2 * margin
    if multiple > 1:
        whole = max(2, -(-whole // multiple)) * multiple
    period = max(1, 2 * (side - 1))
    places = torch.arange(-margin, whole - margin) % period
    return torch.minimum(places, period - places)
