"""The protocol of a metric: which channel, which rounding, how much border. A number without it is not a number."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from safelight.ops.color import rgb_to_y

Channel = Literal["y", "rgb"]
Rounding = Literal["none", "8-bit", "8-bit-y"]


@dataclass(frozen=True)
class Protocol:
    """The channel, border and rounding that are applied to two pictures before a metric compares them.

    Attributes:
        channel: "y", the luma of BT.601 in studio range, where a gray picture is taken as Y as it is (sending it
            through RGB would shrink its range); or "rgb", all channels together.
        shave: pixels cut from each of the four sides; 0 cuts none.
        rounding: "none" compares the samples as they are; "8-bit" clips both pictures and rounds them to 8 bits, as a
            file would, and computes Y from them unrounded; "8-bit-y" rounds Y as well. Halves go up.

    Raises:
        ValueError: the shave is negative, or RGB is asked for with Y rounded.

    Example:
        >>> Protocol(channel="rgb", shave=2).describe()
        'RGB, 8-bit picture, shave 2'
    """

    channel: Channel
    shave: int = 0
    rounding: Rounding = "8-bit"

    def __post_init__(self) -> None:
        if self.channel not in ("y", "rgb"):
            raise ValueError(f"expected channel 'y' or 'rgb', got {self.channel!r}; do choose one of them")
        if self.rounding not in ("none", "8-bit", "8-bit-y"):
            raise ValueError(
                f"expected rounding 'none', '8-bit' or '8-bit-y', got {self.rounding!r}; do choose one of them"
            )
        if self.shave < 0:
            raise ValueError(f"expected a shave of 0 pixels or more, got {self.shave}; do pass 0 to keep the border")
        if self.channel == "rgb" and self.rounding == "8-bit-y":
            raise ValueError("expected rounding 'none' or '8-bit' for RGB, got '8-bit-y'; do use it with channel 'y'")

    def with_shave(self, pixels: int) -> "Protocol":
        """The same protocol with another border: super-resolution shaves as many pixels as its scale.

        Args:
            pixels: cut from each side, 0 or more.

        Returns:
            A new protocol.

        Example:
            >>> SR_OLDER.with_shave(4).shave
            4
        """
        return replace(self, shave=pixels)

    def describe(self) -> str:
        """One line for tables and reports.

        Returns:
            Channel, rounding and shave in words.

        Example:
            >>> SR_OLDER.with_shave(3).describe()
            'Y (BT.601 studio range), 8-bit picture, 8-bit Y, shave 3'
        """
        channel = {"y": "Y (BT.601 studio range)", "rgb": "RGB"}[self.channel]
        rounding = {"none": "not rounded", "8-bit": "8-bit picture", "8-bit-y": "8-bit picture, 8-bit Y"}[self.rounding]
        return f"{channel}, {rounding}, shave {self.shave}"


# The super-resolution papers up to about 2017 (the MATLAB demos of SRCNN and VDSR): the network sees Y, its result is
# rounded to 8 bits and compared with the 8-bit Y of the original. The shave is the scale.
SR_OLDER = Protocol(channel="y", rounding="8-bit-y")

# The RGB methods since (RDN, RCAN, SwinIR): the result is an 8-bit RGB file, from which Y is computed in double
# precision and not rounded. The shave is the scale.
SR_NEWER = Protocol(channel="y", rounding="8-bit")


def round_to_8_bits(samples: Tensor) -> Tensor:
    """Clip samples and round them to the nearest multiple of 1/255, halves up, as MATLAB's `im2uint8` does.

    Args:
        samples: any shape, floating; 1.0 is white.

    Returns:
        Same shape and dtype, multiples of 1/255 in [0, 1].

    Example:
        >>> (round_to_8_bits(torch.tensor([-0.1, 0.5, 1.2])) * 255).tolist()
        [0.0, 128.0, 255.0]
    """
    # torch.round would send halves to the even neighbour. 1e-9 is far below the spacing of luma (1.2e-5 for 8-bit RGB)
    # and far above the error of a double, so an exact half stays one whatever the order of the sums that made it.
    return (samples * 255 + (0.5 + 1e-9)).floor().clamp(0, 255) / 255


def comparable(result: Tensor, reference: Tensor, protocol: Protocol, smallest: int) -> tuple[Tensor, Tensor]:
    """Check two batches and bring them to what the protocol compares.

    Args:
        result: `(B, C, H, W)`, floating; C is 1 (gray, taken as Y) or 3 (sRGB); may overshoot [0, 1].
        reference: same shape, in [0, 1].
        protocol: channel, shave and rounding.
        smallest: the side, in pixels, that the metric needs after the shave.

    Returns:
        The two batches in float64, `(B, 1 or 3, H - 2 shave, W - 2 shave)`.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves too little.

    Example:
        >>> white = torch.ones(1, 3, 8, 8)
        >>> y, _ = comparable(white, white, SR_OLDER.with_shave(2), smallest=1)
        >>> tuple(y.shape), round(y[0, 0, 0, 0].item() * 255, 6)
        ((1, 1, 4, 4), 235.0)
    """
    if result.shape != reference.shape:
        raise ValueError(
            f"expected result and reference of one shape, got {tuple(result.shape)} and {tuple(reference.shape)}; "
            "do crop them to the same size and bring both to gray or to RGB"
        )
    if result.ndim != 4 or result.shape[1] not in (1, 3):
        raise ValueError(
            f"expected pictures of shape (B, 1 or 3, H, W), got {tuple(result.shape)}; "
            "do take alpha off, and add the batch axis with [None]"
        )
    height, width = result.shape[2] - 2 * protocol.shave, result.shape[3] - 2 * protocol.shave
    if min(height, width) < smallest:
        raise ValueError(
            f"expected at least {smallest}x{smallest} pixels after a shave of {protocol.shave}, "
            f"got {max(width, 0)}x{max(height, 0)}; do use a larger picture or a smaller shave"
        )
    for name, batch in (("result", result), ("reference", reference)):
        if not batch.is_floating_point():
            raise ValueError(f"expected a floating {name} in [0, 1], got {batch.dtype}; do {name}.float() / 255")
        if not bool(batch.isfinite().all()):
            raise ValueError(f"expected a finite {name}, got NaN or infinity; do look for where it was made")
    # 8-bit samples that were made floating but not divided would otherwise be clipped to white, and score very well.
    if bool((reference < -1e-3).any()) or bool((reference > 1 + 1e-3).any()):
        low, high = reference.min().item(), reference.max().item()
        raise ValueError(f"expected a reference in [0, 1], got {low:g} to {high:g}; do divide by the white level")
    return _channel(result, protocol), _channel(reference, protocol)


def _channel(batch: Tensor, protocol: Protocol) -> Tensor:
    if batch.device.type == "mps":
        batch = batch.cpu()  # Apple's GPU has no float64
    shave = protocol.shave
    samples = batch[:, :, shave : batch.shape[2] - shave, shave : batch.shape[3] - shave].to(torch.float64)
    if protocol.rounding != "none":
        samples = round_to_8_bits(samples)
    if protocol.channel == "y" and samples.shape[1] == 3:
        samples = rgb_to_y(samples)
        if protocol.rounding == "8-bit-y":
            samples = round_to_8_bits(samples)
    return samples
