"""Many files: which they are, where each result goes, and one outcome for each, whatever happens to the others.

``expand`` finds the pictures, ``plan`` gives each its output and refuses what could destroy a file, a ``Pipeline``
works through the jobs, a ``Manifest`` remembers what each result was made from, a ``Watch`` waits for more.
``process`` does one job alone.
"""

from safelight.batch.inputs import STREAM, BatchError, Found, Source, expand, is_folder, read_list
from safelight.batch.manifest import Manifest, Stamp, settings_of, stamp_of
from safelight.batch.outcomes import Done, Outcome, Status, explain
from safelight.batch.outputs import FileJob, OnExist, plan, plan_each, tidy
from safelight.batch.pipeline import Pipeline
from safelight.batch.processing import Files, attempt, check_sides, preview, process, written
from safelight.batch.restorer import Restorer, iterates, name_of, observe
from safelight.batch.watch import Watch

__all__ = [
    "STREAM",
    "BatchError",
    "Done",
    "FileJob",
    "Files",
    "Found",
    "Manifest",
    "OnExist",
    "Outcome",
    "Pipeline",
    "Restorer",
    "Source",
    "Stamp",
    "Status",
    "Watch",
    "attempt",
    "check_sides",
    "expand",
    "explain",
    "is_folder",
    "iterates",
    "name_of",
    "observe",
    "plan",
    "plan_each",
    "preview",
    "process",
    "read_list",
    "settings_of",
    "stamp_of",
    "tidy",
    "written",
]
