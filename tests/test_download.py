"""Fetching: from a server on this machine that breaks, lies and refuses as those of the world do."""

import dataclasses
import errno
import hashlib
import http.server
import io
import json
import random
import re
import shutil
import socket
import threading
from pathlib import Path

import pytest
import torch

from safelight import features
from safelight.checkpoints import backbones, download
from safelight.checkpoints.download import FetchError
from support.cli import run

CONTENT = random.Random(0).randbytes(1_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content`` at every path; the other attributes are how it misbehaves."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.asked = CONTENT, []
        self.ranges, self.lengths, self.break_at, self.codes, self.goto = True, True, [], [], None
        self.wrong_range, self.said = False, None

    def handle_error(self, request, address):
        """Say nothing where a client went away."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.codes and (code := server.codes.pop(0)) != 200:
            self.send_error(code)
            return
        if server.goto is not None:
            self.send_response(302)
            self.send_header("Location", server.goto)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + server.wrong_range
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        if server.lengths:
            self.send_header("Content-Length", server.said or str(len(body)))
        self.end_headers()
        end = server.break_at.pop(0) if server.break_at else len(body)
        self.wfile.write(body[:end])

    def log_message(self, *facts):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights.pth"


def get(server, target, **how):
    how = {"size": len(CONTENT), "waits": (0, 0)} | how
    return download.download_file(how.pop("url", server.url), how.pop("sha256", SHA256), target, **how)


def refused(server, target, match, **how):
    with pytest.raises(FetchError, match=match) as caught:
        get(server, target, **how)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert not target.exists()


def part_of(target):
    return target.with_name("weights.pth.part")


def test_a_file_is_fetched_once(server, target):
    told = []
    assert get(server, target, progress=lambda done, total: told.append((done, total))) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    get(server, target)
    assert server.asked == [None]


@pytest.mark.parametrize("digits", [8, 63])
def test_the_first_digits_of_a_checksum_count(server, target, digits):
    assert get(server, target, sha256=SHA256[:digits]).read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", [SHA256[:7], "", SHA256 + "0", SHA256[:8].upper() + "X"])
def test_fewer_digits_are_no_checksum(server, target, sha256):
    refused(server, target, "8 to 64 hexadecimal digits", sha256=sha256)
    assert server.asked == []


def test_what_an_earlier_try_left_is_gone_on_with(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:400_000])
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=400000-"]


def test_a_server_without_ranges_sends_all(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:400_000])
    server.ranges = False
    assert get(server, target).read_bytes() == CONTENT


def test_a_complete_part_needs_no_byte(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    assert get(server, target).read_bytes() == CONTENT


def test_the_part_of_another_file_is_thrown_away(server, target):
    target.parent.mkdir()
    for left in (bytes(400_000), bytes(len(CONTENT)), bytes(2 * len(CONTENT))):
        part_of(target).write_bytes(left)
        assert get(server, target).read_bytes() == CONTENT
        target.unlink()


def test_another_range_than_asked_for_is_not_taken(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:400_000])
    server.wrong_range = True
    assert get(server, target).read_bytes() == CONTENT
    assert server.asked == ["bytes=400000-", None]


def test_a_connection_that_breaks_is_taken_up_again(server, target):
    server.break_at = [100_000, 200_000, 300_000, 400_000]  # more often than there are tries without a gain
    assert get(server, target).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=300000-", "bytes=600000-", "bytes=1000000-"]


def test_a_connection_that_brings_nothing_is_given_up(server, target):
    server.break_at = [100_000, 0, 0, 0]
    refused(server, target, "a connection that breaks off .after 100000 of 1500000 bytes.; .* what came is kept")
    assert part_of(target).stat().st_size == 100_000
    server.break_at = []
    assert get(server, target).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, target):
    server.codes = [503, 429]
    assert get(server, target).read_bytes() == CONTENT
    target.unlink()
    server.codes = [500, 502, 503]
    refused(server, target, "503 Service Unavailable")


def test_a_file_without_a_length(server, target):
    server.lengths = False
    assert get(server, target).read_bytes() == CONTENT


@pytest.mark.parametrize("said", ["-5", "many", "1500000, 7"])
def test_a_length_that_is_none(server, target, said):
    server.said = said
    assert get(server, target).read_bytes() == CONTENT


def test_a_length_that_is_wrong(server, target):
    server.said = "1499999"
    refused(server, target, "SHA-256 begins with")
    server.said = "9" * 30
    refused(server, target, "it is another file")
    server.said = "1500001"
    assert get(server, target).read_bytes() == CONTENT  # asked for the rest, the server says that there is none


def test_a_file_that_is_not_there(server, target):
    server.codes = [404]
    refused(server, target, "expected the file, got 404 Not Found; its publisher may have moved it")
    assert server.asked == [None]


def test_a_wrong_file_is_not_kept(server, target):
    server.content = CONTENT[:-1] + b"\0"
    refused(server, target, f"SHA-256 begins with {SHA256[:16]}, got [0-9a-f]{{16}}; .* nothing was kept")
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_that_is_too_large_is_not_received(server, target, lengths):
    server.content, server.lengths = CONTENT * 3, lengths
    refused(server, target, "of about 1500000 bytes, got [0-9]+ or more; it is another file")
    assert not part_of(target).exists() or part_of(target).stat().st_size < 1.2 * len(CONTENT)


def test_a_machine_without_a_network(server, target, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/w.pth"
        refused(
            server,
            target,
            "expected an answer, got none .Connection refused.: this machine seems to be offline",
            url=url,
        )

    def unknown(*address, **how):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    url = "https://weights.invalid/w.pth"
    refused(server, target, "Name or service not known.: this machine seems to be offline", url=url)


def test_only_https_is_trusted(server, target, tmp_path):
    for url in (
        "http://example.org/w.pth",
        "ftp://127.0.0.1/w",
        f"file://{tmp_path}",
        "w.pth",
        "http://localhost.evil.org/w",
    ):
        refused(server, target, "expected an https address", url=url)
    for goto in ("http://192.0.2.1/w.pth", "ftp://127.0.0.1/w.pth"):
        server.goto = goto
        refused(server, target, "https address|302")
    assert len(server.asked) == 2


def test_a_redirection_is_followed(server, target):
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        server.goto = other.url
        assert get(server, target).read_bytes() == CONTENT
        other.shutdown()
        thread.join()


def test_a_silent_server_is_left(server, target, monkeypatch):
    monkeypatch.setattr(download, "SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        refused(server, target, "breaks off .timed out.", url=url)


def test_a_full_disk_is_told_before_and_during(server, target, monkeypatch):
    usage = shutil.disk_usage(target.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused(server, target, "expected space for 2 MB, got: No space left on device; free some, or set SAFELIGHT_CACHE")
    monkeypatch.undo()

    def full(*facts):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "ignore_progress", full)
    refused(server, target, "expected space for 2 MB")


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(
        FetchError, match=r"expected a folder to keep what is fetched in, got: (File exists|Not a directory); set SAFE"
    ):
        get(server, tmp_path / "cache" / "weights.pth")
    assert server.asked == []


def test_two_at_once_do_not_mix(server, target):
    target.parent.mkdir()
    with part_of(target).open("ab") as held:
        assert download._lock(held)
        refused(server, target, "another process is fetching it")
    assert get(server, target).read_bytes() == CONTENT


def test_what_was_interrupted_goes_on(server, target):
    def stop(done, total):
        if done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, target, progress=stop)
    assert not target.exists()
    left = part_of(target).stat().st_size
    assert 500_000 < left < len(CONTENT)
    assert get(server, target).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={left}-"]


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """SqueezeNet's weights, published by the server on this machine."""
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "WAITS", ())
    file = io.BytesIO()
    torch.save(
        backbones.load("squeezenet", random=5).network.state_dict() | {"classifier.1.bias": torch.zeros(1000)}, file
    )
    server.content = file.getvalue()
    sha256, size = hashlib.sha256(server.content).hexdigest(), len(server.content)
    known = tuple(
        facts
        if facts.name != "squeezenet"
        else dataclasses.replace(
            facts, published=dataclasses.replace(facts.published, url=server.url, sha256=sha256[:8], size=size)
        )
        for facts in features.BACKBONES
    )
    monkeypatch.setattr(features, "BACKBONES", known)
    return server


def test_a_backbone_is_fetched_and_then_loaded(published, tmp_path):
    before = run("fetch", "squeezenet", "--list", "--json")
    assert json.loads(before.stdout)["here"] is False
    done = run("fetch", "squeezenet")
    assert done.exit_code == 0, done.output
    path = tmp_path / "cache/backbones/squeezenet.safetensors"
    assert done.stdout == f"squeezenet: {path}  3 MB\n"
    assert [p.relative_to(tmp_path).as_posix() for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [
        "cache/backbones/squeezenet.safetensors"
    ]
    loaded = backbones.load("squeezenet")
    assert loaded.weights == "weights.pth"
    expected = backbones.load("squeezenet", random=5).network.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.network.state_dict().items())
    again = run("fetch", "squeezenet")
    assert again.stdout == f"squeezenet: {path}  was there already\n"
    assert published.asked == [None]
    facts = json.loads(run("fetch", "squeezenet", "--json").stdout)
    assert (facts["backbone"], facts["path"], facts["published"]) == ("squeezenet", str(path), True)


def test_what_is_damaged_is_fetched_again(published, tmp_path):
    run("fetch", "squeezenet")
    path = tmp_path / "cache/backbones/squeezenet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert run("fetch", "squeezenet", "--quiet").output == ""
    assert backbones.load("squeezenet").weights == "weights.pth"


def test_a_file_of_the_users_is_taken_and_named(published, tmp_path):
    mine = tmp_path / "mine.pth"
    torch.save(backbones.load("squeezenet", random=6).network.state_dict(), mine)
    done = run("fetch", "squeezenet", "--from", mine)
    assert done.exit_code == 0, done.output
    assert "mine.pth is not the file that is published as squeezenet" in done.stderr
    listed = run("fetch").stdout
    assert "mine.pth (not the published file, sha256" in listed
    copy = tmp_path / "copy.pth"
    copy.write_bytes(published.content)
    done = run("fetch", "squeezenet", "--from", copy)
    assert (done.exit_code, done.stderr) == (0, "")
    assert published.asked == []


def test_all_are_listed(published):
    text = run("fetch").stdout
    assert all(facts.name in text for facts in features.BACKBONES)
    assert "575 MB by: safelight fetch vgg19" in text
    rows = [json.loads(line) for line in run("fetch", "--json").stdout.splitlines()]
    assert [row["backbone"] for row in rows] == [facts.name for facts in features.BACKBONES]
    assert all(row["licence"] and (row["url"] or row["here"]) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["vgg18"], 2, "did you mean vgg19, vgg16"),
        (["lens"], 2, "weights come with the program"),
        (["vgg16", "--from", "none.pth"], 2, "none.pth: expected a weights file, but there is none"),
        (["--from", "a.pth"], 2, "--from: expected the name of a backbone"),
        (
            ["squeezenet", "--from", Path(__file__)],
            2,
            "test_download.py: expected weights of SqueezeNet 1.1, got a file of",
        ),
        (["squeezenet"], 3, "404 Not Found; .* if you have the file: safelight fetch squeezenet --from FILE"),
    ],
)
def test_errors_are_one_line(published, arguments, code, match):
    published.codes = [404]
    done = run("fetch", *arguments)
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.startswith("safelight: ")
    assert done.stderr.count("\n") == 1
    assert re.search(match, done.stderr)
