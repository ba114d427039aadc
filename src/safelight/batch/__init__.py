"""Batch processing: find the input files, plan the outputs, and report one outcome for each file.

``expand`` finds the pictures, ``plan`` assigns the outputs and refuses what could overwrite an input, a ``Pipeline``
runs the jobs, a ``Manifest`` records what each result was made from, and a ``FolderWatcher`` reports new files.
``process`` runs a single job. A job that fails does not stop the others.
"""

from safelight.batch.any_output import attempt_output, is_streamed, no_input, plan_outputs, write_output
from safelight.batch.inputs import STREAM, BatchError, DiscoveredInputs, Source, expand, is_folder, read_list
from safelight.batch.manifest import FileFingerprint, Manifest, fingerprint_of, result_settings
from safelight.batch.outcomes import FileResult, Outcome, Status, explain
from safelight.batch.outputs import FileJob, OnExist, plan, plan_separately, remove_leftovers
from safelight.batch.pipeline import Pipeline
from safelight.batch.processing import FileSettings, attempt, check_sides, preview, process, result_format
from safelight.batch.restorer import Restorer, is_iterative, restorer_name, set_observer
from safelight.batch.watch import FolderWatcher

__all__ = [
    "STREAM",
    "BatchError",
    "DiscoveredInputs",
    "FileFingerprint",
    "FileJob",
    "FileResult",
    "FileSettings",
    "FolderWatcher",
    "Manifest",
    "OnExist",
    "Outcome",
    "Pipeline",
    "Restorer",
    "Source",
    "Status",
    "attempt",
    "attempt_output",
    "check_sides",
    "expand",
    "explain",
    "fingerprint_of",
    "is_folder",
    "is_iterative",
    "is_streamed",
    "no_input",
    "plan",
    "plan_outputs",
    "plan_separately",
    "preview",
    "process",
    "read_list",
    "remove_leftovers",
    "restorer_name",
    "result_format",
    "result_settings",
    "set_observer",
    "write_output",
]
