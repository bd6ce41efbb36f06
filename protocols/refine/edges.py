"""Neighbour graphs in compressed sparse form, and the subgraphs that a network is trained and applied on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Direction = Literal["from_neighbours", "to_neighbours", "both"]
"""Direction of messages: a node receives those of its own nearest neighbours; or those of the nodes that have it among
their nearest neighbours; or both, in which case mutual neighbours exchange two messages each way."""


@dataclass(frozen=True)
class Subgraph:
    """A graph of n nodes, numbered from 0.

    Attributes:
        edge_index: (2, e) int64, source and target of every edge, sorted by target.
        degree: (n,) int64 in-degree by which messages are normalised: in this graph, or in the graph it was cut from.
    """

    edge_index: Tensor
    degree: Tensor

    @cached_property
    def in_degree(self) -> Tensor:
        """(n,) int64, number of edges of this graph that end at each node."""
        return self.edge_index[1].bincount(minlength=len(self.degree))

    @cached_property
    def adjacency(self) -> Tensor:
        """Sparse (n, n) adjacency matrix, 1 at (target, source)."""
        source = self.edge_index[0]
        return csr_matrix(source, self.in_degree, torch.ones_like(source, dtype=torch.float32))

    @cached_property
    def normalised_adjacency(self) -> Tensor:
        """Sparse (n, n) weights of graph convolution (Kipf & Welling 2017), with a self-loop at every node."""
        source, target = self.edge_index
        scale = (self.degree + 1.0).rsqrt()
        node, edge = (torch.arange(len(items), device=source.device) for items in (scale, source))
        position = torch.cat([edge + target, node + self.in_degree.cumsum(0)])  # a node's self-loop after its edges
        column, value = source.new_empty(len(position)), scale.new_empty(len(position))
        column[position] = torch.cat([source, node])
        value[position] = torch.cat([scale[source] * scale[target], scale.square()])
        return csr_matrix(column, self.in_degree + 1, value)


def csr_matrix(column: Tensor, row_counts: Tensor, value: Tensor) -> Tensor:
    """Square sparse matrix in compressed row format.

    Products with it gather no messages: they are several times as fast as sums over edges, and as exact.

    Args:
        column: (e,) int64, column of every entry, row by row.
        row_counts: (n,) int64, number of entries in each row.
        value: (e,) float32.
    """
    start = torch.cat([row_counts.new_zeros(1), row_counts.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)  # in beta, and not validated
        return torch.sparse_csr_tensor(start, column, value, (len(row_counts), len(row_counts)))


@dataclass(frozen=True)
class CSRGraph:
    """A directed graph of n nodes in compressed sparse row format, one row per target.

    Attributes:
        start: (n + 1,) int64; the edges that end at node i are those from ``start[i]`` up to ``start[i + 1]``.
        source: (e,) int32, the source of every edge.
    """

    start: Tensor
    source: Tensor

    @property
    def in_degree(self) -> Tensor:
        """(n,) int64, number of edges that end at each node."""
        return self.start.diff()

    def in_edges(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Edges that end at nodes ``targets`` (t,): their sources (e,), and the positions (e,) of their targets."""
        degree = self.in_degree[targets]
        position = torch.arange(len(targets), device=targets.device).repeat_interleave(degree)
        first = self.start[targets] - (degree.cumsum(0) - degree)
        edge = torch.arange(len(position), device=targets.device) + first[position]
        return self.source[edge].long(), position

    def induced_subgraph(self, nodes: Tensor) -> Subgraph:
        """The given nodes (n,) and all edges between them; degrees are those of the subgraph."""
        number = torch.full((len(self.in_degree),), -1, device=nodes.device)
        number[nodes] = torch.arange(len(nodes), device=nodes.device)
        source, target = self.in_edges(nodes)
        edge_index = torch.stack([number[source], target])[:, number[source] >= 0]
        return Subgraph(edge_index, edge_index[1].bincount(minlength=len(nodes)))

    def in_subgraph(self, targets: Tensor) -> tuple[Tensor, Subgraph]:
        """All edges that end at ``targets`` (t,), as one layer of message passing needs them.

        Returns:
            The nodes of the subgraph, ``targets`` first and then their sources; and the subgraph, whose degrees are
            those of this graph.
        """
        source, target = self.in_edges(targets)
        unique, number = source.unique(return_inverse=True)
        nodes = torch.cat([targets, unique])
        return nodes, Subgraph(torch.stack([number + len(targets), target]), self.in_degree[nodes])


def neighbour_graph(neighbours: Sequence[Tensor], direction: Direction) -> CSRGraph:
    """The graph that connects every node to its neighbours.

    Args:
        neighbours: tables (n, k) int32 of node numbers, -1 where there is none; rows are numbered from table to table.
        direction: of the messages.
    """
    widths = torch.cat([torch.full((len(table),), table.shape[1]) for table in neighbours])
    neighbour = torch.cat([table.flatten() for table in neighbours])
    node = torch.arange(len(widths), dtype=torch.int32).repeat_interleave(widths).to(neighbour.device)
    node, neighbour = node[neighbour >= 0], neighbour[neighbour >= 0]
    source, target = {
        "from_neighbours": (neighbour, node),
        "to_neighbours": (node, neighbour),
        "both": (torch.cat([neighbour, node]), torch.cat([node, neighbour])),
    }[direction]
    start = torch.zeros(len(widths) + 1, dtype=torch.int64, device=neighbour.device)
    start[1:] = target.bincount(minlength=len(widths)).cumsum(0)
    return CSRGraph(start, source[target.argsort(stable=True)])


def star_graph(degrees: Tensor) -> Subgraph:
    """A new node 0 that receives messages from k nodes of a graph, whose in-degrees (k,) there are given."""
    k = len(degrees)
    source = torch.arange(1, k + 1)
    return Subgraph(torch.stack([source, torch.zeros_like(source)]), torch.cat([torch.tensor([k]), degrees]))
