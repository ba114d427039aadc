"""A fitted dictionary: anchored neighbourhood regression in small (Timofte et al. 2014), ridge regressors by anchor."""

import torch
import torch.nn.functional as F
from torch import nn

from safelight.core.card import Card, ExecutionSpec, Fitted, NetworkSpec
from safelight.core.training import FitSpec

ATOMS, SIDE = 8, 3


class Anchored(nn.Module):
    """(B, 1, h, w) luma to (B, 1, 2 h, 2 w): each 3 x 3 patch by the regressor of its nearest anchor."""

    def __init__(self, options, scale):
        super().__init__()
        self.scale = scale
        self.register_buffer("anchors", torch.zeros(ATOMS, SIDE**2))
        self.register_buffer("regressors", torch.zeros(ATOMS, scale**2, SIDE**2))

    def forward(self, x):
        patches, mean = features(x)
        nearest = (F.normalize(patches, dim=-1) @ self.anchors.T).abs().argmax(-1)
        fine = torch.einsum("nkp,nlp->nlk", self.regressors[nearest.flatten()], patches.flatten(0, 1)[:, None])
        fine = fine.view(len(x), -1, self.scale**2) + mean
        return F.pixel_shuffle(fine.mT.unflatten(-1, x.shape[-2:]), self.scale)


def features(x):
    """Patches without their mean, (B, h w, 9), and the mean, (B, h w, 1)."""
    patches = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), SIDE).mT
    mean = patches.mean(-1, keepdim=True)
    return patches - mean, mean


def fit(examples, options, generator, progress):
    """Anchors by k-means on directions, then a ridge regression for each."""
    (degradation,) = examples.degradations
    pairs = [degradation.validation_pair(picture[None].float() / 255, generator) for picture in examples.pictures]
    found = [(*features(low), F.pixel_unshuffle(high, examples.scale).flatten(2).mT) for low, high in pairs]
    patches = torch.cat([patches[0] for patches, _, _ in found])
    fine = torch.cat([high[0] - mean[0] for _, mean, high in found])
    direction = F.normalize(patches, dim=-1)
    anchors = direction[torch.randperm(len(direction), generator=generator)[:ATOMS]]
    for i in range(10):
        nearest = (direction @ anchors.T).abs().argmax(-1)
        sign = torch.sign((direction * anchors[nearest]).sum(-1, keepdim=True))
        sums = torch.zeros_like(anchors).index_add_(0, nearest, sign * direction)
        anchors = torch.where(sums.norm(dim=-1, keepdim=True) > 0, F.normalize(sums, dim=-1), anchors)
        progress(0.5 * (i + 1) / 10)
    nearest = (direction @ anchors.T).abs().argmax(-1)
    ridge = 1e-3 * torch.eye(SIDE**2)
    regressors = torch.stack([
        torch.linalg.solve(p.T @ p + ridge, p.T @ y).T
        for k in range(ATOMS) for p, y in [(patches[nearest == k], fine[nearest == k])]
    ])  # fmt: skip
    progress(1.0)
    return {"anchors": anchors, "regressors": regressors}


CARD = Card(
    module="tests.upscale.anchored", title="Anchored regression", summary="For tests.",
    method=Fitted(
        network=NetworkSpec(
            build=Anchored, input="low-resolution", channels="y", scales=(2,), receptive_radius=lambda options, scale: 1
        ),
        execution=ExecutionSpec(precisions=("float32",)),
        fit=FitSpec(fit=fit, data=("any",), time="seconds"),
    ),
)  # fmt: skip
