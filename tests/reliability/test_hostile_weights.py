"""R9, at length: mutations of good weights files."""

import pytest

from support import published_weights as public


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
