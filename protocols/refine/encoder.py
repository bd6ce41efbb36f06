"""Graph neural networks of torch-geometric, one interface for all."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import warnings
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from protocols.refine.edges import Edges, Subgraph

GNN = Literal["gcn", "sage", "gat", "gin", "gcnii"]
Combine = Literal["max", "mean", "cat", "last"]

COMBINE: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "max": lambda states: functools.reduce(torch.maximum, states),
    "mean": lambda states: torch.stack([*states]).mean(0),
    "cat": lambda states: torch.cat([*states], dim=1),
    "last": lambda states: states[-1],
}
"""Jumping knowledge (Xu et al. 2018): how the outputs of all layers become the embedding."""

BLOCK = 4096
"""Nodes embedded at a time."""


class Layer(nn.Module):
    """One graph convolution.

    Args:
        gnn: which one.
        width_in: of what it reads.
        width: of what it returns.
        number: of the layer, from 1; GCNII weighs its matrix by it.
    """

    def __init__(self, gnn: GNN, width_in: int, width: int, number: int) -> None:
        super().__init__()
        self.conv = convolution(gnn, width_in, width, number)
        self.gnn = gnn
        self.residual = gnn == "gcnii"

    def forward(self, x: Tensor, first: Tensor, graph: Subgraph) -> Tensor:
        """(n, width_in) and what entered the first layer, to (n, width)."""
        output: Tensor = self.conv(x, *[first] * self.residual, seen(graph, self.gnn))
        return output


def seen(graph: Subgraph, gnn: GNN) -> Tensor:
    """A graph as a convolution reads it: a sparse matrix, or edge by edge where their weights depend on the nodes."""
    if gnn == "gat":
        return graph.index
    return graph.normalised if gnn in ("gcn", "gcnii") else graph.adjacency


def convolution(gnn: GNN, width_in: int, width: int, number: int) -> Any:
    """torch-geometric's layer with its own defaults; edges come normalised to those that want it.

    GIN's network is linear, ReLU, linear. GCNII takes α 0.1 and θ 0.5 (Chen et al. 2020, section 6).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)  # that it uses it
        from torch_geometric import nn as pyg

    with leaving_no_files():
        match gnn:
            case "gcn":
                return pyg.GCNConv(width_in, width, normalize=False)
            case "sage":
                return pyg.SAGEConv(width_in, width)
            case "gat":
                return pyg.GATConv(width_in, width)
            case "gin":
                return pyg.GINConv(nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.Linear(width, width)))
            case "gcnii":
                return pyg.GCN2Conv(width, alpha=0.1, theta=0.5, layer=number, normalize=False)


@contextlib.contextmanager
def leaving_no_files() -> Iterator[None]:
    """Remove the code that torch-geometric writes for every kind of layer once a process, loads, and leaves behind."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


class Encoder(nn.Module):
    """Graph convolutions without a non-linearity between them, and jumping knowledge.

    Args:
        gnn: the kind of convolution; GCNII is preceded by a linear layer.
        dim: of the features.
        width: of every layer's output.
        layers: how many.
        combine: how their outputs become the embedding.
    """

    def __init__(self, gnn: GNN, dim: int, width: int, layers: int, combine: Combine) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, width) if gnn == "gcnii" else nn.Identity()
        dims = [width if gnn == "gcnii" else dim, *[width] * layers]
        self.layers = nn.ModuleList(Layer(gnn, dims[i], width, i + 1) for i in range(layers))
        self.combine = COMBINE[combine]
        self.dim = width * (layers if combine == "cat" else 1)

    def forward(self, x: Tensor, graph: Subgraph) -> Tensor:
        """Embeddings (n, ``dim``) of features (n, d)."""
        states = [self.enter(x)]
        for layer in self.layers:
            states.append(layer(states[-1], states[0], graph))
        return self.combine(states[1:])

    def states(self, x: Tensor, edges: Edges) -> list[Tensor]:
        """What enters every layer and leaves the last, of all nodes of a graph; block by block, without gradient."""
        blocks = torch.arange(len(x), device=x.device).split(BLOCK)
        with torch.no_grad():
            states = [self.enter(x)]
            for layer in self.layers:
                states.append(torch.cat([apply(layer, states, edges, some) for some in blocks]))
        return states


def apply(layer: nn.Module, states: Sequence[Tensor], edges: Edges, targets: Tensor) -> Tensor:
    """A layer's output (t, width) at some nodes, from the states of all nodes so far."""
    nodes, graph = edges.around(targets)
    output: Tensor = layer(states[-1][nodes], states[0][nodes], graph)
    return output[: len(targets)]
