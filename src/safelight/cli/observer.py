"""Between a method that iterates and the user, who sees the picture form and may end the iteration when it is good."""

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
    """Follows an iteration step by step: what ``Runner.observer`` is to be.

    Args:
        gauge: Shows the remarks.
        bar: Stands below what is printed.
        stop: Ctrl-C: the first ends the iteration, and the best picture so far is the result.
        preview: The file that shows the picture as it forms; it is replaced every few seconds, as a whole each time.
    """

    def __init__(self, gauge: Gauge, bar: Bar, stop: Stop, preview: Path | None) -> None:
        self._gauge, self._bar, self._stop, self._preview = gauge, bar, stop, preview
        self._next = 0.0

    def __call__(self, step: SolverProgress) -> bool:
        """Take a step in, and tell whether the iteration may go on."""
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
    """Write a picture as it forms, in place of the one before."""
    import numpy as np

    from safelight.engine.samples import to_samples
    from safelight.media import image

    pixels = to_samples(step.x.detach(), np.dtype(np.uint8))
    image.write(image.Picture(pixels=pixels), path, overwrite=True)
