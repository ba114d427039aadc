"""How good a result is: one pure function a file, and the list of them for those who choose by name.

Every metric takes two batches of pictures and the protocol, and gives one number a picture. `METRICS` is the explicit
tuple of them all; a new metric is its file and one line there.
"""

import difflib
import typing
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from safelight.metrics.protocol import SR_NEWER, SR_OLDER, Channel, Protocol, Rounding
from safelight.metrics.psnr import psnr
from safelight.metrics.ssim import ssim

__all__ = ["METRICS", "SR_NEWER", "SR_OLDER", "Metric", "Protocol", "find", "psnr", "ssim"]


class _Function(typing.Protocol):
    def __call__(
        self, result: Tensor, reference: Tensor, *, channel: Channel, shave: int = 0, rounding: Rounding = "8-bit"
    ) -> Tensor: ...


@dataclass(frozen=True)
class Metric:
    """What there is to know about a metric besides its formula.

    Attributes:
        name: as users type it; also the name of its file and of its function.
        title: as a table's heading.
        function: the metric itself.
        unit: "dB", or "" for a pure number.
        higher_is_better: whether a larger number is a better picture.
        definition: the constants that the metric fixes and the protocol does not, in words.
    """

    name: str
    title: str
    function: _Function
    unit: Literal["dB", ""]
    higher_is_better: bool
    definition: str

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
            >>> import torch
            >>> black = torch.zeros(1, 3, 16, 16)
            >>> round(find("psnr").score(black + 1, black, SR_NEWER).item(), 3)
            1.322
        """
        return self.function(
            result, reference, channel=protocol.channel, shave=protocol.shave, rounding=protocol.rounding
        )


METRICS: tuple[Metric, ...] = (
    Metric("psnr", "PSNR", psnr, "dB", higher_is_better=True, definition="peak 255 for 8-bit samples"),
    Metric(
        "ssim",
        "SSIM",
        ssim,
        "",
        higher_is_better=True,
        definition="11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region",
    ),
)


def find(name: str) -> Metric:
    """The metric of that name.

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
