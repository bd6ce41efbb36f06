"""Refinement by a graph network, and the same without the graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from protocols.features.features import Graph
from protocols.refine.clusters import k_means
from protocols.refine.controls import concatenate_networks
from protocols.refine.edges import Direction, neighbour_graph
from protocols.refine.encoder import GNN, Combine  # noqa: TC001 - options are checked by their hints
from protocols.refine.inductive import embed_test_images
from protocols.refine.selfgnn import FitOptions, GraphData, SelfGNN, fit
from protocols.spec.plugins import register_refinement
from results.constraints import Above, AtLeast, AtMost, Below

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from protocols.features.features import Features, NetworkFeatures
    from protocols.refine.encoder import Encoder
    from protocols.refine.selfgnn import GraphObjective

Origin = Literal["nearest", "recorded"]


@register_refinement("graph", added=("append_input",))
def graph(
    features: Features,
    *,
    gnn: GNN = "gcn",
    k: Annotated[int, AtLeast(1)] = 15,
    neighbours: Origin = "nearest",
    direction: Direction = "from_neighbours",
    layers: Annotated[int, AtLeast(1)] = 2,
    combine: Combine = "max",
    width: Annotated[int, AtLeast(0)] = 0,
    epochs: Annotated[int, AtLeast(0)] = 100,
    lr: Annotated[float, Above(0)] = 1e-4,
    momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.99,
    drop: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    mask: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    clusters: Annotated[int, AtLeast(1)] = 40,
    at_once: Annotated[int, AtLeast(1)] = 16,
    append_input: bool = False,
) -> Features:
    """Graph network fitted on training images alone; each test image is connected to its nearest training images.

    The result for a test image depends on no other test image, bit for bit, and the result for a training image on no
    test image at all; on a GPU the fit itself repeats to rounding only. Where a method has two networks, their features
    are the two views, and the embeddings of both are concatenated, as in GraphNNCLR (Javidani et al. 2025); with one
    network, views are random: some edges are removed and some components set to 0.

    Args:
        features: of the run; they are scaled to length 1.
        gnn: kind of convolution, as implemented by torch-geometric.
        k: neighbours of an image, by cosine similarity.
        neighbours: ``recorded`` takes those that the method recorded during pretraining, if it did; ``nearest`` the
            nearest neighbours by the final features.
        direction: of messages. ``from_neighbours``: an image receives messages from its nearest neighbours;
            ``to_neighbours``, as published: from the images that have it among their nearest neighbours, so that a
            test image receives none; ``both``: from either.
        layers: number of convolutions, without a non-linearity between them.
        combine: jumping knowledge: how the outputs of all layers become the embedding.
        width: size of every layer's output; 0 takes that of the features.
        epochs: passes over the nodes.
        lr: learning rate of Adam.
        momentum: of the target network.
        drop: fraction of the edges that is removed from a random view.
        mask: fraction of the feature components that is set to 0 in a random view.
        clusters: number of clusters that the images are divided into for mini-batches.
        at_once: number of clusters in a mini-batch.
        append_input: concatenate the features before the network and the embeddings, instead of the embeddings alone.
    """
    options = FitOptions(gnn, layers, combine, width, epochs, lr, momentum, drop, mask, clusters, at_once)
    networks = [connect(network, k, neighbours) for network in features.networks]
    return fit_and_embed(features, networks, direction, options, append_input=append_input)


@register_refinement("transductive", added=("cross_cluster_edges",))
def transductive(  # noqa: D417 - the other options are described at `graph`
    features: Features,
    *,
    gnn: GNN = "gcn",
    k: Annotated[int, AtLeast(1)] = 15,
    neighbours: Origin = "recorded",
    direction: Direction = "to_neighbours",
    layers: Annotated[int, AtLeast(1)] = 2,
    combine: Combine = "max",
    width: Annotated[int, AtLeast(0)] = 0,
    epochs: Annotated[int, AtLeast(0)] = 100,
    lr: Annotated[float, Above(0)] = 1e-4,
    momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.99,
    drop: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    mask: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    clusters: Annotated[int, AtLeast(1)] = 40,
    at_once: Annotated[int, AtLeast(1)] = 16,
    cross_cluster_edges: bool = True,
) -> Features:
    """As published, test images take part in training: a graph network fitted on all images together.

    Never a headline: a test image changes the results of the others. Test labels are not used. Options are described
    at ``graph``; defaults are those of the released code of Javidani et al. (2025) but for two. There ``width`` is 768
    for any features, and edges between clusters are left out. Deviations that no option takes back: clusters are found
    by k-means on the features, not by METIS on the edges, and every epoch combines them anew; features are those of
    the images without augmentation, not of the views that were trained on; a test image is connected to its nearest
    neighbours by the final features, not by those of the last epochs; and the views of a method with one network are
    random, where the defaults of the released code make no second view.

    Args:
        features: of the run; they are scaled to length 1.
        cross_cluster_edges: whether images of different clusters are connected.
    """
    options = FitOptions(gnn, layers, combine, width, epochs, lr, momentum, drop, mask, clusters, at_once)
    networks = [connect(network, k, neighbours) for network in features.networks]
    if not cross_cluster_edges:
        networks = connect_within_clusters(networks, clusters, features.seed)
    data = [
        GraphData(torch.cat([network.train, network.test]), neighbour_graph(network.neighbours, direction))
        for network in networks
    ]
    encoder = fit(data, options, features.seed, features.listener)
    embeddings = [encoder.combine(encoder.layer_states(item.x, item.graph)[1:]) for item in data]
    n = len(features.train)
    parts = [(embedding[:n], embedding[n:]) for embedding in embeddings]
    return replace(concatenate_networks(features, parts), graph=Graph(*networks[0].neighbours), transductive=True)


@register_refinement("no_edges", added=("append_input",))
def no_edges(
    features: Features,
    *,
    layers: Annotated[int, AtLeast(1)] = 2,
    combine: Combine = "max",
    width: Annotated[int, AtLeast(0)] = 0,
    epochs: Annotated[int, AtLeast(0)] = 100,
    lr: Annotated[float, Above(0)] = 1e-4,
    momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.99,
    mask: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    clusters: Annotated[int, AtLeast(1)] = 40,
    at_once: Annotated[int, AtLeast(1)] = 16,
    append_input: bool = False,
) -> Features:
    """Control: the same network and training on a graph without edges: a learned map of each image's own features.

    It differs from ``graph`` with ``gcn`` only in the messages: without them a graph convolution is a linear layer. A
    random map or principal components would also take away the training, and so could not tell what the graph adds.
    With ``combine="last"`` the map is linear; with ``max`` it is the larger of two linear maps.
    """
    options = FitOptions("gcn", layers, combine, width, epochs, lr, momentum, 0.0, mask, clusters, at_once)
    networks = [
        ConnectedFeatures(train, test, (train[:, :0].int(), test[:, :0].int()))
        for train, test in (network.units for network in features.networks)
    ]
    refined = fit_and_embed(features, networks, "from_neighbours", options, append_input=append_input)
    return replace(refined, graph=None)


@dataclass(frozen=True)
class ConnectedFeatures:
    """One network's features, and the neighbours of every image.

    Attributes:
        train: (n, d) features of length 1 of the training images.
        test: (m, d) features of length 1 of the test images.
        neighbours: (n, k) and (m, l) int32, the training images that training and test images are connected to, -1
            where there is none.
    """

    train: Tensor
    test: Tensor
    neighbours: tuple[Tensor, Tensor]


def connect(network: NetworkFeatures, k: int, origin: Origin) -> ConnectedFeatures:
    """Connect images to their nearest neighbours, or training images to the recorded ones if asked for."""
    train_neighbours, test_neighbours = network.neighbours(k)
    if origin == "recorded" and network.recorded_neighbours is not None:
        train_neighbours = network.recorded_neighbours
    return ConnectedFeatures(*network.units, (train_neighbours, test_neighbours))


def connect_within_clusters(networks: Sequence[ConnectedFeatures], clusters: int, seed: int) -> list[ConnectedFeatures]:
    """Disconnect images of different clusters, which are those that ``fit`` makes mini-batches of."""
    n = len(networks[0].train)
    x = torch.cat([networks[0].train, networks[0].test])
    cluster = k_means(x, min(clusters, len(x)), seed)

    def within(neighbours: Tensor, cluster_of_image: Tensor) -> Tensor:
        return neighbours.masked_fill(cluster[neighbours.long()] != cluster_of_image[:, None], -1)

    return [
        replace(
            network, neighbours=(within(network.neighbours[0], cluster[:n]), within(network.neighbours[1], cluster[n:]))
        )
        for network in networks
    ]


def fit_and_embed(
    features: Features,
    networks: Sequence[ConnectedFeatures],
    direction: Direction,
    options: FitOptions,
    *,
    append_input: bool,
    objective: Callable[[Encoder, float], GraphObjective] = SelfGNN,
) -> Features:
    """Fit a graph network on the training images, then embed each test image on its own.

    With ``append_input`` the inputs of the graph network stand before its embeddings.
    """
    data = [GraphData(network.train, neighbour_graph(network.neighbours[:1], direction)) for network in networks]
    encoder = fit(data, options, features.seed, features.listener, objective)
    parts = [(network.train, network.test) for network in networks] if append_input else []
    for network, item in zip(networks, data, strict=True):
        states = encoder.layer_states(item.x, item.graph)
        neighbours = network.neighbours[1] if direction != "to_neighbours" else network.neighbours[1][:, :0]
        embedded = embed_test_images(encoder, network.test, neighbours, states, item.graph.in_degree)
        parts.append((encoder.combine(states[1:]), embedded))
    return replace(concatenate_networks(features, parts), graph=Graph(*networks[0].neighbours))
