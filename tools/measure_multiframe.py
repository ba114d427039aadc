"""Measure multiframe super-resolution: on Set5 with drawn shifts, and on frames of a real photograph.

    python tools/measure_multiframe.py --data TEST_SETS
    python tools/measure_multiframe.py --photo FILE

Each writes its part of ``results/multiframe.json``; the other stays. A frame is made by moving the
original by a part of a pixel with a Kaiser-windowed sinc of 24 taps (the method moves pictures in the Fourier domain),
shrinking it by the field's bicubic and adding noise. The borders, which the shifts would need more of, are cut off.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from safelight import ops
from safelight.checkpoints import provenance
from safelight.core.solver_input import SolverInput, SolverProgress
from safelight.degrade import Downsample, add_noise
from safelight.engine.samples import to_tensor
from safelight.media import image
from safelight.methods.upscale.multiframe import Options, fuse
from safelight.methods.upscale.multiframe.alignment import align
from safelight.metrics.psnr import psnr
from safelight.ops.color import rgb_to_ycbcr

OUT = Path(__file__).parent.parent / "results" / "multiframe.json"
CASES = ((3, 4, 2.0), (3, 8, 2.0), (3, 16, 2.0), (2, 8, 2.0), (4, 16, 2.0), (3, 8, 10.0))  # scale, frames, sigma
RADIUS = 12  # of the sinc, in pixels


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


def burst(
    original: Tensor, scale: int, count: int, sigma: float, receptive_radius: float, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Make frames (count, C, h, w) of (1, C, H, W), with what is visible of the original, and the shifts (count, 2)."""
    generator = torch.Generator().manual_seed(seed)
    shifts = (2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1) * receptive_radius
    shifts[0] = 0
    cut = int(receptive_radius) + 5  # pixels of a frame at each border
    frames: list[Tensor] = []
    for shift in shifts:
        small = Downsample(scale)(shifted(original, shift * scale))[..., cut:-cut, cut:-cut]
        frames.append(add_noise(small, sigma, generator))
    cut *= scale
    return torch.cat(frames), original[..., cut:-cut, cut:-cut], shifts


def score(x: Tensor, target: Tensor, scale: int) -> float:
    """PSNR on Y in dB, shaved by the scale."""
    return float(psnr(x.clamp(0, 1), target, channel="y", shave=scale, rounding="8-bit-y"))


def go_on(step: SolverProgress) -> bool:  # noqa: ARG001 - nobody looks
    """Never stop."""
    return True


def case(pictures: list[Tensor], scale: int, count: int, sigma: float) -> dict[str, Any]:
    """Measure one row on the luma of the pictures."""
    bicubic: list[float] = []
    known: list[float] = []
    found: list[float] = []
    errors: list[Tensor] = []
    seconds = 0.0
    for number, picture in enumerate(pictures):
        frames, target, shifts = burst(ops.crop_to_multiple(picture, scale), scale, count, sigma, 1.5, 1 + number)
        y, others = frames[:1], tuple(frames[k : k + 1] for k in range(1, len(frames)))
        problem = SolverInput(task="upscale", y=y, scale=scale, frames=others, sigma=sigma / 255)
        unknown = SolverInput(task="upscale", y=y, scale=scale, frames=others)
        bicubic.append(score(ops.resize(y, (target.shape[-2], target.shape[-1])), target, scale))
        known.append(score(fuse(problem, Options(), go_on, shifts).x, target, scale))
        start = time.perf_counter()
        found.append(score(fuse(unknown, Options(), go_on).x, target, scale))
        seconds += time.perf_counter() - start
        aligned = align(list(frames), scale, None, None)
        errors.append((aligned.shifts - shifts[list(aligned.numbers)])[1:].abs())
    base, best, own = (sum(values) / len(values) for values in (bicubic, known, found))
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


def photograph(file: Path) -> dict[str, Any]:
    """Measure eight frames of a photograph in colour at x2; its mirror is set beside it to make it larger."""
    whole = to_tensor(image.read(file).pixels)
    whole = torch.cat([whole, whole.flip(-1)], -1)
    original = ops.crop_to_multiple(torch.cat([whole, whole.flip(-2)], -2)[..., :2080, :2080], 2)
    frames, target, shifts = burst(original, 2, 8, 3.0, 12.0, 1)
    frames = ops.round_half_up(frames.clamp(0, 1) * 255) / 255
    y, others = frames[:1], tuple(frames[k : k + 1] for k in range(1, len(frames)))
    start, used = time.perf_counter(), time.process_time()
    made = fuse(SolverInput(task="upscale", y=y, scale=2, frames=others), Options(), go_on)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    aligned = align([rgb_to_ycbcr(frame[None])[0, :1] for frame in frames], 2, None, None)
    error = (aligned.shifts - shifts[list(aligned.numbers)]).abs().max()
    return {
        "file": file.name,
        "frames": 8,
        "scale": 2,
        "sigma": 3.0,
        "size": f"{y.shape[-1]}x{y.shape[-2]}",
        "bicubic": round(score(ops.resize(y, (target.shape[-2], target.shape[-1])), target, 2), 2),
        "found": round(score(made.x, target, 2), 2),
        "shift_error_largest": round(float(error), 3),
        "notes": list(made.notes),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "threads": torch.get_num_threads(),
    }


def table(data: Path) -> dict[str, Any]:
    """Measure all rows on Set5."""
    files = sorted((data / "Set5").glob("*.png"))
    colors = [to_tensor(image.read(file).pixels) for file in files]
    pictures = [rgb_to_ycbcr(x)[:, :1] if x.shape[1] == 3 else x for x in colors]
    rows: list[dict[str, Any]] = []
    for scale, count, sigma in CASES:
        rows.append(case(pictures, scale, count, sigma))
        print(json.dumps(rows[-1]), flush=True)
    return {
        "what": f"The luma of Set5 ({len(files)} pictures) as gray pictures; shifts drawn uniformly from [-1.5, 1.5] "
        "pixels of a frame, the first frame unshifted; seeds 1 to 5; noise in 0-255 units, not clipped or rounded. "
        "Mean Y-PSNR in dB, 8-bit, shaved by the scale; bicubic: of the first frame alone; known: shifts and sigma "
        "told, found: neither. Errors in pixels of a frame, on each axis. Seconds are of a shared machine.",
        "commit": provenance.code_version(),
        "threads": torch.get_num_threads(),
        "rows": rows,
    }


def tables(results: Mapping[str, Any]) -> str:
    """Write the results as Markdown."""
    lines = [
        "| zoom | frames | sigma | bicubic | shifts told | shifts found | gain | shifts' error, mean (largest) |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| x{row['scale']} | {row['frames']} | {row['sigma']:g} | {row['bicubic']:.2f} | {row['known']:.2f} | "
        f"{row['found']:.2f} | {row['gain_found']:+.2f} | "
        f"{row['shift_error_mean']:.3f} ({row['shift_error_largest']:.3f}) |"
        for row in results["rows"]
    ]
    text = "\n".join(lines) + f"\n\n{results['what']}\n"
    photo = results.get("photograph")
    if photo:
        text += (
            f"\nA photograph beside its mirror (`{photo['file']}`), in colour: "
            f"{photo['frames']} frames of {photo['size']}, moved up to "
            f"12 pixels, noise of {photo['sigma']:g}, x{photo['scale']}: {photo['found']:.2f} dB, bicubic "
            f"{photo['bicubic']:.2f} dB; {photo['cpu_seconds']:.0f} seconds of processor time.\n"
        )
    return text


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parts = parser.add_mutually_exclusive_group(required=True)
    parts.add_argument("--data", type=Path, help="the folder that holds Set5")
    parts.add_argument("--photo", type=Path, help="a photograph of 0.7 megapixels or more")
    arguments = parser.parse_args()
    facts: dict[str, Any] = json.loads(OUT.read_text()) if OUT.is_file() else {}
    if arguments.photo:
        facts["photograph"] = photograph(arguments.photo)
        print(json.dumps(facts["photograph"]), flush=True)
    else:
        facts = table(arguments.data) | {"photograph": facts.get("photograph")}
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), OUT, overwrite=True)


if __name__ == "__main__":
    main()
