"""Provenance of weights and results: the version of the code, and the machine."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path


def code_version() -> str:
    """Return git's short hash of the code, with ``+`` if files were changed; empty outside a repository."""
    return _output(["git", "describe", "--always", "--dirty=+", "--exclude", "*"], Path(__file__).parent)


def origin() -> dict[str, str]:
    """Return the provenance of a measurement: processor, version of torch and version of the code."""
    return {"processor": processor(), "torch": metadata.version("torch"), "commit": code_version()}


def processor() -> str:
    """Return the processor's name, from the operating system where possible."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"], Path("/")) or platform.machine()
    return platform.processor() or platform.machine()


def _output(command: Sequence[str], folder: Path) -> str:
    """Return the output of a program without its line end; empty if it fails or does not exist."""
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()
