"""What the benchmarks of several tasks share. Nothing of it is loaded before a benchmark is asked for."""

from typing import Final

from safelight.core.benchmark import BenchmarkSet

METRICS: Final = ("psnr", "ssim")
ROUNDING: Final = "(peak 255) and SSIM (11x11 Gaussian window of sigma 1.5, K 0.01 and 0.03, valid region)"
MEAN: Final = (
    "a number is the mean over the pictures of a set. Every method runs through the path that a user's picture takes."
)
COLOUR: Final = BenchmarkSet(name="BSD20 RGB", folder="BSD100", kind="rgb", every=5)
COLOUR_WORDS: Final = (
    "BSD20 RGB is every fifth picture of BSD100 in colour; PSNR there is of all three channels together and SSIM their "
    "mean. No paper has this set."
)
DIP: Final = "it takes many minutes a picture; name it with --methods, or read docs/dip.md"
RESTORED: Final = (
    "Each method restores the same 8-bit picture of {width}x{height} pixels, gray, or RGB if it is for RGB alone"
)
