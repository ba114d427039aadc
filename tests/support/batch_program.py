"""What the tests of batches share: pictures, the program in a process of its own, and what is in a folder."""

import json
import subprocess
import sys

from safelight.batch.manifest import NAME

# The program; at its end, its largest resident memory in MiB goes to standard error. (getrusage would also count what
# the process that started it held.)
PROGRAM = """
import re, sys
from safelight.cli import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        peak = re.search(r"VmHWM:\\s+(\\d+) kB", status.read())
    print("peak", int(peak[1]) / 1024, file=sys.stderr)
"""


def command(*arguments):
    """The words of a command line."""
    return [sys.executable, "-c", PROGRAM, "upscale", "--device", "cpu", "--json", *map(str, arguments)]


class Told:
    """What a command line told: each file's object, the summary (None without any), the errors, the peak in MiB."""

    def __init__(self, code, out, errors):
        self.code = code
        *self.errors, peak = errors.splitlines()
        self.peak = float(peak.removeprefix("peak "))
        *self.files, self.summary = map(json.loads, out.splitlines() or ["null"])

    def statuses(self):
        """The status of each file by the name of its input."""
        return {facts["input"].rpartition("/")[2]: facts["status"] for facts in self.files}


def run(*arguments, timeout=300, prefix=(), **options):
    """Run a command line to its end."""
    words = [*prefix, *command(*arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, **options)
    return Told(done.returncode, done.stdout, done.stderr)


def results(folder):
    """What lies under a final name below a folder, but the manifest: contents by path."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.endswith(".part") and p.name != NAME)
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def stale(folder):
    """What is unfinished below a folder."""
    return list(folder.rglob(".safelight-*.part"))
