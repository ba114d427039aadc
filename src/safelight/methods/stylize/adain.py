"""AdaIN: any style in one pass, by giving the content's feature maps the means and deviations of the style's.

Huang and Belongie 2017 (``CARD.paper``). Colours: L. A. Gatys, M. Bethge, A. Hertzmann, E. Shechtman, "Preserving Color
in Neural Artistic Style Transfer", 2016 (arXiv:1606.05897).

f is a backbone up to relu4_1, fixed, and g a decoder that mirrors it and is trained (equations 8 to 14)::

    c --> f --> AdaIN --> g --> T(c, s)          AdaIN(x, y) = sigma(y) (x - mu(x)) / sigma(x) + mu(y)
                  ^                              t = AdaIN(f(c), f(s))
    s --> f ------+                              T(c, s, alpha) = g((1 - alpha) f(c) + alpha t)

    L = |f(g(t)) - t|^2 + lambda sum_i |mu(phi_i(g(t))) - mu(phi_i(s))|^2 + |sigma(phi_i(g(t))) - sigma(phi_i(s))|^2

with phi_i the layers relu1_1 to relu4_1. Several styles are mixed by mixing their t. A style with a mask is given to
the places under it, with the statistics of the content under it, as in the paper's section 6.4; where there is no
style, the content's maps stay.

Differs from the paper: f is Safelight's lens by default, with a fifth of VGG-19's channels and convolutions; the
paper's is ``encoder`` vgg19, for weights of your own. Each term is divided by what the target itself amounts to, so
that lambda means the same for every backbone and layer; pixels count as one more layer of style. In each batch the
first picture is its own style, and the result is held against it pixel by pixel: so an alpha of 0 gives the picture
back. Up by bilinear interpolation, where the authors' code repeats pixels, and with a total variation term: both
against a grain in flat places. Trained by SOAP for thousands of steps on 780 pictures, where the paper takes 160,000
steps on 160,000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight import losses, ops
from safelight.core.card import Card, ExecutionSpec, NetworkSpec, Paper, Trained, TrainingSpec
from safelight.core.options import CardError, option
from safelight.core.solver_input import SolverInput, Style
from safelight.core.training import (
    PICTURES_ROLE,
    STYLES_ROLE,
    Perceptual,
    Recipe,
    UnpairedBatch,
    ValidationScore,
    descend,
    score_of_terms,
)
from safelight.features.backbone import Backbone
from safelight.nn.blocks import EPSILON, Moments, Normalisation, moments, pad_reflect
from safelight.nn.soap import Soap
from safelight.ops import color

LAYER = "relu4_1"
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
SHAPES = {"lens": ((32, 64, 128, 256), (2, 2, 3, 1)), "vgg19": ((64, 128, 256, 512), (2, 2, 4, 1))}
"""Channels and convolutions of the backbones' blocks, up to relu4_1."""
STYLE_WEIGHT, SAME_WEIGHT = 3.0, 20.0  # lambda, and that of the picture that is its own style
RESTLESS_WEIGHT = 10.0  # of total variation
MULTIPLE = 8  # of the sides: relu4_1 has an eighth of them
MARGIN = 24  # pixels around the picture, where f sees zeros


@dataclass(frozen=True, slots=True)
class Options:
    """Strength of the style, colours, and the encoder that the decoder inverts."""

    alpha: float = option(1.0, "0 is the content, 1 the style in full", low=0, high=1, of_use=True)
    colors: Literal["style", "content"] = option(
        "style", "content: give the style the colours of the content before its style is taken", of_use=True
    )
    style_side: int = option(
        512, "pixels that the shorter side of a style is reduced to: its size decides that of its strokes",
        low=64, high=4096, of_use=True,
    )  # fmt: skip
    encoder: Literal["lens", "vgg19"] = option("lens", "the backbone whose maps the decoder turns into pictures")


class AdaIN(Normalisation):
    """Equation 8 on the maps of a content, (1, C, h, w).

    Args:
        mean: mu(y), (N, C, 1, 1), of the style that each mask has.
        deviation: sigma(y), likewise.
        alpha: How much of the result there is, from 0 to 1.
        masks: (N, 1, h, w), from 0 to 1, in sum at most 1; ``None``: one style, everywhere.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, alpha: float, masks: Tensor | None = None) -> None:
        super().__init__(masks)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)
        self.alpha = alpha

    def normalise(self, x: Tensor, given: Moments, masks: Tensor | None) -> Tensor:
        """Replace the moments, under each mask its own."""
        t = renormalised(x, given, self.mean, self.deviation)
        if masks is not None:
            t = (masks * t).sum(dim=0, keepdim=True) + (1 - masks.sum(dim=0, keepdim=True)) * x
        return x + self.alpha * (t - x)


def renormalised(x: Tensor, given: Moments, mean: Tensor, deviation: Tensor) -> Tensor:
    """Give maps of these moments another mean and deviation; the variance is that of a sample, as in the code."""
    variance = given.variance * given.places / (given.places - 1).clamp(min=1)
    return deviation * (x - given.mean) * (variance + EPSILON).rsqrt() + mean


class StyleDecoder(nn.Module):
    """g: maps of relu4_1, (B, C, h, w), to pictures (B, 3, 8 h, 8 w). The encoder's convolutions backwards."""

    def __init__(self, options: Options, scale: int) -> None:  # noqa: ARG002 - the size stays
        super().__init__()
        widths, depths = SHAPES[options.encoder]
        self.encoder = options.encoder
        layers: list[nn.Module] = []
        for block in reversed(range(4)):
            for _ in range(depths[block] - 1):
                layers += [conv(widths[block], widths[block]), nn.ReLU()]
            if block:
                layers += [conv(widths[block], widths[block - 1]), nn.ReLU()]
                layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
        self.layers = nn.Sequential(*layers, conv(widths[0], 3))

    def forward(self, t: Tensor) -> Tensor:
        """Block by block, each at twice the size of the one before; no ReLU behind the last convolution."""
        return self.layers(t)


def conv(n_in: int, n_out: int) -> nn.Conv2d:
    """A 3x3 convolution whose border reflects the maps, for a ReLU (He et al. 2015)."""
    layer = nn.Conv2d(n_in, n_out, 3, padding=1, padding_mode="reflect")
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Transfer(nn.Module):
    """T: pictures (1, 3, H, W) to the same in a style; H and W are multiples of 8, and 16 at least."""

    def __init__(self, encoder: nn.Sequential, adain: AdaIN, decoder: StyleDecoder) -> None:
        super().__init__()
        self.encoder, self.adain, self.decoder = encoder, adain, decoder

    def forward(self, c: Tensor) -> Tensor:
        """Encode, replace the moments, decode."""
        return self.decoder(self.adain(self.encoder(c)))


def complete(decoder: StyleDecoder, options: Options, problem: SolverInput) -> Transfer:
    """Build T for one picture and its styles.

    Raises:
        CardError: A style is smaller than what relu4_1 sees at once.
    """
    backbone = problem.backbone
    assert backbone is not None
    styles = [style for style in problem.styles if style.weight > 0]
    found = [moments_of(style, options, problem.y, backbone) for style in styles]
    masks = shares(styles, problem.y)
    if masks is None:  # one style: the mixture
        weights = [style.weight for style in styles]
        pairs = zip(weights, found, strict=True)
        mixed = [(weight * mean, weight * deviation) for weight, (mean, deviation) in pairs]
        found = [(sum((m for m, _ in mixed), torch.zeros(())), sum((d for _, d in mixed), torch.zeros(())))]
    means, deviations = zip(*found, strict=True)
    adain = AdaIN(torch.cat(means), torch.cat(deviations), options.alpha, masks)
    return Transfer(backbone.network_up_to(LAYER), adain, decoder)


def moments_of(style: Style, options: Options, content: Tensor, backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Take mu(f(s)) and sigma(f(s)), (1, C, 1, 1) each."""
    x = style.x
    least = backbone.receptive_field(LAYER).field
    if min(x.shape[-2:]) < least:
        raise CardError(
            f"expected a style of at least {least}x{least}, which {LAYER} of {backbone.name} sees at once, got "
            f"{x.shape[-1]}x{x.shape[-2]}; take a larger picture"
        )
    if options.colors == "content":
        x = color.match_covariance(x, content).clamp(0, 1)
    x = ops.shrink_to_side(x, max(options.style_side, least))
    return losses.statistics(backbone(x, (LAYER,))[LAYER])


def shares(styles: Sequence[Style], content: Tensor) -> Tensor | None:
    """Share each place of relu4_1 among the styles that are wanted there, (N, 1, h, w); ``None``: no style has a mask.

    The maps are those of the picture with its margin. A place has as much style as the greatest of its masks says.
    """
    if all(style.mask is None for style in styles):
        return None
    everywhere = torch.ones_like(content[:, :1])
    masks = torch.cat([everywhere if style.mask is None else style.mask for style in styles])
    wanted = masks * masks.new_tensor([style.weight for style in styles]).view(-1, 1, 1, 1)
    parts = masks.amax(dim=0, keepdim=True) * wanted / wanted.sum(dim=0, keepdim=True).clamp(min=1e-6)
    return F.avg_pool2d(pad_reflect(parts, MULTIPLE, MARGIN), MULTIPLE)


class Transferring:
    """The training step of the decoder: equations 11 to 14, and the terms of our own."""

    def __init__(
        self,
        network: StyleDecoder,
        recipe: Recipe,
        backbone: Backbone,
        styles: Sequence[Tensor],  # noqa: ARG002 - each batch has its own
    ) -> None:
        if backbone.name != network.encoder:
            raise CardError(
                f"expected the decoder's backbone, {network.encoder}, got {backbone.name}; train with --encoder "
                f"{backbone.name} --backbone {backbone.name}"
            )
        self.network, self.backbone = network, backbone
        self.optimizer = Soap(network.parameters(), lr=recipe.lr)
        self.modules = {"network": network}
        self.optimizers = {"network": self.optimizer}

    def step(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        """Take one step of the optimiser."""
        return descend(self.optimizer, self._terms(self.network, batch))

    @torch.no_grad()
    def validate(self, networks: Mapping[str, nn.Module], batches: Sequence[UnpairedBatch]) -> ValidationScore:
        """The sum of all terms, the mean over the batches."""
        return score_of_terms(self._terms(networks["network"], batch) for batch in batches)

    def _terms(self, decoder: nn.Module, batch: UnpairedBatch) -> dict[str, Tensor]:
        c = batch.a
        s = torch.cat([c[:1], batch.b[1:]])
        with torch.no_grad():
            f_c = self.backbone(c, (LAYER,))[LAYER].float()
            phi_s = {layer: maps.float() for layer, maps in self.backbone(s, LAYERS).items()}
            t = renormalised(f_c, moments(f_c), *losses.statistics(phi_s[LAYER]))
        y = decoder(t).float()
        phi_y = {layer: maps.float() for layer, maps in self.backbone(y, LAYERS).items()}
        pairs = [(y, s), *((phi_y[layer], phi_s[layer]) for layer in LAYERS)]
        style = [losses.statistics_loss(mine, theirs) / theirs.square().mean() for mine, theirs in pairs]
        return {
            "content": losses.content_loss(phi_y[LAYER], t, relative=True),
            "style": STYLE_WEIGHT * torch.stack(style).sum(),
            "same": SAME_WEIGHT * (y[:1] - c[:1]).square().mean(),
            "restless": RESTLESS_WEIGHT * losses.total_variation(y),
        }


RECIPE = Recipe(
    data=("photos_hq", "bsds399", "imagenet", "style"),
    patch=128,
    batch=4,
    steps=8000,
    lr=1e-3,
    warmup=50,
    ema=0.995,
    time="80 minutes on one core of an AMD EPYC in bfloat16",
    promises=(),
)

CARD = Card(
    module=__name__,
    title="AdaIN",
    summary="Any style in one pass, several mixed, where you draw it, in its colours or your picture's (2017).",
    paper=Paper(
        title="Arbitrary Style Transfer in Real-Time with Adaptive Instance Normalization",
        authors="X. Huang, S. Belongie",
        venue="ICCV 2017",
        link="https://arxiv.org/abs/1703.06868",
    ),
    method=Trained(
        network=NetworkSpec(
            build=StyleDecoder,
            input="low-resolution",
            channels="rgb",
            scales=(1,),
            receptive_radius=lambda options, scale: 66,  # noqa: ARG005
            scale_agnostic=True,
            complete=complete,
            backbone=lambda options: options.encoder,
        ),
        execution=ExecutionSpec(
            precisions=("float32",),
            global_statistics=True,
            size_multiple=MULTIPLE,
            padding=MARGIN,
        ),
        training=TrainingSpec(
            algorithm=Perceptual(begin=Transferring),
            recipe=RECIPE,
            batch=UnpairedBatch,
            roles=(PICTURES_ROLE, STYLES_ROLE),
            shorter_side=2,  # what a crop shows must be a thing, as in a picture, not a patch of its surface
        ),
    ),
    options=Options,
    accepts=frozenset({"style"}),
)
