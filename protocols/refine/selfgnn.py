"""SelfGNN: a graph network that learns, without labels, to predict its own embedding of another view of a node."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from methods.ema import EMA
from methods.losses import negative_cosine
from protocols.refine.clusters import k_means
from protocols.refine.edges import Subgraph
from protocols.refine.encoder import GNN, Combine, Encoder
from protocols.system import randomness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from protocols.refine.edges import Edges
    from protocols.system.progress import ProgressListener


@dataclass(frozen=True)
class Settings:
    """How a graph network is made and trained.

    Attributes:
        gnn: the kind of convolution.
        layers: how many.
        combine: how their outputs become the embedding.
        width: of every layer; 0 takes that of the features.
        epochs: passes over the nodes.
        lr: of Adam.
        momentum: of the target network.
        drop: fraction of the edges that a view lacks, where both views are of the same features.
        mask: fraction of the features' components that a view lacks, likewise.
        clusters: into which the nodes are divided.
        at_once: clusters that make a mini-batch.

    Raises:
        ValueError: one of them cannot work.
    """

    gnn: GNN
    layers: int
    combine: Combine
    width: int
    epochs: int
    lr: float
    momentum: float
    drop: float
    mask: float
    clusters: int
    at_once: int

    def __post_init__(self) -> None:
        for name in ("layers", "clusters", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("drop", "mask"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a fraction below 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Nodes:
    """Nodes of a graph.

    Attributes:
        x: (n, d) their features.
        edges: among them.
    """

    x: Tensor
    edges: Edges


class Projected(nn.Module):
    """An encoder and its projector, which is linear with a ReLU behind it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.ReLU())

    def forward(self, x: Tensor, graph: Subgraph) -> Tensor:
        """Projections (n, dim) of features (n, d)."""
        projection: Tensor = self.projector(self.encoder(x, graph))
        return projection


class SelfGNN(nn.Module):
    """SelfGNN (Kefato & Girdzijauskas 2021, arXiv 2103.14958) with the heads of GraphNNCLR's released code.

    Args:
        encoder: that is wanted in the end.
        momentum: of the target network.
    """

    def __init__(self, encoder: Encoder, momentum: float) -> None:
        super().__init__()
        self.online = Projected(encoder)
        self.predictor = nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.BatchNorm1d(encoder.dim), nn.ReLU())
        self.target = EMA(self.online)
        self.momentum = momentum

    def forward(self, one: tuple[Tensor, Subgraph], other: tuple[Tensor, Subgraph]) -> Tensor:
        """Mean over nodes of what each view's prediction misses of the target's projection of the other."""
        first, second = (self.predictor(self.online(*view)) for view in (one, other))
        return negative_cosine(first, self.target(*other)) + negative_cosine(second, self.target(*one))

    def follow(self) -> None:
        """Let the target follow."""
        self.target.update(self.online, self.momentum)


def fit(views: Sequence[Nodes], settings: Settings, seed: int, listener: ProgressListener) -> Encoder:
    """Train an encoder on one or two views of the same nodes; of one, each step draws two.

    Mini-batches are unions of random clusters with all edges among their nodes (Chiang et al. 2019), the clusters are
    those of k-means on the first view's features. The released code clusters by METIS, which sees edges instead of
    features, and leaves out edges between clusters.

    Raises:
        KeyboardInterrupt: the watch asked to stop.
    """
    x = views[0].x
    torch.manual_seed(randomness.key(seed, "refinement"))
    encoder = Encoder(settings.gnn, x.shape[1], settings.width or x.shape[1], settings.layers, settings.combine)
    model = SelfGNN(encoder, settings.momentum).to(x.device)
    parameters = [*model.online.parameters(), *model.predictor.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=settings.lr)
    listener.stage("graph network", steps_of(settings, len(x)))
    with quick_products():
        for step, nodes in enumerate(batches(x, settings, seed)):
            parts = [(view.x[nodes], view.edges.within(nodes)) for view in views]
            loss = model(*(parts if len(parts) == 2 else two_of(*parts[0], settings, seed, step)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.follow()
            listener.advance_or_stop(step + 1)
    return encoder.requires_grad_(requires_grad=False)


@contextlib.contextmanager
def quick_products() -> Iterator[None]:
    """Let torch multiply float32 matrices by whatever is quickest, rounded to bfloat16 where that pays.

    On CPUs without Intel's matrix units that means oneDNN in full precision, more than twice as fast as MKL on AMD's.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def steps_of(settings: Settings, n: int) -> int:
    """Mini-batches of all epochs over ``n`` nodes, at most."""
    return settings.epochs * math.ceil(min(settings.clusters, n) / settings.at_once)


def batches(x: Tensor, settings: Settings, seed: int) -> Iterator[Tensor]:
    """The nodes of every mini-batch of all epochs, rising."""
    k = min(settings.clusters, len(x))
    cluster = k_means(x, k, seed)
    for epoch in range(settings.epochs):
        for chosen in randomness.permutation(k, seed, "batches", epoch).split(settings.at_once):
            nodes = torch.isin(cluster, chosen.to(x.device)).nonzero().flatten()
            if len(nodes) > 1:  # BatchNorm cannot do with one
                yield nodes


def two_of(x: Tensor, graph: Subgraph, settings: Settings, seed: int, step: int) -> list[tuple[Tensor, Subgraph]]:
    """Two views of nodes (n, d) that lack some components and some edges, drawn by the seed and the step."""
    views = []
    for number in range(2):
        g = randomness.generator(seed, "refinement", step, number)
        component = torch.rand(x.shape[1], generator=g) >= settings.mask
        edge = torch.rand(graph.index.shape[1], generator=g) >= settings.drop
        index = graph.index[:, edge.to(x.device)]
        degree = index[1].bincount(minlength=len(x))
        views.append((x * component.to(x.device), Subgraph(index, degree)))
    return views
