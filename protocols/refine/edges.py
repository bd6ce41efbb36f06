"""Graphs of neighbours, stored compactly, and the parts of them that a network sees at a time."""

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
"""Where messages go: a node hears the neighbours it has chosen; or those that have chosen it; or both, in which case
two nodes that have chosen each other hear one another twice."""


@dataclass(frozen=True)
class Subgraph:
    """Edges among some nodes, which are numbered from 0.

    Attributes:
        index: (2, e) int64, source and target of every edge, by rising target.
        degree: (n,) int64, edges that end at each node, here or in the graph that this is a part of.
    """

    index: Tensor
    degree: Tensor

    @cached_property
    def listed(self) -> Tensor:
        """(n,) int64, edges that end at each node here."""
        return self.index[1].bincount(minlength=len(self.degree))

    @cached_property
    def adjacency(self) -> Tensor:
        """Sparse (n, n), one at (target, source)."""
        source = self.index[0]
        return sparse(source, self.listed, torch.ones_like(source, dtype=torch.float32))

    @cached_property
    def normalised(self) -> Tensor:
        """Sparse (n, n) weights for graph convolution (Kipf & Welling 2017), with a loop at every node."""
        source, target = self.index
        scale = (self.degree + 1.0).rsqrt()
        node, edge = (torch.arange(len(some), device=source.device) for some in (scale, source))
        place = torch.cat([edge + target, node + self.listed.cumsum(0)])  # a node's loop after its edges
        column, value = source.new_empty(len(place)), scale.new_empty(len(place))
        column[place] = torch.cat([source, node])
        value[place] = torch.cat([scale[source] * scale[target], scale.square()])
        return sparse(column, self.listed + 1, value)


def sparse(column: Tensor, in_row: Tensor, value: Tensor) -> Tensor:
    """Square sparse matrix of its entries, row by row, and their number in each row (n,).

    Products with it gather no messages: they are several times as fast as sums over edges, and as exact.
    """
    start = torch.cat([in_row.new_zeros(1), in_row.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)  # that they are young, and unchecked
        return torch.sparse_csr_tensor(start, column, value, (len(in_row), len(in_row)))


@dataclass(frozen=True)
class Edges:
    """A directed graph, by the node at which an edge ends.

    Attributes:
        start: (n + 1,) int64; the edges of node i are those from ``start[i]`` up to ``start[i + 1]``.
        source: (e,) int32, the node that each edge comes from.
    """

    start: Tensor
    source: Tensor

    @property
    def degree(self) -> Tensor:
        """(n,) int64, edges that end at each node."""
        return self.start.diff()

    def into(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sources (e,) of the edges that end at some nodes (t,), and the places (e,) of these in ``targets``."""
        degree = self.degree[targets]
        place = torch.arange(len(targets), device=targets.device).repeat_interleave(degree)
        first = self.start[targets] - (degree.cumsum(0) - degree)
        edge = torch.arange(len(place), device=targets.device) + first[place]
        return self.source[edge].long(), place

    def within(self, nodes: Tensor) -> Subgraph:
        """Edges among the given nodes; degrees count these alone."""
        number = torch.full((len(self.degree),), -1, device=nodes.device)
        number[nodes] = torch.arange(len(nodes), device=nodes.device)
        source, target = self.into(nodes)
        index = torch.stack([number[source], target])[:, number[source] >= 0]
        return Subgraph(index, index[1].bincount(minlength=len(nodes)))

    def around(self, targets: Tensor) -> tuple[Tensor, Subgraph]:
        """Given nodes followed by their sources, and all edges that end at the given ones; degrees are the graph's."""
        source, target = self.into(targets)
        others, number = source.unique(return_inverse=True)
        nodes = torch.cat([targets, others])
        return nodes, Subgraph(torch.stack([number + len(targets), target]), self.degree[nodes])


def edges_of(neighbours: Sequence[Tensor], direction: Direction) -> Edges:
    """The graph of every node's neighbours.

    Args:
        neighbours: tables (n, k) int32 of nodes, whose numbers run on from table to table; below 0 is none.
        direction: of the messages.
    """
    widths = torch.cat([torch.full((len(table),), table.shape[1]) for table in neighbours])
    other = torch.cat([table.flatten() for table in neighbours])
    owner = torch.arange(len(widths), dtype=torch.int32).repeat_interleave(widths).to(other.device)
    owner, other = owner[other >= 0], other[other >= 0]
    ways = {
        "from_neighbours": (other, owner),
        "to_neighbours": (owner, other),
        "both": (torch.cat([other, owner]), torch.cat([owner, other])),
    }
    source, target = ways[direction]
    start = torch.zeros(len(widths) + 1, dtype=torch.int64, device=other.device)
    start[1:] = target.bincount(minlength=len(widths)).cumsum(0)
    return Edges(start, source[target.argsort(stable=True)])


def star(degrees: Tensor) -> Subgraph:
    """Node 0 and its sources, of which the degrees (k,) in their own graph are given; all edges end at node 0."""
    k = len(degrees)
    sources = torch.arange(1, k + 1)
    return Subgraph(torch.stack([sources, torch.zeros_like(sources)]), torch.cat([torch.tensor([k]), degrees]))
