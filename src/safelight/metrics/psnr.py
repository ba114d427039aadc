"""Peak signal-to-noise ratio."""

from torch import Tensor

from safelight.metrics.protocol import Channel, Protocol, Rounding, comparable


def psnr(
    result: Tensor, reference: Tensor, *, channel: Channel, shave: int = 0, rounding: Rounding = "8-bit"
) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(1 / MSE), of each picture for itself.

    The mean over a data set is the mean of these numbers, never the number of the mean MSE.

    Args:
        result: `(B, C, H, W)`, floating, C = 1 (gray, taken as Y) or 3 (sRGB).
        reference: same shape, in [0, 1].
        channel: "y" for the luma of BT.601 in studio range, "rgb" for one MSE over all channels; see `Protocol`.
        shave: pixels cut from each side; 0 cuts none.
        rounding: "none", "8-bit" (both pictures, as in a file) or "8-bit-y" (and their luma too); see `Protocol`.

    Returns:
        `(B,)`, float64, in dB; infinite where the pictures are equal.

    Raises:
        ValueError: shapes differ or are not as above, samples are not floating or not finite, the reference leaves
            [0, 1], or the shave leaves nothing.

    Example:
        >>> import torch
        >>> reference = torch.full((1, 1, 8, 8), 0.5)
        >>> round(psnr(reference + 0.1, reference, channel="y", rounding="none").item(), 2)
        20.0
    """
    protocol = Protocol(channel=channel, shave=shave, rounding=rounding)
    result, reference = comparable(result, reference, protocol, smallest=1)
    return -10 * (result - reference).square().mean(dim=(1, 2, 3)).log10()
