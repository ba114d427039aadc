"""The HTTP API: the same pictures as everywhere else, jobs, and what is said of what can't be meant."""

import io
import json
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image

import safelight
from safelight import catalog
from safelight.media import image
from safelight.web.request_fields import fields_of, verbs
from support.server import a_file, drawn, running


def post(server, verb, content, **query):
    return server.client.post(f"/{verb}", params=query, content=content)


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("upscale", {"scale": 2, "method": "bicubic"}),
        ("upscale", {"scale": 2, "method": "fsrcnn"}),
        ("upscale", {"size": "50x", "precision": "fast"}),
        ("denoise", {"method": "tv", "strength": 0.5}),
        ("denoise", {}),
        ("deblock", {}),
        ("stylize", {"method": "johnson", "look": "wave"}),
        ("fix", {}),
    ],
)
@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_the_same_bytes_as_python_and_the_command_line(server, tmp_path, verb, said, format):
    content = a_file(format)
    answer = post(server, verb, content, keep_metadata="true", **said)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"image/{format}"
    path, out = tmp_path / f"in.{format}", tmp_path / f"out.{format}"
    path.write_bytes(content)
    if verb != "fix":
        local = getattr(safelight, verb)(content, **said)
        assert local == answer.content
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in said.items()]
    command = [sys.executable, "-m", "safelight", verb, str(path), "-o", str(out), "-q", *flags]
    if verb in ("fix", "denoise") and format == "png" and not flags:
        subprocess.run(command, check=True)
        if verb == "denoise" or out.read_bytes() != content:
            assert out.read_bytes() == answer.content


def test_sixteen_bits_and_alpha_come_back(server):
    pixels = np.dstack([drawn(dtype=np.uint16), np.full((24, 32), 30000, np.uint16)])
    content = image.encode(image.from_any(pixels), "png")
    made = image.read(post(server, "upscale", content, scale=2, method="bicubic").content)
    assert made.depth == "16-bit"
    assert made.alpha is not None


def test_metadata_goes_unless_it_is_to_stay(server):
    held = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.fromarray(drawn()).save(held, "JPEG", exif=exif)
    said = {"scale": 2, "method": "nearest"}
    assert image.read(post(server, "upscale", held.getvalue(), **said).content).exif is None
    kept = post(server, "upscale", held.getvalue(), keep_metadata="true", **said)
    assert Image.open(io.BytesIO(kept.content)).getexif()[0x010F] == "a camera"


def test_the_format_of_the_answer(server):
    said = {"scale": 2, "method": "nearest"}
    assert post(server, "upscale", a_file("gif"), **said).headers["content-type"] == "image/png"
    assert post(server, "upscale", a_file("png"), format="webp", **said).headers["content-type"] == "image/webp"
    for accept, kind in (("image/*", "image/png"), ("text/html, image/jpeg", "image/jpeg"), ("*/*", "image/png")):
        answer = server.client.post("/upscale", params=said, content=a_file("png"), headers={"Accept": accept})
        assert answer.headers["content-type"] == kind
    refused = server.client.post("/upscale", params=said, content=a_file("png"), headers={"Accept": "text/html"})
    assert refused.status_code == 406


def test_the_headers_say_what_was_done(server):
    answer = post(server, "upscale", a_file(), scale=2)
    assert answer.headers["safelight-method"].startswith(f"{catalog.default('upscale').id}, cpu")
    assert float(answer.headers["safelight-seconds"]) > 0
    assert answer.headers["safelight-size"] == "64x48"
    assert json.loads(answer.headers["safelight-warnings"]) == []
    warned = post(server, "upscale", a_file(), size="64x20", method="bicubic")
    assert "changes the shape" in json.loads(warned.headers["safelight-warnings"])[0]


def test_a_form_may_have_everything(server):
    mask = np.zeros((24, 32), np.uint8)
    mask[8:12, 8:12] = 255
    files = {"picture": a_file(), "mask": image.encode(image.from_any(mask), "png")}
    answer = server.client.post("/inpaint", files=files, data={"method": "dip", "iterations": "5", "seed": "1"})
    assert answer.status_code == 200, answer.text
    content = files["picture"]
    assert answer.content == safelight.inpaint(content, files["mask"], method="dip", iterations=5, seed=1)


def test_styles_with_their_weights(server):
    first, second = a_file(height=70, width=80, seed=1), a_file(height=64, width=64, seed=2)
    files = [("picture", a_file(height=64, width=72)), ("style", first), ("style", second)]
    answer = server.client.post("/stylize", files=files, data={"style_weights": "0.8,0.2", "method": "adain"})
    assert answer.status_code == 200, answer.text
    local = safelight.stylize(files[0][1], [first, second], style_weights=[0.8, 0.2], method="adain")
    assert local == answer.content


@pytest.mark.parametrize(
    ("verb", "said", "status", "words"),
    [
        ("upscale", {"scal": 2}, 422, "did you mean scale"),
        ("upscale", {"method": "fsrcn"}, 422, "expected one of"),
        ("upscale", {"scale": "many"}, 422, "expected a number"),
        ("upscale", {"scale": 33}, 422, "1 to 32"),
        ("upscale", {"scale": "nan"}, 422, "expected a number"),
        ("upscale", {"scale": 2, "size": "10x10"}, 422, "scale or size"),
        ("upscale", {"size": "../../etc/passwd"}, 422, "size"),
        ("upscale", {"blur": "/etc/passwd", "method": "wiener"}, 422, "blur"),
        ("upscale", {"sigma": 5, "method": "bicubic"}, 422, "takes no sigma"),
        ("upscale", {"amount": 1, "method": "bicubic"}, 422, "no option 'amount'"),
        ("denoise", {"strength": 2}, 422, "0 to 1"),
        ("denoise", {"ensemble": "yes"}, 422, "true or false"),
        ("inpaint", {}, 422, "mask"),
        ("stylize", {}, 422, "style"),
        ("fix", {"method": "lamp"}, 422, "no field"),
        ("nothing", {}, 404, "Not Found"),
    ],
)
def test_what_cannot_be_meant(server, verb, said, status, words):
    answer = post(server, verb, a_file(), **said)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert words in told["detail"]
    assert "\n" not in told["detail"]


def test_a_field_said_twice(server):
    twice = server.client.post("/upscale?scale=2&scale=3", content=a_file())
    assert (twice.status_code, "several" in twice.json()["detail"]) == (422, True)
    both = server.client.post("/upscale?scale=2", files={"picture": a_file()}, data={"scale": "2"})
    assert (both.status_code, "both" in both.json()["detail"]) == (422, True)


def test_every_method_is_there():
    for verb in verbs():
        if verb != "fix":
            known = [card.name for card in catalog.CARDS if verb in card.tasks]
            assert list(fields_of(verb)["method"].choices) == known


def test_methods_are_told(server):
    told = server.client.get("/methods").json()
    assert [each["id"] for each in told] == [card.id for card in catalog.CARDS]
    one = server.client.get("/methods/upscale/vdsr").json()
    assert one["published"]
    assert one["weights"][0]["header"]["trained_on"]
    for path in ("/methods/upscale/nothing", "/methods/nothing/vdsr"):
        assert server.client.get(path).status_code == 404


# --- jobs -------------------------------------------------------------------------------------------------------------

LATER = {"Prefer": "respond-async"}


def begin(server, verb, content, **query):
    answer = server.client.post(f"/{verb}", params=query, content=content, headers=LATER)
    assert answer.status_code == 202, answer.text
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"
    return answer.json()


def test_a_job_is_followed_and_fetched(server):
    content = a_file()
    facts = begin(server, "denoise", content, method="tv")
    path = f"/jobs/{facts['id']}"
    with server.client.stream("GET", f"{path}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    last = json.loads(lines[-1].removeprefix("data: "))
    assert (last["state"], last["progress"]) == ("done", 1.0)
    for _ in range(2):
        assert server.client.get(f"{path}/result").content == safelight.denoise(content, method="tv")
    assert server.client.delete(path).status_code == 204
    assert server.client.get(path).status_code == 404


def test_an_iteration_that_is_stopped_gives_its_best(server):
    facts = begin(server, "denoise", a_file(), method="dip", iterations=100000)
    path = f"/jobs/{facts['id']}"
    deadline = time.monotonic() + 60
    while server.client.get(path).json()["progress"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.client.get(f"{path}/result").status_code == 409
    assert server.client.delete(path).status_code == 202
    while (facts := server.client.get(path).json())["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert facts["state"] == "stopped"
    assert 0 < facts["progress"] < 1
    assert image.read(server.client.get(f"{path}/result").content).width == 32
    server.client.delete(path)


def test_a_job_that_waits_is_stopped_before_it_runs():
    with running() as server:
        first = begin(server, "denoise", a_file(), method="dip", iterations=100000)
        second = begin(server, "denoise", a_file(), method="dip", iterations=100000)
        assert server.client.delete(f"/jobs/{second['id']}").json()["state"] == "stopped"
        assert server.client.get(f"/jobs/{second['id']}/result").status_code == 409
        assert server.client.get(f"/jobs/{first['id']}").json()["state"] in ("queued", "running")


def test_results_are_kept_for_a_while_only():
    with running(kept=0.2) as server:
        facts = begin(server, "upscale", a_file(), method="nearest", scale=2)
        deadline = time.monotonic() + 20
        while server.client.get(f"/jobs/{facts['id']}").status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.queue.held == 0


def test_a_job_that_takes_too_long():
    with running(seconds=0.5) as server:
        large = a_file(height=400, width=400)
        answer = post(server, "denoise", large, method="dncnn")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert post(server, "upscale", a_file(), method="bicubic").status_code == 200
        # An iteration has something to show for its time.
        answer = post(server, "denoise", a_file(), method="dip", iterations=100000)
        assert answer.status_code == 200
        assert "the best so far" in answer.headers["safelight-warnings"]


# --- what supervisors ask ---------------------------------------------------------------------------------------------


def test_health_and_counts(server):
    for path in ("/healthz", "/readyz"):
        assert httpx.get(server.url + path, trust_env=False).text == "ok"
    post(server, "upscale", a_file(), method="nearest")
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    assert 'safelight_jobs_total{method="nearest",state="done",verb="upscale"}' in text
    assert 'safelight_answers_total{route="/api/v1/upscale",status="200"}' in text
    assert "safelight_bytes_held 0.0" in text


# --- the client -------------------------------------------------------------------------------------------------------


def test_the_client_gives_what_the_functions_give(server, tmp_path):
    client = safelight.Client(server.url)
    pixels = drawn()
    for x in (pixels, drawn(dtype=np.uint16), drawn(dtype=np.float32), a_file("jpeg")):
        far, near = client.upscale(x, scale=2, method="bicubic"), safelight.upscale(x, scale=2, method="bicubic")
        assert far == near if isinstance(x, bytes) else np.array_equal(far, near)
    path = tmp_path / "a.png"
    safelight.write(pixels, path)
    assert np.array_equal(client.denoise(path).pixels, safelight.denoise(path).pixels)
    assert np.array_equal(np.asarray(client.fix(Image.fromarray(pixels))), safelight.fix(pixels))
    job = client.submit("upscale", pixels, scale=3, method="fsrcnn")
    assert np.array_equal(job.result(), safelight.upscale(pixels, scale=3, method="fsrcnn"))
    assert job.facts()["state"] == "done"
    assert len(client.methods()) == len(catalog.CARDS)


def test_the_client_tells_what_the_server_says(server):
    client = safelight.Client(server.url)
    with pytest.raises(RuntimeError, match="did you mean scale") as told:
        client.upscale(drawn(), scal=2)
    assert told.value.status == 422
    with pytest.raises(RuntimeError, match="expected a server at"):
        safelight.Client("http://127.0.0.1:9", patience=0).methods()
