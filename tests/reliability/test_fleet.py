"""A server whose replicas are killed under load loses the pictures that they had in hand, and no other."""

import concurrent.futures
import os
import random
import runpy
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from support.processes import descendants

pytest.importorskip("ray.serve")
SOAK = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "soak_server.py"))
PICTURES = 60


def replicas(root):
    """The processes of replicas below one, at any depth."""
    return [number for number, title in descendants(root).items() if "ServeReplica:" in title]


def test_a_replica_is_killed_under_load():
    content = SOAK["picture"](256, 1)
    flags = ("--cluster", "local", "--replicas", "2:2", "--per-client", "64")
    with SOAK["serving"](*flags) as address:

        def ask(_=None):
            with closing(address.connect(120)) as connection:
                connection.request("POST", SOAK["PATH"], body=content, headers={"Content-Type": "image/png"})
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.getheader("Retry-After")

        status, whole, _ = ask()
        assert status == 200
        end = time.monotonic() + 60
        while len(running := replicas(address.process.pid)) < 2:
            assert time.monotonic() < end
            time.sleep(0.5)
        with concurrent.futures.ThreadPoolExecutor(12) as clients:
            answers = [clients.submit(ask) for _ in range(PICTURES)]
            while sum(answer.done() for answer in answers) < PICTURES // 4:
                time.sleep(0.01)
            os.kill(random.Random(0).choice(running), signal.SIGKILL)
            seen = [answer.result() for answer in answers]
        lost = [(status, retry) for status, _, retry in seen if status != 200]
        assert len(lost) <= 1  # the one that it had in hand
        for status, retry in lost:
            assert status == 503
            assert retry is not None
        assert all(body == whole for status, body, _ in seen if status == 200)
        # Another one takes its place.
        end = time.monotonic() + 90
        while len(set(replicas(address.process.pid)) - set(running)) < 1:
            assert time.monotonic() < end
            time.sleep(0.5)
        assert ask()[:2] == (200, whole)
