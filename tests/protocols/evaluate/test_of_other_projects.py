"""Evaluations with the settings of other projects, against their code and a rewriting of what it does."""

import re
from statistics import fmean, variance

import numpy as np
import pytest
import torch
from lightly.utils.benchmarking import knn_predict
from torch.nn import functional as F

from protocols.evaluate.knn import knn
from protocols.evaluate.knn_of_other_projects import knn_dino, knn_lightly, knn_wmse, nearest_by_distance
from protocols.evaluate.linear import linear
from protocols.evaluate.linear_of_other_projects import linear_dino, linear_relational, linear_solo
from protocols.features.features import Features
from protocols.spec import protocol as protocols
from protocols.spec.plugins import EVALUATIONS
from protocols.system.randomness import key, permutation
from tests.tools import other_projects

N = 500
PRESETS = ("knn-lightly", "knn-dino", "knn-wmse", "linear-solo", "linear-dino", "linear-relational")


def features(classes=12, noise=1.0) -> Features:
    """Classes that overlap, of unlike lengths, so that cosine and Euclidean neighbours differ."""
    g = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(classes, 16, generator=g)

    def split(size: int):
        labels = torch.randint(classes, (size,), generator=g)
        x = centres[labels] + 2 * noise * torch.randn(size, 16, generator=g)
        return x * (0.2 + 2 * torch.rand(size, 1, generator=g)), labels

    return Features(*split(N), *split(N), classes, seed=0)


def percent(hits) -> float:
    return 100 * float(np.mean(np.asarray(hits, dtype=float)))


@pytest.mark.parametrize("k", [200, 20])
def test_knn_lightly_is_lightlys(k):
    some = features()
    units = [F.normalize(x, dim=1) for x in (some.test, some.train)]
    ranked = knn_predict(units[0], units[1].T, some.train_labels, some.classes, knn_k=k, knn_t=0.1)
    found = knn_lightly(some) if k == 200 else knn_lightly(some, k=k)
    hits = ranked == some.test_labels[:, None]
    assert found["top1"] == pytest.approx(percent(hits[:, 0]), abs=1e-6)
    if k == 200:  # every class has a vote
        assert found["top5"] == pytest.approx(percent(hits[:, :5].any(1)), abs=1e-6)
    assert found != knn(some)


def test_knn_dino_is_the_released_classifier():
    """Votes of the 20 most similar images, each exp(cosine / 0.07)."""
    some = features()
    similarity = F.normalize(some.test, dim=1) @ F.normalize(some.train, dim=1).T
    values, rows = similarity.topk(20)
    votes = torch.zeros(N, some.classes).scatter_add_(1, some.train_labels[rows], (values / 0.07).exp())
    order = votes.sort(1, descending=True).indices
    assert knn_dino(some)["top1"] == pytest.approx(percent(order[:, 0] == some.test_labels), abs=1e-6)
    supported = votes.gather(1, order[:, :5]) > 0
    five = ((order[:, :5] == some.test_labels[:, None]) & supported).any(1)
    assert knn_dino(some)["top5"] == pytest.approx(percent(five), abs=1e-6)


def test_knn_wmse_is_the_released_classifier():
    """The most frequent label of the 5 nearest images by Euclidean distance; of equals the lowest."""
    some = features()
    distances = np.linalg.norm(some.test.numpy()[:, None] - some.train.numpy()[None], axis=2)
    hits, ties = [], 0
    for row, label in zip(distances, some.test_labels.tolist(), strict=True):
        counts = np.bincount(some.train_labels.numpy()[np.argsort(row, kind="stable")[:5]], minlength=some.classes)
        ties += (counts == counts.max()).sum() > 1
        hits.append(counts.argmax() == label)
    assert ties > 20
    assert knn_wmse(some)["top1"] == pytest.approx(percent(hits), abs=1e-6)
    assert knn_wmse(some)["top1"] != knn(some, k=5)["top1"]


def test_nearest_by_distance_with_ties_takes_the_first_rows():
    g = torch.Generator().manual_seed(0)
    bank, queries = (torch.randint(3, (size, 2), generator=g).float() for size in (40, 30))
    expected = [
        sorted(sorted(range(40), key=lambda i, q=q: ((q - bank[i]).square().sum().item(), i))[:7]) for q in queries
    ]
    assert nearest_by_distance(queries, bank, 7).tolist() == expected
    assert nearest_by_distance(queries, bank, 99).tolist() == [[*range(40)]] * 30


def trained(some: Features, layer, *, epochs, batch, lr, scheduler, drop_last=False) -> float:
    """Accuracy after the plain loop of a training script."""
    optimizer = torch.optim.SGD(layer.parameters(), lr, momentum=0.9, weight_decay=0)
    schedule = scheduler(optimizer)
    for epoch in range(epochs):
        for index in permutation(N, 0, "classifier", epoch).split(batch):
            if drop_last and len(index) < batch:
                continue
            loss = torch.nn.CrossEntropyLoss()(layer(some.train[index]), some.train_labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return percent(layer(some.test).argmax(1) == some.test_labels)


def new_layer(some):
    torch.manual_seed(key(0, "classifier"))
    return torch.nn.Linear(16, some.classes)


@pytest.mark.parametrize(("epochs", "options"), [(100, {}), (20, {"lr": 3.0, "batch": 64})])
def test_linear_solo_is_sgd_with_two_steps(epochs, options):
    some = features()
    words = {"batch": 256, "lr": 0.3, **options}
    expected = trained(
        some,
        new_layer(some),
        epochs=epochs,
        batch=words["batch"],
        lr=words["lr"] * words["batch"] / 256,
        drop_last=True,
        scheduler=lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [round(0.6 * epochs), round(0.8 * epochs)], 0.1),
    )
    assert linear_solo(some, epochs=epochs, **options)["top1"] == pytest.approx(expected, abs=0.4)


@pytest.mark.parametrize(("epochs", "options"), [(100, {}), (20, {"lr": 0.1, "batch": 64})])
def test_linear_dino_is_the_released_loop(epochs, options):
    some = features()
    words = {"batch": 1024, "lr": 0.001, **options}
    layer = new_layer(some)
    layer.weight.data.normal_(mean=0.0, std=0.01)
    layer.bias.data.zero_()
    expected = trained(
        some,
        layer,
        epochs=epochs,
        batch=words["batch"],
        lr=words["lr"] * words["batch"] / 256,
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs, eta_min=0),
    )
    assert linear_dino(some, epochs=epochs, **options)["top1"] == pytest.approx(expected, abs=0.4)


def test_linear_relational_is_what_the_papers_protocol_measures():
    some = features()
    options = dict(protocols.load("relational2020").tables["evaluations"]["linear"])
    assert linear_relational(some) == linear(some, **options)
    assert linear_relational(some) != linear(some)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_named_in_every_protocol_and_says_how_it_differs(name):
    assert name in EVALUATIONS
    assert "ifference" in EVALUATIONS.get(name).__doc__ or name == "linear-relational"


def on_fixed_features(name: str, seed: int, **options) -> dict[str, float]:
    some = Features(*other_projects.fixed_features(), other_projects.CLASSES, seed=seed)
    return EVALUATIONS.get(name)(some, **options)


def of_their_code(evaluation: str, metric: str) -> list[float]:
    return [float(row[metric]) for row in other_projects.read() if row["evaluation"] == evaluation and row[metric]]


def test_nearest_neighbours_are_those_of_the_projects_own_code():
    for name in ("knn-dino", "knn-wmse"):
        assert on_fixed_features(name, 0)["top1"] == pytest.approx(*of_their_code(name, "top1"), abs=1e-6)
    five, theirs = on_fixed_features("knn-dino", 0)["top5"], of_their_code("knn-dino", "top5")[0]
    assert theirs - 0.1 < five <= theirs  # a class that no neighbour has is no hit here
    assert f"{five:.2f} % instead of {theirs:.2f}" in knn_dino.__doc__


@pytest.mark.parametrize(
    ("evaluation", "options"),
    [("linear-solo", {}), ("linear-solo[batch=64]", {"batch": 64}), ("linear-dino", {}), ("linear-relational", {})],
)
def test_linear_classifiers_reach_what_the_projects_own_code_does(evaluation, options):
    """Within four standard errors of the repetitions; both differ in nothing but what is drawn at random."""
    name = evaluation.partition("[")[0]
    ours = [on_fixed_features(name, seed, **options) for seed in other_projects.SEEDS]
    for metric in ("top1", "top5"):
        if theirs := of_their_code(evaluation, metric):
            assert len(theirs) == len(other_projects.SEEDS)
            here = [scores[metric] for scores in ours]
            error = ((variance(here) + variance(theirs)) / len(theirs)) ** 0.5
            assert fmean(here) == pytest.approx(fmean(theirs), abs=4 * error)
            if metric == "top1" and not options:
                said = re.search(r"code reaches\s+(\d+\.\d+) %, this (\d+\.\d+)", EVALUATIONS.get(name).__doc__)
                assert float(said[1]) == round(fmean(theirs), 2)
                assert float(said[2]) == pytest.approx(fmean(here), abs=0.1)


@pytest.mark.parametrize("options", [{"batch": 64, "lr": 1.2}, {"lr": 0.03}])
def test_another_setting_would_be_noticed(options):
    """The learning rate without the rule for smaller batches is four times as high."""
    theirs = of_their_code("linear-solo", "top1")
    ours = [on_fixed_features("linear-solo", seed, **options)["top1"] for seed in range(2)]
    assert abs(fmean(ours) - fmean(theirs)) > 4 * (variance(theirs) / 5) ** 0.5


def test_every_preset_but_lightlys_has_accuracies_of_its_projects_code():
    rows = other_projects.read()
    assert {row["evaluation"].partition("[")[0] for row in rows} == {*PRESETS} - {"knn-lightly"}
    assert all(re.fullmatch("[0-9a-f]{40}", row["commit"]) for row in rows)
    known = {name for group in other_projects.PROJECTS.values() for name in group}
    assert known == {row["evaluation"] for row in rows}


def test_an_epoch_of_fewer_images_than_a_batch_has_one_step():
    some = features()
    assert linear_solo(some, batch=2 * N, lr=0.05) != linear_solo(some, batch=2 * N, lr=0.05, epochs=1)
