"""Projection and prediction heads, declared as a row of sizes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


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


class PrototypeHead(nn.Module):
    """DINO's head: an MLP, and the cosine of its outcome with each of many prototypes.

    This is the released code's weight-normalised last layer with its gains fixed to 1.

    Args:
        dim: of a representation.
        hidden: width of the MLP's two hidden layers.
        bottleneck: what it leads to.
        prototypes: number of outputs.
        norm: BatchNorm in the MLP.
    """

    def __init__(self, dim: int, hidden: int, bottleneck: int, prototypes: int, *, norm: bool) -> None:
        super().__init__()
        self.mlp = mlp(dim, hidden, hidden, bottleneck, norm=norm, activation=nn.GELU)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False).weight

    def forward(self, representations: Tensor) -> Tensor:
        """(n, dim) to logits (n, prototypes)."""
        return F.linear(F.normalize(self.mlp(representations)), F.normalize(self.prototypes))
