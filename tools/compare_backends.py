"""Compare what could run the networks on a CPU: torch as it is, in tiles, compiled, in strips; OpenVINO, ONNX Runtime.

    pip install openvino onnxruntime onnx onnxscript
    python tools/compare_backends.py

Writes ``results/backends.json``, by which the engine's one backend was chosen; it needs no data. The input has 512x512
pixels for torch plainly and in strips; the other ways take the tile that suits them best of three, and what the borders
of tiles would cost comes on top and is not in the numbers. OpenVINO and ONNX Runtime read the network as it is, and
FSRCNN once more with its transposed convolution rewritten as a sub-pixel convolution, which is how the engine runs it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight import catalog
from safelight.checkpoints import provenance
from safelight.engine.graph import ConvolutionLayer, build_graph
from safelight.evaluation.bench.speed import machine
from safelight.inference.model import Model, load
from safelight.media import image

RESULTS = Path(__file__).parent.parent / "results"
NETWORKS = (("fsrcnn", 3), ("espcn", 3), ("vdsr", 3), ("edsr", 2))
SIDES = (128, 256, 512)
WHOLE = 512  # the side of the whole picture
ROUNDS = 3


def best(job: Callable[[], object]) -> float:
    """The least seconds of some rounds after a warm-up."""
    job()
    taken: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        job()
        taken.append(time.perf_counter() - start)
    return min(taken)


class SubPixel(nn.Module):
    """FSRCNN with its last layer rewritten, as a module that other runtimes can read."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        layer = build_graph(network)[-1].layer
        assert isinstance(layer, ConvolutionLayer)
        self.before = nn.Sequential(*list(network.children())[:-1])
        self.layer = layer
        self.weight, self.bias = nn.Parameter(layer.weight, False), nn.Parameter(cast("Tensor", layer.bias), False)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge; the last rows and columns, which the shift would need, are left out: the work is the same."""
        y = F.conv2d(self.before(x), self.weight, self.bias, padding=self.layer.left)
        return F.pixel_shuffle(y, self.layer.zoom)


def tile(channels: int, side: int) -> Tensor:
    """A picture of noise, channels last."""
    return torch.rand(1, channels, side, side).contiguous(memory_format=torch.channels_last)


def openvino(network: nn.Module, channels: int, side: int, precision: str) -> Callable[[], object]:
    """Compile for OpenVINO."""
    ov: Any = importlib.import_module("openvino")
    core = ov.Core()
    converted = ov.convert_model(network, example_input=torch.rand(1, channels, side, side))
    converted.reshape([1, channels, side, side])
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(
        converted, "CPU", {**hints, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    ).create_infer_request()
    x = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    return lambda: request.infer([x], share_inputs=True, share_outputs=True)


def onnxruntime(network: nn.Module, channels: int, side: int) -> Callable[[], object]:
    """Compile for ONNX Runtime."""
    ort: Any = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        torch.onnx.export(network, (torch.rand(1, channels, side, side),), file, dynamo=False, input_names=["x"])
        session = ort.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    return lambda: session.run(None, {"x": x})


def rows(name: str, scale: int) -> list[dict[str, Any]]:
    """Measure one network in every way."""
    exact = load(catalog.find(name), scale=scale, device="cpu")
    fast = load(catalog.find(name), scale=scale, device="cpu", precision="fast")
    network = exact.network.requires_grad_(False)
    channels = 1 if exact.spec.channels == "y" else 3
    zoom = 1 if exact.spec.input == "interpolated" else scale
    flop = 2e-9 * exact.cost.multiply_adds * zoom**2  # for each pixel of the input, 1e9 operations
    made: list[dict[str, Any]] = []

    def add(way: str, precision: str, sides: tuple[int, ...], prepare: Callable[[int], Callable[[], object]]) -> None:
        rates = {side: flop * side * side / best(prepare(side)) for side in sides}
        side = max(rates, key=rates.__getitem__)
        seconds = round(flop * 1e6 / rates[side], 4)
        row = {"method": exact.card.id, "scale": scale, "way": way, "precision": precision, "side": side}
        made.append({**row, "seconds_per_megapixel": seconds, "gflop_per_second": round(rates[side], 1)})
        print(json.dumps(made[-1]), flush=True)

    def plain(side: int) -> Callable[[], object]:
        x = torch.rand(1, channels, side, side)
        return lambda: network(x)

    def tiled(side: int) -> Callable[[], object]:
        x = tile(channels, side)
        return lambda: network(x)

    def strips(model: Model) -> Callable[[int], Callable[[], object]]:
        def prepare(side: int) -> Callable[[], object]:
            x = torch.rand(1, channels, side, side)
            return lambda: model.run(x)

        return prepare

    def compiled(side: int) -> Callable[[], object]:
        x = tile(channels, side)
        function: Any = torch.compile(network)
        return lambda: function(x)

    cast("Any", network).to(memory_format=torch.contiguous_format)
    add("torch, whole", "float32", (WHOLE,), plain)
    cast("Any", network).to(memory_format=torch.channels_last)
    add("torch, channels last, tile", "float32", SIDES, tiled)
    add("torch, strips (the engine)", "float32", (WHOLE,), strips(exact))
    if fast.precision != "float32":
        add("torch, strips (the engine)", fast.precision, (WHOLE,), strips(fast))
    add("torch inductor, tile", "float32", SIDES[1:2], compiled)
    nets = {"": network} if name != "fsrcnn" else {"": network, ", sub-pixel": SubPixel(network)}
    for label, net in nets.items():
        add(f"OpenVINO{label}, tile", "float32", SIDES, lambda side, net=net: openvino(net, channels, side, "f32"))
        add(f"OpenVINO{label}, tile", "bfloat16", SIDES, lambda side, net=net: openvino(net, channels, side, "bf16"))
        add(f"ONNX Runtime{label}, tile", "float32", SIDES, lambda side, net=net: onnxruntime(net, channels, side))
    return made


def main() -> None:
    """Measure all and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of tracing
    facts: dict[str, Any] = {
        "protocol": " ".join((__doc__ or "").split("\n\n", 2)[2].split()),
        "machine": dataclasses.asdict(machine()),
        "commit": provenance.code_version(),
        "versions": versions(),
    }
    with torch.no_grad():
        facts["rows"] = [row for name, scale in NETWORKS for row in rows(name, scale)]
    image.write_bytes((json.dumps(facts, indent=1) + "\n").encode(), arguments.out / "backends.json", overwrite=True)


def versions() -> dict[str, str]:
    """The runtimes' versions."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "openvino", "onnxruntime")}


if __name__ == "__main__":
    main()
