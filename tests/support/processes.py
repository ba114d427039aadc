"""Looking at processes from outside, through Linux' /proc."""

import os
import time
from pathlib import Path


def decoders(parent=None, besides=()):
    """The ids of the decoding processes that a process has started, this one unless another is named."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (place / "stat").read_text().rpartition(")")[2].split()[:2]
            ours = int(ppid) == (parent or os.getpid()) and state != "Z"
            if ours and b"safelight.media.image.decode_worker" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return [process for process in found if process not in besides]


def peak(process="self"):
    """The most memory that a process has had, in MB."""
    return int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def eventually(fact, seconds=10.0):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def descendants(root):
    """The titles of all processes below one, by number."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue  # it ended meanwhile

    def below(number):
        while number in parents:
            number = parents[number]
            if number == root:
                return True
        return False

    return {number: title for number, title in titles.items() if below(number)}
