"""What a server lets its clients have: each bound with its default. Over them a client is told 413, 429 or 503."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """The bounds of one server.

    Attributes:
        upload: Bytes of a request's body, counted while they come.
        pixels: Of a picture that comes in, by its header, before anything is decoded.
        made: Pixels of a result.
        in_flight: Pixels, those that come in and those that are made, of all jobs that wait or run.
        held: Bytes that lie in memory for clients: bodies, and results that nobody has fetched yet.
        queue: Jobs that wait.
        each: Jobs of one address that wait or run, and bodies that it sends.
        seconds: For which a job may run; an iteration ends then, with its best so far.
        patience: Seconds that a client may send nothing in, while its request is not whole.
        slowest: Bytes a second that a body must come with, on average, after the first of these seconds.
        kept: Seconds that the result of a job is kept for whoever asked for it.
        grace: Seconds for the work in hand when the server is told to end.
    """

    upload: int = 32 << 20
    pixels: int = 25_000_000
    made: int = 200_000_000
    in_flight: int = 400_000_000
    held: int = 256 << 20
    queue: int = 64
    each: int = 16
    seconds: float = 600.0
    patience: float = 10.0
    slowest: int = 16 << 10
    kept: float = 600.0
    grace: float = 20.0
