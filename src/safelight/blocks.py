"""What three or more networks share: so far, how one that predicts a residual begins."""

from __future__ import annotations

from torch import nn


def begin_as_identity(network: nn.Module, last: str) -> None:
    """Draw the weights of a network of ReLUs that adds a residual to its input, so that it starts by changing little.

    Biases are zero, the layer called ``last`` is nearly so, and the others keep a signal's size (He et al. 2015).
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name == f"{last}.weight":
            nn.init.normal_(parameter, std=1e-3)
        else:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
