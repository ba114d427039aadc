"""A batch on Ray, with its processes: it makes what a local run makes, and tells the same."""

from safelight.batch.manifest import NAME
from support.batch_program import run
from support.folders import tree
from support.pictures import draw


def test_the_same_report_and_outputs_as_a_local_run(tmp_path):
    """R13, without kills, on two actors of one thread each. Takes what Ray takes to start and to end."""
    for i in range(5):
        draw(tmp_path / f"in/{'sub/' if i % 2 else ''}{i} \u00e9\udcff.png", seed=i, size=(40 + i, 30))
    (tmp_path / "in/broken.png").write_bytes(b"\x89PNG nothing")
    arguments = [tmp_path / "in", "--scale", "2", "--method", "fsrcnn", "-o"]
    here, there = tmp_path / "local", tmp_path / "cluster"
    local = run(*arguments, here)
    remotely = run(*arguments, there, "--cluster", "local", "--workers", "2")
    assert (remotely.code, local.code) == (1, 1)

    def told(told, out):
        files = [{**facts, "seconds": 0, "output": facts["output"].removeprefix(str(out))} for facts in told.files]
        return sorted(files, key=lambda facts: facts["input"])

    assert told(remotely, there) == told(local, here)
    assert {**remotely.summary, "seconds": 0, "busy": 0} == {**local.summary, "seconds": 0, "busy": 0}
    assert remotely.errors == local.errors, "nothing of Ray's own"
    made, expected = (tree(out) for out in (there, here))
    assert made.pop(NAME).count(b"\n") == expected.pop(NAME).count(b"\n") == 6
    assert len(made) == 5
    assert made == expected
