"""Lanczos interpolation: the ideal low-pass filter, cut off by a wider copy of itself.

Duchon 1979 (``CARD.paper``).

The kernel with three lobes, of width 6::

    h(x) = sinc(x) sinc(x / 3)  for |x| < 3,  0 elsewhere;    sinc(x) = sin(pi x) / (pi x)

Sharper than bicubic, with more ringing beside edges. Differs from MATLAB's ``imresize(..., 'lanczos3')`` in nothing
known.
"""

from __future__ import annotations

from safelight.core.card import Card, Interpolation, Paper
from safelight.ops.resampling import LANCZOS3

CARD = Card(
    module=__name__,
    title="Lanczos interpolation",
    summary="A windowed sinc with three lobes: the sharpest interpolation, with a little ringing.",
    paper=Paper(
        title="Lanczos Filtering in One and Two Dimensions",
        authors="C. E. Duchon",
        venue="Journal of Applied Meteorology 1979",
        link="https://doi.org/10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2",
    ),
    method=Interpolation(kernel=LANCZOS3),
)
