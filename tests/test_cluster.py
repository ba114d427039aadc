"""A batch on Ray: the same outputs, outcomes and refusals as on one machine, with URLs, and with attempts done again.

What takes long, such as killing actors, is in reliability/test_cluster_kills.py.
"""

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path, PurePosixPath

import fsspec
import pytest
import torch
from typer.testing import CliRunner

import safelight
from safelight import batch, catalog, inference
from safelight.batch import BatchError, FileSettings, cluster, remote
from safelight.batch.cluster import ClusterError, WorkerConfig, WorkerPool
from safelight.batch.cluster.task_runner import TaskRunner
from safelight.cli import app
from safelight.media import image
from support.folders import tree
from support.pictures import draw

SETTINGS = inference.InferenceRequest(inputs={"scale": 2})
FILES = FileSettings()


def planned(*inputs, out, on_exist="error", format=None):
    return cluster.plan([str(text) for text in inputs], out=out, tag="x2", format=format, on_exist=on_exist)


def order(**other):
    facts = {
        "card": "upscale/nearest", "request": SETTINGS, "files": FILES, "preview": False, "cpus": 1,
        "version": safelight.__version__, "run_id": "mark",
    }  # fmt: skip
    return WorkerConfig(**(facts | other))


@pytest.fixture(autouse=True)
def own_threads(monkeypatch):
    """A worker sets the threads of its process, which is this one here."""
    monkeypatch.setenv("VIPS_CONCURRENCY", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def worker():
    return TaskRunner(order())


@pytest.fixture
def bucket():
    """A store of objects; fsspec keeps it in this process."""
    store = fsspec.filesystem("memory")
    for kept in (store.store, store.pseudo_dirs):
        kept.clear()
    yield store
    for kept in (store.store, store.pseudo_dirs):
        kept.clear()


def make(path, seed=0):
    """What a local run makes of a picture."""
    runner = inference.prepare(catalog.find("nearest"), SETTINGS)
    return image.encode(runner(image.read(path)), image.format_of(path))


# --- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_url"),
    [
        ("s3://bucket/photos", True), ("dir://a::file:///b", True), ("zip://::a.zip", True), ("C://photos", False),
        ("photos/a:b.png", False), ("file:///photos", False), ("local:///photos", False),
    ],
)  # fmt: skip
def test_what_is_a_url(text, is_url):
    assert remote.is_url(text) == is_url


def test_a_file_url_is_a_path(tmp_path):
    draw(tmp_path / "in/a.png")
    (task,) = planned(f"file://{tmp_path}/in", out=f"file://{tmp_path}/out").tasks
    assert (task.job.source.path, task.job.output) == (tmp_path / "in/a.png", tmp_path / "out/a.png")
    assert task.source is task.target is None


def test_a_password_is_not_shown(monkeypatch):
    monkeypatch.setattr(remote, "_open", lambda url: (None, "/photos"))
    place = remote.join("sftp://me:secret@host/photos", PurePosixPath("a.png"))
    assert (place.name, place.path) == ("sftp://me@host/photos/a.png", "/photos/a.png")


@pytest.mark.parametrize(
    ("url", "reason"), [("nothing://a", "Protocol not known"), ("dir://a::nothing://b", "Protocol not known")]
)
def test_a_url_that_nothing_reaches_is_one_line(url, reason):
    with pytest.raises(BatchError, match=reason) as caught:
        planned(url, out="out/")
    assert "\n" not in str(caught.value)


def test_without_fsspec_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        planned("memory://in", out="out/")
    assert caught.value.name == "safelight[cluster]"


# --- planning ---------------------------------------------------------------------------------------------------------


def test_without_a_url_the_plan_is_that_of_a_local_batch(tmp_path, monkeypatch):
    for name in ("a.png", "sub/b.gif", ".hidden.png", "notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    plan = planned("in", out="out")
    jobs = batch.plan(batch.expand(["in"]), out="out", tag="x2", format=None, on_exist="error")
    assert [(e.input, e.output) for e in plan.tasks] == [(j.source.name, str(j.output)) for j in jobs]
    assert [(e.job.source.path, e.job.output) for e in plan.tasks] == [
        (tmp_path / j.source.path, tmp_path / j.output) for j in jobs
    ]
    assert (plan.ignored, plan.folder) == (2, Path("out"))


def test_a_bucket_keeps_its_tree(bucket):
    for name in ("a.png", "sub/b.gif", ".hidden.png", ".folder/c.png", "notes.txt", "large/a.png"):
        bucket.pipe(f"/in/{name}", b"x")
    plan = planned("memory://in", out="memory://in/large", on_exist="skip")
    assert [(e.input, e.output) for e in plan.tasks] == [
        ("memory://in/a.png", "memory://in/large/a.png"),
        ("memory://in/sub/b.gif", "memory://in/large/sub/b.png"),
    ]
    assert plan.ignored == 3
    assert plan.existing == {"memory://in/large/a.png"}
    (alone,) = planned("memory://in/sub/b.gif", out="memory://out", format="webp").tasks
    assert alone.output == "memory://out/b.webp"


def test_a_bucket_and_a_folder_into_a_folder(bucket, tmp_path, monkeypatch):
    bucket.pipe("/in/sub/a.png", b"x")
    draw(tmp_path / "here/b.png")
    monkeypatch.chdir(tmp_path)
    plan = planned("memory://in", "here", out="out")
    assert {(e.input, e.output, e.job.output) for e in plan.tasks} == {
        ("memory://in/sub/a.png", "out/sub/a.png", tmp_path / "out/sub/a.png"),
        ("here/b.png", "out/b.png", tmp_path / "out/b.png"),
    }


def test_a_key_that_climbs_out_of_the_folder_is_refused(bucket, tmp_path, monkeypatch):
    bucket.pipe("/in/x.png", b"x")
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "find", lambda self, path: ["/in/../../x.png"])
    plan = planned("memory://in", out=str(tmp_path / "out"))
    (task,) = plan.tasks
    assert task.job.output == tmp_path / "out/x.png"
    (outcome,) = cluster.run(plan, card="upscale/nearest", request=SETTINGS, files=FILES, pool=WorkerPool())
    assert (outcome.status, outcome.environment) == ("failed", False)
    assert "expected a name without .." in outcome.error


def test_two_results_of_one_name_are_refused_or_renamed(bucket):
    for name in ("/in/a.png", "/in/a.jpg", "/out/a-2.png"):
        bucket.pipe(name, b"x")
    with pytest.raises(BatchError, match="an output of its own for each input"):
        planned("memory://in", out="memory://out", format="png")
    plan = planned("memory://in", out="memory://out", format="png", on_exist="rename")
    assert [e.output for e in plan.tasks] == ["memory://out/a.png", "memory://out/a-3.png"]


@pytest.mark.parametrize("on_exist", ["error", "overwrite"])
def test_an_input_is_no_output(bucket, tmp_path, on_exist):
    """Also with overwrite: a worker that is lost after its work would enlarge the result."""
    bucket.pipe("/in/a.png", b"x")
    with pytest.raises(BatchError, match="an output of its own"):
        planned("memory://in", out="memory://in", on_exist=on_exist)
    draw(tmp_path / "a.png")
    with pytest.raises(BatchError, match="not the input"):
        planned(tmp_path, out=str(tmp_path), on_exist=on_exist)


@pytest.mark.parametrize(
    ("inputs", "out", "reason"),
    [
        (["-"], "out/", "leave --cluster out"),
        (["memory://in"], "-", "leave --cluster out"),
        (["memory://in"], None, "expected -o FOLDER or URL"),
        (["memory://in"], "memory://out.png", "expected a folder for the results"),
        (["memory://empty"], "out", "found none under memory://empty"),
    ],
)
def test_what_does_not_go_together_is_one_line(bucket, inputs, out, reason):
    bucket.pipe("/in/a.png", b"x")
    with pytest.raises(BatchError, match=reason) as caught:
        planned(*inputs, out=out)
    assert "\n" not in str(caught.value)


# --- a worker ---------------------------------------------------------------------------------------------------------


def test_a_bucket_gets_the_bytes_of_a_local_run(worker, bucket, tmp_path):
    picture = draw(tmp_path / "a.png", size=(12, 16))
    bucket.pipe("/in/sub/a.png", picture.read_bytes())
    (task,) = planned("memory://in", out="memory://out").tasks
    outcome = worker.do(task)
    assert (outcome.status, outcome.width, outcome.height, outcome.error) == ("done", 32, 24, None)
    assert (outcome.input, outcome.output) == ("memory://in/sub/a.png", "memory://out/sub/a.png")
    assert bucket.cat("/out/sub/a.png") == make(picture)
    assert bucket.find("/out") == ["/out/sub/a.png"]


def test_an_attempt_that_is_done_again_is_done(worker, bucket, tmp_path):
    """The worker was lost after its result was in place and before it could tell."""
    picture = draw(tmp_path / "in/a.png")
    bucket.pipe("/in/a.png", picture.read_bytes())
    for task in (*planned(tmp_path / "in", out=str(tmp_path / "out")).tasks,
                   *planned("memory://in", out="memory://out").tasks):  # fmt: skip
        assert [worker.do(task).status for _ in range(2)] == ["done", "done"]
    assert tree(tmp_path / "out") == {"a.png": make(picture)}
    assert bucket.cat("/out/a.png") == make(picture)


@pytest.mark.parametrize(("on_exist", "status"), [("error", "failed"), ("rename", "failed"), ("skip", "skipped")])
def test_a_file_that_somebody_else_made_meanwhile_stays(worker, bucket, tmp_path, on_exist, status):
    picture = draw(tmp_path / "in/a.png")
    bucket.pipe("/in/a.png", picture.read_bytes())
    tasks = [
        *planned(tmp_path / "in", out=str(tmp_path / "out"), on_exist=on_exist).tasks,
        *planned("memory://in", out="memory://out", on_exist=on_exist).tasks,
    ]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_bytes(b"theirs")
    bucket.pipe("/out/a.png", b"theirs")
    for task in tasks:
        outcome = worker.do(task)
        assert (outcome.status, outcome.environment) == (status, False)
        assert task.output in outcome.error
    assert (tmp_path / "out/a.png").read_bytes() == bucket.cat("/out/a.png") == b"theirs"
    assert tree(tmp_path / "out") == {"a.png": b"theirs"}


def test_overwrite(worker, bucket, tmp_path):
    picture = draw(tmp_path / "in/a.png")
    bucket.pipe("/out/a.png", b"old")
    (task,) = planned(tmp_path / "in", out="memory://out", on_exist="overwrite").tasks
    assert worker.do(task).status == "done"
    assert bucket.cat("/out/a.png") == make(picture)


def test_messages_name_the_url(worker, bucket):
    bucket.pipe("/in/a.png", b"no picture")
    bucket.pipe("/in/b.png", b"")
    a, b = planned("memory://in", out="memory://out").tasks
    bucket.rm("/in/b.png")
    outcomes = [worker.do(a), worker.do(b)]
    assert [o.status for o in outcomes] == ["failed", "failed"]
    assert not any(o.environment for o in outcomes)
    assert outcomes[0].error.startswith("memory://in/a.png: expected a picture")
    assert outcomes[1].error == "memory://in/b.png: expected a file, found none; check the name"


def test_a_preview_writes_nothing(bucket, tmp_path):
    bucket.pipe("/in/a.png", draw(tmp_path / "a.png", size=(12, 16)).read_bytes())
    (task,) = planned("memory://in", out="memory://out").tasks
    outcome = TaskRunner(order(preview=True)).do(task)
    assert (outcome.status, outcome.width) == ("planned", 32)
    assert not bucket.exists("/out")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"version": "0.0"}, "expected Safelight 0.0 on every machine"),
        ({"folder_marker": Path("/nowhere/witness")}, "expected the folder /nowhere on every machine"),
    ],
)
def test_a_machine_that_would_do_it_otherwise_is_refused(other, reason):
    with pytest.raises(ClusterError, match=reason):
        TaskRunner(order(**other))


# --- delivery ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_store(tmp_path):
    """A store that shows a file while it is uploaded: whatever lies in this folder."""
    return f"dir://store::file://{tmp_path}"


def test_where_uploads_show_a_file_is_renamed_when_it_is_whole(slow_store, tmp_path, monkeypatch):
    kind = fsspec.get_filesystem_class("dir")
    seen: list[str] = []
    put = kind.put_file

    def spy(self, lpath, rpath, **kwargs):
        put(self, lpath, rpath, **kwargs)
        seen.extend(tree(tmp_path / "store"))

    monkeypatch.setattr(kind, "put_file", spy)
    file = draw(tmp_path / "a.png")
    remote.upload(file, remote.join(slow_store, PurePosixPath("x/a.png")), overwrite=False, run_id="mark")
    (temporary,) = seen
    assert temporary.startswith("x/.safelight-mark-")
    assert tree(tmp_path / "store") == {"x/a.png": file.read_bytes()}


def test_a_failed_upload_leaves_nothing(slow_store, tmp_path, monkeypatch):
    def mv(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fsspec.get_filesystem_class("dir"), "mv", mv)
    with pytest.raises(image.TargetError, match="expected to write it, got: "):
        remote.upload(
            draw(tmp_path / "a.png"), remote.join(slow_store, PurePosixPath("a.png")), overwrite=False, run_id="mark"
        )
    assert tree(tmp_path / "store") == {}


def test_only_this_runs_leftovers_are_removed(slow_store, tmp_path):
    for name in (".safelight-mark-1.part", "x/.safelight-mark-2.part", ".safelight-other-1.part", "a.png"):
        (tmp_path / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / name).touch()
    assert remote.clean(slow_store, "mark") == 2
    assert set(tree(tmp_path / "store")) == {".safelight-other-1.part", "a.png"}


# --- on Ray -----------------------------------------------------------------------------------------------------------


def test_nothing_of_it_is_loaded_before_it_is_needed():
    code = "import sys, safelight.batch.cluster; print([m for m in ('ray', 'fsspec', 'pyarrow') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_without_ray_one_line_names_the_extra(tmp_path, monkeypatch):
    draw(tmp_path / "in/a.png")
    plan = planned(tmp_path / "in", out=str(tmp_path / "out"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        list(cluster.run(plan, card="upscale/nearest", request=SETTINGS, files=FILES, pool=WorkerPool()))
    assert caught.value.name == "safelight[cluster]"


def test_what_needs_no_work_needs_no_cluster(bucket, tmp_path):
    draw(tmp_path / "in/a.png")
    draw(tmp_path / "out/a.png")
    bucket.pipe("/out/a.png", b"x")
    for out in ("memory://out", str(tmp_path / "out")):
        for on_exist, status in (("skip", "skipped"), ("error", "failed")):
            plan = planned(tmp_path / "in", out=out, on_exist=on_exist)
            pool = WorkerPool(address="127.0.0.1:1")
            (outcome,) = cluster.run(plan, card="upscale/nearest", request=SETTINGS, files=FILES, pool=pool)
            assert (outcome.status, outcome.input) == (status, str(tmp_path / "in/a.png"))
            assert outcome.output in outcome.error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["s3://bucket/photos", "-o", "out"], "expected --cluster ADDRESS with the URL s3://bucket/photos"),
        (["in", "-o", "s3://bucket/out"], "expected --cluster ADDRESS with the URL s3://bucket/out"),
        (["in", "-o", "out", "--workers", "2"], "expected --cluster ADDRESS with --workers"),
        (["in", "-o", "out", "--cluster", "local", "--watch"], "expected --cluster or --watch"),
        (["-", "-o", "out", "--cluster", "local"], "leave --cluster out"),
    ],
)
def test_usage_errors_are_one_line(tmp_path, monkeypatch, arguments, reason):
    draw(tmp_path / "in/a.png")
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["upscale", *arguments])
    assert told.exit_code == 2
    assert told.stderr.count("\n") == 1
    assert reason in told.stderr


def test_a_cluster_that_is_not_there_is_one_line(tmp_path):
    draw(tmp_path / "in/a.png")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--cluster", address]
        told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 3
    assert told.stderr.startswith(f"safelight: expected a Ray cluster at {address}, got: ")
    assert told.stderr.count("\n") == 1
