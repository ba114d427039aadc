"""R9: hostile checkpoints are refused in one line, in 100 MB, and nothing of them runs.

That it takes under 2 seconds is in reliability/test_hostile_weights.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.catalog import find
from safelight.checkpoints import conversion, weights_file, weights_manifest
from safelight.checkpoints.weights_file import CheckpointError
from safelight.inference import model
from support import published_weights as public

ROWS = {
    "reduce.pth": "would run 'io.open'",
    "legacy-reduce.pth": "would run 'io.open'",
    "legacy-inside.pth": "would run 'io.open'",
    "legacy-cut.pth": "cut off",
    "legacy-cut-end.pth": "cut off",
    "legacy-longer.pth": "something after its end",
    "legacy-stride-0.pth": r"claims 4.295e\+10 numbers, of which the file holds 4",
    "legacy-outside.pth": "claims 8 numbers, of which the file holds 4",
    "legacy-count.pth": "cut off",
    "legacy-two-counts.pth": "numbers are not what its pickle says",
    "legacy-keys.pth": "list of storages is not what its pickle says",
    "legacy-no-list.pth": "list of storages cannot be read",
    "legacy-part.pth": "storage of an unknown kind",
    "legacy-twice.pth": "two storages of one name",
    "legacy-magic.pth": "that torch.save did not write",
    "legacy-version.pth": "another version than any that is known",
    "legacy-order.pth": "byte order of another processor",
    "legacy-lists.pth": "more than 300000 instructions",
    "legacy-pairs.pth": "a damaged pickle",
    "protocol-0.pth": r"a pickle that torch.save does not write so; .* save it again: torch.save",
    "tar.pth": "a tar archive of the first versions of torch",
    "module.pth": "would run 'torch.nn.modules.container.Sequential'",
    "stride-0.pth": r"claims 4e\+10 numbers, of which the file holds 1",
    "stride-0-alone.pth": r"claims 4e\+10 numbers",
    "deflated.pth": "compressed members",
    "nan.pth": "not finite",
    "cut.pth": "cut off",
    "cut-end.pth": "cut off",
    "longer.pth": "something after its end",
    "empty.pth": "an empty file",
    "page.pth": "a web page",
    "entries.safetensors": "a header of 6500001 bytes",
    "entries.pth": "an archive of 25000 members",
    "keys.pth": "a pickle of 1057161 bytes",
    "torchscript.pth": "a program of TorchScript",
    "noise.pth": "another kind",
    "lists.pth": "more than 300000 instructions",
    "marks.pth": "more than 300000 instructions",
    "laughs.pth": "without a dictionary",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every hostile file, and one good one."""
    folder = tmp_path_factory.mktemp("hostile")
    good = public.randomised(public.Fsrcnn1(3)).state_dict()
    (folder / "good.pth").write_bytes(public.torch_bytes(good))
    for name, content in public.hostile_files(good, folder / "marker").items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_hostile_file_has_its_row(folder):
    assert {path.name for path in folder.iterdir()} == {"good.pth", *ROWS}


@pytest.mark.parametrize("name", ROWS)
def test_r9_a_hostile_file_is_refused_in_one_line_and_nothing_of_it_runs(folder, cache, name):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match=ROWS[name]) as caught:
        model.load(find("fsrcnn"), weights=folder / name, scale=3)
    assert str(caught.value).startswith(f"{name}: expected ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not cache.exists()


MEASURE = """
import json, sys
from pathlib import Path
sys.path.insert(0, "tests")
from support.processes import peak
from safelight.inference import model
from safelight.catalog import find
card = find("fsrcnn")
folder = Path(sys.argv[1])
model.load(card, weights=folder / "good.pth", scale=3)
base = peak()
for name in sys.argv[2:]:
    try: model.load(card, weights=folder / name, scale=3)
    except ValueError as error: assert "expected" in str(error)
    else: raise SystemExit(name + " was taken")
print(json.dumps([base, peak() - base]))
"""

# A small process in between: what a child shares with its parent before it begins is counted as the child's.
READER = """
import json, os, sys
peaks = {}
for name in sys.argv[2:]:
    worker = os.posix_spawn(
        sys.executable, [sys.executable, "-P", "-m", "safelight.checkpoints.foreign.reader_process"], os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.path.join(sys.argv[1], name), os.O_RDONLY, 0),
                      (os.POSIX_SPAWN_DUP2, int(os.environ["ANSWERS"]), 1)])
    _, status, usage = os.wait4(worker, 0)
    peaks[name] = (status, usage.ru_maxrss >> 10)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_r9_memory(folder):
    """At most 100 MB above a process that has loaded good weights, and 100 MB for the reader, which needs 10."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), *ROWS], capture_output=True, text=True, check=True, timeout=120
    )
    base, more = json.loads(done.stdout)
    pickled = [name for name in ROWS if (folder / name).read_bytes()[:2] in (b"PK", b"\x80\x02")]
    answers, end = os.pipe()  # a pipe: the reader may write no file, and its answers are short
    try:
        done = subprocess.run(
            [sys.executable, "-c", READER, str(folder), *pickled], capture_output=True, text=True, check=True,
            timeout=120, pass_fds=[end], env=os.environ | {"ANSWERS": str(end)},
        )  # fmt: skip
    finally:
        os.close(answers)
        os.close(end)
    peaks = json.loads(done.stdout)
    assert more <= 100, f"beside {base} MB"
    assert all(status == 0 and megabytes <= 100 for status, megabytes in peaks.values()), peaks


def test_the_reader_can_open_write_and_start_nothing(tmp_path):
    code = (
        "import os, sys\nfrom safelight.checkpoints.foreign import reader_process as worker\nworker.drop_privileges()\n"
        "for act in (lambda: open('/etc/passwd'), lambda: os.open('made', os.O_CREAT | os.O_WRONLY), os.fork,\n"
        "            lambda: bytearray(worker.MEMORY)):\n"
        "    try: act()\n"
        "    except (OSError, MemoryError) as error: print(type(error).__name__, end=' ')\n"
        "    else: print('done', end=' ')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    opened, made, forked, filled, *_ = done.stdout.split()
    assert (opened, made, filled) == ("OSError", "OSError", "MemoryError")
    assert forked == "BlockingIOError" or os.geteuid() == 0  # root may start as many as it likes
    assert list(tmp_path.iterdir()) == []


def test_modules_of_the_current_folder_are_not_run(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    for name in ("json", "zlib", "struct", "safelight", "resource"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')")
    (tmp_path / "x3.pth").write_bytes(public.torch_bytes(public.Fsrcnn1(3).state_dict()))
    monkeypatch.chdir(tmp_path)
    assert model.load(find("fsrcnn"), weights=Path("x3.pth")).scale == 3
    assert not marker.exists()


def test_a_reader_that_dies_or_hangs_costs_one_line(folder, monkeypatch):
    run = subprocess.run
    for code, match in (
        ("import os; os.kill(os.getpid(), 11)", r"did not survive \(exit -11\)"),
        ("import time; time.sleep(60)", "more than 1 seconds"),
        ("print('nonsense')", "did not survive"),
    ):
        monkeypatch.setattr(conversion, "SECONDS", 1)
        monkeypatch.setattr(subprocess, "run", lambda a, code=code, **k: run([sys.executable, "-c", code], **k))
        with pytest.raises(CheckpointError, match=match):
            model.load(find("fsrcnn"), weights=folder / "good.pth", scale=3)


@pytest.mark.skipif(sys.platform == "win32", reason="names on Windows are shorter of signs")
def test_names_of_files_cannot_break_the_line(tmp_path):
    path = tmp_path / "two\nlines\x1b[31m.pth"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty") as caught:
        model.load(find("fsrcnn"), weights=path)
    assert str(caught.value).isprintable()


def test_a_large_file_of_zeros_is_refused_before_it_is_read(tmp_path):
    """A sparse file costs nothing to send: its tensors must fit the network before they are read."""
    ours = public.large_file_of_zeros(tmp_path / "ours.safetensors", foreign=False)
    with pytest.raises(CheckpointError, match="expected the weights of this network"):
        model.load(find("espcn"), weights=ours)
    foreign = public.large_file_of_zeros(tmp_path / "foreign.safetensors", foreign=True)
    with pytest.raises(CheckpointError, match="more than the 536870912 that are read"):
        model.load(find("fsrcnn"), weights=foreign)


def test_r9_mutations_a_few(tmp_path):
    """The 500 of R9 run by ``make test-reliability``; these few show in every run that the harness works."""
    counts = public.mutate(tmp_path, 60)
    assert counts["refused"] >= 40
    assert counts["refused"] + counts["same"] + counts["other numbers"] == 60


def test_mutated_pickles_a_few():
    """As above, behind checksums that are right, so that each one reaches the walker."""
    assert public.mutate_pickles(300) >= 150


def test_a_changed_bit_anywhere_in_a_file_of_ours_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    tensors, header = weights_file.load(weights_manifest.SHIPPED / "fsrcnn-x3.safetensors")
    weights_file.save(path, tensors, header)
    good = path.read_bytes()
    for at in range(8, len(good), 997):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(CheckpointError):
            weights_file.load(path)
