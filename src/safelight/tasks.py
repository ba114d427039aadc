"""The tasks: what people want done to a picture. Each is a folder of ``methods`` and a verb of the command line.

Kept apart from the cards so that ``safelight --help`` needs no torch.
"""

from typing import Final, Literal, get_args

Task = Literal["upscale", "denoise", "deblock", "inpaint", "stylize"]

TASKS: Final[tuple[Task, ...]] = get_args(Task)
