"""RGRL's objective against its definition and its released formulas, and what it is good for."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from protocols.evaluate.knn import knn
from protocols.features.features import Features
from protocols.features.neighbours import nearest_others, unit
from protocols.refine.edges import neighbour_graph
from protocols.refine.encoder import Encoder
from protocols.refine.rgrl import RGRL, anchor_divergence, neighbour_divergence, sample_anchors
from protocols.spec.plugins import REFINEMENTS
from tests.tools.parity import assert_same_loss_and_gradient, embeddings

N, D = 12, 5
TEMPERATURES = (0.2, 0.5)


def graph_of(n: int = N, k: int = 3):
    x = unit(embeddings(n, D))
    return x, neighbour_graph([nearest_others(x, k).index], "from_neighbours").induced_subgraph(torch.arange(n))


def slow_divergence(prediction, target, others: list[list[int]]):
    """KL(teacher, student) of the softmax similarities of every node to its list of others, one by one."""
    losses = []
    for node, rows in enumerate(others):
        if rows:
            p = [(target[node] @ target[row] / TEMPERATURES[0]).exp().detach() for row in rows]
            q = [(prediction[node] @ target[row].detach() / TEMPERATURES[1]).exp() for row in rows]
            p, q = ([value / sum(values) for value in values] for values in (p, q))
            losses.append(sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True)))
    return torch.stack(losses).mean()


def released_divergence(prediction, target, anchors):
    """log_softmax, softmax and kl_div as in the released code."""
    teacher, student = TEMPERATURES
    inputs = F.log_softmax(torch.mm(prediction, target[anchors].T) / student, dim=1)
    targets = F.softmax(torch.mm(target, target[anchors].T) / teacher, dim=1).detach()
    return F.kl_div(inputs, targets, reduction="batchmean")


def test_both_terms_and_their_gradients_are_those_of_the_definition():
    """The teacher gets no gradient; a node without neighbours counts for nothing."""
    prediction, target, anchors = (
        unit(embeddings(N, D, seed=1)),
        unit(embeddings(N, D, seed=2)),
        torch.tensor([4, 0, 7]),
    )
    for reference in (
        lambda p, t: slow_divergence(p, t, [anchors.tolist()] * N),
        lambda p, t: released_divergence(p, t.detach(), anchors),
    ):
        assert_same_loss_and_gradient(
            lambda p, t: anchor_divergence(p, t, anchors, TEMPERATURES), reference, prediction, target
        )
    edges = graph_of()[1].edge_index
    edges = edges[:, edges[1] != 3]
    others = [edges[0, edges[1] == node].tolist() for node in range(N)]
    assert not others[3]
    assert_same_loss_and_gradient(
        lambda p, t: neighbour_divergence(p, t, edges, TEMPERATURES),
        lambda p, t: slow_divergence(p, t, others),
        prediction,
        target,
    )
    assert neighbour_divergence(prediction, target, edges[:, :0], TEMPERATURES) == 0


def test_a_loss_sums_both_directions_and_both_terms():
    torch.manual_seed(0)
    x, graph = graph_of()
    options = {"anchors": N, "alpha": 0.9, "temperatures": TEMPERATURES, "local_temperatures": TEMPERATURES}
    model = RGRL(Encoder("gcn", D, 6, 2, "max"), 0.99, **options, local_weight=0.5)
    views = [(x * mask, graph) for mask in (torch.rand(D) > 0.3, torch.rand(D) > 0.3)]
    predictions = [F.normalize(model.predictor(model.online(*view))) for view in views]
    targets = [F.normalize(model.target(*view)) for view in views]
    neighbours = [graph.edge_index[0, graph.edge_index[1] == node].tolist() for node in range(N)]
    expected = sum(
        slow_divergence(p, t, [list(range(N))] * N) + 0.5 * slow_divergence(p, t, neighbours)
        for p, t in zip(predictions, targets[::-1], strict=True)
    )
    torch.testing.assert_close(model(*views), expected)


def test_anchors_are_different_nodes_and_those_of_many_edges_are_rare():
    """With a probability of the first draw proportional to alpha ** log(edges + 1)."""
    _, graph = graph_of()
    edges = graph.edge_index.flatten().bincount(minlength=N)
    torch.manual_seed(0)
    draws = [sample_anchors(graph, 1, 0.05) for _ in range(4000)]
    weights = 0.05 ** (edges + 1.0).log()
    frequencies = torch.cat(draws).bincount(minlength=N) / 4000
    torch.testing.assert_close(frequencies, weights / weights.sum(), atol=0.03, rtol=0)
    assert sample_anchors(graph, 5, 0.9).unique().numel() == 5
    assert sample_anchors(graph, 99, 0.9).sort().values.tolist() == list(range(N))


def test_it_helps_where_neighbours_share_a_class():
    """By messages, as SelfGNN's objective does on the same graph, of which it makes another map."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 32, generator=generator)

    def split(size):
        labels = torch.arange(size) % 6
        return centres[labels] + 2 * torch.randn(size, 32, generator=generator), labels

    (train, train_labels), (test, test_labels) = split(600), split(300)
    features = Features(train, train_labels, test, test_labels, 6, seed=0)
    options = {"epochs": 30, "clusters": 6, "at_once": 3, "lr": 1e-3}
    refined = REFINEMENTS.get("rgrl")(features, **options)
    assert knn(refined, k=1)["top1"] > knn(features, k=1)["top1"] + 5
    untrained = REFINEMENTS.get("rgrl")(features, **{**options, "epochs": 0})
    assert not torch.allclose(refined.test, untrained.test, atol=0.1)
