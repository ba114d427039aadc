"""Generated from the records in ``safelight.tasks`` by ``python docs/generate.py``; do not edit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safelight.api.task_functions import Holder
from safelight.core.task import TaskSpec

class RemoteTasks:
    def do(self, task: TaskSpec, x: Any, values: Mapping[str, Any]) -> Any: ...
    def upscale(
        self,
        x: Holder,
        *,
        scale: float | None = None,
        size: str | tuple[int, int] | None = None,
        sigma: float | None = None,
        blur: str | Path | None = None,
        frames: Sequence[Holder] = (),
        consistent: bool = False,
        seed: int = 0,
        method: str | None = None,
        precision: str = "exact",
        ensemble: bool = False,
        **options: float | str,
    ) -> Any: ...
    def denoise(
        self,
        x: Holder,
        *,
        sigma: float | None = None,
        strength: float = 1.0,
        seed: int = 0,
        method: str | None = None,
        precision: str = "exact",
        ensemble: bool = False,
        **options: float | str,
    ) -> Any: ...
    def deblock(
        self,
        x: Holder,
        *,
        strength: float = 1.0,
        seed: int = 0,
        method: str | None = None,
        precision: str = "exact",
        ensemble: bool = False,
        **options: float | str,
    ) -> Any: ...
    def inpaint(
        self,
        x: Holder,
        mask: Holder,
        *,
        sigma: float | None = None,
        seed: int = 0,
        method: str | None = None,
        precision: str = "exact",
        ensemble: bool = False,
        **options: float | str,
    ) -> Any: ...
    def stylize(
        self,
        x: Holder,
        style: Holder | Sequence[Holder] | None = None,
        *,
        style_weights: Sequence[float] | None = None,
        style_masks: Sequence[Holder] = (),
        size: str | tuple[int, int] | None = None,
        backbone: str | None = None,
        begin: Holder | None = None,
        seed: int = 0,
        method: str | None = None,
        precision: str = "exact",
        ensemble: bool = False,
        **options: float | str,
    ) -> Any: ...
