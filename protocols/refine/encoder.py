"""Graph neural networks of torch-geometric behind one interface."""

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

    from protocols.refine.edges import CSRGraph, Subgraph

GNN = Literal["gcn", "sage", "gat", "gin", "gcnii"]
Combine = Literal["max", "mean", "cat", "last"]


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """The larger of each two numbers, to rounding; ``torch.maximum`` takes four times as long, most of it backward."""
    return a + (b - a).relu()


COMBINE: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "max": lambda states: functools.reduce(maximum, states),
    "mean": lambda states: torch.stack([*states]).mean(0),
    "cat": lambda states: torch.cat([*states], dim=1),
    "last": lambda states: states[-1],
}
"""Jumping knowledge (Xu et al. 2018): how the outputs of all layers become the embedding."""

NODES_PER_BLOCK = 4096
"""Nodes embedded at a time."""


class GraphConvolution(nn.Module):
    """One layer of message passing.

    Args:
        gnn: kind of convolution.
        width_in: width of its input.
        width: width of its output.
        number: of the layer, counted from 1; GCNII scales its weights by it.
    """

    def __init__(self, gnn: GNN, width_in: int, width: int, number: int) -> None:
        super().__init__()
        self.conv = build_convolution(gnn, width_in, width, number)
        self.gnn = gnn
        self.residual = gnn == "gcnii"

    def forward(self, x: Tensor, inputs: Tensor, graph: Subgraph) -> Tensor:
        """Output (n, width) from the previous layer's (n, width_in) and the first layer's input."""
        if self.gnn == "gat":  # its weights depend on the nodes: edge by edge
            edges = graph.edge_index
        else:
            edges = graph.normalised_adjacency if self.gnn in ("gcn", "gcnii") else graph.adjacency
        output: Tensor = self.conv(x, *[inputs] * self.residual, edges)
        return output


def build_convolution(gnn: GNN, width_in: int, width: int, number: int) -> Any:
    """torch-geometric's layer with its own defaults; GCN and GCNII expect a normalised adjacency matrix.

    GIN's network is linear, ReLU, linear. GCNII takes α 0.1 and θ 0.5 (Chen et al. 2020, section 6).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        from torch_geometric import nn as pyg

    with discarding_generated_code():
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
def discarding_generated_code() -> Iterator[None]:
    """Remove the modules that torch-geometric writes to the temporary folder for each kind of layer and then loads."""
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
        gnn: kind of convolution; GCNII is preceded by a linear layer.
        dim: size of the features.
        width: size of every layer's output.
        layers: number of layers.
        combine: how the outputs of all layers become the embedding.

    Attributes:
        gnn: kind of convolution.
        width: size of every layer's output.
        dim: size of the embedding.
    """

    def __init__(self, gnn: GNN, dim: int, width: int, layers: int, combine: Combine) -> None:
        super().__init__()
        self.gnn = gnn
        self.width = width
        self.input_layer = nn.Linear(dim, width) if gnn == "gcnii" else nn.Identity()
        dims = [width if gnn == "gcnii" else dim, *[width] * layers]
        self.layers = nn.ModuleList(GraphConvolution(gnn, dims[i], width, i + 1) for i in range(layers))
        self.combine = COMBINE[combine]
        self.dim = width * (layers if combine == "cat" else 1)

    def forward(self, x: Tensor, graph: Subgraph) -> Tensor:
        """Embeddings (n, ``dim``) of features (n, d)."""
        if self.gnn == "gcn" and x.shape[1] <= self.width:
            return self.combine(self.collapsed_states(x, graph))
        states = [self.input_layer(x)]
        for layer in self.layers:
            states.append(layer(states[-1], states[0], graph))
        return self.combine(states[1:])

    def collapsed_states(self, x: Tensor, graph: Subgraph) -> list[Tensor]:
        """Every layer's output (n, width) for features (n, d), by one product each with a matrix of few rows.

        Graph convolutions without a non-linearity between them are one linear map of propagated features (Wu et al.
        2019, arXiv 1902.07153): with the normalised adjacency matrix A, the second layer's output
        A (A X W1 + b1) W2 + b2 is [A A X, A 1, 1] times [W1 W2; b1 W2; b2]. Features are propagated before they are
        made wider, and no product is of n rows with a (width, width) matrix, which saves a third of a step at width 768
        on features of 64. The result differs by rounding.
        """
        adjacency, one = graph.normalised_adjacency, x.new_ones(len(x), 1)
        states, weight = [], None
        for layer in self.layers:
            x = torch.cat([adjacency @ x, one], dim=1)
            conv: Any = layer.conv
            factor = conv.lin.weight.T
            weight = torch.cat([factor if weight is None else weight @ factor, conv.bias[None]])
            states.append(x @ weight)
        return states

    @torch.no_grad()
    def layer_states(self, x: Tensor, graph: CSRGraph) -> list[Tensor]:
        """The first layer's input and every layer's output for all nodes of a graph, computed block by block."""
        states = [self.input_layer(x)]
        for layer in self.layers:
            blocks = []
            for targets in torch.arange(len(x), device=x.device).split(NODES_PER_BLOCK):
                nodes, subgraph = graph.in_subgraph(targets)
                blocks.append(layer(states[-1][nodes], states[0][nodes], subgraph)[: len(targets)])
            states.append(torch.cat(blocks))
        return states
