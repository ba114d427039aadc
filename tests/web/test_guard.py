"""What a server does not put up with: strangers, too much, too slow, too many, and files that are traps."""

import http.client
import select
import socket
import struct
import tempfile
import threading
import time
import zlib

import httpx
import pytest

from safelight.web.security import hostname
from support.server import a_file, running


def post(server, content, path="/api/v1/upscale?scale=2&method=bicubic", **headers):
    return httpx.post(server.url + path, content=content, headers=headers, trust_env=False, timeout=60)


def raw(server, *pieces, pause=0.0):
    """Send bytes as they are, and return all that comes back."""
    with socket.create_connection(server.address, timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
            if select.select([connection], [], [], pause)[0]:
                break  # it answers before it has everything
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::2]"])
def test_another_name_is_not_answered(server, host):
    assert httpx.get(f"{server.url}/healthz", headers={"Host": host}, trust_env=False).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:7860", "[::1]:80", "LOCALHOST"])
def test_its_own_names_are(server, host):
    assert httpx.get(f"{server.url}/healthz", headers={"Host": host}, trust_env=False).status_code == 200


def test_two_hosts_are_none(server):
    answer = raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


def test_names_are_split_from_ports():
    assert [hostname(h) for h in ("a", "a:1", "[::1]", "[::1]:1", "")] == ["a", "a", "::1", "::1", ""]


def test_a_page_of_somebody_else_may_not_post(server):
    assert post(server, a_file(), Origin="https://evil.example").status_code == 403
    assert post(server, a_file(), Origin="null").status_code == 403
    own = post(server, a_file(), Origin=server.url)
    assert own.status_code == 200
    assert not [name for name in own.headers if name.startswith("access-control")]


def test_a_token_is_asked_for():
    with running(token="a long token") as server:
        refused = post(server, a_file())
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert post(server, a_file(), Authorization="Bearer another one").status_code == 401
        assert post(server, a_file(), Authorization="Basic a long token").status_code == 401
        assert post(server, a_file(), Authorization="Bearer a long token").status_code == 200
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/api/v1/methods", 401)):
            assert httpx.get(server.url + path, trust_env=False).status_code == status


# --- how much ---------------------------------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_long_is_not_read():
    with running(upload=1000) as server:
        head = b"POST /api/v1/fix HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n"
        assert raw(server, head).startswith(b"HTTP/1.1 413")
        assert server.queue.held == 0


def test_a_body_that_does_not_say_how_long_it_is_is_counted():
    with running(upload=100_000) as server:

        def pieces():
            for _ in range(200):
                yield bytes(1000)

        assert post(server, pieces()).status_code == 413
        assert server.queue.held == 0


def test_a_body_longer_than_it_said(server):
    content = a_file()
    head = (
        f"POST /api/v1/fix HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    answer = raw(server, head.encode() + content + b"GET /metrics HTTP/1.1\r\nHost: evil\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1  # what follows is no request
    assert server.queue.held == 0


def test_a_slow_body_is_cut_off():
    with running(patience=0.5) as server:
        head = b"POST /api/v1/fix HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        assert raw(server, head).startswith(b"HTTP/1.1 408")
        assert server.queue.held == 0
    with running(patience=0.5, slowest=1000) as server:
        drops = [head, *[b"x"] * 12]
        assert raw(server, *drops, pause=0.15).startswith(b"HTTP/1.1 408")


def test_too_many_pixels_come_in():
    with running(pixels=24 * 32) as server:
        assert post(server, a_file()).status_code == 200
        assert post(server, a_file(height=25)).status_code == 413
        mask = {"picture": a_file(), "mask": a_file(height=25)}
        answer = httpx.post(f"{server.url}/api/v1/inpaint", files=mask, trust_env=False)
        assert answer.status_code == 413


def test_too_many_pixels_would_be_made():
    with running(made=24 * 32 * 16) as server:
        assert post(server, a_file(), "/api/v1/upscale?scale=4&method=bicubic").status_code == 200
        refused = post(server, a_file(), "/api/v1/upscale?scale=5&method=bicubic")
        assert refused.status_code == 413
        assert "smaller scale" in refused.json()["detail"]


LONG = "/api/v1/denoise?method=dip&iterations=100000"


def test_a_full_line_says_when_to_come_again():
    with running(queue=1) as server:
        later = {"Prefer": "respond-async"}
        post(server, a_file(), LONG, **later)
        while not server.queue.running:
            time.sleep(0.01)
        assert post(server, a_file(), LONG, **later).status_code == 202
        refused = post(server, a_file())
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 503


def test_pixels_in_flight_are_bounded():
    with running(in_flight=2 * 24 * 32 + 10) as server:
        post(server, a_file(), LONG, Prefer="respond-async")
        assert post(server, a_file()).status_code == 503


def test_bytes_in_memory_are_bounded():
    with running(held=10_000, upload=1 << 20) as server:
        refused = post(server, bytes(20_000))
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert server.queue.held == 0


def test_one_address_may_not_have_everything():
    with running(each=2) as server:
        for _ in range(2):
            assert post(server, a_file(), LONG, Prefer="respond-async").status_code == 202
        refused = post(server, a_file())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1


def test_who_hangs_up_frees_the_place():
    with running() as server:
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        connection.request("POST", LONG, body=a_file())
        while not server.queue.running:
            time.sleep(0.01)
        connection.close()
        deadline = time.monotonic() + 20
        while server.queue.running or server.queue.held or server.queue.pixels:
            assert time.monotonic() < deadline, (server.queue.running, server.queue.held, server.queue.pixels)
            time.sleep(0.05)


# --- what -------------------------------------------------------------------------------------------------------------


def png_of(width, height):
    """A PNG that says it is so large, of hardly any bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (png_of(100_000, 100_000), 413),
        (png_of(4000, 4000), 422),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>", 422),
        (b"%PDF-1.7\n", 422),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", 422),
        (b"push graphic-context\nimage over 0,0 0,0 'https://evil.example/'\n", 422),
        (b"PK\x03\x04" + bytes(100), 422),
        (b"", 422),
        (b"http://evil.example/a.png", 422),
        (b"/etc/passwd", 422),
        (a_file()[:200], 422),
        (a_file() + b"<html><script>alert(1)</script>", 200),
    ],
)
def test_traps(server, content, status):
    answer = post(server, content)
    assert answer.status_code == status
    assert b"<script" not in answer.content
    assert "passwd" not in answer.text or status == 422
    assert server.queue.held == 0


def test_what_is_no_picture_by_its_kind_is_not_read(server):
    assert post(server, a_file(), **{"Content-Type": "text/html"}).status_code == 415
    assert post(server, b"{}", **{"Content-Type": "application/json"}).status_code == 415


def test_names_of_files_mean_nothing(server, monkeypatch):
    """Neither are they paths, nor does a form's file ever lie on a disk."""

    def refuse(*arguments, **more):
        raise AssertionError("a file was made on the disk")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    large = a_file("png", height=900, width=900)
    assert len(large) > 1 << 20
    files = {"picture": ("../../../../etc/passwd\0.png", large, "text/x-sh")}
    answer = httpx.post(f"{server.url}/api/v1/fix", files=files, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: form-data; name=picture\r\n\r\n" + bytes(3000)]
)
def test_broken_forms(server, body):
    answer = post(server, body, **{"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert server.queue.held == 0


def test_many_at_once_and_nothing_is_left():
    """Good and bad ones together: each gets an answer of its own, and no memory is held after."""
    with running(each=200) as server:
        bad, good = a_file()[:100], a_file()
        answers = []

        def ask(content):
            answers.append((content is good, post(server, content)))

        threads = [threading.Thread(target=ask, args=(good if i % 3 else bad,)) for i in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {(fine, answer.status_code) for fine, answer in answers} == {(True, 200), (False, 422)}
        assert len({answer.content for fine, answer in answers if fine}) == 1
        assert (server.queue.held, server.queue.pixels, server.queue.waiting) == (0, 0, 0)


# --- the page's ticket ------------------------------------------------------------------------------------------------


def test_a_browser_shows_a_ticket_for_the_token():
    """Pictures and events can't carry a header: a cookie stands for the token, and does not tell it."""
    token = "a token of some length"
    with running(token=token) as server:
        url = f"{server.url}/api/v1"

        def status(cookie):
            return httpx.get(f"{url}/methods", headers={"Cookie": cookie}, trust_env=False).status_code

        assert httpx.get(server.url, trust_env=False).status_code == 200  # the page is nobody's secret
        assert httpx.get(f"{server.url}/assets/main.js", trust_env=False).status_code == 200
        assert httpx.post(f"{url}/session", trust_env=False).status_code == 401
        answer = httpx.post(f"{url}/session", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 204
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert token not in cookie
        assert status(cookie.partition(";")[0]) == 200
        for wrong in ("safelight=", "safelight=x", f"safelight={token}", "safelight; =", '"', "x" * 5000):
            assert status(wrong) == 401
        # Another page of the same machine can't use it: its requests say where they come from.
        other = {"Cookie": cookie.partition(";")[0], "Origin": "http://127.0.0.1:1"}
        assert httpx.post(f"{url}/fix", headers=other, content=a_file(), trust_env=False).status_code == 403


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "nothing.js", ".", "index.html/"])
def test_assets_are_these_and_no_other(name):
    with running() as server:
        answer = raw(server, f"GET /assets/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 404")
