"""Measures of quality: one pure function a file, and the list by which they are found by name.

A metric compares two pictures by their samples (`Metric`) or by a network's features (`FeatureMetric`), or two sets of
pictures by a network's features (`SetMetric`). `METRICS` is the explicit tuple of them all; a new metric
is its file and one entry there.
"""

import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from safelight.features.backbone import Backbone
from safelight.metrics.fid import fid, global_features
from safelight.metrics.ifc import SMALLEST as _IFC_SMALLEST
from safelight.metrics.ifc import ifc
from safelight.metrics.kid import kid
from safelight.metrics.lpips import heads_of, lpips
from safelight.metrics.ms_ssim import SMALLEST as _MS_SSIM_SMALLEST
from safelight.metrics.ms_ssim import ms_ssim
from safelight.metrics.nqm import SMALLEST as _NQM_SMALLEST
from safelight.metrics.nqm import nqm
from safelight.metrics.protocol import SR_NEWER, SR_OLDER, Channel, Protocol, Rounding
from safelight.metrics.psnr import psnr
from safelight.metrics.ssim import SIDE as _SSIM_SMALLEST
from safelight.metrics.ssim import ssim
from safelight.metrics.wpsnr import wpsnr

__all__ = [
    "LPIPS", "METRICS", "PSNR", "SR_NEWER", "SR_OLDER", "SSIM", "AnyMetric", "FeatureMetric", "Metric", "Protocol",
    "SetMetric", "fid", "find", "global_features", "heads_of", "ifc", "kid", "label", "lpips", "ms_ssim", "nqm", "psnr",
    "ssim", "wpsnr",
]  # fmt: skip


class _Function(typing.Protocol):
    def __call__(
        self, result: Tensor, reference: Tensor, *, channel: Channel, shave: int = 0, rounding: Rounding = "8-bit"
    ) -> Tensor: ...


class _SetFunction(typing.Protocol):
    def __call__(self, result: Tensor, reference: Tensor, *, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Metric:
    """A metric that compares two pictures by their samples.

    Attributes:
        name: as users type it; also the name of its file and of its function, with the variant in brackets if it is not
            the usual one.
        title: as a table's heading.
        function: the metric itself.
        unit: "dB", or "" for a pure number.
        higher_is_better: whether a larger number is a better picture.
        definition: the constants that the metric fixes and the protocol does not, in words.
        smallest: the side, in pixels, that it needs after the shave.
        usual: whether it is measured where nobody has named a metric; a variant is not.
    """

    name: str
    title: str
    function: _Function
    unit: Literal["dB", ""]
    higher_is_better: bool
    definition: str
    smallest: int = 1
    usual: bool = True

    def score(self, result: Tensor, reference: Tensor, protocol: Protocol) -> Tensor:
        """Measure under a protocol that is kept as a record.

        Args:
            result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
            reference: same shape, in [0, 1].
            protocol: channel, shave and rounding.

        Returns:
            One number a picture, `(B,)`, float64, in `unit`.

        Raises:
            ValueError: the pictures cannot be compared; see the function.

        Example:
            >>> black = torch.zeros(1, 3, 16, 16)
            >>> round(PSNR.score(black + 1, black, SR_NEWER).item(), 3)
            1.322
        """
        return self.function(
            result, reference, channel=protocol.channel, shave=protocol.shave, rounding=protocol.rounding
        )


@dataclass(frozen=True)
class FeatureMetric:
    """A metric that compares two pictures by the features of a backbone; lower is better.

    Attributes:
        name: as users type it.
        title: as a table's heading, before the backbone's name.
        definition: what it fixes, in words.
    """

    name: str
    title: str
    definition: str

    def score(
        self,
        result: Tensor,
        reference: Tensor,
        protocol: Protocol,
        backbone: Backbone,
        layers: Sequence[str] | None = None,
        heads: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Measure with the shave and the rounding of a protocol; the network always sees colour.

        Args:
            result: `(B, C, H, W)`, floating, C = 1 (gray) or 3 (sRGB).
            reference: same shape, in [0, 1].
            protocol: shave and rounding; "8-bit-y", of the luma, counts as "8-bit".
            backbone: the network.
            layers: of the network; by default those that its facts call perceptual.
            heads: as `heads_of` gives them.

        Returns:
            One number a picture, `(B,)`, float64.

        Raises:
            ValueError: the pictures cannot be compared, or are too small for the network; see `lpips`.
        """
        seen = self.protocol(protocol)
        return lpips(
            result, reference, backbone=backbone, layers=layers, heads=heads, shave=seen.shave, rounding=seen.rounding
        )

    def protocol(self, protocol: Protocol) -> Protocol:
        """Return the protocol that this metric uses where metrics of samples use the given one.

        Args:
            protocol: that of the others.

        Example:
            >>> LPIPS.protocol(SR_OLDER.with_shave(2)).describe()
            'RGB, 8-bit picture, shave 2'
        """
        return Protocol("rgb", shave=protocol.shave, rounding="none" if protocol.rounding == "none" else "8-bit")


@dataclass(frozen=True)
class SetMetric:
    """A metric that compares two sets of pictures by the features of a backbone; lower is better.

    Attributes:
        name: as users type it.
        title: as a table's heading, before the backbone's name.
        function: the metric itself, of the rows that `global_features` gives.
        definition: what it fixes, in words.
    """

    name: str
    title: str
    function: _SetFunction
    definition: str


AnyMetric = Metric | FeatureMetric | SetMetric


def _fid(result: Tensor, reference: Tensor, *, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - draws nothing
    return fid(result, reference)


PSNR = Metric("psnr", "PSNR", psnr, "dB", higher_is_better=True, definition="peak 255 for 8-bit samples")
SSIM = Metric(
    "ssim",
    "SSIM",
    ssim,
    "",
    higher_is_better=True,
    definition="11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region",
    smallest=_SSIM_SMALLEST,
)
LPIPS = FeatureMetric(
    "lpips", "LPIPS", definition="unit vectors of the backbone's perceptual layers, spatial mean, summed over layers"
)
FID = SetMetric("fid", "FID", _fid, definition="Gaussians of the last layer's spatial means, unbiased covariances")

METRICS: tuple[AnyMetric, ...] = (
    PSNR,
    SSIM,
    Metric(
        "ms_ssim",
        "MS-SSIM",
        ms_ssim,
        "",
        higher_is_better=True,
        definition="5 scales, means of 2x2 pixels between them",
        smallest=_MS_SSIM_SMALLEST,
    ),
    Metric(
        "ms_ssim[mux]",
        "MS-SSIM[mux]",
        partial(ms_ssim, variant="mux"),
        "",
        higher_is_better=True,
        definition="5 scales, 9/7 wavelet between them, contrast and structure apart: that of the SRCNN paper's table",
        smallest=_MS_SSIM_SMALLEST,
        usual=False,
    ),
    Metric(
        "ifc",
        "IFC",
        ifc,
        "",
        higher_is_better=True,
        definition="bits a pixel, steerable pyramid of 4 levels, 2 directions, 3x3 vectors",
        smallest=_IFC_SMALLEST,
    ),
    Metric(
        "nqm",
        "NQM",
        nqm,
        "dB",
        higher_is_better=True,
        definition="seen from 3.5 times its height, as MeTriX MuX",
        smallest=_NQM_SMALLEST,
    ),
    Metric(
        "wpsnr",
        "WPSNR",
        wpsnr,
        "dB",
        higher_is_better=True,
        definition="error filtered by the contrast sensitivity of Mannos and Sakrison, 120 samples a degree",
    ),
    Metric(
        "wpsnr[mux]",
        "WPSNR[mux]",
        partial(wpsnr, variant="mux"),
        "dB",
        higher_is_better=True,
        definition="error filtered as in MeTriX MuX, frequencies of both axes by the height",
        usual=False,
    ),
    Metric(
        "wpsnr[miyahara]",
        "WPSNR[miyahara]",
        partial(wpsnr, variant="miyahara"),
        "dB",
        higher_is_better=True,
        definition="error filtered by 41x41 taps of the contrast sensitivity of Miyahara et al.",
        usual=False,
    ),
    LPIPS,
    FID,
    SetMetric("kid", "KID", kid, definition="kernel (x.y/D + 1)^3, unbiased, 100 subsets of at most 1,000"),
)


def label(name: str, backbone: str, layers: Sequence[str] | None = None, *, heads: bool = False) -> str:
    """Return the name of a metric with its backbone, since the numbers of different networks are not comparable.

    Args:
        name: of the metric, or its title.
        backbone: its name.
        layers: those that were chosen, where not the usual ones.
        heads: whether published heads were used.

    Returns:
        The name, with what it depends on in brackets.

    Example:
        >>> label("lpips", "lens"), label("LPIPS", "vgg16", heads=True), label("fid", "lens", ["relu3_1"])
        ('lpips[lens]', 'LPIPS[vgg16+heads]', 'fid[lens:relu3_1]')
    """
    chosen = "" if layers is None else ":" + ",".join(layers)
    return f"{name}[{backbone}{chosen}{'+heads' if heads else ''}]"


def find(name: str) -> AnyMetric:
    """Find a metric by its name.

    Args:
        name: one of the names in `METRICS`.

    Returns:
        Its record.

    Raises:
        ValueError: there is none; the message lists the close ones.

    Example:
        >>> find("ssim").definition
        '11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region'
    """
    for metric in METRICS:
        if metric.name == name:
            return metric
    names = [metric.name for metric in METRICS]
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    advice = f"do you mean {' or '.join(close)}?" if close else "do choose one of them"
    raise ValueError(f"expected a metric out of {', '.join(names)}, got {name!r}; {advice}")
