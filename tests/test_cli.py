"""The command line as a user meets it: the program as a whole, and ``upscale`` on files."""

import errno
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image, ImageCms
from typer.main import get_command

from safelight import catalog, inference, tasks
from safelight.batch.manifest import NAME
from safelight.cli import app, method_flags, shell
from safelight.cli.verbs import OPTIONS, verbs
from safelight.core.options import option_facts
from safelight.engine import device as devices
from safelight.inference import model as models
from safelight.media import image
from support.cli import lines, one_line, run


def upscale(*arguments, **method_flags):
    return run("upscale", "-m", "nearest", "--scale", "2", *arguments, **method_flags)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    path = tmp_path / "photo.png"
    image.write(image.Picture(pixels=pixels), path)
    return path


def copies(photo, *names):
    made = [photo.parent / name for name in names]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.read_bytes())
    return made


def sizes(folder):
    """What lies in a folder, the manifest aside: each picture's size by its path."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)
    return {str(p.relative_to(folder)): (image.probe(p).width, image.probe(p).height) for p in found}


# --- the program as a whole -------------------------------------------------------------------------------------------


def loaded_by(*arguments, **environment):
    """Run a command line in another process: its output, its processor time in seconds, and the modules it imported."""
    code = """
import json, sys, time
before = set(sys.modules)
start = time.process_time()
from safelight.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
seconds = time.process_time() - start
print(json.dumps([seconds, sorted(set(sys.modules) - before)]), file=sys.stderr)
"""
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = 'safelight'\n{code}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    seconds, modules = json.loads(done.stderr.splitlines()[-1])
    return done.stdout, seconds, modules


def foreign(modules):
    """The top-level packages that are neither the standard library's nor the installation's own hooks."""
    packages = {name.split(".")[0] for name in modules} - sys.stdlib_module_names - {"safelight"}
    return {name for name in packages if not name.startswith("_sysconfigdata")}  # of the standard library, by system


# Typer itself takes pydantic where it is installed, as it is beside the server.
OF_TYPER = {
    "typer", "click", "shellingham", "typing_extensions", "annotated_doc",
    "pydantic", "pydantic_core", "annotated_types", "typing_inspection",
}  # fmt: skip
LIGHT = {"safelight", "safelight.cli", "safelight.cli.verbs", "safelight.tasks"} | {
    f"safelight.core{name}" for name in ("", ".inputs", ".options", ".outputs", ".task")
}


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("--version",)])
def test_the_programs_help_and_version_import_the_table_of_verbs_and_no_package(arguments):
    said, _, modules = loaded_by(*arguments)
    assert said.startswith("safelight " if arguments == ("--version",) else "Usage: safelight")
    # Under a folder of task records each of them is allowed; they import no other part of Safelight.
    own = {name for name in modules if name.split(".")[0] == "safelight" and not name.startswith("safelight.tasks.")}
    assert own <= LIGHT
    assert foreign(modules) == set()


@pytest.mark.parametrize(
    ("words", "module"),
    [("safelight doc", None), ("safelight upscale --method bi", "task_verbs"), ("safelight fetch vg", "fetch")],
)
def test_completing_imports_typer_and_the_verb_alone(words, module):
    said, _, modules = loaded_by(
        _SAFELIGHT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    assert said.strip()
    assert foreign(modules) <= OF_TYPER
    verbs_loaded = {entry.module for entry in verbs().values()} & set(modules)
    assert verbs_loaded == (set() if module is None else {f"safelight.cli.{module}"})


def test_a_verb_starts_without_the_modules_of_the_others():
    _, _, modules = loaded_by("upscale", "--help")  # lists the methods' options, so it does import torch
    assert not {"safelight.cli.train", "safelight.cli.serve", "safelight.cli.score", "fastapi", "rich", "ray"} & {
        *modules
    }


def test_the_table_says_what_the_verbs_say():
    program = get_command(app)
    for entry in verbs().values():
        verb = program.get_command(None, entry.name)
        assert verb.help.splitlines()[0].startswith(entry.help), entry.name
        assert verb.help.split("\n\n")[0].replace("\n", " ").startswith(entry.help)
    options = [", ".join(param.opts) for param in program.params]
    assert sorted((*options, "-h, --help")) == sorted(name for name, _ in OPTIONS)


def test_the_table_lists_every_verb_that_a_module_has():
    for module in {entry.module for entry in verbs().values()}:
        maker = typer.Typer()
        importlib.import_module(module).add(maker)
        has = {info.name or info.callback.__name__ for info in maker.registered_commands}
        assert has == {entry.name for entry in verbs().values() if entry.module == module}


def test_both_ways_to_the_help_say_the_same(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert run("--help").stdout == loaded_by("--help")[0] == run().stdout
    assert max(map(len, run("--help").stdout.splitlines())) <= 88


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, safelight; print({'torch', 'numpy', 'pyvips', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_threads_that_wait_leave_the_cores_to_others_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert run("--version").exit_code == 0
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert run("--version").exit_code == 0
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_no_verb_shows_the_help():
    result = run()
    assert result.exit_code == 0
    assert "upscale" in result.stdout
    assert run("--version").stdout.startswith("safelight ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["upscal"], "Did you mean 'upscale'?"),
        (["upscale"], "expected INPUTS or --list, got neither"),
        (["upscale", "-", "--list", "-"], "standard input) once"),
        (["upscale", "--list", "none.txt"], "none.txt: expected a list of names, got: No such file"),
        (["upscale", "--watch", "a.png", "-o", "out"], "a folder to watch"),
        (["upscale", "--watch", "."], "expected -o FOLDER"),
        (["upscale", "--watch", ".", "-o", "."], "another folder"),
        (["upscale", "--watch", ".", "-o", "out", "--on-exist", "rename"], "--on-exist skip with --watch"),
        (["upscale", "--watch", ".", "-o", "out", "--dry-run"], "--watch or --dry-run"),
        (["upscale", "--scael", "2", "a.png"], "--scale"),
        (["upscale", "--scale", "two", "a.png"], "'--scale'"),
        (["upscale", "--on-exist", "maybe", "a.png"], "'error', 'skip', 'overwrite', 'rename'"),
        (["upscale", "--quality", "101", "a.png"], "'--quality'"),
        (["upscale", "-m", "bicubik", "a.png"], "did you mean bicubic"),
        (["upscale", "-m", "bicubic", "--scale", "2", "--size", "4x4", "a.png"], "--scale or --size, got both"),
        (["upscale", "-m", "bicubic", "--scale", "0.5", "a.png"], "expected a scale from 1 to 32, got 0.5"),
        (["upscale", "-m", "bicubic", "--size", "big", "a.png"], "expected a size such as 3840x2160"),
        (["upscale", "-m", "bicubic", "--memory", "much", "a.png"], "--memory: expected a number such as"),
        (["upscale", "-m", "bicubic", "--max-pixels", "-1", "a.png"], "--max-pixels: expected a number such as"),
        (["upscale", "-m", "bicubic", "--amount", "1", "a.png"], "has no option 'amount'; it has: none"),
        (
            ["upscale", "-m", "sharpen", "--kernels", "9-5-5", "a.png"],
            "has no option 'kernels'; it has: amount, radius",
        ),
        (["upscale", "-m", "sharpen", "--amount", "11", "a.png"], "option amount goes from"),
        (["upscale", "-m", "sharpen", "--amount", "more", "a.png"], "option amount expects float"),
        (["upscale", "-m", "vdsr", "--weights", "none.safetensors", "a.png"], "none.safetensors: expected"),
        (["upscale", "-m", "bicubic", "--weights", "w.safetensors", "a.png"], "takes no weights"),
        (["info", "vdsl"], "did you mean vdsr"),
        (["methods", "upscall"], "expected a task out of upscale"),
        (["score", "a.png", "b.png", "--metric", "psmr"], "psnr"),
        (["train", "bicubic", "--data", "."], "no network"),
        (["train", "fsrcnn", "--data", "."], "expected --scale out of 2, 3, 4, got none"),
        (["train", "vdsr", "--data", ".", "--scale", "2"], "expected no --scale"),
        (["train", "dncnn", "--data", ".", "--scale", "1"], "expected no --scale"),
        (["train", "dncnn", "--data", ".", "--variant", "C"], "option variant is one of auto, B"),
        (["compare", "nearest", "dncnn", "-i", "a.png"], "expected methods of one task, got nearest, dncnn"),
        (["compare", "nearest", "bicubic", "-i", "a.png", "--task", "upscal"], "--task: expected one of upscale"),
        (["train", "vdsr", "--data", "nowhere"], "nowhere"),
        (["bench", "upscale", "--data", "nowhere"], "nowhere"),
        (["compare", "a.png"], "at least 2"),
    ],
)
def test_usage_is_one_line_and_2(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert told in one_line(result.stderr)
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_shows_its_traceback_with_debug_only(photo, monkeypatch):
    def fail(*_):
        raise RuntimeError("a\nsurprise")

    monkeypatch.setattr(inference.Runner, "stream", fail)
    result = upscale(photo)
    assert result.exit_code == 1
    assert "internal error: RuntimeError: a surprise" in one_line(result.stderr)
    assert "in fail" in upscale(photo, "--debug").stderr
    monkeypatch.setattr(inference, "prepare", fail)
    assert "internal error" in one_line(upscale(photo).stderr)
    assert "in fail" in upscale(photo, "--debug").stderr


def test_flags_of_methods_hide_none_of_the_verbs():
    program = get_command(app)
    for verb in (*tasks.names(), "train"):
        taken = {name for param in program.get_command(None, verb).params for name in (param.name, *param.opts)}
        for card in method_flags.cards_of(verb):
            for fact in option_facts(card.options):
                flag = f"--{fact.name.replace('_', '-')}"
                assert not {fact.name, flag} & taken, (
                    f"{card.id}: {flag} is a flag of {verb}; call the option otherwise"
                )


def test_help_of_a_verb_lists_the_methods_options():
    result = run("upscale", "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "sharpen: how much detail is added back; 0 leaves the bicubic picture (0 to 10; default 0.5)" in text
    assert "--kernels" in " ".join(run("train", "--help").stdout.split())


def test_choices_are_those_of_the_engine():
    assert set(shell.Device.__args__) == set(devices.Device.__args__)
    assert set(shell.Precision.__args__) == set(models.PrecisionChoice.__args__)


def complete(line):
    """Ask as bash does, in another process; the answer and whether torch was imported."""
    code = """
import sys
from safelight.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_SAFELIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    arguments = [sys.executable, "-c", f"import sys; sys.argv = ['safelight']\n{code}"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    return done.stdout.split(), done.stderr.strip()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("safelight upscale --method bi", ["bilinear", "bicubic"]),
        ("safelight info upscale/vd", ["upscale/vdsr"]),
        ("safelight methods up", ["upscale"]),
        ("safelight doc", ["doctor"]),
    ],
)
def test_completion_imports_no_torch(line, expected):
    answers, heavy = complete(line)
    assert set(answers) == set(expected)
    assert heavy == "False"


def test_every_method_of_the_catalog_is_completed():
    for task in tasks.names():
        assert method_flags.method_names(task) == sorted(card.name for card in catalog.of_task(task))


# --- upscale: files in, files out -------------------------------------------------------------------------------------


def test_one_file(photo):
    result = upscale(photo)
    assert result.exit_code == 0, result.output
    made = photo.with_name("photo-x2.png")
    pixels = image.read(photo).pixels
    assert np.array_equal(image.read(made).pixels, pixels.repeat(2, 0).repeat(2, 1))
    assert result.stdout.startswith(f"{photo} -> {made}  16x12  upscale/nearest  ")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("flags", "name", "size"),
    [
        (["--scale", "4"], "photo-x4.png", (32, 24)),
        ([], "photo-x4.png", (32, 24)),
        (["--scale", "2.5"], "photo-x2.5.png", (20, 15)),
        (["--size", "20x30"], "photo-20x30.png", (20, 30)),
        (["--size", "16x"], "photo-w16.png", (16, 12)),
        (["--size", "x9"], "photo-h9.png", (12, 9)),
        (["-s", "2", "--format", "webp"], "photo-x2.webp", (16, 12)),
    ],
)
def test_size_and_name(photo, flags, name, size):
    assert run("upscale", "-m", "bicubic", photo, *flags, "--quiet").exit_code == 0
    assert sizes(photo.parent) == {"photo.png": (8, 6), name: size}


def test_options_of_a_method_reach_it(photo, tmp_path):
    for name, flags in {
        "plain": ["-m", "bicubic"],
        "zero": ["-m", "sharpen", "--amount", "0"],
        "much": ["-m", "sharpen"],
    }.items():
        assert run("upscale", photo, *flags, "-o", tmp_path / f"{name}.png").exit_code == 0
    plain, zero, much = (image.read(tmp_path / f"{n}.png").pixels for n in ("plain", "zero", "much"))
    assert np.array_equal(plain, zero)
    assert not np.array_equal(plain, much)


def test_a_folder_keeps_its_tree_and_what_is_no_picture_is_counted(photo, tmp_path):
    copies(photo, "in/a.png", "in/sub/deep/b.PNG")
    (tmp_path / "in/notes.txt").write_text("no picture")
    result = upscale(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sizes(tmp_path / "out") == {"a.png": (16, 12), "sub/deep/b.PNG": (16, 12)}
    assert "1 files in folders are not pictures" in result.stderr
    assert "2 done" in result.stderr


def test_a_pattern_in_quotes(photo, tmp_path):
    copies(photo, "in/x/1.png", "in/y/1.png")
    assert upscale(f"{tmp_path}/in/*/*.png", "-o", f"{tmp_path}/out/").exit_code == 0
    assert sizes(tmp_path / "out") == {"x/1.png": (16, 12), "y/1.png": (16, 12)}


@pytest.mark.parametrize(
    "name", ["-dash.png", "with space.png", "new\nline.png", "عربي.png", "[b]bold[/b].png", "ü\udcff.png"]
)
def test_odd_names(photo, name, monkeypatch):
    monkeypatch.chdir(photo.parent)
    copies(photo, name)
    result = upscale("--json", "--", name)
    assert result.exit_code == 0, result.output
    made = name.replace(".png", "-x2.png")
    assert lines(result)[0]["output"] == made
    assert image.probe(Path(made)).width == 16
    plain = upscale("--on-exist", "overwrite", "--", name)
    assert plain.stdout.count("\n") == 1


def test_a_gif_becomes_a_png(tmp_path):
    Image.new("P", (4, 3)).save(tmp_path / "a.gif")
    assert upscale(tmp_path / "a.gif").exit_code == 0
    assert image.probe(tmp_path / "a-x2.png").format == "png"


# --- upscale: pipes ---------------------------------------------------------------------------------------------------


def test_pipe_to_pipe_in_the_inputs_format(photo):
    held = io.BytesIO()
    Image.open(photo).save(held, "JPEG")
    result = upscale("-", stdin=held.getvalue())
    assert result.exit_code == 0, result.stderr
    header = image.probe(result.stdout_bytes)
    assert (header.width, header.height, header.format) == (16, 12, "jpeg")
    assert result.stderr.startswith("- -> -  16x12")


def test_pipe_to_file_and_file_to_pipe(photo, tmp_path):
    assert upscale("-", "-o", tmp_path / "a.webp", stdin=photo.read_bytes()).exit_code == 0
    assert image.probe(tmp_path / "a.webp").format == "webp"
    result = upscale(photo, "-o", "-", "--format", "tiff", "--json")
    assert image.probe(result.stdout_bytes).format == "tiff"
    facts, summary = (json.loads(line) for line in result.stderr.splitlines())
    assert (facts["output"], facts["status"], summary["done"]) == ("-", "done", 1)


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "an empty file"), (b"GIF89a", "GIF"), (b"hello", "no picture format")]
)
def test_a_broken_pipe_input_fails(content, told):
    result = upscale("-", stdin=content)
    assert result.exit_code == 1
    assert told in one_line(result.stderr)
    assert result.stdout_bytes == b""


def test_a_reader_that_goes_away_is_no_error(photo, tmp_path):
    copies(photo, *(f"in/{i:03}.png" for i in range(300)))
    command = f"'{sys.executable}' -m safelight upscale '{tmp_path}/in' -m nearest --dry-run --json | head -n 1"
    script = f"{command} | grep -c planned; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n1\n"
    assert done.stderr == ""


# --- upscale: what exists ---------------------------------------------------------------------------------------------


def test_on_exist(photo):
    made = photo.with_name("photo-x2.png")
    made.write_bytes(b"precious")
    result = upscale(photo)
    assert result.exit_code == 1
    assert "expected a new file, got one that exists" in one_line(result.stderr)
    result = upscale(photo, "--on-exist", "skip")
    assert result.exit_code == 0
    assert result.stdout == f"{photo}  skipped: {made} exists\n"
    assert made.read_bytes() == b"precious"
    assert upscale(photo, "--on-exist", "rename").exit_code == 0
    assert made.read_bytes() == b"precious"
    assert image.probe(photo.with_name("photo-x2-2.png")).width == 16
    assert upscale(photo, "--on-exist", "overwrite").exit_code == 0
    assert image.probe(made).width == 16


def test_a_file_that_appears_during_the_work_is_kept(photo, monkeypatch):
    made = photo.with_name("photo-x2.png")
    real = inference.Runner.stream

    def slow(*arguments):
        made.write_bytes(b"precious")
        return real(*arguments)

    monkeypatch.setattr(inference.Runner, "stream", slow)
    assert upscale(photo).exit_code == 1
    assert made.read_bytes() == b"precious"
    assert sorted(p.name for p in photo.parent.iterdir()) == ["photo-x2.png", "photo.png"]


def test_the_input_is_never_replaced_unasked(photo):
    before = photo.read_bytes()
    for mode in ("error", "skip"):
        result = upscale(photo, "-o", photo, "--on-exist", mode)
        assert result.exit_code == 2
        assert "not the input" in one_line(result.stderr)
    assert photo.read_bytes() == before
    assert upscale(photo, "-o", photo, "--on-exist", "overwrite").exit_code == 0
    assert image.probe(photo).width == 16


def test_two_inputs_of_one_name_stop_before_anything_is_written(photo, tmp_path):
    a, b = copies(photo, "x/1.png", "y/1.png")
    result = upscale(a, b, "-o", f"{tmp_path}/out/")
    assert result.exit_code == 2
    assert "--on-exist rename" in one_line(result.stderr)
    assert not (tmp_path / "out").exists()
    assert upscale(a, b, "-o", f"{tmp_path}/out/", "--on-exist", "rename").exit_code == 0
    assert sorted(sizes(tmp_path / "out")) == ["1-2.png", "1.png"]


def test_dry_run_writes_nothing_and_tells_the_sizes(photo, tmp_path):
    (bad,) = copies(photo, "bad.png")
    bad.write_bytes(b"no picture")
    before = sorted(tmp_path.rglob("*"))
    result = upscale(photo, bad, "-o", f"{tmp_path}/out/", "--dry-run", "--json")
    assert result.exit_code == 1
    assert sorted(tmp_path.rglob("*")) == before
    good, failed, summary = lines(result)
    assert (good["status"], good["width"], good["height"]) == ("planned", 16, 12)
    assert good["output"] == f"{tmp_path}/out/photo.png"
    assert failed["status"] == "failed"
    assert (summary["planned"], summary["failed"], summary["done"]) == (1, 1, 0)


# --- upscale: failures ------------------------------------------------------------------------------------------------


def test_broken_files_fail_alone(photo, tmp_path):
    good, cut, empty, text = copies(photo, "a.png", "cut.png", "empty.png", "text.jpg")
    cut.write_bytes(cut.read_bytes()[:-60])
    empty.write_bytes(b"")
    text.write_text("no picture")
    folder = tmp_path / "folder.png"
    result = upscale(cut, empty, text, folder, good, "-o", f"{tmp_path}/out/", "--json")
    assert result.exit_code == 1
    *files, summary = lines(result)
    assert [f["status"] for f in files] == ["failed"] * 4 + ["done"]
    for facts in files[:4]:
        assert facts["error"].startswith(facts["input"])
        assert "\n" not in facts["error"]
    assert [line.removeprefix("safelight: ") for line in result.stderr.splitlines()] == [f["error"] for f in files[:4]]
    assert (summary["total"], summary["done"], summary["failed"]) == (5, 1, 4)
    assert sizes(tmp_path / "out") == {"a.png": (16, 12)}
    assert upscale(cut, "--lenient").exit_code == 0


def test_json_has_the_agreed_fields(photo):
    facts, summary = lines(upscale(photo, "--json"))
    assert facts == {
        "input": str(photo), "output": str(photo.with_name("photo-x2.png")), "status": "done",
        "method": "upscale/nearest", "seconds": facts["seconds"], "error": None,
        "width": 16, "height": 12, "warnings": [],
    }  # fmt: skip
    assert summary == {
        "summary": True, "total": 1, "planned": 0, "done": 1, "skipped": 0, "failed": 0,
        "seconds": summary["seconds"], "busy": summary["busy"], "interrupted": False,
    }  # fmt: skip
    assert 0 < summary["busy"] < 1
    assert lines(upscale(photo, "--json", "--dry-run", "--on-exist", "overwrite"))[-1]["busy"] is None


def test_max_pixels(photo):
    for flags in ([], ["--dry-run"]):
        result = upscale(photo, "--max-pixels", "47", *flags)
        assert result.exit_code == 1
        assert "expected at most 47 pixels, got 8 x 6" in one_line(result.stderr)
    assert upscale(photo, "--max-pixels", "0.048K").exit_code == 0


def test_a_file_where_a_folder_should_be_is_3(photo, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    result = upscale(photo, "-o", f"{tmp_path}/file/big/")
    assert result.exit_code == 3
    assert f"the folder {tmp_path}/file/big" in one_line(result.stderr)


def test_a_folder_that_is_not_writable_is_3_before_the_work(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(inference.Runner, "stream", lambda *_: pytest.fail("worked for nothing"))
    result = upscale(photo, "-o", f"{tmp_path}/out/")
    assert result.exit_code == 3
    assert f"no permission for {tmp_path}/out" in one_line(result.stderr)


def test_a_full_disk_is_3_and_leaves_nothing_partial(photo, tmp_path, monkeypatch):
    a, b = copies(photo, "in/a.png", "in/b.png")
    assert upscale(a, "-o", f"{tmp_path}/out/").exit_code == 0

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = upscale(a, b, "-o", f"{tmp_path}/out/", "--on-exist", "skip", "--json")
    assert result.exit_code == 3
    assert [f["status"] for f in lines(result)[:2]] == ["skipped", "failed"]
    assert f"full disk at {tmp_path}/out" in one_line(result.stderr)
    assert sizes(tmp_path / "out") == {"a.png": (16, 12)}


def test_no_memory_is_3(photo, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(inference.Runner, "stream", fail)
    result = upscale(photo)
    assert result.exit_code == 3
    assert "expected more free memory" in one_line(result.stderr)


def test_a_missing_device_is_3(photo):
    missing = next(name for name in ("mps", "cuda") if name not in devices.available())
    result = upscale(photo, "--device", missing)
    assert result.exit_code == 3
    assert f"no '{missing}'" in one_line(result.stderr)


def test_interrupted_is_130_with_a_summary_and_nothing_partial(photo, tmp_path):
    copies(photo, *(f"in/{i:03}.png" for i in range(300)))
    arguments = ["upscale", f"{tmp_path}/in", "-m", "bicubic", "--scale", "32", "--json", "-o", f"{tmp_path}/out"]
    command = [sys.executable, "-m", "safelight", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as work:
        assert work.stdout is not None
        first = json.loads(work.stdout.readline())
        time.sleep(0.05)
        work.send_signal(signal.SIGINT)
        rest, errors = work.communicate(timeout=60)
    assert work.returncode == 130, errors
    assert first["status"] == "done"
    summary = json.loads(rest.splitlines()[-1])
    assert summary["interrupted"]
    assert 1 <= summary["done"] < 300
    assert "Traceback" not in errors
    done = {Path(json.loads(line)["output"]).name for line in [json.dumps(first), *rest.splitlines()[:-1]]}
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert done <= made
    assert all(size == (256, 192) for size in sizes(tmp_path / "out").values())


# --- upscale: what a file carries -------------------------------------------------------------------------------------


def tagged(path, orientation=6):
    """A JPEG photograph as a telephone writes it: turned, with a profile, a camera and a place."""
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, :4] = (200, 30, 30)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(path, exif=exif, icc_profile=profile, dpi=(300, 300), quality=95)
    return profile


def test_orientation_profile_and_exif_are_kept(tmp_path):
    profile = tagged(tmp_path / "a.jpg")
    assert upscale(tmp_path / "a.jpg").exit_code == 0
    with Image.open(tmp_path / "a-x2.jpg") as made:
        assert made.size == (12, 16)
        assert made.info["icc_profile"] == profile
        assert made.getexif()[0x0112] == 1
        assert made.getexif()[0x010F] == "Camera"
        assert made.info["dpi"] == (300, 300)
        red, _, _ = made.convert("RGB").getpixel((6, 1))
        assert red > 150  # what was left is now above


def test_strip_drops_place_and_camera_but_not_the_profile(tmp_path):
    profile = tagged(tmp_path / "a.jpg")
    assert upscale(tmp_path / "a.jpg", "--strip").exit_code == 0
    with Image.open(tmp_path / "a-x2.jpg") as made:
        assert made.size == (12, 16)
        assert made.info["icc_profile"] == profile
        assert not dict(made.getexif())


def test_sixteen_bits_and_alpha_pass_through(tmp_path):
    rng = np.random.default_rng(3)
    pixels, alpha = rng.integers(0, 65536, (5, 4, 3), np.uint16), rng.integers(0, 65536, (5, 4), np.uint16)
    image.write(image.Picture(pixels=pixels, alpha=alpha), tmp_path / "a.png")
    assert run("upscale", tmp_path / "a.png", "-m", "nearest", "--scale", "1", "-o", tmp_path / "b.png").exit_code == 0
    made = image.read(tmp_path / "b.png")
    assert np.array_equal(made.pixels, pixels)
    assert np.array_equal(made.alpha, alpha)


def test_what_a_format_cannot_hold_is_told(tmp_path):
    image.write(image.Picture(pixels=np.zeros((4, 4, 3), np.uint16)), tmp_path / "a.png")
    result = upscale(tmp_path / "a.png", "--format", "jpeg", "--json")
    assert lines(result)[0]["warnings"] == ["16 bits rounded to 8: JPEG holds no more"]
    result = upscale(tmp_path / "a.png", "--format", "jpeg", "--on-exist", "overwrite")
    assert "16 bits rounded to 8" in one_line(result.stderr)
