"""Refinement by a graph network, and the same without the graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from protocols.features.features import Graph
from protocols.refine.attach import attached
from protocols.refine.controls import concatenate_networks
from protocols.refine.edges import Direction, edges_of
from protocols.refine.encoder import GNN, Combine  # noqa: TC001 - options are checked by their hints
from protocols.refine.selfgnn import Nodes, Settings, fit
from protocols.spec.plugins import register_refinement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from protocols.features.features import Features, NetworkFeatures

Origin = Literal["nearest", "recorded"]


@register_refinement("graph")
def graph(
    features: Features,
    *,
    gnn: GNN = "gcn",
    k: int = 15,
    neighbours: Origin = "nearest",
    direction: Direction = "from_neighbours",
    layers: int = 2,
    combine: Combine = "max",
    width: int = 0,
    epochs: int = 100,
    lr: float = 1e-4,
    momentum: float = 0.99,
    drop: float = 0.2,
    mask: float = 0.2,
    clusters: int = 40,
    at_once: int = 16,
) -> Features:
    """Graph network fitted on training images alone; each test image is attached to its training neighbours.

    What becomes of a test image depends on no other test image, bit for bit, and what becomes of a training image on
    none at all; on a GPU the fit itself repeats to rounding only. Where a method has two networks, they are the two
    views, and their embeddings are put side by side, as in GraphNNCLR (Javidani et al. 2025); of one network, views
    are drawn that lack some edges and components.

    Args:
        features: of the run; their lengths are set to 1.
        gnn: the kind of convolution, torch-geometric's.
        k: neighbours of an image, by cosine similarity.
        neighbours: ``recorded`` takes those that the method kept while it was trained, where it has; ``nearest`` those
            of the features as they are now.
        direction: ``from_neighbours`` lets an image hear the neighbours it has chosen; ``to_neighbours``, as
            published, those that have chosen it, and so a test image none; ``both`` makes no difference between them.
        layers: of convolution, with nothing between them.
        combine: jumping knowledge: how the layers' outputs become the embedding.
        width: of every layer; 0 takes that of the features.
        epochs: passes over the nodes.
        lr: of Adam.
        momentum: of the target network.
        drop: fraction of the edges that a view drawn of one network lacks.
        mask: fraction of the components that it lacks.
        clusters: into which the images are divided to make mini-batches.
        at_once: clusters that make a mini-batch.
    """
    settings = Settings(gnn, layers, combine, width, epochs, lr, momentum, drop, mask, clusters, at_once)
    views = [connected(network, k, neighbours) for network in features.networks]
    return inductive(features, views, direction, settings)


@register_refinement("transductive")
def transductive(
    features: Features,
    *,
    gnn: GNN = "gcn",
    k: int = 15,
    neighbours: Origin = "recorded",
    direction: Direction = "to_neighbours",
    layers: int = 2,
    combine: Combine = "max",
    width: int = 0,
    epochs: int = 100,
    lr: float = 1e-4,
    momentum: float = 0.99,
    drop: float = 0.2,
    mask: float = 0.2,
    clusters: int = 40,
    at_once: int = 16,
) -> Features:
    """As published, test images take part in training: a graph network fitted on all images together.

    No headline: a test image changes what becomes of the others. Test labels play no part. Options and their defaults
    are those of GraphNNCLR's released code (see ``graph`` for their meaning). Deviations: mini-batches (see
    ``protocols.refine.selfgnn.fit``); features are those of the images as they are, not of the views that were trained
    on; a test image is joined to its nearest neighbours in the end, not in the last epochs; and methods with one
    network, of which the code knows none, get views that are drawn.
    """
    settings = Settings(gnn, layers, combine, width, epochs, lr, momentum, drop, mask, clusters, at_once)
    views = [connected(network, k, neighbours) for network in features.networks]
    nodes = [Nodes(torch.cat([view.train, view.test]), edges_of(view.neighbours, direction)) for view in views]
    encoder = fit(nodes, settings, features.seed, features.listener)
    embeddings = [encoder.combine(encoder.states(some.x, some.edges)[1:]) for some in nodes]
    n = len(features.train)
    parts = [(embedding[:n], embedding[n:]) for embedding in embeddings]
    return replace(concatenate_networks(features, parts), graph=Graph(*views[0].neighbours), transductive=True)


@register_refinement("no_edges")
def no_edges(
    features: Features,
    *,
    layers: int = 2,
    combine: Combine = "max",
    width: int = 0,
    epochs: int = 100,
    lr: float = 1e-4,
    momentum: float = 0.99,
    mask: float = 0.2,
    clusters: int = 40,
    at_once: int = 16,
) -> Features:
    """Control: the same network and training on a graph without edges, a learnt map of each image's own features.

    It differs from ``graph`` with ``gcn`` in one thing, the messages: without them a graph convolution is a linear
    layer. A random map or principal components would also take away the training, and so could not tell what the graph
    adds to it. With ``combine="last"`` the map is linear; with ``max`` it is the larger of two linear maps.
    """
    settings = Settings("gcn", layers, combine, width, epochs, lr, momentum, 0.0, mask, clusters, at_once)
    views = [unconnected(network) for network in features.networks]
    return replace(inductive(features, views, "from_neighbours", settings), graph=None)


@dataclass(frozen=True)
class View:
    """What a graph network sees of one network.

    Attributes:
        train: (n, d) features of length 1.
        test: (m, d) likewise.
        neighbours: (n, k) and (m, l) int32, the training images that training and test images are joined to.
    """

    train: Tensor
    test: Tensor
    neighbours: tuple[Tensor, Tensor]


def connected(network: NetworkFeatures, k: int, origin: Origin) -> View:
    """A network's features, joined to their nearest neighbours, or to the recorded ones where they are wanted."""
    of_train, of_test = network.neighbours(k)
    if origin == "recorded" and network.recorded_neighbours is not None:
        of_train = network.recorded_neighbours
    return View(*network.units, (of_train, of_test))


def unconnected(network: NetworkFeatures) -> View:
    """A network's features on their own."""
    train, test = network.units
    return View(train, test, (train[:, :0].int(), test[:, :0].int()))


def inductive(features: Features, views: Sequence[View], direction: Direction, settings: Settings) -> Features:
    """Fit on the training images, then attach the test images one by one."""
    nodes = [Nodes(view.train, edges_of(view.neighbours[:1], direction)) for view in views]
    encoder = fit(nodes, settings, features.seed, features.listener)
    parts = []
    for view, some in zip(views, nodes, strict=True):
        states = encoder.states(some.x, some.edges)
        heard = view.neighbours[1] if direction != "to_neighbours" else view.neighbours[1][:, :0]
        parts.append((encoder.combine(states[1:]), attached(encoder, view.test, heard, states, some.edges.degree)))
    return replace(concatenate_networks(features, parts), graph=Graph(*views[0].neighbours))
