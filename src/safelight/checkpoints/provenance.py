"""Where a number comes from: the version of the code and the machine, for headers and results."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path


def code_version() -> str:
    """The version of the code: git's short hash where there is one, with ``+`` if files were changed."""
    return _output(["git", "describe", "--always", "--dirty=+", "--exclude", "*"], Path(__file__).parent)


def origin() -> dict[str, str]:
    """What every measurement says of itself: processor, torch's version and the version of the code."""
    return {"processor": processor(), "torch": metadata.version("torch"), "commit": code_version()}


def processor() -> str:
    """The processor's name: Python tells it on no system that has a better place for it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"], Path("/")) or platform.machine()
    return platform.processor() or platform.machine()


def _output(command: Sequence[str], folder: Path) -> str:
    """What a program prints, without its line end; empty if it fails or does not exist."""
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()
