"""Feature maps of large pictures, one band of rows at a time, which bounds the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from safelight.features.backbone import Backbone
from safelight.features.inception import Resize

PIXELS = 1 << 20  # of a band, without what is seen around it


def maps_by_row_bands(
    backbone: Backbone, picture: Tensor, layers: Sequence[str], pixels: int = PIXELS
) -> Iterator[dict[str, Tensor]]:
    """Compute the maps of a picture in bands of rows, each value once, equal to those of the whole picture.

    Args:
        backbone: The network.
        picture: `(1, C, H, W)`, C = 1 or 3, in [0, 1].
        layers: Their names.
        pixels: A picture of more is split. One that the network brings to its own size first never is.

    Yields:
        For each layer its maps `(1, channels, some rows, w)`, from the top to the bottom; a band may have no rows.
        They are on the CPU: what is made of them is summed in double precision, which not every device has.

    Raises:
        BackboneError: An unknown layer, or a picture too small for it.
    """
    backbone.check(layers)
    height, width = picture.shape[-2:]
    receptive_fields = [backbone.receptive_field(layer) for layer in layers]
    step = math.lcm(*(sight.stride for sight in receptive_fields))
    margin = math.ceil(max(sight.field for sight in receptive_fields) / step) * step
    rows = max(pixels // width, 1)
    rows = math.ceil(max(rows, 2 * margin) / step) * step  # no more is computed for the margins than for the rest
    resized = any(isinstance(module, Resize | nn.AdaptiveAvgPool2d) for module in backbone.network.modules())
    dtype = backbone.mean.dtype
    for top in range(0, height, height if resized else rows):
        bottom = height if resized else top + rows
        start, end = max(top - margin, 0), min(bottom + margin, height)
        # Not around the loop: between two bands it is the caller's code that runs.
        with torch.no_grad():
            maps = backbone(picture[..., start:end, :].to(backbone.mean.device, dtype), layers)
        band: dict[str, Tensor] = {}
        for layer, sight in zip(layers, receptive_fields, strict=True):
            first = (top - start) // sight.stride
            last = None if bottom >= height else (bottom - start) // sight.stride
            band[layer] = maps[layer][..., first:last, :].cpu()
        yield band
        if bottom >= height:
            return
