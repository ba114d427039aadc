"""The server's end: work in hand is finished, no more is taken, and no answer is torn."""

import http.client
import runpy
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

SOAK = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "soak_server.py"))


@pytest.mark.parametrize("_", range(3))
def test_sigterm_under_load(_):
    """R12: every client gets a whole picture, or 503, or finds nobody at home; the process ends in time, with 0."""
    content, path = SOAK["picture"](256, 1), SOAK["PATH"]
    seen, ended = [], threading.Event()
    with SOAK["serving"]("--per-client", "64") as address:

        def ask():
            with closing(address.connect()) as connection:
                connection.request("POST", path, body=content, headers={"Content-Type": "image/png"})
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.getheader("Retry-After")

        _, whole, _ = ask()

        def client():
            while not ended.is_set():
                try:
                    answer = ask()
                    seen.append((time.monotonic(), *answer))
                except ConnectionRefusedError:
                    return  # nobody at home any more
                except (ConnectionResetError, http.client.RemoteDisconnected):
                    seen.append((time.monotonic(), 0, b"", None))  # it was let in and not answered

        threads = [threading.Thread(target=client) for _ in range(12)]
        for thread in threads:
            thread.start()
        while len(seen) < 12:
            time.sleep(0.01)
        told = time.monotonic()
        address.process.send_signal(signal.SIGTERM)
        assert address.process.wait(25) == 0
        ended.set()
        for thread in threads:
            thread.join(30)
    after = [(status, body, retry) for at, status, body, retry in seen if at > told]
    assert after, "nothing was in hand"
    for status, body, retry in after:
        assert status in (200, 503, 0)
        assert status != 200 or body == whole
        assert status != 503 or retry is not None
    finished = [status for status, _, _ in after if status == 200]
    assert finished, "the work in hand was dropped"
