"""Projection and prediction heads, declared as a row of sizes."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(*sizes: int, norm: bool = True, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes with BatchNorm and an activation between them, none after the last.

    Args:
        sizes: input, hidden, …, output.
        norm: BatchNorm after every hidden layer.
        activation: what follows it.

    Returns:
        A module that maps (n, ``sizes[0]``) to (n, ``sizes[-1]``).
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(sizes):
        if layers:
            layers += [nn.BatchNorm1d(width_in)] * norm + [activation()]
        layers.append(nn.Linear(width_in, width_out))
    return nn.Sequential(*layers)
