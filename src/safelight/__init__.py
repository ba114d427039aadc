"""Restore and enlarge pictures, from bicubic to deep networks, and know how good each method is.

    >>> import numpy, safelight
    >>> small = numpy.zeros((10, 20, 3), numpy.uint8)
    >>> safelight.upscale(small, scale=4, method="bicubic").shape
    (40, 80, 3)

Importing the package is quick: each function comes in when it is asked for, torch and the rest when it needs them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safelight.api import (
        deblock,
        denoise,
        fix,
        inpaint,
        list_methods,
        load,
        read,
        score,
        score_sets,
        stylize,
        upscale,
        visualize,
        write,
    )
    from safelight.api.client import Client
    from safelight.media.image import Picture

    __version__: str

__all__ = [
    "Client",
    "Picture",
    "__version__",
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the language has it
    if name == "Client":
        from safelight.api.client import Client

        return Client
    if name == "Picture":
        from safelight.media.image import Picture

        return Picture
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("safelight")
        except PackageNotFoundError:
            return "0+source"  # run from a folder of sources that was never installed
    if name in __all__:
        from safelight import api

        return getattr(api, name)
    raise AttributeError(f"module 'safelight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
