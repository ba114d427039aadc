"""Lens, the project's own backbone: small enough to be shipped, so that everything here works without the network.

A VGG in little (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015): 3x3 convolutions and ReLU, no normalisation layers, 32, 64, 128 and 256 channels, 0.73 million weights in 1.4 MiB
against VGG-19's 548 MiB. Its numbers are not VGG's, and not LPIPS's: whatever is made with it says ``lens``.

It was never trained on labels. It learned from four things, on crops of photographs and paintings and on spoiled
versions of them:

- to tell what two classifiers of ImageNet's 1,000 classes, SqueezeNet 1.0 (Iandola et al., arXiv:1602.07360) and Tiny
  Darknet (J. Redmon), make of the same crop in their first and their middle layers;
- to find two versions of a picture as far apart as those classifiers do, by the distance of R. Zhang et al., "The
  Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, without their trained weights;
- to tell the colours of a picture from its lightness (R. Zhang et al., "Colorful Image Colorization", ECCV 2016);
- to tell what was cut out of a picture from what is around it (Pathak et al., "Context Encoders", CVPR 2016).

What it needed for answering was thrown away. At the end the weights were scaled as Gatys et al. did it with VGG
("Texture Synthesis Using Convolutional Neural Networks", NIPS 2015): each channel after a ReLU has the mean 1 over the
pictures it was trained on. This changes nothing that the network can tell, since a ReLU and a pooling let a positive
factor through, but it makes the layers comparable: Gram matrices of all layers have entries of about 1, and no channel
rules a distance because it happens to be loud.

``tools/train_lens.py`` trains it, ``tools/measure_lens.py`` measures it into ``results/lens.json``.
"""

from __future__ import annotations

from torch import nn

from safelight.features.backbone import Backbone, BackboneLayer, Pooling
from safelight.features.pooling import pool

WIDTHS = (32, 64, 128, 256)
"""Channels of each block."""
DEPTHS = (2, 2, 3, 1)
"""Convolutions of each block; a pooling lies between two blocks."""
PERCEPTUAL = ("relu1_2", "relu2_2", "relu3_3", "relu4_1")
"""The layers of its perceptual distance: the last of each block, all with the same say."""


class Lens(nn.Module):
    """The convolutions, in order, under their layers' names."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
            for place in range(1, depth + 1):
                self.add_module(f"conv{block}_{place}", nn.Conv2d(channels, width, kernel_size=3, padding=1))
                channels = width


def build(pooling: Pooling) -> Backbone:
    """Make the network with random weights.

    It was trained with average pooling in three of four steps and with max pooling in the rest, so that both work.

    Args:
        pooling: Average pooling gives smoother gradients to a picture that is being made; max is the classifiers' way.

    Returns:
        Layers ``conv1_1 relu1_1 ... pool3 conv4_1 relu4_1``, each convolution before its ReLU.
    """
    network = Lens()
    steps: list[BackboneLayer] = []
    for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
        for place in range(1, depth + 1):
            name = f"{block}_{place}"
            steps.append(
                BackboneLayer(name=f"conv{name}", module=network.get_submodule(f"conv{name}"), channels=width, kernel=3)
            )
            steps.append(BackboneLayer(name=f"relu{name}", module=nn.ReLU(), channels=width))
        if block < len(WIDTHS):
            steps.append(BackboneLayer(name=f"pool{block}", module=pool(pooling), channels=width, kernel=2, stride=2))
    return Backbone("lens", network, steps, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
