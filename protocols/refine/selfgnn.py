"""SelfGNN: a graph network that learns, without labels, to predict its own embedding of another view of a node."""

from __future__ import annotations

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
from protocols.system.device import fast_float32_matmul

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from protocols.refine.edges import CSRGraph
    from protocols.system.progress import ProgressListener


@dataclass(frozen=True)
class FitOptions:
    """Architecture and training of a graph network.

    Attributes:
        gnn: kind of convolution.
        layers: number of layers.
        combine: how the outputs of all layers become the embedding.
        width: size of every layer's output; 0 takes that of the features.
        epochs: passes over the nodes.
        lr: learning rate of Adam.
        momentum: of the target network.
        drop: fraction of the edges that is removed from a view, where both views are of the same features.
        mask: fraction of the feature components that is set to 0 in a view, where both views are of the same features.
        clusters: number of clusters that the nodes are divided into.
        at_once: number of clusters in a mini-batch.
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


@dataclass(frozen=True)
class GraphData:
    """Node features and edges.

    Attributes:
        x: (n, d) features.
        graph: of the n nodes.
    """

    x: Tensor
    graph: CSRGraph


class ProjectedEncoder(nn.Module):
    """An encoder followed by a projector: a linear layer and ReLU."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.ReLU())

    def forward(self, x: Tensor, graph: Subgraph) -> Tensor:
        """Projections (n, dim) of features (n, d)."""
        projection: Tensor = self.projector(self.encoder(x, graph))
        return projection


class GraphObjective(nn.Module):
    """What a graph network is trained for: a loss of two views, against a target that follows the network."""

    def forward(self, view1: tuple[Tensor, Subgraph], view2: tuple[Tensor, Subgraph]) -> Tensor:
        """The loss of features (n, d) and graph of each view, a scalar."""
        raise NotImplementedError

    def update_target(self) -> None:
        """Called after every step."""
        raise NotImplementedError


class SelfGNN(GraphObjective):
    """SelfGNN (Kefato & Girdzijauskas 2021, arXiv 2103.14958) with the heads of GraphNNCLR's released code.

    Args:
        encoder: the graph network to train.
        momentum: of the target network.
    """

    def __init__(self, encoder: Encoder, momentum: float) -> None:
        super().__init__()
        self.online = ProjectedEncoder(encoder)
        self.predictor = nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.BatchNorm1d(encoder.dim), nn.ReLU())
        self.target = EMA(self.online)
        self.momentum = momentum

    def forward(self, view1: tuple[Tensor, Subgraph], view2: tuple[Tensor, Subgraph]) -> Tensor:
        """Mean over nodes of the distance of each view's prediction from the target's projection of the other view."""
        prediction1, prediction2 = (self.predictor(self.online(*view)) for view in (view1, view2))
        loss1 = negative_cosine(prediction1, self.target(*view2))
        return loss1 + negative_cosine(prediction2, self.target(*view1))

    def update_target(self) -> None:
        """Move the target's weights towards the online network's."""
        self.target.update(self.online, self.momentum)


def fit(
    networks: Sequence[GraphData],
    options: FitOptions,
    seed: int,
    listener: ProgressListener,
    objective: Callable[[Encoder, float], GraphObjective] = SelfGNN,
) -> Encoder:
    """Train an encoder on the features of two networks for the same nodes as views, or on random views of one.

    Mini-batches are unions of random clusters with all edges between their nodes (Chiang et al. 2019); clusters are
    those of k-means on the first network's features. The released code clusters by METIS, which uses edges instead of
    features, and leaves out edges between clusters.

    Raises:
        KeyboardInterrupt: the listener asked to stop.
    """
    x = networks[0].x
    torch.manual_seed(randomness.key(seed, "refinement"))
    encoder = Encoder(options.gnn, x.shape[1], options.width or x.shape[1], options.layers, options.combine)
    model = objective(encoder, options.momentum).to(x.device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=options.lr)
    max_steps = options.epochs * math.ceil(min(options.clusters, len(x)) / options.at_once)
    listener.stage("graph network", max_steps)
    with fast_float32_matmul(x.device):
        for step, nodes in enumerate(mini_batches(x, options, seed)):
            views = [(network.x[nodes], network.graph.induced_subgraph(nodes)) for network in networks]
            loss = model(*(views if len(views) == 2 else sample_views(*views[0], options, seed, step)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.update_target()
            listener.advance_or_stop(step + 1)
    return encoder.requires_grad_(requires_grad=False)


def mini_batches(x: Tensor, options: FitOptions, seed: int) -> Iterator[Tensor]:
    """The nodes of every mini-batch of all epochs, in ascending order."""
    k = min(options.clusters, len(x))
    cluster = k_means(x, k, seed)
    for epoch in range(options.epochs):
        for chosen in randomness.permutation(k, seed, "batches", epoch).split(options.at_once):
            nodes = torch.isin(cluster, chosen.to(x.device)).nonzero().flatten()
            if len(nodes) > 1:  # BatchNorm needs two
                yield nodes


def sample_views(
    x: Tensor, graph: Subgraph, options: FitOptions, seed: int, step: int
) -> list[tuple[Tensor, Subgraph]]:
    """Two random views of nodes (n, d), with some components of the features set to 0 and some edges removed."""
    views = []
    for number in range(2):
        g = randomness.generator(seed, "refinement", step, number)
        component = torch.rand(x.shape[1], generator=g) >= options.mask
        edge = torch.rand(graph.edge_index.shape[1], generator=g) >= options.drop
        edge_index = graph.edge_index[:, edge.to(x.device)]
        degree = edge_index[1].bincount(minlength=len(x))
        views.append((x * component.to(x.device), Subgraph(edge_index, degree)))
    return views
