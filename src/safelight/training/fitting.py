"""Fitting dictionaries, forests and regressors to pictures: one call instead of a loop of steps.

It leaves weights and a log as training does. There is no state to resume from: a run that was stopped begins anew.
"""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from safelight.checkpoints import provenance, weights_file
from safelight.checkpoints.weights_file import WeightsHeader
from safelight.core.card import Card, NetworkSpec
from safelight.core.training import FitData, FitSpec
from safelight.degrade import Shrink, flatten_mixtures
from safelight.engine import device as devices
from safelight.training import datasets, session


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """One fit, complete.

    Attributes:
        card: The method.
        network: The module that holds the arrays.
        spec: How they are fitted.
        options: The method's options.
        scales: The scale first; further ones that the same arrays serve.
        data: Folders of pictures by the role that they have.
        out: The weights' file; a ``.csv`` log lies beside it.
        seed: Of what the fit draws at random.
    """

    card: Card
    network: NetworkSpec
    spec: FitSpec
    options: Any
    scales: tuple[int, ...]
    data: Mapping[str, tuple[Path, ...]]
    out: Path
    seed: int = 0


def fit(plan: FitConfig, report: Callable[[float], None]) -> WeightsHeader:
    """Fit, score by PSNR on pictures that were set apart, and write the weights.

    Args:
        plan: What to fit, to what.
        report: Told the fraction that is done, in [0, 1].

    Returns:
        The header of the weights.

    Raises:
        DataError: The folders hold no usable pictures, or a role has none.
        RuntimeError: The arrays are not those of the method's module.
    """
    channels, scale = plan.network.channels_of(plan.options), plan.scales[0]
    for role in plan.spec.roles:
        if not plan.data.get(role.name):
            raise datasets.DataError(f"expected {role.help}, got none; give it by {role.flag}")
    splits = {role.name: datasets.load(plan.data[role.name], channels) for role in plan.spec.roles}
    split = splits[plan.spec.roles[0].name]
    kinds = (Shrink(scale, plan.network.input == "interpolated"),)
    if plan.spec.degradations is not None:
        kinds = plan.spec.degradations(plan.options)
    further = {role.name: splits[role.name].train for role in plan.spec.roles[1:]}
    started, rows = time.perf_counter(), list[tuple[float, float]]()

    def progress(fraction: float) -> None:
        rows.append((fraction, round(time.perf_counter() - started, 1)))
        report(fraction)

    generator = torch.Generator().manual_seed(plan.seed)
    examples = FitData(pictures=split.train, roles=further, scale=scale, degradations=kinds)
    arrays = plan.spec.fit(examples, plan.options, generator, progress)
    seconds = time.perf_counter() - started
    network = plan.network.build(plan.options, scale).eval()
    network.load_state_dict(dict(arrays))
    held = tuple(map(datasets.Sample, split.validation))
    score = session.mean_psnr(plan.card, plan.options, network, held, flatten_mixtures(kinds), "cpu")
    weights_file.save(
        plan.out,
        arrays,
        WeightsHeader(
            method=plan.card.id,
            options=dataclasses.asdict(plan.options),
            scales=plan.scales,
            trained_on=datasets.described_all(plan.data),
            recipe={"seed": plan.seed, "data": {role: [x.name for x in paths] for role, paths in plan.data.items()}},
            seconds=round(seconds, 1),
            device=devices.describe(torch.device("cpu")),
            commit=provenance.code_version(),
            scores={"validation PSNR": round(score, 4)},
        ),
    )
    with plan.out.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([("done", "seconds", "psnr"), *((*row, "") for row in rows)])
        csv.writer(file).writerow((1.0, round(seconds, 1), round(score, 4)))
    return weights_file.read_header(plan.out)
