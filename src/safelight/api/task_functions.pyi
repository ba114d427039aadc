"""Generated from the records in ``safelight.tasks`` by ``python docs/generate.py``; do not edit."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from torch import Tensor

from safelight.core.card import Card
from safelight.core.inputs import InputSpec
from safelight.core.task import TaskSpec
from safelight.engine.device import Device
from safelight.features.backbone import Backbone
from safelight.inference.model import PrecisionChoice
from safelight.media.image import Picture

Holder = str | Path | bytes | Picture | NDArray[np.generic] | Tensor | PIL.Image.Image
_Kind = TypeVar("_Kind", bytes, Picture, NDArray[np.generic], Tensor, PIL.Image.Image)

EXECUTION: Mapping[str, tuple[Any, str]]
RETURNS: Mapping[str, str]

def card_of(method: str | None, task: TaskSpec) -> Card: ...
def call(task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any: ...
def function_of(task: TaskSpec) -> Callable[..., Any]: ...
def must_be_given(task: TaskSpec, spec: InputSpec) -> bool: ...

@overload
def upscale(
    x: str | Path,
    *,
    scale: float | None = None,
    size: str | tuple[int, int] | None = None,
    sigma: float | None = None,
    blur: str | Path | None = None,
    frames: Sequence[Holder] = (),
    consistent: bool = False,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> Picture: ...

@overload
def upscale(
    x: _Kind,
    *,
    scale: float | None = None,
    size: str | tuple[int, int] | None = None,
    sigma: float | None = None,
    blur: str | Path | None = None,
    frames: Sequence[Holder] = (),
    consistent: bool = False,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> _Kind: ...

@overload
def denoise(
    x: str | Path,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> Picture: ...

@overload
def denoise(
    x: _Kind,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> _Kind: ...

@overload
def deblock(
    x: str | Path,
    *,
    strength: float = 1.0,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> Picture: ...

@overload
def deblock(
    x: _Kind,
    *,
    strength: float = 1.0,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> _Kind: ...

@overload
def inpaint(
    x: str | Path,
    mask: Holder,
    *,
    sigma: float | None = None,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> Picture: ...

@overload
def inpaint(
    x: _Kind,
    mask: Holder,
    *,
    sigma: float | None = None,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> _Kind: ...

@overload
def stylize(
    x: str | Path,
    style: Holder | Sequence[Holder] | None = None,
    *,
    style_weights: Sequence[float] | None = None,
    style_masks: Sequence[Holder] = (),
    size: str | tuple[int, int] | None = None,
    backbone: str | Backbone | None = None,
    begin: Holder | None = None,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> Picture: ...

@overload
def stylize(
    x: _Kind,
    style: Holder | Sequence[Holder] | None = None,
    *,
    style_weights: Sequence[float] | None = None,
    style_masks: Sequence[Holder] = (),
    size: str | tuple[int, int] | None = None,
    backbone: str | Backbone | None = None,
    begin: Holder | None = None,
    seed: int = 0,
    method: str | None = None,
    weights: str | Path | None = None,
    device: Device = "auto",
    precision: PrecisionChoice = "exact",
    ensemble: bool = False,
    **options: float | str,
) -> _Kind: ...
