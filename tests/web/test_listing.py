"""What the page asks beside pictures: tasks, times, scores, and how an iteration looks on its way."""

import time

import safelight
from safelight import catalog
from safelight.core.options import option_facts
from safelight.media import image
from safelight.tasks import find, names
from support.server import a_file, drawn


def begin(server, verb, **query):
    answer = server.client.post(f"/{verb}", params=query, content=a_file(), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    return answer.json()


def test_tasks_say_what_each_method_takes(server):
    tasks = {task["task"]: task for task in server.client.get("/tasks").json()}
    assert list(tasks) == [*names(), "fix"]
    for card in catalog.CARDS:
        for task in card.tasks:
            (told,) = [method for method in tasks[task]["methods"] if method["name"] == card.name]
            fields = {field["name"]: field for field in told["fields"]}
            for fact in option_facts(card.options):
                if fact.name in fields and fields[fact.name]["methods"]:  # else the task has a field called so
                    assert (fields[fact.name]["low"], fields[fact.name]["high"]) in (
                        (fact.low, fact.high),
                        (None, None),
                    )
            for spec in find(task).conditions:
                assert (spec.field_name in fields) == (not spec.optional or spec.name in card.accepts) or spec.learned


def test_a_methods_time_is_measured_once(server):
    first = server.client.get("/methods/upscale/fsrcnn/time").json()
    assert first["seconds_per_megapixel"] > 0
    assert server.client.get("/methods/upscale/fsrcnn/time").json() == first
    assert server.client.get("/methods/upscale/nothing/time").status_code == 404


def test_score_is_that_of_python(server):
    original, result = drawn(40, 50), drawn(40, 50, seed=1)
    files = {"reference": a_file(height=40, width=50), "picture": a_file(height=40, width=50, seed=1)}
    scores = server.client.post("/score", files=files).json()["scores"]
    assert [score["name"] for score in scores] == ["psnr", "ssim"]
    for score in scores:
        assert score["value"] == safelight.score(original, result, score["name"])
        assert "Y" in score["protocol"]
    same = {"reference": files["reference"], "picture": files["reference"]}
    assert server.client.post("/score", files=same).json()["scores"][0]["value"] is None  # infinite
    for wrong in ({"reference": files["reference"]}, {**files, "more": b"x"}, {**files, "picture": a_file()}):
        answer = server.client.post("/score", files=wrong)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_an_iteration_is_looked_at(server):
    job = begin(server, "denoise", method="dip", iterations=100000)
    picture = server.client.get(job["preview"].removeprefix("/api/v1"))
    for _ in range(20):
        if picture.status_code == 200:
            break
        picture = server.client.get(job["preview"].removeprefix("/api/v1"))
    assert image.read(picture.content).pixels.shape == (24, 32, 3)
    server.client.delete(f"/jobs/{job['id']}")
    while server.client.get(f"/jobs/{job['id']}").json()["state"] == "running":
        time.sleep(0.05)
    assert server.client.get(f"/jobs/{job['id']}/preview").status_code == 409
    assert server.client.get(f"/jobs/{job['id']}").json()["preview"] is None


def test_only_iterations_can_be_looked_at(server):
    job = begin(server, "upscale", method="bicubic")
    assert job["preview"] is None
    assert server.client.get(f"/jobs/{job['id']}/preview").status_code == 409
