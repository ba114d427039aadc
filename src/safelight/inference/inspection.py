"""Visualises networks: loads the network, checks the request of the user, and runs an inspector.

The command line, the Python functions and the server all call ``load`` and ``draw``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safelight import catalog, features, tasks
from safelight.checkpoints import backbones
from safelight.core.inspector import Inspector, InspectorInput, InspectorOutput, Take
from safelight.core.options import CardError, make_options
from safelight.core.solver_input import ProgressCallback
from safelight.core.task import Task
from safelight.engine import device as devices
from safelight.engine.samples import to_tensor
from safelight.features.backbone import Backbone
from safelight.features.inspected_network import InspectedNetwork
from safelight.inference import model
from safelight.inference.model import Model
from safelight.media.image import Picture

LEAST, MOST = 16, 2048  # pixels: the sides that pictures may be asked for in


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionRequest:
    """What a user asks of an inspector; see ``InspectorInput``.

    ``options`` are the inspector's own, by name and not yet checked; ``side`` is 16 if it is not given.
    """

    layers: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    at: tuple[int, int] | None = None
    side: int | None = None
    size: int | None = None
    seed: int = 0
    options: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])


_WORDS: Mapping[Take, str] = {
    "picture": "a picture, after the network's name",
    "layer": "--layer",
    "layers": "--layer",
    "channels": "--channel",
    "at": "--at",
    "side": "--side",
    "size": "--size",
}


# --- the network ------------------------------------------------------------------------------------------------------


def subject_names() -> tuple[str, ...]:
    """List the networks that can be looked into: the backbones and the trained methods."""
    trained = (card.id for card in catalog.CARDS if card.network is not None)
    return (*(facts.name for facts in features.BACKBONES), *trained)


def load(
    name: str,
    *,
    scale: int | None = None,
    network: Mapping[str, int | float | str] | None = None,
    weights: Path | None = None,
    device: devices.Device = "auto",
    gray: bool = False,
) -> InspectedNetwork:
    """Load a network to be looked into.

    Args:
        name: A backbone, such as ``lens``, or a trained method, such as ``upscale/edsr``.
        scale: Of a method that enlarges; ``None``: the file's, or the largest.
        network: Options of the method, such as ``variant``; ``None``: the file's, or what suits a colour picture.
        weights: A file instead of the shipped ones.
        device: ``"auto"``: the fastest there is.
        gray: Whether it is to look at a gray picture, where that decides which network it is.

    Raises:
        BackboneError: A backbone without weights here.
        CardError: There is no such network, scale or option.
        CheckpointError: The file is broken or of another network.
        DeviceError: This machine has no such device.
    """
    if name in [facts.name for facts in features.BACKBONES]:
        if scale is not None or network:
            raise CardError(f"{name}: expected no scale and no options, got some; a backbone has none")
        return of_backbone(backbones.load(name, weights=weights, device=devices.choose(device)))
    try:
        card = catalog.find(name)
    except CardError:
        close = difflib.get_close_matches(name, subject_names(), n=4, cutoff=0.4) or subject_names()
        raise CardError(f"expected a network, got {name!r}; did you mean {', '.join(close)}?") from None
    if card.network is None:
        raise CardError(f"expected a network, got {card.id}, which has none; there is: {', '.join(subject_names())}")
    named: list[Task] = [task for task in card.tasks if name.startswith(f"{task}/")]
    task = named[0] if named else card.task
    if tasks.find(task).output.size != "scaled":
        if scale not in (None, 1):
            raise CardError(f"{card.id}: expected no scale, got {scale}; it keeps a picture's size")
        scale = 1 if 1 in card.network.scales else None
    options = network
    if weights is None:
        result = make_options(card, network or {})
        resolve_options = card.network.resolve_options
        options = result if resolve_options is None else resolve_options(result, task, gray, None)
    return of_model(model.load(card, scale=scale, options=options, weights=weights, device=device, task=task))


def of_backbone(backbone: Backbone) -> InspectedNetwork:
    """Look into a backbone that is loaded."""
    return InspectedNetwork(backbone, backbone.name)


def of_model(loaded: Model) -> InspectedNetwork:
    """Look into a network that restores."""
    zoom = loaded.scale if loaded.spec.input == "interpolated" else 1
    name = loaded.card.id if loaded.scale == 1 else f"{loaded.card.id} x{loaded.scale}"
    return InspectedNetwork(loaded.network, name, channels=1 if loaded.channels == "y" else 3, zoom=zoom)


def subject_of(
    network: str | Backbone | Model | InspectedNetwork,
    load_named: Callable[[str], InspectedNetwork],
) -> InspectedNetwork:
    """Take a network that is loaded, or load the one that is named."""
    if isinstance(network, InspectedNetwork):
        return network
    if isinstance(network, Backbone):
        return of_backbone(network)
    return of_model(network) if isinstance(network, Model) else load_named(network)


# --- the sheet --------------------------------------------------------------------------------------------------------


def draw(
    view: Inspector,
    subject: InspectedNetwork,
    picture: Picture | None,
    request: InspectionRequest,
    report: ProgressCallback,
) -> InspectorOutput:
    """Run an inspector on a network.

    Args:
        view: The inspector.
        subject: The network.
        picture: The input of the network, for inspectors that take one; its alpha is ignored.
        request: Layers, channels, sizes and options.
        report: Called after each step; if it returns ``False``, the inspector stops.

    Returns:
        The sheet, (1, 3, H, W) in [0, 1], the numbers measured, and notes for the user.

    Raises:
        BackboneError: A layer or a channel that the network does not have, or a picture too small for it.
        CardError: A part of the request that the inspector does not take or lacks, an option or a position out of
            range, or a sheet with values that are not finite.
    """
    options = make_options(view, request.options)
    _check(view, subject, picture, request)
    x, notes = None, tuple[str, ...]()
    if picture is not None:
        x, notes = _fitted(to_tensor(picture.pixels).clamp(0, 1), request.size or view.longest)
    scene = InspectorInput(
        subject=subject, picture=None if x is None else x.to(subject.device), layers=request.layers,
        channels=request.channels, at=request.at, side=16 if request.side is None else request.side,
        size=request.size, seed=request.seed,
    )  # fmt: skip
    with _frozen(subject.network):
        result = view.draw(scene, options, report)
    if not bool(torch.isfinite(result.sheet).all()):
        raise CardError(f"{view.id}: expected numbers, got NaN or infinity in {subject.name}; are its weights sound?")
    return InspectorOutput(sheet=result.sheet, facts=result.facts, notes=(*notes, *result.notes))


def _check(view: Inspector, subject: InspectedNetwork, picture: Picture | None, request: InspectionRequest) -> None:
    if view.restorers_only and not subject.restores:
        raise CardError(
            f"{view.id}: expected a network that makes pictures, such as upscale/edsr, got {subject.name}, which tells "
            "features of them"
        )
    layers: Take = "layers" if "layers" in view.accepts else "layer"
    given: tuple[tuple[Take, bool], ...] = (
        ("picture", picture is not None),
        (layers, bool(request.layers)),
        ("channels", bool(request.channels)),
        ("at", request.at is not None),
        ("side", request.side is not None),
        ("size", request.size is not None),
    )
    for take, is_given in given:
        if is_given and take not in view.accepts:
            raise CardError(f"{view.id} takes no {_WORDS[take].split(',')[0].removeprefix('a ')}; leave it out")
        if not is_given and take in view.needs:
            raise CardError(f"{view.id}: expected {_WORDS[take]}, got none; {_hint(take, subject)}")
    if layers == "layer" and len(request.layers) > 1:
        raise CardError(f"{view.id}: expected one layer, got {len(request.layers)}; draw a sheet for each")
    subject.check(request.layers)
    if request.size is not None and not LEAST <= request.size <= MOST:
        raise CardError(f"{view.id}: expected a size of {LEAST} to {MOST} pixels, got {request.size}")


def _hint(take: Take, subject: InspectedNetwork) -> str:
    if take == "picture":
        return "name one"
    return f"`safelight visualize layers` lists them, such as {subject.layers[len(subject.layers) // 2]}"


def _fitted(x: Tensor, longest: int | None) -> tuple[Tensor, tuple[str, ...]]:
    """Shrink a picture (1, C, h, w) whose longer side is above ``longest``, and say so."""
    height, width = x.shape[-2:]
    if longest is None or max(height, width) <= longest:
        return x, ()
    part = longest / max(height, width)
    to = max(1, round(height * part)), max(1, round(width * part))
    result = F.interpolate(x, to, mode="bilinear", antialias=True).clamp(0, 1)
    return result, (f"the picture was shrunk from {width}x{height} to {to[1]}x{to[0]}; --size N changes that",)


class _frozen:  # noqa: N801 - used as a function
    """Disables the gradients of a network's weights while it is inspected, and restores them afterwards."""

    def __init__(self, network: nn.Module) -> None:
        self._wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def __enter__(self) -> None:
        for parameter in self._wanted:
            parameter.requires_grad_(False)

    def __exit__(self, *error: object) -> None:
        for parameter in self._wanted:
            parameter.requires_grad_(True)
