"""R9, at length: mutations of good weights files, and the time that hostile ones take."""

import time

import pytest

from safelight.catalog import find
from safelight.checkpoints.weights_file import CheckpointError
from safelight.inference import model
from support import published_weights as public


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_r9_every_hostile_file_is_refused_within_two_seconds(tmp_path):
    good = public.randomised(public.Fsrcnn1(3)).state_dict()
    files = {}
    for name, content in public.hostile_files(good, tmp_path / "marker").items():
        files[tmp_path / name] = "fsrcnn"
        (tmp_path / name).write_bytes(content)
    files[public.large_file_of_zeros(tmp_path / "ours.safetensors", foreign=False)] = "espcn"
    files[public.large_file_of_zeros(tmp_path / "foreign.safetensors", foreign=True)] = "fsrcnn"
    seconds = {}
    for path, method in files.items():
        start = time.perf_counter()
        with pytest.raises(CheckpointError):
            model.load(find(method), weights=path)
        seconds[path.name] = time.perf_counter() - start
    assert max(seconds.values()) <= 2, seconds


def test_r9_500_mutations(tmp_path):
    """Of four good files: ours, torch's two kinds, safetensors of others. Each is refused or harmless in 2 seconds."""
    counts = public.mutate(tmp_path, 501)
    print(counts)  # noqa: T201 - the measured figures
    assert counts["refused"] + counts["same"] + counts["other numbers"] == 501
    assert counts["slowest"] <= 2


def test_r9_mutated_pickles():
    refused = public.mutate_pickles(20_000)
    print(f"{refused} of 20000 refused")  # noqa: T201 - the measured figures
    assert refused >= 10_000
