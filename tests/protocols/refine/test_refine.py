"""Refinements: what they compute against slow references, whom they let influence whom, and what they are good for."""

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F

from protocols.evaluate.knn import knn
from protocols.evaluate.linear import linear
from protocols.features.features import Features, NetworkFeatures
from protocols.features.neighbours import nearest, nearest_others, unit
from protocols.refine.clusters import k_means
from protocols.refine.edges import neighbour_graph
from protocols.refine.encoder import Encoder
from protocols.refine.inductive import embed_test_images
from protocols.refine.selfgnn import FitOptions, GraphData, SelfGNN, fit, sample_views
from protocols.spec.plugins import REFINEMENTS, typed_options
from protocols.system.progress import ProgressListener
from protocols.system.randomness import key, permutation
from results.errors import RequestError

GNNS = ("gcn", "sage", "gat", "gin", "gcnii")
QUICK = {"epochs": 3, "clusters": 4, "at_once": 2, "lr": 1e-2}


def toy(*, n: int = 200, m: int = 40, d: int = 16, classes: int = 4, noise: float = 1.0, seed: int = 0) -> Features:
    """Classes on a sphere, with noise in every direction."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=g)

    def split(size: int):
        labels = torch.arange(size) % classes
        return centres[labels] + noise * torch.randn(size, d, generator=g), labels

    (train, train_labels), (test, test_labels) = split(n), split(m)
    return Features(train, train_labels, test, test_labels, classes, seed=seed)


def two_networks(some: Features) -> Features:
    g = torch.Generator().manual_seed(1)
    train, test = (x + 0.3 * torch.randn(x.shape, generator=g) for x in (some.train, some.test))
    recorded = torch.randint(-1, len(train), (len(train), 6), generator=g, dtype=torch.int32)
    return replace(some, recorded_neighbours=recorded, student=NetworkFeatures(train, test, recorded.flip(0)))


@pytest.fixture(autouse=True)
def one_thread():
    """Toys are too small to be shared out between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def refine(name: str, some: Features, **options) -> Features:
    return REFINEMENTS.get(name)(some, **options)


def with_test(some: Features, test) -> Features:
    return replace(some, test=test, test_labels=torch.zeros(len(test), dtype=torch.int64))


def as_torch_geometric_has_it(gnn: str, layer, number: int):
    """The layer with torch-geometric's own normalisation of edges."""
    from torch_geometric.nn import GCN2Conv, GCNConv

    if gnn not in ("gcn", "gcnii"):
        return layer.conv
    conv = GCNConv(16, 16) if gnn == "gcn" else GCN2Conv(16, alpha=0.1, theta=0.5, layer=number)
    conv.load_state_dict(layer.conv.state_dict())
    return conv


def test_no_file_is_left_by_any_convolution(tmp_path):
    program = f"""
import tempfile
tempfile.tempdir = {str(tmp_path)!r}
from protocols.refine.encoder import Encoder
for gnn in {list(GNNS)!r}:
    Encoder(gnn, 4, 4, 2, "max")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
    assert not [*tmp_path.glob("*.py")]


@pytest.mark.parametrize("gnn", GNNS)
@pytest.mark.parametrize("direction", ["from_neighbours", "both"])
def test_a_test_image_is_embedded_as_torch_geometric_would_on_the_whole_graph(gnn, direction):
    """Training and test images in one graph, where edges lead to test images and none away from them."""
    some = toy()
    x, test = unit(some.train), unit(some.test)
    near = nearest(test, x, 5).index
    edges = neighbour_graph([nearest_others(x, 5).index], direction)
    torch.manual_seed(0)
    encoder = Encoder(gnn, 16, 16, 2, "cat")
    states = encoder.layer_states(x, edges)
    source, target = edges.in_edges(torch.arange(200))
    owner = 200 + torch.arange(40).repeat_interleave(5)
    index = torch.stack([torch.cat([source, near.flatten().long()]), torch.cat([target, owner])])
    with torch.no_grad():
        hidden = [encoder.input_layer(torch.cat([x, test]))]
        for number, layer in enumerate(encoder.layers, start=1):
            conv = as_torch_geometric_has_it(gnn, layer, number)
            hidden.append(conv(hidden[-1], *[hidden[0]] * (gnn == "gcnii"), index))
    expected = torch.cat(hidden[1:], dim=1)
    torch.testing.assert_close(torch.cat(states[1:], dim=1), expected[:200])
    torch.testing.assert_close(embed_test_images(encoder, test, near, states, edges.in_degree), expected[200:])


@pytest.mark.parametrize("gnn", GNNS)
@pytest.mark.parametrize("name", ["graph", "transductive"])
@pytest.mark.parametrize("networks", [1, 2])
def test_every_layer_refines(gnn, name, networks):
    some = toy() if networks == 1 else two_networks(toy())
    made = refine(name, some, gnn=gnn, k=5, **QUICK)
    assert made.train.shape == (200, 16 * networks)
    assert made.test.shape == (40, 16 * networks)
    assert made.train.isfinite().all()
    assert made.test.isfinite().all()
    assert made.student is None
    assert made.graph.train.dtype == torch.int32
    assert made.train.std(0).min() > 0


@pytest.mark.parametrize(("combine", "width"), [("max", 8), ("mean", 8), ("last", 8), ("cat", 16)])
def test_widths(combine, width):
    assert refine("graph", toy(), combine=combine, width=8, k=3, **QUICK).test.shape == (40, width)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_collapsed_convolutions_are_those_layer_by_layer(layers):
    """Outputs and gradients, with biases, for features narrower than the outputs and as wide."""
    torch.manual_seed(0)
    some = toy(n=30)
    x = unit(some.train).double()
    graph = neighbour_graph([nearest_others(unit(some.train), 4).index], "to_neighbours")
    graph = graph.induced_subgraph(torch.arange(0, 30, 2))
    graph.__dict__["normalised_adjacency"] = adjacency = graph.normalised_adjacency.double()
    for width in (16, 24):
        encoder = Encoder("gcn", 16, width, layers, "cat").double()
        for parameter in encoder.parameters():
            parameter.data = torch.randn_like(parameter)
        states = [x[::2]]
        for layer in encoder.layers:
            states.append(adjacency @ (states[-1] @ layer.conv.lin.weight.T) + layer.conv.bias)
        expected = torch.cat(states[1:], dim=1)
        found = encoder(x[::2], graph)
        torch.testing.assert_close(found, expected)
        factor = torch.randn_like(found)
        gradients = [torch.autograd.grad((part * factor).sum(), [*encoder.parameters()]) for part in (found, expected)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_the_objective_is_selfgnns():
    """Against its definition, node by node, with the target a copy that no gradient reaches and that follows slowly."""
    torch.manual_seed(0)
    some = toy(n=30)
    x = unit(some.train)
    graph = neighbour_graph([nearest_others(x, 4).index], "from_neighbours").induced_subgraph(torch.arange(30))
    model = SelfGNN(Encoder("gcn", 16, 16, 2, "max"), momentum=0.99)
    for parameter in model.target.parameters():
        parameter.data += 0.01
    one, other = ((x * mask, graph) for mask in (torch.ones(16), (torch.arange(16) > 3).float()))

    def project(network, view):
        h1 = network.encoder.layers[0](view[0], view[0], view[1])
        h2 = network.encoder.layers[1](h1, view[0], view[1])
        layer = network.projector[0]
        return (torch.maximum(h1, h2) @ layer.weight.T + layer.bias).clamp(min=0)

    def predict(view):
        linear_layer, norm, _ = model.predictor
        z = project(model.online, view) @ linear_layer.weight.T + linear_layer.bias
        z = (z - z.mean(0)) / (z.var(0, unbiased=False) + norm.eps).sqrt() * norm.weight + norm.bias
        return z.clamp(min=0)

    def distance(p, t):
        return sum(2 - 2 * (a @ b / (a.norm() * b.norm())).item() for a, b in zip(p, t, strict=True)) / len(p)

    target = model.target.module
    expected = distance(predict(one), project(target, other)) + distance(predict(other), project(target, one))
    loss = model(one, other)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert all(parameter.grad is None for parameter in model.target.parameters())
    assert all(parameter.grad is not None for parameter in model.online.encoder.parameters())
    before = [p.clone() for p in model.target.parameters()]
    model.update_target()
    for old, new, online in zip(before, model.target.parameters(), model.online.parameters(), strict=True):
        torch.testing.assert_close(new, 0.99 * old + 0.01 * online)


def released_by_hand(some: Features, *, epochs: int, width: int, k: int, clusters: int, at_once: int):
    """GraphNNCLR's refinement (Javidani et al. 2025), by torch-geometric's GCN and plain loops, for two networks.

    Initial weights, clusters and mini-batches are those of the code under test, which draws nothing else.
    """
    from torch_geometric.nn import GCNConv

    n, x = len(some.train), [torch.cat(network.units) for network in some.networks]
    cluster = k_means(x[0], clusters, some.seed).tolist()

    def edges(network, nodes):
        train, test = network.recorded_neighbours, nearest(network.test, network.train, k).index
        table = enumerate([*train.tolist(), *test.tolist()])
        pairs = [(i, j) for i, row in table for j in row if j >= 0 and cluster[i] == cluster[j] and i in nodes]
        number = {node: row for row, node in enumerate(nodes)}
        return torch.tensor([(number[i], number[j]) for i, j in pairs]).T

    torch.manual_seed(key(some.seed, "refinement"))
    start = SelfGNN(Encoder("gcn", x[0].shape[1], width, 2, "max"), 0.99)
    layers = [GCNConv(x[0].shape[1], width), GCNConv(width, width)]
    for layer, built in zip(layers, start.online.encoder.layers, strict=True):
        layer.load_state_dict(built.conv.state_dict())
    online = torch.nn.ModuleList([*layers, start.online.projector[0]])
    target = copy.deepcopy(online)

    def embed(network, view, index):
        first = network[0](view, index)
        return torch.maximum(first, network[1](first, index))

    def project(network, view, index):
        return network[2](embed(network, view, index)).relu()

    optimizer = torch.optim.Adam([*online.parameters(), *start.predictor.parameters()], lr=1e-4)
    for epoch in range(epochs):
        for chosen in permutation(clusters, some.seed, "batches", epoch).split(at_once):
            nodes = [i for i in range(len(x[0])) if cluster[i] in chosen.tolist()]
            views = [(part[nodes], edges(network, nodes)) for part, network in zip(x, some.networks, strict=True)]
            predictions = [start.predictor(project(online, *view)) for view in views]
            with torch.no_grad():
                targets = [project(target, *view) for view in views]
            cosines = [F.cosine_similarity(p, t) for p, t in zip(predictions, reversed(targets), strict=True)]
            optimizer.zero_grad()
            sum(2 - 2 * cosine for cosine in cosines).mean().backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                    slow.mul_(0.99).add_(0.01 * fast)
    everyone = list(range(len(x[0])))
    with torch.no_grad():
        made = [embed(online, part, edges(network, everyone)) for part, network in zip(x, some.networks, strict=True)]
    return torch.cat(made, dim=1).split([n, len(x[0]) - n])


def without_self_loops(some: Features) -> Features:
    """Two networks that recorded no image as a neighbour of itself, as every method does."""
    own = torch.arange(len(some.train))[:, None]
    teacher, student = (network.recorded_neighbours for network in some.networks)
    teacher, student = (table.masked_fill(table == own, -1) for table in (teacher, student))
    return replace(some, recorded_neighbours=teacher, student=replace(some.student, recorded_neighbours=student))


def test_the_released_network_is_that_of_torch_geometric_at_its_width():
    """Trained and untrained, in all: mini-batches without edges between clusters, two networks as views, width 768.

    Adam turns the least difference between two kernels' gradients near zero into a step, so what is trained is compared
    by its distance, beside the way that training went.
    """
    some = without_self_loops(two_networks(toy(n=90, m=20)))
    sizes = {"width": 768, "k": 5, "clusters": 5, "at_once": 2}
    outputs = {}
    for epochs in (0, 3):
        by_hand = torch.cat(released_by_hand(some, epochs=epochs, **sizes))
        made = refine("transductive", some, cross_cluster_edges=False, epochs=epochs, **sizes)
        outputs[epochs] = by_hand, torch.cat([made.train, made.test])
    torch.testing.assert_close(*outputs[0], rtol=1e-4, atol=1e-5)
    by_hand, made = outputs[3]
    assert (made - by_hand).norm() < 0.05 * (by_hand - outputs[0][0]).norm()
    whole = refine("transductive", some, epochs=3, **sizes)
    assert (torch.cat([whole.train, whole.test]) - by_hand).norm() > (by_hand - outputs[0][0]).norm()


class ChecksProducts(SelfGNN):
    """Multiplies matrices in every step and keeps the error beside float64."""

    errors: ClassVar[list[float]] = []

    def forward(self, view1, view2):
        a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
        exact = a.double() @ b.double()
        self.errors.append(float((a @ b - exact).norm() / exact.norm()))
        return super().forward(view1, view2)


def test_a_fit_multiplies_with_all_bits_of_float32(monkeypatch):
    """As the record says; operands rounded to bfloat16 would give an error of 2e-3, to TF32 of 3e-4."""
    monkeypatch.setattr(ChecksProducts, "errors", [])
    some = toy()
    data = [GraphData(unit(some.train), neighbour_graph([nearest_others(some.train, 5).index], "both"))]
    fit(data, FitOptions("gcn", 2, "max", 16, 2, 1e-3, 0.99, 0.2, 0.2, 4, 2), 0, ProgressListener(), ChecksProducts)
    assert len(ChecksProducts.errors) == 4
    assert max(ChecksProducts.errors) < 2e-6


@pytest.mark.parametrize("direction", ["from_neighbours", "to_neighbours", "both"])
def test_edges_are_those_of_the_table(direction):
    table = [torch.tensor([[1, 2], [2, -1], [0, 1]], dtype=torch.int32), torch.tensor([[1]], dtype=torch.int32)]
    chosen = [(0, 1), (0, 2), (1, 2), (2, 0), (2, 1), (3, 1)]
    ways = {"from_neighbours": [(b, a) for a, b in chosen], "to_neighbours": chosen}
    expected = sorted(ways.get(direction, [*chosen, *ways["from_neighbours"]]))
    edges = neighbour_graph(table, direction)
    source, target = edges.in_edges(torch.arange(4))
    assert sorted(zip(source.tolist(), target.tolist(), strict=True)) == expected
    assert edges.in_degree.tolist() == [sum(b == i for _, b in expected) for i in range(4)]
    part = edges.induced_subgraph(torch.tensor([1, 3]))
    among = sorted(([1, 3].index(a), [1, 3].index(b)) for a, b in expected if a in (1, 3) and b in (1, 3))
    assert sorted(zip(*part.edge_index.tolist(), strict=True)) == among
    assert part.degree.tolist() == [sum(b == i for _, b in among) for i in range(2)]


@pytest.mark.parametrize("gnn", ["gcn", "sage", "gin"])
def test_a_step_is_torch_geometrics_edge_by_edge_and_repeats_to_the_bit(gnn):
    """Gradients included, with as many threads as there are and edges enough for all of them."""
    torch.set_num_threads(2)
    some = toy(n=3000)
    graph = neighbour_graph([nearest_others(some.train, 15).index], "from_neighbours").induced_subgraph(
        torch.arange(0, 3000, 2)
    )
    torch.manual_seed(0)
    layer = Encoder(gnn, 16, 16, 1, "last").layers[0]
    x = some.train[::2].clone().requires_grad_()
    tangent = torch.randn(1500, 16)

    def step(output):
        return [output, *torch.autograd.grad((output * tangent).sum(), [x, *layer.parameters()])]

    one, again = (step(layer(x, x, graph)) for _ in range(2))
    conv = as_torch_geometric_has_it(gnn, layer, 1)
    output = conv(x, graph.edge_index)
    expected = [output, *torch.autograd.grad((output * tangent).sum(), [x, *conv.parameters()])]
    for a, b, c in zip(one, again, expected, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-4)


def test_neighbours_are_searched_for_once():
    stream = toy().networks[0]
    assert stream.neighbours(5) is stream.neighbours(5)
    assert torch.equal(stream.neighbours(5)[0], nearest_others(stream.train, 5).index)
    assert torch.equal(stream.neighbours(4)[1], nearest(stream.test, stream.train, 4).index)


INDUCTIVE = [("graph", {"gnn": gnn, "k": 5, **QUICK}) for gnn in GNNS]
INDUCTIVE += [("graph", {"direction": way, "k": 5, **QUICK}) for way in ("to_neighbours", "both")]
INDUCTIVE += [("no_edges", QUICK), ("neighbour_mean", {"k": 5}), ("neighbour_mean", {"k": 5, "append_input": True})]
INDUCTIVE += [("concatenated", {}), ("graph", {"k": 5, "append_input": True, **QUICK})]


@pytest.mark.parametrize(("name", "options"), INDUCTIVE)
@pytest.mark.parametrize("networks", [1, 2])
def test_no_test_image_influences_another_or_a_training_image(name, options, networks):
    """Bit for bit: permuted, alone, with the others replaced, or in a crowd of another size."""
    some = toy(d=24) if networks == 1 else two_networks(toy(d=24))
    whole = refine(name, some, **options)
    if whole is None:
        pytest.skip("needs two networks")

    def chosen(rows, noise=None):
        def of(x):
            return x[rows] if noise is None else torch.cat([x[rows], noise])

        second = some.student and replace(some.student, test=of(some.student.test))
        return refine(name, replace(with_test(some, of(some.test)), student=second), **options)

    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    permuted, few = chosen(order), chosen(torch.tensor([7]))
    replaced = chosen(torch.arange(5, 8), torch.randn(64, 24, generator=torch.Generator().manual_seed(5)))
    for other in (permuted, few, replaced):
        assert torch.equal(other.train, whole.train)
    assert torch.equal(permuted.test, whole.test[order])
    assert torch.equal(few.test, whole.test[7:8])
    assert torch.equal(replaced.test[:3], whole.test[5:8])


def test_the_transductive_leak_shows():
    """Replacing test images changes what becomes of the training images and of the other test images."""
    some = toy()
    crowd = torch.randn(39, 16, generator=torch.Generator().manual_seed(5))
    other = with_test(some, torch.cat([some.test[:1], crowd]))
    one, two = (refine("transductive", features, k=5, **QUICK) for features in (some, other))
    assert not torch.allclose(one.train, two.train, atol=1e-3)
    assert not torch.allclose(one.test[0], two.test[0], atol=1e-3)


@pytest.mark.parametrize(("direction", "receives"), [("to_neighbours", False), ("from_neighbours", True)])
def test_as_published_a_test_image_receives_no_messages(direction, receives):
    """Its embedding equals that of a node without edges exactly if messages go to its neighbours."""
    some = toy()
    x, test = unit(some.train), unit(some.test)
    near, near_test = nearest_others(x, 5).index, nearest(test, x, 5).index
    edges = neighbour_graph([near, near_test], direction)
    torch.manual_seed(0)
    encoder = Encoder("gcn", 16, 16, 2, "max")
    joint = encoder.combine(encoder.layer_states(torch.cat([x, test]), edges)[1:])[200:]
    of_train = neighbour_graph([near], direction)
    lonely = embed_test_images(encoder, test, near_test[:, :0], encoder.layer_states(x, of_train), of_train.in_degree)
    assert torch.allclose(joint, lonely, atol=1e-6) != receives


def blocks(seed: int = 0) -> Features:
    """A stochastic block model seen through features: much noise, but neighbours are mostly of one's own class."""
    return toy(n=600, m=300, d=32, classes=6, noise=2.0, seed=seed)


def test_messages_help_where_neighbours_share_a_class():
    """Averaging and the graph network beat raw features and the map without messages, on nearest neighbours."""
    some = blocks()
    options = {"epochs": 30, "clusters": 6, "at_once": 3, "lr": 1e-3}
    raw = knn(some, k=1)["top1"]
    averaged = knn(refine("neighbour_mean", some), k=1)["top1"]
    graph = knn(refine("graph", some, **options), k=1)["top1"]
    isolated = knn(refine("no_edges", some, **options), k=1)["top1"]
    assert averaged > raw + 5
    assert graph > raw + 5
    assert graph > isolated + 5


def test_averaging_is_the_mean_of_an_image_and_its_neighbours():
    some = toy(n=50, m=5)
    x, test = unit(some.train), unit(some.test)
    cosines = x @ x.T
    near = [[j for j in row if j != i][:3] for i, row in enumerate(cosines.argsort(1, descending=True).tolist())]
    once = torch.stack([(x[i] + sum(x[j] for j in near[i])) / 4 for i in range(50)])
    near_test = (test @ x.T).topk(3).indices
    test_once = (test + x[near_test].sum(1)) / 4
    made = refine("neighbour_mean", some, k=3, rounds=2)
    twice = torch.stack([(once[i] + sum(once[j] for j in near[i])) / 4 for i in range(50)])
    torch.testing.assert_close(made.train, twice)
    torch.testing.assert_close(made.test, (test_once + once[near_test].sum(1)) / 4)
    beside = refine("neighbour_mean", some, k=3, rounds=2, append_input=True)
    torch.testing.assert_close(beside.train, torch.cat([x, made.train], dim=1))
    torch.testing.assert_close(beside.test, torch.cat([test, made.test], dim=1))


@pytest.mark.parametrize("name", ["graph", "no_edges"])
@pytest.mark.parametrize("networks", [1, 2])
def test_features_may_stand_before_the_embeddings(name, networks):
    some = toy() if networks == 1 else two_networks(toy())
    alone, appended = (refine(name, some, append_input=choice, **QUICK) for choice in (False, True))
    for split in ("train", "test"):
        inputs = [unit(getattr(network, split)) for network in some.networks]
        expected = torch.cat([*inputs, getattr(alone, split)], dim=1)
        assert torch.equal(getattr(appended, split), expected)


def test_concatenated_is_both_networks_side_by_side():
    some = two_networks(toy())
    made = refine("concatenated", some)
    torch.testing.assert_close(made.test, torch.cat([F.normalize(some.test), F.normalize(some.student.test)], 1))
    assert refine("concatenated", toy()) is None


def test_without_edges_a_graph_convolution_is_a_linear_map():
    some = toy()
    made = refine("no_edges", some, combine="last", **QUICK)
    x = torch.cat([unit(some.train), torch.ones(200, 1)], dim=1)
    weights = torch.linalg.lstsq(x, made.train).solution
    torch.testing.assert_close(torch.cat([unit(some.test), torch.ones(40, 1)], dim=1) @ weights, made.test)
    assert made.graph is None


@pytest.mark.parametrize("name", ["graph", "transductive", "no_edges"])
def test_the_same_seed_the_same_numbers_another_seed_others(name):
    some = toy()
    torch.manual_seed(123)
    one = refine(name, some, **QUICK)
    torch.rand(7)
    again, other = refine(name, some, **QUICK), refine(name, replace(some, seed=1), **QUICK)
    assert torch.equal(one.train, again.train)
    assert torch.equal(one.test, again.test)
    assert not torch.allclose(one.train, other.train)


def test_recorded_neighbours_are_used_where_they_are_wanted():
    some = two_networks(toy())
    assert torch.equal(refine("graph", some, neighbours="recorded", **QUICK).graph.train, some.recorded_neighbours)
    assert torch.equal(refine("graph", some, k=4, **QUICK).graph.train, nearest_others(some.train, 4).index)


def test_two_views_lack_what_is_drawn():
    some = toy()
    graph = neighbour_graph([nearest_others(some.train, 5).index], "from_neighbours").induced_subgraph(
        torch.arange(200)
    )
    settings = FitOptions("gcn", 2, "max", 0, 1, 1e-3, 0.9, 0.3, 0.25, 4, 2)
    views = sample_views(some.train, graph, settings, seed=0, step=3)
    for x, part in views:
        assert 0.6 < part.edge_index.shape[1] / graph.edge_index.shape[1] < 0.8
        kept = (x == some.train).all(0)
        assert (x[:, ~kept] == 0).all()
        assert 6 <= int(kept.sum()) <= 16
        assert torch.equal(part.degree, part.edge_index[1].bincount(minlength=200))
    assert not torch.equal(views[0][1].edge_index, views[1][1].edge_index)


def test_k_means_finds_separate_classes():
    some = toy(noise=0.05)
    found = k_means(unit(some.train), 12, seed=0)
    for cluster in found.unique():
        assert len(some.train_labels[found == cluster].unique()) == 1
    assert torch.equal(found, k_means(unit(some.train), 12, seed=0))


def test_more_neighbours_and_clusters_than_images():
    made = refine("graph", toy(n=6, m=2), k=50, epochs=2)
    assert made.graph.train.shape == (6, 5)
    assert made.test.isfinite().all()


@pytest.mark.parametrize("name", ["graph", "transductive", "no_edges"])
def test_a_fit_tells_how_far_it_is_and_stops_when_asked(name):
    class Told(ProgressListener):
        def __init__(self):
            self.heard, self.left = [], 100

        def stage(self, *words):
            self.heard.append(words)

        def progress(self, done, note=""):
            self.heard.append(done)
            self.left -= 1

        def stopping(self):
            return not self.left

    listener = Told()
    refine(name, replace(toy(), listener=listener), **QUICK)
    assert listener.heard == [("graph network", 6), 1, 2, 3, 4, 5, 6]
    listener.left = 2
    with pytest.raises(KeyboardInterrupt):
        refine(name, replace(toy(), listener=listener), **QUICK)
    assert listener.heard[-1] == 2


def test_refined_features_can_be_evaluated():
    made = refine("graph", toy(), k=5, **QUICK)
    assert 0 <= linear(made)["top1"] <= 100


@pytest.mark.parametrize(
    ("options", "words"),
    [({"layers": 0}, r"graph\.layers must be 1 or more"), ({"mask": 1.0}, r"graph\.mask must be below 1")],
)
def test_what_cannot_work_is_named(options, words):
    with pytest.raises(RequestError, match=words):
        typed_options(REFINEMENTS.get("graph"), options, "graph")
