"""Shows the progress of an iterative method, writes its previews, and stops it when the user presses Ctrl-C."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.cli.reporter import Gauge
from safelight.cli.shell import Bar, Stop, note

if TYPE_CHECKING:
    from safelight.core.solver_input import SolverProgress

_PAUSE = 3.0  # seconds between two previews


class Observer:
    """Follows an iteration step by step; used as ``Runner.observer``.

    Args:
        gauge: Shows the remarks of the method.
        bar: The progress bar, below the printed lines.
        stop: The first Ctrl-C ends the iteration, and the best picture so far is the result.
        preview: The file for the current picture, replaced every few seconds; ``None``: no preview.
    """

    def __init__(self, gauge: Gauge, bar: Bar, stop: Stop, preview: Path | None) -> None:
        self._gauge, self._bar, self._stop, self._preview = gauge, bar, stop, preview
        self._next = 0.0

    def __call__(self, step: SolverProgress) -> bool:
        """Handle a step, and return whether the iteration may continue."""
        self._gauge.remark(step.remark)
        if self._preview is not None and time.monotonic() >= self._next:
            write_preview(step, self._preview)
            self._next = time.monotonic() + _PAUSE
        if self._stop.asked:
            message = f"safelight: stopped after {min(step.fraction, 1):.0%}; the best picture so far is kept"
            self._bar.above(lambda: note(message))
            return False
        return True


def write_preview(step: SolverProgress, path: Path) -> None:
    """Write the current picture of an iteration, replacing the previous preview."""
    import numpy as np

    from safelight.engine.samples import to_samples
    from safelight.media import image

    pixels = to_samples(step.x.detach(), np.dtype(np.uint8))
    image.write(image.Picture(pixels=pixels), path, overwrite=True)
