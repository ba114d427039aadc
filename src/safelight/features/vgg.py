"""VGG-16 and VGG-19: five blocks of convolutions by 3x3 alone, each block at half the size of the one before.

K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015
(arXiv:1409.1556), configurations D and E.

Its maps are what Gatys et al. took style and content from, and most papers on style and perceptual losses since::

    conv1_1 relu1_1 conv1_2 relu1_2 pool1   conv2_1 ... relu2_2 pool2   conv3_1 ... pool3   ...   relu5_4 pool5

The tensors are named as in torchvision, whose weights it takes; those expect RGB, normalised by ImageNet's mean and
deviation. (Weights converted from the authors' Caffe files have the same names and shapes, and expect other pictures:
BGR in 0 to 255 less the mean. They are not for this network.) The three layers at the end, six sevenths of all
weights, tell classes and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from safelight.features.backbone import Backbone, BackboneLayer, Pooling
from safelight.features.pooling import pool
from safelight.features.published import Facts, Published

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision has them
CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks


def build_vgg16(pooling: Pooling) -> Backbone:
    """Make VGG-16 (configuration D) with random weights."""
    return _build("vgg16", (2, 2, 3, 3, 3), pooling)


def build_vgg19(pooling: Pooling) -> Backbone:
    """Make VGG-19 (configuration E) with random weights."""
    return _build("vgg19", (2, 2, 4, 4, 4), pooling)


def _build(name: str, convolutions: Sequence[int], pooling: Pooling) -> Backbone:
    steps: list[BackboneLayer] = []
    n_in = 3
    for block, (n_out, count) in enumerate(zip(CHANNELS, convolutions, strict=True), 1):
        for i in range(1, count + 1):
            conv = nn.Conv2d(n_in, n_out, 3, padding=1)
            steps.append(BackboneLayer(name=f"conv{block}_{i}", module=conv, channels=n_out, kernel=3))
            steps.append(BackboneLayer(name=f"relu{block}_{i}", module=nn.ReLU(), channels=n_out))
            n_in = n_out
        steps.append(BackboneLayer(name=f"pool{block}", module=pool(pooling), channels=n_out, kernel=2, stride=2))
    network = nn.ModuleDict({"features": nn.Sequential(*(step.module for step in steps))})
    return Backbone(name, network, steps, mean=MEAN, std=STD)


_PAPER = "K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"
_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose pictures are for research"

VGG16 = Facts(
    name="vgg16",
    title="VGG-16",
    summary="Thirteen convolutions; of perceptual losses and LPIPS",
    build=build_vgg16,
    paper=_PAPER,
    link="https://arxiv.org/abs/1409.1556",
    parameters=14_714_688,
    style=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    content=("relu3_3",),
    perceptual=("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    published=Published(
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        size=553_433_881,
        licence=_LICENCE,
    ),
    ignored=("classifier.*",),
)
VGG19 = Facts(
    name="vgg19",
    title="VGG-19",
    summary="Sixteen convolutions; of style transfer and texture",
    build=build_vgg19,
    paper=_PAPER,
    link="https://arxiv.org/abs/1409.1556",
    parameters=20_024_384,
    style=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    content=("relu4_2",),
    perceptual=("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4"),
    published=Published(
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        size=574_673_361,
        licence=_LICENCE,
    ),
    ignored=("classifier.*",),
)
