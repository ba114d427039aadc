"""Measure multiframe super-resolution: on Set5 with drawn shifts, and on frames of a real photograph.

    python tools/measure_multiframe.py --data TEST_SETS
    python tools/measure_multiframe.py --photo FILE

Each writes its part of ``results/multiframe.json``; the other stays. A frame is made by moving the
original by a part of a pixel with a Kaiser-windowed sinc of 24 taps (the method moves pictures in the Fourier domain),
shrinking it by the field's bicubic and adding noise. The borders, which the shifts would need more of, are cut off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import harness
import torch
import torch.nn.functional as F
from harness import Row, mean
from torch import Tensor

from safelight import ops
from safelight.core.solver_input import SolverInput
from safelight.degrade import Downsample, add_noise
from safelight.media import image
from safelight.methods.upscale.multiframe import Options, fuse
from safelight.methods.upscale.multiframe.alignment import align
from safelight.ops.color import rgb_to_ycbcr

CASES = ((3, 4, 2.0), (3, 8, 2.0), (3, 16, 2.0), (2, 8, 2.0), (4, 16, 2.0), (3, 8, 10.0))  # scale, frames, sigma
RADIUS = 12  # of the sinc, in pixels
WHAT = (
    "The luma of Set5 ({count} pictures) as gray pictures; shifts drawn uniformly from [-1.5, 1.5] pixels of a frame, "
    "the first frame unshifted; seeds 1 to 5; noise in 0-255 units, not clipped or rounded. Mean Y-PSNR in dB, 8-bit, "
    "shaved by the scale; bicubic: of the first frame alone; known: shifts and sigma told, found: neither. Errors in "
    "pixels of a frame, on each axis. Seconds are of a shared machine."
)


def shifted(x: Tensor, by: Tensor) -> Tensor:
    """Give x(t + by) of (1, C, H, W) for a shift (down, right) in pixels, the border mirrored."""
    for dim, move in ((-2, float(by[0])), (-1, float(by[1]))):
        whole = round(move)
        place = torch.arange(-RADIUS, RADIUS, dtype=torch.float64) + (whole >= move) * 1.0 - (move - whole)
        taps: Tensor = torch.sinc(place) * torch.i0(6 * (1 - (place / (RADIUS + 1)) ** 2).clamp(min=0).sqrt())
        taps = (taps / taps.sum()).float()
        first = whole - RADIUS + int(whole >= move)
        n = x.shape[dim]
        at = torch.remainder(torch.arange(n + len(taps) - 1) + first, 2 * n)
        padded = x.index_select(dim, torch.where(at < n, at, 2 * n - 1 - at))
        kernel = taps.view(1, 1, -1, 1) if dim == -2 else taps.view(1, 1, 1, -1)
        x = F.conv2d(padded.transpose(0, 1), kernel).transpose(0, 1)
    return x


@dataclass(frozen=True, slots=True)
class Burst:
    """Frames (count, C, h, w), what is visible of the original (1, C, H, W), and the frames' shifts (count, 2)."""

    frames: Tensor
    target: Tensor
    shifts: Tensor
    scale: int

    def problem(self, sigma: float | None = None) -> SolverInput:
        """What the method is given: the first frame and the others; sigma of [0, 1] where it is told."""
        others = tuple(self.frames[k : k + 1] for k in range(1, len(self.frames)))
        return SolverInput(task="upscale", y=self.frames[:1], scale=self.scale, frames=others, sigma=sigma)

    def score(self, x: Tensor) -> float:
        """PSNR on Y in dB, shaved by the scale."""
        return harness.y_psnr(x.clamp(0, 1), self.target, self.scale)

    def bicubic(self) -> float:
        """The score of the first frame, enlarged by itself."""
        return self.score(ops.resize(self.frames[:1], (self.target.shape[-2], self.target.shape[-1])))

    def shift_errors(self, frames: Sequence[Tensor]) -> Tensor:
        """How far the shifts that are found in (C, h, w) frames are off, (frames that are kept, 2)."""
        aligned = align(list(frames), self.scale, None, None)
        return (aligned.shifts - self.shifts[list(aligned.numbers)]).abs()


def burst(original: Tensor, scale: int, count: int, sigma: float, radius: float, seed: int) -> Burst:
    """Make frames of (1, C, H, W), each moved by at most ``radius`` of its own pixels."""
    generator = torch.Generator().manual_seed(seed)
    shifts = (2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1) * radius
    shifts[0] = 0
    cut = int(radius) + 5  # pixels of a frame at each border
    frames: list[Tensor] = []
    for shift in shifts:
        small = Downsample(scale)(shifted(original, shift * scale))[..., cut:-cut, cut:-cut]
        frames.append(add_noise(small, sigma, generator))
    cut *= scale
    return Burst(torch.cat(frames), original[..., cut:-cut, cut:-cut], shifts, scale)


def case(pictures: Sequence[Tensor], scale: int, count: int, sigma: float) -> Row:
    """Measure one row on the luma of the pictures."""
    bicubic: list[float] = []
    known: list[float] = []
    found: list[float] = []
    errors: list[Tensor] = []
    seconds = 0.0
    for number, picture in enumerate(pictures, 1):
        made = burst(ops.crop_to_multiple(picture, scale), scale, count, sigma, 1.5, number)
        bicubic.append(made.bicubic())
        known.append(made.score(fuse(made.problem(sigma / 255), Options(), harness.proceed, made.shifts).x))
        start = time.perf_counter()
        found.append(made.score(fuse(made.problem(), Options(), harness.proceed).x))
        seconds += time.perf_counter() - start
        errors.append(made.shift_errors(list(made.frames))[1:])
    base, best, own = (mean(values) for values in (bicubic, known, found))
    every = torch.cat(errors)
    return {
        "scale": scale,
        "frames": count,
        "sigma": sigma,
        "bicubic": round(base, 2),
        "known": round(best, 2),
        "found": round(own, 2),
        "gain_known": round(best - base, 2),
        "gain_found": round(own - base, 2),
        "shift_error_mean": round(float(every.mean()), 4),
        "shift_error_largest": round(float(every.max()), 3),
        "left_out": count * len(pictures) - len(pictures) - len(every),
        "seconds": round(seconds / len(pictures), 2),
    }


def photograph(file: Path) -> Row:
    """Measure eight frames of a photograph in colour at x2; its mirror is set beside it to make it larger."""
    whole = harness.as_tensor(image.read(file))
    whole = torch.cat([whole, whole.flip(-1)], -1)
    original = ops.crop_to_multiple(torch.cat([whole, whole.flip(-2)], -2)[..., :2080, :2080], 2)
    made = burst(original, 2, 8, 3.0, 12.0, 1)
    made = replace(made, frames=ops.round_half_up(made.frames.clamp(0, 1) * 255) / 255)
    start, used = time.perf_counter(), time.process_time()
    result = fuse(made.problem(), Options(), harness.proceed)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    error = made.shift_errors([rgb_to_ycbcr(frame[None])[0, :1] for frame in made.frames]).max()
    return {
        "file": file.name,
        "frames": 8,
        "scale": 2,
        "sigma": 3.0,
        "size": f"{made.frames.shape[-1]}x{made.frames.shape[-2]}",
        "bicubic": round(made.bicubic(), 2),
        "found": round(made.score(result.x), 2),
        "shift_error_largest": round(float(error), 3),
        "notes": list(result.notes),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure one part, and write the JSON."""
    parser = harness.parser(__doc__, out="multiframe.json")
    parts = parser.add_mutually_exclusive_group(required=True)
    parts.add_argument("--data", type=Path, help="the folder that holds Set5")
    parts.add_argument("--photo", type=Path, help="a photograph of 0.7 megapixels or more")
    arguments = parser.parse_args()
    facts = harness.read(arguments.out)
    if arguments.photo:
        facts["photograph"] = harness.show(photograph(arguments.photo))
    else:
        colors = harness.read_set(arguments.data, "Set5").values()
        pictures = [rgb_to_ycbcr(x)[:, :1] if x.shape[1] == 3 else x for x in colors]
        rows = [harness.show(case(pictures, *levels)) for levels in CASES]
        what, threads = WHAT.format(count=len(pictures)), torch.get_num_threads()
        facts = harness.record(what, threads=threads, rows=rows, photograph=facts.get("photograph"))
    harness.write(arguments.out, facts)


if __name__ == "__main__":
    main()
