"""Train the lens: distil classifiers into it, with their perceptual distance, and two tasks without any labels.

    python tools/train_lens.py --data TRAINING_SETS --teacher FOLDER --minutes 40 --out lens.safetensors

``FOLDER`` holds the teachers' weights (``teacher.py``). Each step takes crops of pictures and spoiled versions of them,
and asks for four things; what answers, beyond the lens itself, is thrown away at the end:

- the teachers' maps, with unit length at each place, by 1x1 convolutions from the lens's maps of the same stride;
- each teacher's distance between crop and version, whole and by squares of 16 pixels: the logarithms are compared, up
  to a constant, since only the ranking counts;
- a and b of CIE Lab, given the lightness; and the colours inside of squares that were cut out.

The rate follows the clock, so that the run ends in time on a machine that others use too: a warm-up, then a cosine.
Every five minutes the averaged weights are examined on pictures that were set apart; those of the best examination
stay. ``--start FILE`` goes on from a file of such weights.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import harness
import torch
from distortions import KINDS, below, spoil
from teacher import TEACHERS, Maps, Teacher, distances, spearman
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from safelight import ops
from safelight.checkpoints import backbones, provenance, weights_file
from safelight.checkpoints.weights_file import WeightsHeader
from safelight.engine import device as devices
from safelight.features import Backbone, Pooling, lens
from safelight.nn.soap import Soap
from safelight.ops.color import rgb_to_lab
from safelight.training import datasets
from safelight.training.loop import WeightAverage

SETS = ("photos_hq", "bsds399", "t91", "imagenet", "style")
LICENCE = "Apache-2.0; trained on pictures of which some are for research use only (see trained_on)"
SIDE, PAIRS, CELL = 64, 16, 16  # pixels, crops with their versions in a step, pixels
FEW = PAIRS // 4  # crops in a step that are shown gray, and as many with holes
RATE, WARMUP, DECAY = 1.5e-3, 50, 0.998
LOSSES = {"features": 3.0, "distance": 1.0, "colour": 0.3, "holes": 0.3}

Masters = Mapping[str, Teacher]
Taught = Mapping[str, Maps]  # by teachers and their layers


# --- pictures ---------------------------------------------------------------------------------------------------------


def pyramid(picture: Tensor) -> list[Tensor]:
    """List a picture (3, H, W) uint8 at full, half and quarter size, as long as a crop fits."""
    levels: list[Tensor] = []
    while min(picture.shape[-2:]) >= SIDE and len(levels) < 3:
        levels.append(picture)
        picture = ops.resize(picture, zoom=0.5)
    return levels


def draw(pyramids: Sequence[Sequence[Tensor]], count: int, generator: Generator) -> Tensor:
    """Cut random crops, (count, 3, SIDE, SIDE) in [0, 1], each flipped or not, of any size of any picture."""
    crops: list[Tensor] = []
    for _ in range(count):
        levels = pyramids[below(len(pyramids), generator)]
        level = levels[below(len(levels), generator)]
        top, left = (below(length - SIDE + 1, generator) for length in level.shape[-2:])
        crop = level[:, top : top + SIDE, left : left + SIDE]
        crops.append(crop.flip(-1) if below(2, generator) else crop)
    return torch.stack(crops).float() / 255


def squares(count: int, generator: Generator) -> Tensor:
    """Draw masks (count, 1, SIDE, SIDE), 1 in three squares of a quarter of the side, on a grid of 4 pixels."""
    masks = torch.zeros(count, 1, SIDE, SIDE)
    for mask in masks:
        for _ in range(3):
            top, left = (4 * below(3 * SIDE // 16 + 1, generator) for _ in range(2))
            mask[:, top : top + SIDE // 4, left : left + SIDE // 4] = 1
    return masks


# --- scaling the weights ----------------------------------------------------------------------------------------------
#
# A ReLU and a pooling let a positive factor through. A channel's weights can be divided by any number, if what the next
# layer weighs it by is multiplied by the same: what the network can tell stays as it is.


def channel_means(values: Tensor) -> Tensor:
    """The mean of each channel, at least a twentieth of the layer's: channels that hardly ever fire stay quiet."""
    means = values.float().mean(dim=(0, 2, 3))
    return means.clamp(min=0.05 * float(means.mean()))


def normalised(tensors: Mapping[str, Tensor], crops: Tensor) -> dict[str, Tensor]:
    """Scale weights so that each channel has the mean 1 after its ReLU, over these crops."""
    backbone = filled(tensors)
    names = [layer for layer in backbone.layers if layer.startswith("relu")]
    with torch.no_grad():
        found = [backbone(crops[i : i + 16], names) for i in range(0, len(crops), 16)]
    scaled: dict[str, Tensor] = {}
    before = torch.ones(3)
    for name in names:
        means = channel_means(torch.cat([maps[name] for maps in found]))
        convolution = name.replace("relu", "conv")
        weight, bias = tensors[f"{convolution}.weight"], tensors[f"{convolution}.bias"]
        scaled[f"{convolution}.weight"] = weight * before.view(1, -1, 1, 1) / means.view(-1, 1, 1, 1)
        scaled[f"{convolution}.bias"] = bias / means
        before = means
    return scaled


def balanced(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scale weights so that those of each channel have the size of He's random ones, at which the rates are right."""
    scaled: dict[str, Tensor] = {}
    before = torch.ones(3)
    for name in dict.fromkeys(key.rpartition(".")[0] for key in tensors):
        weight = tensors[f"{name}.weight"] * before.view(1, -1, 1, 1)
        size = (weight.square().sum(dim=(1, 2, 3)) / 2).sqrt()
        scaled[f"{name}.weight"] = weight / size.view(-1, 1, 1, 1)
        scaled[f"{name}.bias"] = tensors[f"{name}.bias"] / size
        before = size
    return scaled


def filled(tensors: Mapping[str, Tensor]) -> Backbone:
    """Make the lens with these weights."""
    backbone = lens.build("average")
    backbone.network.load_state_dict(tensors)
    return backbone


# --- the four questions -----------------------------------------------------------------------------------------------


def teach(masters: Masters, x: Tensor) -> Taught:
    """Compute what all teachers make of pictures."""
    return {name: {k: v.float() for k, v in master.teach(x).items()} for name, master in masters.items()}


def ours(masters: Masters) -> tuple[str, ...]:
    """List the layers of the lens that count."""
    return tuple(dict.fromkeys([*lens.PERCEPTUAL, *(own for each in masters.values() for own, _ in each.taught)]))


def part(maps: Maps, start: int, count: int) -> Maps:
    """Take some pictures of a batch."""
    return {layer: values[start : start + count] for layer, values in maps.items()}


class Decoder(nn.Module):
    """Answers from two layers, at a quarter of the picture's size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deep, self.shallow = nn.Conv2d(256, 64, 1), nn.Conv2d(128, 64, 1)
        self.last = nn.Conv2d(64, channels, 3, padding=1)

    def forward(self, maps: Maps) -> Tensor:
        """Compute (B, channels, H / 4, W / 4)."""
        deep: Tensor = F.interpolate(self.deep(maps["relu4_1"]), scale_factor=2)
        answer: Tensor = self.last(F.relu(deep + self.shallow(maps["relu3_3"])))
        return answer.float()


class Heads(nn.Module):
    """What answers for one teacher.

    Args:
        master: It.
        maps: Of pictures, by which the errors of each of its layers are counted: by the variance of its unit lengths.
    """

    def __init__(self, master: Teacher, maps: Maps) -> None:
        super().__init__()
        network, self.master = lens.build("average"), master
        self.heads = nn.ModuleList(
            nn.Conv2d(network.receptive_field(own).channels, maps[its].shape[1], 1) for own, its in master.taught
        )
        self.constant = nn.Parameter(torch.zeros(()))  # between the logarithms of the two distances
        self.spread = {layer: float(F.normalize(x, dim=1).var(dim=(0, 2, 3)).mean()) for layer, x in maps.items()}

    def target(self, theirs: Maps, its: str) -> Tensor:
        """What a head is to answer: unit length at each place, in parts of the layer's deviation."""
        return F.normalize(theirs[its], dim=1) / math.sqrt(self.spread[its])

    @torch.no_grad()
    def begin(self, ours: Maps, theirs: Maps) -> None:
        """Set the heads to what fits some maps best, so that the first steps teach the lens and not them."""
        for head, (own, its) in zip(self.heads, self.master.taught, strict=True):
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            known = F.pad(ours[own], (0, 0, 0, 0, 0, 1), value=1.0).movedim(1, -1).flatten(0, 2).double()
            square = known.T @ known
            square.diagonal().add_(1e-3 * float(square.diagonal().mean()))
            answer = self.target(theirs, its).movedim(1, -1).flatten(0, 2).double()
            found = cast("Tensor", torch.linalg.solve(square, known.T @ answer)).float()
            head.weight.copy_(found[:-1].T[:, :, None, None])
            head.bias.copy_(found[-1])

    def unexplained(self, ours: Maps, theirs: Maps) -> Tensor:
        """The part of the variance of the teacher's maps that ours do not tell, the mean over all pairs of layers."""
        pairs = zip(self.heads, self.master.taught, strict=True)
        parts = [F.mse_loss(head(ours[own]).float(), self.target(theirs, its)) for head, (own, its) in pairs]
        return torch.stack(parts).mean()

    def farness(self, ours: Maps, theirs: Maps) -> Tensor:
        """How far our distances are from the teacher's, for crops and their versions, one after the other."""
        cells = SIDE // CELL
        own, its = (
            distances(part(maps, PAIRS, PAIRS), part(maps, 0, PAIRS), layers, cells)
            for maps, layers in ((ours, lens.PERCEPTUAL), (theirs, self.master.perceptual))
        )
        total = torch.zeros(())
        for weight, first, second in ((1.0, own.mean((1, 2)), its.mean((1, 2))), (0.5, own, its)):
            ratio = (first + 1e-3).log() - (second + 1e-3).log()
            total = total + weight * (ratio - self.constant).abs().mean()
        return total


class Answers(nn.Module):
    """All that is thrown away in the end; the masters' maps are of pictures, as ``Heads`` wants them."""

    def __init__(self, masters: Masters, maps: Taught) -> None:
        super().__init__()
        self.names = tuple(masters)
        self.heads = nn.ModuleList(Heads(master, maps[name]) for name, master in masters.items())
        self.colour, self.holes = Decoder(2), Decoder(3)

    def by_teacher(self) -> Iterator[tuple[str, Heads]]:
        """Give each teacher's heads."""
        for name, heads in zip(self.names, self.heads, strict=True):
            assert isinstance(heads, Heads)
            yield name, heads


def mean(values: Iterable[Tensor]) -> Tensor:
    """Take the mean over the teachers."""
    return torch.stack(list(values)).mean()


class Pupil:
    """The lens in its training, with both poolings on the same weights, and what answers for it."""

    def __init__(self, network: Backbone, masters: Masters, answers: Answers) -> None:
        twin = lens.build("max")
        for own, other in zip(twin.network.children(), network.network.children(), strict=True):
            own.weight, own.bias = other.weight, other.bias
        self.ways: dict[Pooling, Backbone] = {"average": network, "max": twin}
        self.masters, self.answers, self.steps, self.layers = masters, answers, 0, ours(masters)
        self.scales = {layer: torch.ones(network.receptive_field(layer).channels) for layer in lens.PERCEPTUAL}

    def losses(self, clean: Tensor, generator: Generator) -> Tensor:
        """Ask the four questions about crops (PAIRS, 3, SIDE, SIDE): the four losses, in the order of ``LOSSES``."""
        pooling: Pooling = "max" if below(4, generator) == 0 else "average"
        network = self.ways[pooling]
        versions = torch.cat([clean, spoil(clean, generator)])
        lab, whole = rgb_to_lab(clean[:FEW]), clean[FEW : 2 * FEW]
        masks = squares(FEW, generator)
        gray, cut = (lab[:, :1] / 100).expand(-1, 3, -1, -1), torch.where(masks > 0, network.mean, whole)
        with torch.autocast("cpu", torch.bfloat16):
            theirs = teach(self.masters, versions)
            shown = torch.cat([versions, gray, cut]).contiguous(memory_format=torch.channels_last)
            maps: Maps = network(shown, self.layers)
            pairs = part(maps, 0, 2 * PAIRS)
            features = mean(heads.unexplained(pairs, theirs[name]) for name, heads in self.answers.by_teacher())
            ab: Tensor = self.answers.colour(part(maps, 2 * PAIRS, FEW))
            inside: Tensor = self.answers.holes(part(maps, 2 * PAIRS + FEW, FEW))
        if pooling == "average":
            with torch.no_grad():
                for layer, scale in self.scales.items():
                    scale.lerp_(channel_means(maps[layer][:PAIRS]), 0.02 if self.steps >= 50 else 1 / (self.steps + 1))
            self.steps += 1
        # The shipped weights are scaled, and the distance is that of the scaled channels.
        leveled = {layer: pairs[layer].float() / scale.view(1, -1, 1, 1) for layer, scale in self.scales.items()}
        distance = mean(heads.farness(leveled, theirs[name]) for name, heads in self.answers.by_teacher())
        colour = F.smooth_l1_loss(ab, F.avg_pool2d(lab[:, 1:], 4) / 25)
        where = F.avg_pool2d(masks, 4)
        wrong = (inside - F.avg_pool2d(4 * (whole - 0.5), 4)).abs() * where
        return torch.stack([features, distance, colour, wrong.sum() / (3 * where.sum())])


# --- examination ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exam:
    """Pictures set apart, (N, 3, H, W), versions of each, (N, 3, H, W) a way, and distances by teachers, (N, ways).

    ``crops`` are others of the same pictures, for the teachers' maps.
    """

    pictures: Tensor
    versions: tuple[Tensor, ...]
    distances: Mapping[str, Tensor]
    crops: Tensor
    maps: Taught

    def correlations(self, tensors: Mapping[str, Tensor]) -> list[float]:
        """Spearman's correlation of our distances with each teacher's, the mean over the pictures."""
        with torch.no_grad():
            found = _distances(partial(filled(tensors), layers=lens.PERCEPTUAL), self, lens.PERCEPTUAL)
        every = ([spearman(*pair) for pair in zip(found, each, strict=True)] for each in self.distances.values())
        return [sum(values) / len(values) for values in every]

    def unexplained(self, tensors: Mapping[str, Tensor], answers: Answers, layers: Sequence[str]) -> list[float]:
        """The part of each teacher's maps that is not told."""
        with torch.no_grad():
            maps = filled(tensors)(self.crops, layers)
            return [float(heads.unexplained(maps, self.maps[name])) for name, heads in answers.by_teacher()]


def _distances(network: Callable[[Tensor], Maps], exam: Exam, layers: Sequence[str]) -> Tensor:
    maps = network(exam.pictures)
    return torch.stack([distances(network(each), maps, layers).flatten() for each in exam.versions], dim=1)


def prepare(pictures: Sequence[Tensor], masters: Masters, generator: Generator, side: int = 96) -> Exam:
    """Cut the middle of each picture and spoil it by all kinds that are trained, at two strengths."""
    large = [picture for picture in pictures if min(picture.shape[-2:]) >= side]
    clean = torch.stack([harness.middle(picture, side).float() / 255 for picture in large])
    chosen = [(kind, place) for kind in KINDS if kind.trained for place in (1, 3)]
    versions = tuple(kind.distort(clean, kind.strengths[place], generator) for kind, place in chosen)
    crops = draw([levels for levels in map(pyramid, pictures) if levels], 64, generator)
    exam = Exam(clean, versions, {}, crops, teach(masters, crops))
    found = {name: _distances(partial(_plain, each), exam, each.perceptual) for name, each in masters.items()}
    return dataclasses.replace(exam, distances=found)


@torch.no_grad()
def _plain(master: Teacher, x: Tensor) -> Maps:
    """What a teacher makes of pictures on its own grid, as its distance takes it."""
    return master.network(x, master.perceptual)


# --- the loop ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One training: where it ends and, if it goes on from a file, where it begins."""

    minutes: float
    teachers: tuple[str, ...]
    out: Path
    start: Path | None

    def header(self, steps: int, seconds: float, scores: Mapping[str, float]) -> WeightsHeader:
        """What the file says of itself; the work of the file it began from is counted."""
        before = weights_file.read_header(self.start) if self.start else None
        recipe = {
            "patch": SIDE, "batch": PAIRS, "rate": RATE, "warmup": WARMUP, "ema": DECAY, "minutes": self.minutes,
            "losses": LOSSES, "teachers": self.teachers, "start": dict(before.recipe) if before else "", "seed": 0,
        }  # fmt: skip
        return WeightsHeader(
            method="features/lens",
            options={},
            scales=(1,),
            licence=LICENCE,
            trained_on=tuple(datasets.described(name) for name in SETS),
            recipe=recipe,
            steps=steps + (before.steps if before else 0),
            seconds=round(seconds + (before.seconds if before else 0), 1),
            device=devices.describe(torch.device("cpu")) + ", bfloat16",
            commit=provenance.code_version(),
            scores=scores,
        )


def train(run: Run, pictures: datasets.Split[Tensor], masters: Masters) -> None:
    """Train for some minutes, and leave the weights at ``run.out`` and the log beside them.

    Raises:
        FloatingPointError: The loss is no longer a number.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    pyramids = [levels for levels in map(pyramid, pictures.train) if levels]
    exam = prepare(pictures.validation, masters, generator)
    calibration = draw(pyramids, 256, generator)
    answers, layers = Answers(masters, exam.maps), ours(masters)
    tensors: Mapping[str, Tensor] = (
        weights_file.load(run.start)[0] if run.start else backbones.load("lens", random=0).network.state_dict()
    )
    network = filled(balanced(tensors))
    with torch.no_grad():
        known, taught = network(calibration, layers), teach(masters, calibration)
        for name, heads in answers.by_teacher():
            heads.begin(known, taught[name])
    for module in (network, answers, *(master.network for master in masters.values())):
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    pupil, average = Pupil(network, masters, answers), WeightAverage(network.network, DECAY)
    optimizers = (Soap(network.parameters(), lr=RATE), torch.optim.Adam(answers.parameters(), lr=RATE))
    weights = torch.tensor(list(LOSSES.values()))

    log: list[list[float]] = []
    total, since, step, best = torch.zeros(4), 0, 0, -math.inf
    began = examined = time.monotonic()
    done = 0.0
    while done < 1:
        done = min(1.0, (time.monotonic() - began) / (60 * run.minutes))
        factor = min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * done)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = RATE * factor
            optimizer.zero_grad()
        losses = pupil.losses(draw(pyramids, PAIRS, generator), generator)
        (weights * losses).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update(network.network, step)
        total, since, step = total + losses.detach(), since + 1, step + 1
        if time.monotonic() - examined < 300 and done < 1:
            continue
        if not bool(total.isfinite().all()):
            raise FloatingPointError(f"the loss is no longer a number at step {step}; lower the rate")
        seconds = time.monotonic() - began
        tensors = normalised(average.tensors, calibration)
        correlations, left = exam.correlations(tensors), exam.unexplained(average.tensors, answers, layers)
        log.append([step, round(seconds, 1), *(round(float(loss) / since, 4) for loss in total), *left, *correlations])
        print(*(round(value, 4) for value in log[-1]), flush=True)
        if sum(correlations) - sum(left) > best:
            best = sum(correlations) - sum(left)
            scores = {
                f"validation, {name}: {what}": round(value, 4)
                for what, values in (("Spearman", correlations), ("unexplained", left))
                for name, value in zip(masters, values, strict=True)
            }
            weights_file.save(run.out, tensors, run.header(step, seconds, scores), dtype=torch.float16)
        write_log(run.out.with_suffix(".csv"), log, tuple(masters))
        total, since, examined = torch.zeros(4), 0, time.monotonic()


def write_log(path: Path, log: Sequence[Sequence[float]], teachers: Sequence[str]) -> None:
    """Write the whole log: the means of the four losses, and the examination."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        exam = [f"{what}, {name}" for what in ("unexplained", "spearman") for name in teachers]
        writer.writerow(("step", "seconds", *LOSSES, *exam))
        writer.writerows([f"{value:.6g}" for value in row] for row in log)


def main() -> None:
    """Train."""
    parser = harness.parser(__doc__, data=", ".join(SETS))
    parser.add_argument("--teacher", required=True, type=Path, help="the folder that holds the teachers' weights")
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=list(TEACHERS), help="which of them")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--start", type=Path, help="a file of the lens's weights to begin from")
    arguments = parser.parse_args()
    pictures = datasets.load([arguments.data / name for name in SETS], "rgb", validation=16)
    masters = {name: TEACHERS[name](arguments.teacher) for name in arguments.teachers}
    train(Run(arguments.minutes, tuple(masters), arguments.out, arguments.start), pictures, masters)


if __name__ == "__main__":
    main()
