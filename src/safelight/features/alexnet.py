"""AlexNet, in its version for one GPU: five convolutions, the first by 11x11 in steps of four.

A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, 2014: the network of
A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
in one column and without normalisation of responses.

    conv1 relu1 pool1   conv2 relu2 pool2   conv3 relu3   conv4 relu4   conv5 relu5 pool5

LPIPS is best known with it, since it is the fastest, and Mahendran and Vedaldi inverted its layers. The tensors are
named as in torchvision, whose weights it takes. The three layers at the end, 24 of 25 weights, tell classes and are
left out.
"""

from __future__ import annotations

from torch import nn

from safelight.features.backbone import Backbone, BackboneLayer, Pooling
from safelight.features.pooling import pool
from safelight.features.published import Facts, Published

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision has them


def build_alexnet(pooling: Pooling) -> Backbone:
    """Make AlexNet's convolutions with random weights."""
    convs = (
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3, padding=1),
    )
    steps: list[BackboneLayer] = []
    for number, conv in enumerate(convs, 1):
        n, side, stride = conv.out_channels, conv.kernel_size[0], conv.stride[0]
        least = side - 2 * int(conv.padding[0])
        steps.append(
            BackboneLayer(name=f"conv{number}", module=conv, channels=n, kernel=side, stride=stride, least=least)
        )
        steps.append(BackboneLayer(name=f"relu{number}", module=nn.ReLU(), channels=n))
        if number in (1, 2, 5):
            steps.append(
                BackboneLayer(name=f"pool{number}", module=pool(pooling, 3), channels=n, kernel=3, stride=2, least=3)
            )
    network = nn.ModuleDict({"features": nn.Sequential(*(step.module for step in steps))})
    return Backbone("alexnet", network, steps, mean=MEAN, std=STD)


ALEXNET = Facts(
    name="alexnet",
    title="AlexNet",
    summary="Five convolutions; of LPIPS in its usual form",
    build=build_alexnet,
    paper="A. Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv 2014",
    link="https://arxiv.org/abs/1404.5997",
    parameters=2_469_696,
    style=("relu1", "relu2", "relu3", "relu4", "relu5"),
    content=("relu3",),
    perceptual=("relu1", "relu2", "relu3", "relu4", "relu5"),
    published=Published(
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        size=244_408_911,
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose pictures are for research",
    ),
    ignored=("classifier.*",),
)
