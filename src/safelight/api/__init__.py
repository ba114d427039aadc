"""The Python face: what ``import safelight`` gives.

A picture comes in as a path, the bytes of a file, a ``Picture``, a PIL image, a numpy array or a torch tensor, and the
result is of the same kind (for a path, a ``Picture``). The work is that of ``infer``, as on the command line, so the
same input gives the same pixels. Heavy packages are imported by the functions that need them.
"""

from safelight.api.basics import list_methods, load, read, score, score_sets, write
from safelight.api.fixing import fix
from safelight.api.restoring import deblock, denoise, inpaint, upscale
from safelight.api.styling import stylize
from safelight.api.visualizing import visualize

__all__ = [
    "deblock",
    "denoise",
    "fix",
    "inpaint",
    "list_methods",
    "load",
    "read",
    "score",
    "score_sets",
    "stylize",
    "upscale",
    "visualize",
    "write",
]
