"""Generated from the records in ``safelight.tasks`` by ``python docs/generate.py``; do not edit."""

from safelight.api.basics import list_methods as list_methods
from safelight.api.basics import load as load
from safelight.api.basics import read as read
from safelight.api.basics import score as score
from safelight.api.basics import score_sets as score_sets
from safelight.api.basics import write as write
from safelight.api.client import Client as Client
from safelight.api.fixing import fix as fix
from safelight.api.task_functions import deblock as deblock
from safelight.api.task_functions import denoise as denoise
from safelight.api.task_functions import inpaint as inpaint
from safelight.api.task_functions import stylize as stylize
from safelight.api.task_functions import upscale as upscale
from safelight.api.visualizing import visualize as visualize
from safelight.media.image import Picture as Picture

__version__: str
