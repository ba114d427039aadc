"""Many files: which they are, where each result goes, and one outcome for each, whatever happens to the others.

``expand`` finds the pictures, ``plan`` gives each its output and refuses what could destroy a file, ``run`` works
through the jobs. Nothing here knows what is done to a picture: that is the ``work`` handed to ``run``.
"""

from safelight.batch.inputs import STREAM, BatchError, Found, Source, expand
from safelight.batch.outputs import Job, OnExist, plan
from safelight.batch.work import Done, Files, Outcome, Status, explain, preview, process, run

__all__ = [
    "STREAM",
    "BatchError",
    "Done",
    "Files",
    "Found",
    "Job",
    "OnExist",
    "Outcome",
    "Source",
    "Status",
    "expand",
    "explain",
    "plan",
    "preview",
    "process",
    "run",
]
