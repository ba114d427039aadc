"""Published networks as their code builds them, written anew here, and hostile checkpoints."""

import io
import json
import pickle
import random
import struct
import time
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save as serialise
from torch import nn

from safelight.catalog import find
from safelight.checkpoints import weights_file, weights_manifest
from safelight.checkpoints.foreign import reader_process
from safelight.checkpoints.foreign.archive import ForeignError
from safelight.checkpoints.foreign.pickles import read_pickle_at
from safelight.checkpoints.weights_file import CheckpointError
from safelight.inference import model
from support.legacy_files import hostile_legacy

MEAN = (0.4488, 0.4371, 0.4040)


def conv(n_in, n_out, k=3, **more):
    return nn.Conv2d(n_in, n_out, k, padding=k // 2, **more)


# --- published networks: each takes and gives what its own code does --------------------------------------------------


class Shift(nn.Conv2d):
    """A 1x1 convolution that adds the mean of DIV2K, or takes it away."""

    def __init__(self, sign, range_, mean=MEAN):
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = sign * range_ * torch.tensor(mean)


class EdsrBlock(nn.Module):
    def __init__(self, features, res_scale):
        super().__init__()
        self.body = nn.Sequential(conv(features, features), nn.ReLU(), conv(features, features))
        self.res_scale = res_scale

    def forward(self, x):
        return self.body(x) * self.res_scale + x


def steps(features, scale):
    layers = []
    for r in (2, 2) if scale == 4 else (scale,):
        layers += [conv(features, r * r * features), nn.PixelShuffle(r)]
    return nn.Sequential(*layers)


class AuthorsEdsr(nn.Module):
    """EDSR-PyTorch: samples from 0 to ``range_``."""

    gain = 0.5

    def __init__(self, scale, blocks=16, features=64, res_scale=1.0, range_=255.0, mean=MEAN):
        super().__init__()
        self.sub_mean, self.add_mean = Shift(-1, range_, mean), Shift(1, range_, mean)
        self.head = nn.Sequential(conv(3, features))
        body = [EdsrBlock(features, res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*body, conv(features, features))
        self.tail = nn.Sequential(steps(features, scale), conv(features, 3))
        self.range = range_

    def forward(self, x):
        x = self.head(self.sub_mean(x * self.range))
        return self.add_mean(self.tail(self.body(x) + x)) / self.range


class BasicSrBlock(nn.Module):
    def __init__(self, features, res_scale):
        super().__init__()
        self.conv1, self.conv2, self.res_scale = conv(features, features), conv(features, features), res_scale

    def forward(self, x):
        return x + self.conv2(torch.relu(self.conv1(x))) * self.res_scale


class BasicSrEdsr(nn.Module):
    """BasicSR: samples from 0 to 1, multiplied inside; neither mean nor range is in the state."""

    gain = 0.5

    def __init__(self, scale, blocks=16, features=64, res_scale=1.0):
        super().__init__()
        self.conv_first = conv(3, features)
        self.body = nn.Sequential(*(BasicSrBlock(features, res_scale) for _ in range(blocks)))
        self.conv_after_body = conv(features, features)
        self.upsample = steps(features, scale)
        self.conv_last = conv(features, 3)

    def forward(self, x):
        mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        x = self.conv_first((x - mean) * 255.0)
        x = self.conv_last(self.upsample(self.conv_after_body(self.body(x)) + x))
        return x / 255.0 + mean


class ConvRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(64, 64, bias=False)

    def forward(self, x):
        return torch.relu(self.conv(x))


class Vdsr1(nn.Module):
    """pytorch-vdsr."""

    gain = 1.0

    def __init__(self):
        super().__init__()
        self.residual_layer = nn.Sequential(*(ConvRelu() for _ in range(18)))
        self.input, self.output = conv(1, 64, bias=False), conv(64, 1, bias=False)

    def forward(self, x):
        return self.output(self.residual_layer(torch.relu(self.input(x)))) + x


class Vdsr2(nn.Module):
    """VDSR-PyTorch."""

    gain = 1.0

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(conv(1, 64, bias=False), nn.ReLU())
        self.trunk = nn.Sequential(*(ConvRelu() for _ in range(18)))
        self.conv2 = conv(64, 1, bias=False)

    def forward(self, x):
        return self.conv2(self.trunk(self.conv1(x))) + x


class Fsrcnn1(nn.Module):
    """FSRCNN-pytorch: three parts."""

    gain = 0.7

    def __init__(self, scale, d=56, s=12, m=4):
        super().__init__()
        self.first_part = nn.Sequential(conv(1, d, 5), nn.PReLU(d))
        row = [conv(d, s, 1), nn.PReLU(s)]
        for _ in range(m):
            row += [conv(s, s), nn.PReLU(s)]
        self.mid_part = nn.Sequential(*row, conv(s, d, 1), nn.PReLU(d))
        self.last_part = nn.ConvTranspose2d(d, 1, 9, stride=scale, padding=4, output_padding=scale - 1)

    def forward(self, x):
        return self.last_part(self.mid_part(self.first_part(x)))


class Fsrcnn2(nn.Module):
    """FSRCNN-PyTorch: the paper's names."""

    gain = 0.7

    def __init__(self, scale, m=4):
        super().__init__()
        self.feature_extraction = nn.Sequential(conv(1, 56, 5), nn.PReLU(56))
        self.shrink = nn.Sequential(conv(56, 12, 1), nn.PReLU(12))
        row = []
        for _ in range(m):
            row += [conv(12, 12), nn.PReLU(12)]
        self.map = nn.Sequential(*row)
        self.expand = nn.Sequential(conv(12, 56, 1), nn.PReLU(56))
        self.deconv = nn.ConvTranspose2d(56, 1, 9, scale, 4, scale - 1)

    def forward(self, x):
        return self.deconv(self.expand(self.map(self.shrink(self.feature_extraction(x)))))


class KairDncnn(nn.Module):
    """cszn/KAIR: a sequence of convolutions and ReLUs, whose result is taken from the input."""

    gain = 1.0

    def __init__(self, channels=1, layers=20):
        super().__init__()
        body = [nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(layers - 2):
            body += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*body, nn.Conv2d(64, channels, 3, padding=1))

    def forward(self, x):
        return x - self.model(x)


def randomised(network, seed=0):
    """The network with weights that keep signals at the size where each layer shows in the result."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.startswith(("sub_mean", "add_mean")):
            continue
        spread = (2 / max(1, parameter[0].numel())) ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread * network.gain
    return network.eval()


# --- hostile files ----------------------------------------------------------------------------------------------------


class Payload:
    """Unpickling one writes a file, as a stand-in for anything else."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def torch_bytes(thing, **how):
    file = io.BytesIO()
    torch.save(thing, file, **how)
    return file.getvalue()


def zip_bytes(members, method=zipfile.ZIP_STORED):
    """A zip file; a member given as a number is that many zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            if isinstance(content, bytes):
                archive.writestr(name, content)
                continue
            with archive.open(name, "w") as member:
                for start in range(0, content, 1 << 20):
                    member.write(bytes(min(1 << 20, content - start)))
    return file.getvalue()


def pickled(opcodes):
    """A checkpoint whose pickle is these opcodes."""
    return zip_bytes({"a/data.pkl": b"\x80\x02" + opcodes + b"."})


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def many_entries(count):
    """A safetensors file of ``count`` tensors of no numbers each: megabytes of header."""
    entries = ",".join(f'"tensor.{i:06}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(count))
    header = ("{" + entries + "}").encode()
    return struct.pack("<Q", len(header)) + header


def hostile_files(good, marker):
    """Name and content of every row of R9 that is a file; unpickling the first two would write ``marker``."""
    whole = torch_bytes(good)
    sick = OrderedDict(good)
    name = next(iter(sick))
    sick[name] = torch.full_like(sick[name], float("nan"))
    endless = torch.zeros(1).expand(40_000_000_000)
    return {
        "reduce.pth": torch_bytes({"state_dict": good, "extra": Payload(marker)}),
        "legacy-reduce.pth": pickle.dumps(Payload(marker), protocol=2),
        **hostile_legacy(good, Payload(marker), torch_bytes),
        "module.pth": torch_bytes({"epoch": 1, "model": nn.Sequential(nn.Conv2d(1, 1, 1))}),
        "stride-0.pth": torch_bytes(OrderedDict(good) | {name: endless}),
        "stride-0-alone.pth": torch_bytes({"weight": endless}),
        "deflated.pth": zip_bytes(
            members_of(torch_bytes({"weight": torch.zeros(4)})) | {"archive/data/0": 400_000_000},
            zipfile.ZIP_DEFLATED,
        ),
        "nan.pth": torch_bytes(sick),
        "cut.pth": whole[: len(whole) // 2],
        "cut-end.pth": whole[:-1],
        "longer.pth": whole + b"\0",
        "empty.pth": b"",
        "page.pth": b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
        "entries.safetensors": many_entries(100_000),
        "entries.pth": zip_bytes({f"a/data/{i}": b"" for i in range(25_000)}),
        "keys.pth": torch_bytes(OrderedDict((f"k{i}", torch.zeros(1)) for i in range(12_000))),
        "torchscript.pth": zip_bytes({"a/code/__torch__.py": b"import os", "a/data.pkl": b"\x80\x02}."}),
        "noise.pth": bytes(range(256)) * 16,
        "lists.pth": pickled(b"]" * ((1 << 20) - 8)),
        "marks.pth": pickled(b"(" * ((1 << 20) - 8)),
        # Tuples of twice the one before: 2^200 values, if anybody counted them.
        "laughs.pth": pickled(b"}" + b")" + b"q\x00h\x00\x86" * 200 + b"K\x01s"),
    }


# --- mutations --------------------------------------------------------------------------------------------------------


def mutation(good, generator):
    """A broken copy of a file: a flipped bit, a cut, a splice of its own bytes, or a run of noise."""
    broken = bytearray(good)
    at = generator.randrange(len(good))
    match generator.randrange(4):
        case 0:
            broken[at] ^= 1 << generator.randrange(8)
        case 1:
            del broken[at:]
        case 2:
            start = generator.randrange(len(good))
            broken[at : at + 64] = good[start : start + 64]
        case _:
            broken[at : at + 16] = generator.randbytes(min(16, len(good) - at))
    return bytes(broken)


def mutate(folder, count, seed=0):
    """Load ``count`` mutations of four good files, and count what came of them.

    Each must be refused in one line, or give the very numbers of the good file (the bits that were changed mean
    nothing), or, for safetensors of others and for torch's files before 1.6, which carry no checksum, other numbers
    that are finite.
    """
    generator = random.Random(seed)
    card = find("fsrcnn")
    network = randomised(Fsrcnn1(3))
    state = network.state_dict()
    (folder / "x3.pth").write_bytes(torch_bytes(state))
    (folder / "foreign_x3.safetensors").write_bytes(serialise(state))
    ours = model.load(card, weights=folder / "x3.pth")
    header = weights_file.WeightsHeader(method=card.id, options={}, scales=(3,))
    weights_file.save(folder / "x3.safetensors", ours.network.state_dict(), header)
    (folder / "legacy_x3.pth").write_bytes(torch_bytes(state, _use_new_zipfile_serialization=False))
    names = ("x3.pth", "foreign_x3.safetensors", "x3.safetensors", "legacy_x3.pth")
    good = {name: (folder / name).read_bytes() for name in names}
    x = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    expected = ours(x)
    counts = {"refused": 0, "same": 0, "other numbers": 0, "slowest": 0.0}
    for i in range(count):
        name = names[i % 4]
        path = folder / f"broken-{i}-{name}"
        path.write_bytes(mutation(good[name], generator))
        start = time.perf_counter()
        try:
            loaded = model.load(card, weights=path)
        except CheckpointError as error:
            counts["refused"] += str(error).isprintable()
        else:
            if torch.equal(loaded(x), expected):
                counts["same"] += 1
            else:
                assert name in ("foreign_x3.safetensors", "legacy_x3.pth"), path
                assert all(p.isfinite().all() for p in loaded.network.parameters()), path
                counts["other numbers"] += 1
        counts["slowest"] = max(counts["slowest"], time.perf_counter() - start)
        path.unlink()
    return counts


def large_file_of_zeros(path, *, foreign):
    """A sparse safetensors file of 3 GiB, of ESPCN's weights in our form or of FSRCNN's in that of others."""
    ours = (weights_manifest.SHIPPED / "espcn-x2.safetensors").read_bytes()
    header = json.loads(ours[8 : 8 + int.from_bytes(ours[:8], "little")])
    size = 3 << 30
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    if foreign:
        header = {"first_part.0.weight": tensor}
    else:
        (name, *_) = (key for key in header if key.startswith("conv1.weight"))
        header = {"__metadata__": header["__metadata__"], name: tensor}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    return path


def mutate_pickles(count, seed=0):
    """Read ``count`` checkpoints whose pickle is a mutation and whose checksums are right; return how many are refused.

    Every other is of the kind before torch 1.6. Those that are read must describe tensors that lie in the file.
    Anything raised but a refusal passes through.
    """
    generator = random.Random(seed)
    saved = {"epoch": 2, "state_dict": Fsrcnn1(3, m=1).state_dict()}
    members = members_of(torch_bytes(saved))
    (name,) = (name for name in members if name.endswith("/data.pkl"))
    good, refused = members[name], 0
    legacy = torch_bytes(saved, _use_new_zipfile_serialization=False)
    end = 0
    for _ in range(5):  # the pickles before the numbers
        end = read_pickle_at(legacy, end).end
    for i in range(count):
        if i % 2:
            content = mutation(legacy[:end], generator) + legacy[end:]
        else:
            content = zip_bytes(members | {name: mutation(good, generator)})
        try:
            places = reader_process.read(io.BytesIO(content))
        except ForeignError:
            refused += 1
        else:
            assert all(0 <= place.start <= place.start + place.size <= len(content) for place in places.values())
    return refused
