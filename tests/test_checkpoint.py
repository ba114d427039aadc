"""Weights files: what is written comes back, and what is foreign or broken is refused in one line."""

import dataclasses
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as serialise

from safelight.checkpoints import weights_file
from safelight.checkpoints.weights_file import CheckpointError, WeightsHeader

HEADER = WeightsHeader(
    method="upscale/espcn", options={}, scales=(2,), trained_on=("t91",), scores={"Set5 Y-PSNR": 36.5}
)


@pytest.fixture
def tensors():
    return {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3), "count": torch.tensor([3])}


def test_round_trip(tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER)
    loaded, header = weights_file.load(path)
    assert header == HEADER == weights_file.read_header(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_half_precision_is_stored_as_such_and_read_as_float32(tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER, dtype=torch.float16)
    loaded, header = weights_file.load(path)
    assert header.precision == "float16"
    assert loaded["a.weight"].dtype == torch.float32
    assert torch.equal(loaded["a.weight"], tensors["a.weight"].half().float())
    assert loaded["count"].dtype == torch.int64


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        weights_file.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def refused(path, match):
    for read in (weights_file.read_header, weights_file.load):
        with pytest.raises(CheckpointError, match=match) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_broken_files_are_refused(tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER)
    whole = path.read_bytes()
    cut = [whole[:n] for n in (0, 4, 8, 20, len(whole) - 1)]
    html = b"<!DOCTYPE html><html><body>404</body></html>"
    pickle = b"PK\x03\x04" + bytes(100)
    huge = struct.pack("<Q", 1 << 62) + whole[8:]
    for content in (*cut, html, pickle, huge):
        path.write_bytes(content)
        refused(path, "expected Safelight weights")


def test_foreign_headers_are_refused(tmp_path, tensors):
    path = tmp_path / "w.safetensors"
    fields = {"format": weights_file.FORMAT, **dataclasses.asdict(HEADER)}
    cases = {
        "without Safelight's header": None,
        "format 'other/9'": {**fields, "format": "other/9"},
        "cannot be read": {**fields, "unknown": 1},
    }
    for match, content in cases.items():
        path.write_bytes(serialise(tensors, {"safelight": json.dumps(content)} if content else None))
        refused(path, match)
    for text in ("[]", "null", "{", "3", '{"format": "safelight-weights/1"}'):
        path.write_bytes(serialise(tensors, {"safelight": text}))
        refused(path, "cannot be read")


def test_missing_files_and_folders_are_refused(tmp_path):
    refused(tmp_path / "nothing", "there is none")
    refused(tmp_path, "there is none")


def test_values_that_are_not_numbers_are_refused(tmp_path, tensors):
    tensors["a.bias"][1] = float("nan")
    path = tmp_path / "w.safetensors"
    weights_file.save(path, tensors, HEADER)
    with pytest.raises(CheckpointError, match=r"a\.bias that are not finite"):
        weights_file.load(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("weight"), "without weight"),
        (lambda t: t.update(more=torch.zeros(1)), "with the unknown more"),
        (lambda t: t.update(weight=torch.zeros(2, 3)), "of another shape for weight"),
    ],
)
def test_fill_takes_all_or_nothing(change, match):
    net = torch.nn.Linear(2, 3)
    tensors = {k: v.clone() for k, v in net.state_dict().items()}
    change(tensors)
    with pytest.raises(CheckpointError, match=match):
        weights_file.load_into(net, tensors, Path("w.safetensors"))
