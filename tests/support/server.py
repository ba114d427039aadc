"""A running server, as its clients see it."""

import contextlib
import socket
import threading
import time

import httpx
import numpy as np
import uvicorn

from safelight.media import image
from safelight.web.app import build
from safelight.web.limits import ServerLimits
from safelight.web.server import LOOPBACK


class Running:
    """A server in a thread: its address, its queue, and a client of it."""

    def __init__(self, limits: ServerLimits, token: str | None = None) -> None:
        self.served = build(limits, hosts=LOOPBACK, token=token, device="cpu")
        self.queue = self.served.queue
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()[:2]
        self.url = "http://{}:{}".format(*self.address)
        config = uvicorn.Config(self.served.app, log_level="error", ws="none", http="h11", lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60, trust_env=False)

    def close(self):
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def running(token=None, **limits):
    server = Running(ServerLimits(**limits), token)
    try:
        yield server
    finally:
        server.close()


def drawn(height=24, width=32, dtype=np.uint8, seed=0):
    """A picture of smooth colours with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 5 + c) * np.cos(y / 7 - c) for c in range(3)], axis=-1)
    samples = (0.5 + 0.4 * waves + 0.02 * rng.standard_normal(waves.shape)).clip(0, 1)
    return samples.astype(dtype) if dtype is np.float32 else (samples * np.iinfo(dtype).max).round().astype(dtype)


def a_file(format="png", **shape):
    return image.encode(image.Picture(pixels=drawn(**shape)), format)
