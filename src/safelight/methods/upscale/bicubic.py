"""Bicubic interpolation: the yardstick of every super-resolution paper.

Keys 1981 (``CARD.paper``).

A cubic polynomial between the pixels, fixed by the values and the central differences at both ends. As a kernel of
width 4, with a = -1/2, the only value that reproduces parabolas::

    h(x) = (a + 2)|x|^3 - (a + 3)|x|^2 + 1        for |x| <= 1
           a|x|^3 - 5a|x|^2 + 8a|x| - 4a          for 1 < |x| <= 2,  0 elsewhere

It is ``ops.CUBIC``, since data sets are degraded by it as well. Differs from MATLAB's ``imresize`` in nothing known:
8-bit results are equal sample by sample.
"""

from __future__ import annotations

from safelight.core.card import Card, Interpolation, Paper, Score
from safelight.ops.resampling import CUBIC

CARD = Card(
    module=__name__,
    title="Bicubic interpolation",
    summary="Cubic polynomials between pixels, equal to MATLAB's imresize; the yardstick of the field.",
    paper=Paper(
        title="Cubic Convolution Interpolation for Digital Image Processing",
        authors="R. G. Keys",
        venue="IEEE Trans. ASSP 1981",
        link="https://doi.org/10.1109/TASSP.1981.1163711",
    ),
    method=Interpolation(kernel=CUBIC),
    published=(
        Score(data="Set5", level=2, psnr=33.66, ssim=0.9299),
        Score(data="Set5", level=3, psnr=30.39, ssim=0.8682),
        Score(data="Set5", level=4, psnr=28.42, ssim=0.8104),
        Score(data="Set14", level=2, psnr=30.24, ssim=0.8688),
        Score(data="Set14", level=3, psnr=27.55, ssim=0.7742),
        Score(data="Set14", level=4, psnr=26.00, ssim=0.7027),
        Score(data="BSD100", level=2, psnr=29.56, ssim=0.8431),
        Score(data="BSD100", level=3, psnr=27.21, ssim=0.7385),
        Score(data="BSD100", level=4, psnr=25.96, ssim=0.6675),
    ),
)
