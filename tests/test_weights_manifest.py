"""The list of shipped weights: true to the files, to their headers and to the methods, and small enough for a wheel."""

import dataclasses
import hashlib

import pytest

from safelight import catalog, features
from safelight.checkpoints import weights_file, weights_manifest
from safelight.checkpoints.weights_file import CheckpointError
from safelight.core.options import make_options

RECORDS = weights_manifest.read(weights_manifest.SHIPPED)
BUDGET = 90 << 20
"""Bytes of all weights: the wheel shall stay under 100 MB."""


@pytest.mark.parametrize("weights", RECORDS, ids=lambda weights: weights.file)
def test_a_record_says_what_its_file_says(weights):
    path = weights_manifest.verified_path(weights)
    content = path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (weights.bytes, weights.sha256)
    header = weights_file.read_header(path)
    assert (header.method, header.scales) == (weights.method, weights.scales)
    assert header.licence.startswith(weights.licence)
    if weights.method.startswith("features/"):
        assert features.facts(weights.method.split("/")[1]).published is None
        assert header.options == weights.options == {}
    else:
        card = catalog.find(weights.method)
        assert card.id == weights.method
        assert make_options(card, header.options) == make_options(card, weights.options)


def test_each_file_has_one_record_and_no_other_file_lies_there():
    files = [weights.file for weights in RECORDS]
    assert len(set(files)) == len(files)
    assert {path.name for path in weights_manifest.SHIPPED.iterdir()} == {*files, weights_manifest.NAME}


def test_all_weights_fit_into_their_budget():
    assert sum(weights.bytes for weights in RECORDS) < BUDGET


def test_what_is_written_comes_back(tmp_path):
    weights_manifest.write(tmp_path, RECORDS)
    assert weights_manifest.read(tmp_path) == RECORDS
    assert (tmp_path / weights_manifest.NAME).read_bytes() == (
        weights_manifest.SHIPPED / weights_manifest.NAME
    ).read_bytes()


@pytest.mark.parametrize("content", ["", "{}]", '[{"file": "a"}]', "[3]"])
def test_a_damaged_list_is_refused_in_one_line(content, tmp_path):
    (tmp_path / weights_manifest.NAME).write_text(content)
    with pytest.raises(CheckpointError, match="expected the list of the shipped weights, got") as caught:
        weights_manifest.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="got FileNotFoundError; install safelight again"):
        weights_manifest.read(tmp_path)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    weights = RECORDS[0]
    monkeypatch.setattr(weights_manifest, "SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match="missing or damaged; install safelight again"):
        weights_manifest.verified_path(weights)
    (tmp_path / weights.file).write_bytes(b"other")
    with pytest.raises(CheckpointError, match="missing or damaged"):
        weights_manifest.verified_path(weights)
    right = dataclasses.replace(weights, sha256=hashlib.sha256(b"other").hexdigest())
    assert weights_manifest.verified_path(right) == tmp_path / weights.file
