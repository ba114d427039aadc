"""Which files a batch works on, where each result goes, and what happens when one fails."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from safelight import batch
from safelight.batch import BatchError, FileJob, FileResult, Source
from safelight.media import image


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def trees(inputs: list[str], **options) -> list[str]:
    return [str(source.tree) for source in batch.expand(inputs, **options).sources]


def planned(inputs: list[str], *, out=None, tag="x4", format=None, on_exist="error") -> list[FileJob]:
    return batch.plan(batch.expand(inputs), out=out, tag=tag, format=format, on_exist=on_exist)


def outputs(inputs: list[str], **options) -> list[str]:
    return [str(job.output) for job in planned(inputs, **options)]


class TestExpand:
    def test_folder_keeps_its_tree_sorted_and_passes_over_the_rest(self, tmp_path):
        touch(tmp_path, "b.png", "a.JPG", "sub/c.webp", "notes.txt", "._a.jpg", ".hidden/d.png")
        found = batch.expand([str(tmp_path)])
        assert [str(source.tree) for source in found.sources] == ["a.JPG", "b.png", "sub/c.webp"]
        assert found.ignored == 2
        assert not found.single

    def test_order_is_that_of_the_inputs_and_each_file_comes_once(self, tmp_path):
        touch(tmp_path, "a.png", "b.png")
        a, b = str(tmp_path / "a.png"), str(tmp_path / "b.png")
        assert trees([b, str(tmp_path), a, f"{tmp_path}/../{tmp_path.name}/b.png"]) == ["b.png", "a.png"]

    def test_a_named_file_needs_no_picture_suffix_and_need_not_exist(self, tmp_path):
        assert trees([str(tmp_path / "scan")]) == ["scan"]

    def test_pattern_that_the_shell_did_not_expand_keeps_the_tree_below_it(self, tmp_path):
        touch(tmp_path, "x/1.png", "y/1.png", "y/2.txt")
        assert trees([f"{tmp_path}/*/*.png"]) == ["x/1.png", "y/1.png"]
        assert trees([f"{tmp_path}/**/*.png"]) == ["x/1.png", "y/1.png"]

    def test_a_name_that_looks_like_a_pattern_is_a_name_if_it_exists(self, tmp_path):
        touch(tmp_path, "[1].png", "1.png")
        assert trees([str(tmp_path / "[1].png")]) == ["[1].png"]

    def test_odd_names(self, tmp_path):
        names = ["-dash.png", "new\nline.png", "schön.png", "scho\u0308n.png", "عربي.png", "with space.png"]
        touch(tmp_path, *names)
        assert sorted(trees([str(tmp_path)])) == sorted(names)

    def test_links_to_folders_are_not_followed_links_to_files_are(self, tmp_path):
        touch(tmp_path, "in/a.png", "elsewhere/b.png")
        (tmp_path / "in/loop").symlink_to(tmp_path / "in")
        (tmp_path / "in/out").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in/link.png").symlink_to(tmp_path / "elsewhere/b.png")
        (tmp_path / "in/broken.png").symlink_to(tmp_path / "nothing")
        assert trees([str(tmp_path / "in")]) == ["a.png", "broken.png", "link.png"]

    def test_the_folder_of_results_is_left_out(self, tmp_path):
        touch(tmp_path, "a.png", "big/a.png")
        assert trees([str(tmp_path)], exclude=tmp_path / "big") == ["a.png"]

    @pytest.mark.parametrize("name", ["empty", "*.png"])
    def test_nothing_found_is_told(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        with pytest.raises(BatchError, match="found none"):
            batch.expand([str(tmp_path / name)])

    def test_standard_input_once(self):
        with pytest.raises(BatchError, match="twice"):
            batch.expand(["-", "-"])

    def test_a_folder_that_cannot_be_listed_is_an_outcome(self, tmp_path, monkeypatch):
        touch(tmp_path, "a.png", "locked/b.png")
        real = os.scandir

        def scandir(path):
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        found = batch.expand([str(tmp_path)])
        assert [s.problem is None for s in found.sources] == [True, False]
        jobs = batch.plan(found, out=None, tag="x4", format=None, on_exist="error")
        outcomes = [batch.attempt(job, succeed) for job in jobs]
        assert [o.status for o in outcomes] == ["done", "failed"]
        assert "locked: expected a folder to read, got: Permission denied" in str(outcomes[1].error)


class TestPlan:
    def test_beside_the_input(self, tmp_path):
        a = str(tmp_path / "a.jpg")
        assert outputs([a]) == [str(tmp_path / "a-x4.jpg")]
        assert outputs([a], format="webp", tag="x2.5") == [str(tmp_path / "a-x2.5.webp")]

    @pytest.mark.parametrize(
        ("name", "made"),
        [("a.gif", "a-x4.png"), ("a.TIF", "a-x4.TIF"), ("scan", "scan-x4.png"), ("a.b.png", "a.b-x4.png")],
    )
    def test_suffix_is_kept_but_a_gif_becomes_a_png(self, tmp_path, name, made):
        assert outputs([str(tmp_path / name)]) == [str(tmp_path / made)]

    def test_one_input_into_a_file(self, tmp_path):
        out = str(tmp_path / "sub/big.png")
        assert outputs([str(tmp_path / "a.jpg")], out=out) == [out]

    @pytest.mark.parametrize("out", ["existing", "new/"])
    def test_one_input_into_a_folder(self, tmp_path, out):
        (tmp_path / "existing").mkdir()
        assert outputs([str(tmp_path / "a.jpg")], out=f"{tmp_path}/{out}") == [str(tmp_path / out / "a.jpg")]

    def test_a_folder_into_a_folder_keeps_the_tree(self, tmp_path):
        touch(tmp_path, "in/a.png", "in/sub/b.gif")
        out = tmp_path / "out"
        assert outputs([str(tmp_path / "in")], out=str(out)) == [str(out / "a.png"), str(out / "sub/b.png")]

    @pytest.mark.parametrize(
        ("out", "format", "reason"),
        [
            ("big", None, "add --format"),
            ("big.bmp", None, "add --format"),
            ("big.jpg", "png", "suits --format png"),
        ],
    )
    def test_an_output_file_needs_a_format(self, tmp_path, out, format, reason):
        with pytest.raises(BatchError, match=reason):
            planned([str(tmp_path / "a.jpg")], out=str(tmp_path / out), format=format)

    def test_several_inputs_need_a_folder(self, tmp_path):
        touch(tmp_path, "file")
        for out in ("big.png", "file", "-"):
            with pytest.raises(BatchError, match="folder"):
                planned(
                    [str(tmp_path / "a.png"), str(tmp_path / "b.png")], out=out if out == "-" else f"{tmp_path}/{out}"
                )

    def test_pipe(self, tmp_path):
        assert planned(["-"])[0].output is None
        assert planned([str(tmp_path / "a.png")], out="-")[0].output is None
        assert outputs(["-"], out=str(tmp_path / "a.png")) == [str(tmp_path / "a.png")]
        with pytest.raises(BatchError, match="-o FOLDER"):
            planned(["-", str(tmp_path / "a.png")])

    def test_two_inputs_of_one_output_are_refused_or_renamed(self, tmp_path):
        touch(tmp_path, "a.png", "a.jpg", "a-2.png")
        inputs = [str(tmp_path / "a.jpg"), str(tmp_path / "a.png")]
        with pytest.raises(BatchError, match="an output of its own for each input"):
            planned(inputs, out=f"{tmp_path}/out/", format="png")
        made = outputs(inputs, out=f"{tmp_path}/out/", format="png", on_exist="rename")
        assert [Path(p).name for p in made] == ["a.png", "a-2.png"]

    def test_rename_passes_over_what_exists(self, tmp_path):
        touch(tmp_path, "a.png", "a-x4.png", "a-x4-2.png")
        assert outputs([str(tmp_path / "a.png")], on_exist="rename") == [str(tmp_path / "a-x4-3.png")]

    @pytest.mark.parametrize("on_exist", ["error", "skip"])
    def test_the_input_is_no_output(self, tmp_path, on_exist):
        touch(tmp_path, "a.png")
        (tmp_path / "link.png").symlink_to("a.png")
        (tmp_path / "hard.png").hardlink_to(tmp_path / "a.png")
        for name in ("a.png", "link.png", "hard.png", f"../{tmp_path.name}/a.png"):
            with pytest.raises(BatchError, match="not the input"):
                planned([str(tmp_path / "a.png")], out=str(tmp_path / name), on_exist=on_exist)
        with pytest.raises(BatchError, match="not the input"):
            planned([str(tmp_path)], out=str(tmp_path), on_exist=on_exist)

    def test_the_input_is_replaced_when_asked(self, tmp_path):
        touch(tmp_path, "a.png")
        a = str(tmp_path / "a.png")
        assert outputs([a], out=a, on_exist="overwrite") == [a]

    def test_another_input_is_never_replaced(self, tmp_path):
        touch(tmp_path, "a.png", "a-x4.png")
        inputs = [str(tmp_path / "a.png"), str(tmp_path / "a-x4.png")]
        with pytest.raises(BatchError, match="an output that is no input"):
            planned(inputs, on_exist="overwrite")

    def test_results_beside_inputs_are_no_inputs_of_the_next_run(self, tmp_path):
        touch(tmp_path, "a.png", "a-x4.png", "b-x4.png")
        jobs = planned([str(tmp_path)], on_exist="skip")
        assert [job.source.tree.name for job in jobs] == ["a.png", "b-x4.png"]


def succeed(job: FileJob) -> FileResult:
    return FileResult(width=4, height=2, warnings=("first of 2 frames",))


def job(name: str, output: Path, on_exist="error") -> FileJob:
    return FileJob(source=Source(path=Path(name), tree=Path(name)), output=output, format="png", on_exist=on_exist)


class TestAttempt:
    def test_done(self, tmp_path):
        def take_time(job):
            time.sleep(0.02)
            return succeed(job)

        outcome = batch.attempt(job("a.png", tmp_path / "o.png"), take_time)
        assert (outcome.status, outcome.width, outcome.height) == ("done", 4, 2)
        assert outcome.warnings == ("first of 2 frames",)
        assert outcome.seconds >= 0.02

    @pytest.mark.parametrize(
        ("error", "environment", "told"),
        [
            (image.DecodeError("a.png: expected a picture"), False, "a.png: expected a picture"),
            (image.TargetError("expected free space"), True, "a.png: expected free space"),
            (MemoryError(), True, "a.png: expected more free memory"),
            (PermissionError(13, "Permission denied"), True, "Permission denied"),
            (RuntimeError("a\nsurprise"), False, "internal error: RuntimeError: a surprise"),
        ],
    )
    def test_a_failure_is_an_outcome_in_one_line(self, tmp_path, error, environment, told):
        def work(_: FileJob) -> FileResult:
            raise error

        outcome = batch.attempt(job("a.png", tmp_path / "o.png"), work)
        assert (outcome.status, outcome.environment) == ("failed", environment)
        assert told in str(outcome.error)
        assert "\n" not in str(outcome.error)
        assert "Traceback" in outcome.trace

    def test_a_message_names_the_file(self, tmp_path):
        def work(_: FileJob) -> FileResult:
            raise MemoryError

        outcome = batch.attempt(job("new\nline.png", tmp_path / "o.png"), work)
        assert str(outcome.error).startswith("new\\nline.png: ")

    def test_an_existing_output_costs_no_work(self, tmp_path):
        touch(tmp_path, "o.png")
        worked: list[FileJob] = []

        def work(job: FileJob) -> FileResult:
            worked.append(job)
            return FileResult(width=1, height=1)

        modes = ("error", "skip", "overwrite")
        outcomes = [batch.attempt(job("a.png", tmp_path / "o.png", mode), work) for mode in modes]
        assert [o.status for o in outcomes] == ["failed", "skipped", "done"]
        assert [j.on_exist for j in worked] == ["overwrite"]
        assert not outcomes[0].environment

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, BrokenPipeError])
    def test_only_the_user_ends_it_early(self, tmp_path, stop):
        def work(_: FileJob) -> FileResult:
            raise stop

        with pytest.raises(stop):
            batch.attempt(job("a.png", tmp_path / "o.png"), work)


def test_process_refuses_a_result_that_its_format_cannot_hold_before_the_work(tmp_path):
    from safelight import catalog, inference

    image.write(image.Picture(pixels=np.zeros((1, 5000, 1), np.uint8)), tmp_path / "a.png")
    runner = inference.prepare(catalog.find("nearest"), inference.InferenceRequest(inputs={"scale": 4}))
    task = FileJob(source=Source(path=tmp_path / "a.png", tree=Path("a")), output=tmp_path / "a.webp", format="webp")
    for work in (batch.process, batch.preview):
        with pytest.raises(image.EncodeError, match="at most 16,383 pixels a side for WEBP, got 20,000 x 4"):
            work(task, runner, batch.FileSettings())
