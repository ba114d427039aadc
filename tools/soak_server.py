"""Load a server for minutes, as 32 clients of which a third send what is broken, and measure what it makes of it.

    python tools/soak_server.py [--seconds 600] [--clients 32] [--broken 0.3]

It starts ``safelight serve`` on this machine and writes ``results/server.json``. Good requests are 256 x 256 pixels
enlarged twice by FSRCNN. What is broken: files that are cut, flipped or of other kinds, bodies that are shorter than
they said, clients that hang up, and fields that can't be meant. Another thread asks for ``/healthz`` all the while.
``tests/reliability`` holds the figures against what docs/server.md states.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
import numpy as np
from harness import Row

from safelight.engine import device as devices
from safelight.media import image

PATH = "/api/v1/upscale?scale=2&method=fsrcnn"
SIDE = 256


@dataclass
class Address:
    """Where a server listens, and its process."""

    host: str
    port: int
    process: subprocess.Popen[str]

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Make a connection."""
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)


@contextlib.contextmanager
def serving(*flags: str, before: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Generator[Address]:
    """Run ``safelight serve`` at a free port until the block ends.

    Args:
        flags: Of it.
        before: A command that runs the command.
        env: Its environment; ``None``: this one's.
    """
    command = [*before, sys.executable, "-m", "safelight", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=None if env is None else {**env})
    assert process.stderr is not None
    try:
        said: list[str] = []
        found = None
        while found is None and (line := process.stderr.readline()):
            said.append(line)
            found = re.search(r"serving at http://([0-9.]+):([0-9]+)", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {''.join(said)}")
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield Address(found[1], int(found[2]), process)
        process.terminate()
        process.wait(60)
        reader.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def picture(side: int, seed: int) -> bytes:
    """Draw a picture, as a PNG."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    waves = np.stack([np.sin(x / 9 + c + seed) * np.cos(y / 13 - c) for c in range(3)], axis=-1)
    samples = (127 + 100 * waves + 8 * rng.standard_normal(waves.shape)).clip(0, 255).astype(np.uint8)
    return image.encode(image.Picture(pixels=samples), "png")


def memory(process: int) -> int:
    """Bytes that a process and those that it started hold, shared ones counted once."""
    total = 0
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if process in (int(place.name), parent):
                lines = (place / "smaps_rollup").read_text()
                total += 1024 * int(re.findall(r"^Pss: +([0-9]+)", lines, re.MULTILINE)[0])
    return total


@dataclass
class Notes:
    """What the clients saw."""

    answers: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])
    health: list[float] = field(default_factory=list[float])
    memory: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    faults: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, status: int) -> None:
        """Count an answer."""
        with self.lock:
            self.answers[f"{kind} {status}"] += 1

    def fault(self, text: str) -> None:
        """Keep what must not be."""
        with self.lock:
            self.faults.append(text[:300])


def good(address: Address, content: bytes, expected: bytes, notes: Notes) -> None:
    """Ask for what can be done, again when told so, and check each answer."""
    while True:
        began = time.monotonic()
        connection = address.connect()
        connection.request("POST", PATH, body=content, headers={"Content-Type": "image/png"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        notes.note("good", answer.status)
        if answer.status == 200:
            with notes.lock:
                notes.seconds.append(time.monotonic() - began)
            if body != expected:
                notes.fault("another picture than alone")
            return
        wait = answer.getheader("Retry-After")
        if answer.status not in (429, 503) or wait is None:
            notes.fault(f"a good request: {answer.status} {body[:200]!r}, Retry-After {wait}")
            return
        time.sleep(min(float(wait), 2))


def bad(address: Address, content: bytes, rng: random.Random, notes: Notes) -> None:
    """Ask for what can't be done, in one of several ways."""
    way = rng.choice(("cut", "flipped", "kind", "field", "short", "gone", "empty"))
    path, body = PATH, bytearray(content)
    match way:
        case "cut":
            body = body[: rng.randrange(len(body))]
        case "flipped":
            for _ in range(8):
                body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        case "kind":
            body = bytearray(rng.choice((b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"PK\x03\x04aaaa")))
        case "field":
            path = PATH + rng.choice(("&scale=3", "&nothing=1", "&quality=900", "&sigma=x"))
        case "empty":
            body = bytearray()
        case _:
            with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), 30) as raw:
                head = f"POST {path} HTTP/1.1\r\nHost: {address.host}\r\nContent-Length: {len(body)}\r\n\r\n"
                raw.sendall(head.encode() + bytes(body[: len(body) // 2] if way == "short" else body))
                time.sleep(0.02 * rng.random())
            notes.note(way, 0)
            return
    connection = address.connect()
    connection.request("POST", path, body=bytes(body), headers={"Content-Type": "image/png"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    notes.note(way, answer.status)
    if answer.status >= 500 and answer.status != 503:
        notes.fault(f"{way}: {answer.status} {text[:200]!r}")
    if answer.status in (429, 503) and answer.getheader("Retry-After") is None:
        notes.fault(f"{way}: {answer.status} without Retry-After")


def soak(seconds: float, clients: int, broken: float, warm: float) -> Row:
    """Load a server, and return what was measured.

    Args:
        seconds: For how long.
        clients: How many at a time, each of which asks anew when it has its answer.
        broken: The share of requests that are.
        warm: Seconds after which memory is to stay as it is.
    """
    contents = [picture(SIDE, seed) for seed in range(4)]
    notes, end = Notes(), threading.Event()
    with serving("--per-client", str(2 * clients)) as address:
        expected: list[bytes] = []
        for content in contents:
            connection = address.connect()
            connection.request("POST", PATH, body=content, headers={"Content-Type": "image/png"})
            expected.append(connection.getresponse().read())
            connection.close()

        def client(number: int) -> None:
            rng = random.Random(number)
            while not end.is_set():
                which = rng.randrange(len(contents))
                try:
                    if rng.random() < broken:
                        bad(address, contents[which], rng, notes)
                    else:
                        good(address, contents[which], expected[which], notes)
                except OSError as error:
                    notes.fault(f"{type(error).__name__}: {error}")

        def health() -> None:
            while not end.wait(0.2):
                began = time.monotonic()
                connection = address.connect(5)
                connection.request("GET", "/healthz")
                notes.note("health", connection.getresponse().status)
                connection.close()
                notes.health.append(time.monotonic() - began)

        def weigh() -> None:
            began = time.monotonic()
            while not end.wait(5):
                notes.memory.append((time.monotonic() - began, memory(address.process.pid)))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        threads += [threading.Thread(target=health), threading.Thread(target=weigh)]
        for thread in threads:
            thread.start()
        end.wait(seconds)
        end.set()
        for thread in threads:
            thread.join()
    return report(notes, seconds, clients, broken, warm)


def report(notes: Notes, seconds: float, clients: int, broken: float, warm: float) -> Row:
    """Sum up."""
    late = [held for at, held in notes.memory if at >= warm]
    middle = len(late) // 2
    first, last = statistics.median(late[:middle]), statistics.median(late[middle:])
    return harness.record(
        "One server under load on one machine, which the clients share.",
        seconds=seconds,
        clients=clients,
        broken=broken,
        request=f"{SIDE}x{SIDE}, {PATH}",
        answers=dict(sorted(notes.answers.items())),
        faults=notes.faults[:20],
        pictures_a_second=round(len(notes.seconds) / seconds, 2),
        seconds_median=round(share(notes.seconds, 0.5), 3),
        seconds_p99=round(share(notes.seconds, 0.99), 3),
        health_p99=round(share(notes.health, 0.99), 4),
        health_most=round(max(notes.health), 4),
        memory_mib_most=round(max(held for _, held in notes.memory) / 2**20),
        memory_mib_after_warm_up=round(first / 2**20),
        memory_mib_at_the_end=round(last / 2**20),
        threads=os.cpu_count(),
        device=devices.describe(devices.choose("cpu")),
    )


def share(values: Sequence[float], part: float) -> float:
    """The value that this part of all is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main() -> None:
    """Measure, and write the JSON."""
    parser = harness.parser(__doc__, out="server.json")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--broken", type=float, default=0.3)
    asked = parser.parse_args()
    found = soak(asked.seconds, asked.clients, asked.broken, warm=asked.seconds / 4)
    harness.write(asked.out, harness.show(found))


if __name__ == "__main__":
    main()
