"""Projection and prediction heads."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


class MLP(nn.Sequential):
    """What :func:`mlp` returns: layers that compute every row by itself, but for the statistics of BatchNorm."""


def mlp(
    *sizes: int,
    norm: bool = True,
    activation: type[nn.Module] = nn.ReLU,
    bias: bool = True,
    last_norm: bool = False,
) -> MLP:
    """Linear layers with BatchNorm and an activation between them, and neither after the last.

    Args:
        sizes: of the input, the hidden layers and the output.
        norm: whether BatchNorm follows every hidden linear layer.
        activation: class of the activation after every hidden layer.
        bias: whether the linear layers have biases.
        last_norm: whether BatchNorm without weights follows the last layer.

    Returns:
        A module that maps (n, ``sizes[0]``) to (n, ``sizes[-1]``).
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(sizes):
        if layers:
            layers += [nn.BatchNorm1d(width_in)] * norm + [activation()]
        layers.append(nn.Linear(width_in, width_out, bias=bias))
    if last_norm:
        layers.append(nn.BatchNorm1d(sizes[-1], affine=False))
    return MLP(*layers)


class PrototypeHead(nn.Module):
    """DINO's head: an MLP, then the cosine similarity of its output with each prototype.

    This is the released code's weight-normalised last layer with its gains fixed to 1.

    Args:
        dim: size of a representation.
        hidden: width of the MLP's two hidden layers.
        bottleneck: output size of the MLP, and size of a prototype.
        prototypes: number of prototypes.
        norm: whether the MLP has BatchNorm.

    Attributes:
        prototypes: (prototypes, bottleneck) weight; normalised in ``forward``.
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
        """Representations (n, dim) to logits (n, prototypes), each in [-1, 1]."""
        return F.linear(F.normalize(self.mlp(representations)), F.normalize(self.prototypes))
