"""Sheets of pictures with labels, and charts, drawn as tensors: what shows a network needs no plotting package."""

from safelight.ops.drawing.chart import Curve, chart
from safelight.ops.drawing.sheet import Section, Tile, boxed, enlarged, heat, sheet, stretched, symmetric

__all__ = [
    "Curve",
    "Section",
    "Tile",
    "boxed",
    "chart",
    "enlarged",
    "heat",
    "sheet",
    "stretched",
    "symmetric",
]
