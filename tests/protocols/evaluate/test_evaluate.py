"""Evaluations against scikit-learn and slow references, on features of random but real-looking kind."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from protocols.backbones.inference import extract_features
from protocols.backbones.small import Conv4
from protocols.evaluate import linear_graphnnclr2025 as linear_graphnnclr2025_module
from protocols.evaluate.health import alignment, diagnose, feature_std, lidar, rankme, uniformity
from protocols.evaluate.knn import knn
from protocols.evaluate.linear import linear
from protocols.evaluate.linear_graphnnclr2025 import linear_graphnnclr2025
from protocols.features.features import Features, stratified_subset
from protocols.spec.plugins import EVALUATIONS
from protocols.system import randomness
from results.errors import Diverged


def features(classes: int = 5, n: int = 600, d: int = 12, noise: float = 2.0) -> Features:
    """Gaussian classes that overlap, on features of unlike scales."""
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, d, generator=g)
    scales = torch.linspace(0.1, 30, d)

    def split(size: int):
        labels = torch.randint(classes, (size,), generator=g)
        return (centres[labels] + noise * torch.randn(size, d, generator=g)) * scales + 5, labels

    (train, train_labels), (test, test_labels) = split(n), split(n)
    return Features(train, train_labels, test, test_labels, classes, seed=0)


def accuracy_of(classifier, some: Features) -> float:
    return 100 * float(np.mean(classifier.predict(some.test.numpy()) == some.test_labels.numpy()))


@pytest.mark.parametrize("l2", [1e-4, 1e-2])
def test_linear_is_scikit_learns_logistic_regression(l2):
    some = features()
    scaler = StandardScaler().fit(some.train.numpy())
    train, test = (scaler.transform(x.numpy()) for x in (some.train, some.test))
    reference = LogisticRegression(C=1 / (l2 * len(train)), max_iter=2000, tol=1e-8)
    expected = 100 * reference.fit(train, some.train_labels.numpy()).score(test, some.test_labels.numpy())
    assert linear(some, l2=l2)["top1"] == pytest.approx(expected, abs=0.2)


def test_linear_without_standardising_sees_the_scales():
    some = features()
    small = Features(some.train * 1e-3, some.train_labels, some.test * 1e-3, some.test_labels, 5, 0)
    assert linear(some, l2=1e-2) == pytest.approx(linear(small, l2=1e-2), abs=0.5)
    assert linear(small, l2=1e-2, standardize=False)["top1"] < linear(small, l2=1e-2)["top1"] - 3


def test_linear_by_adam_is_the_papers_loop():
    """Against the plain loop of section 4.1: default layer, Adam 1e-3, batches of 128, no penalty, last epoch."""
    some = features()
    got = linear(some, solver="adam", standardize=False, epochs=20)
    from protocols.system.randomness import key, permutation

    torch.manual_seed(key(0, "classifier"))
    layer = torch.nn.Linear(12, 5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    for epoch in range(20):
        for index in permutation(600, 0, "classifier", epoch).split(128):
            optimizer.zero_grad()
            F.cross_entropy(layer(some.train[index]), some.train_labels[index]).backward()
            optimizer.step()
    expected = 100 * (layer(some.test).argmax(1) == some.test_labels).float().mean().item()
    assert got["top1"] == pytest.approx(expected, abs=0.2)


def glorot(some: Features, restart: int) -> np.ndarray:
    """Initial weights (classes, d): the layer is made before they are drawn, as in the released code."""
    torch.manual_seed(randomness.key(some.seed, "classifier", restart))
    layer = torch.nn.Linear(some.train.shape[1], some.classes)
    bound = math.sqrt(6 / (some.train.shape[1] + some.classes))
    return layer.weight.data.uniform_(-bound, bound).double().numpy()


def adam_by_hand(some: Features, weight: np.ndarray, steps: int, lr: float) -> np.ndarray:
    """Predicted classes of the test images, by gradients and Adam (Kingma & Ba 2015) written out in float64."""
    x, test = (np.hstack([part.double().numpy(), np.ones((len(part), 1))]) for part in (some.train, some.test))
    w = np.hstack([weight, np.zeros((len(weight), 1))])
    targets = np.eye(some.classes)[some.train_labels.numpy()]
    mean, square = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        exponents = x @ w.T
        p = np.exp(exponents - exponents.max(1, keepdims=True))
        gradient = (p / p.sum(1, keepdims=True) - targets).T @ x / len(x)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        w -= lr * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
    return (test @ w.T).argmax(1)


@pytest.mark.parametrize(("steps", "lr"), [(100, 0.01), (7, 0.1)])
def test_the_released_linear_evaluation_is_full_batch_adam_on_unscaled_features(steps, lr):
    """Mean over restarts; the tolerance is less than one image of one restart."""
    some = features()
    labels = some.test_labels.numpy()
    hits = [np.mean(adam_by_hand(some, glorot(some, restart), steps, lr) == labels) for restart in range(3)]
    got = linear_graphnnclr2025(some, restarts=3, steps=steps, lr=lr)
    assert len(set(hits)) > 1
    assert got == {"top1": pytest.approx(100 * sum(hits) / 3, abs=0.05)}


def test_the_released_linear_evaluation_does_not_depend_on_how_many_are_trained_together(monkeypatch):
    some = features()
    together = linear_graphnnclr2025(some, restarts=3)
    monkeypatch.setattr(linear_graphnnclr2025_module, "SCORES_PER_BLOCK", 2 * some.classes * len(some.train))
    assert linear_graphnnclr2025(some, restarts=3) == pytest.approx(together, abs=0.05)


def test_the_released_linear_evaluation_does_not_converge_on_small_features():
    some = features()
    small = Features(some.train * 1e-3, some.train_labels, some.test * 1e-3, some.test_labels, 5, 0)
    assert linear_graphnnclr2025(small, restarts=1)["top1"] < linear(small)["top1"] - 3


def test_the_released_linear_evaluation_predicts_no_class_without_training_images():
    """Else a class at 0 that nothing was learned of would be hit, where the others' scores are below."""
    some = features()
    known = some.train_labels < 3
    part = replace(some, train=some.train[known], train_labels=some.train_labels[known], classes=12)
    seen = float((some.test_labels < 3).float().mean()) * 100
    found = linear_graphnnclr2025(part, restarts=2, steps=1)
    assert found["top1"] <= found["top5"] == pytest.approx(seen, abs=1e-4)


def test_the_released_linear_evaluation_has_the_settings_of_the_released_code():
    options = EVALUATIONS.describe("linear-graphnnclr2025").options
    assert options.items() - EVALUATIONS.common.items() == {("restarts", 20), ("steps", 100), ("lr", 0.01)}


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 1.0])
def test_a_fraction_is_drawn_of_every_class(fraction):
    labels = torch.tensor([0] * 200 + [1] * 50 + [2] * 3 + [4])[torch.randperm(254)]
    chosen = stratified_subset(labels, fraction, seed=0)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    expected = [max(1, round(fraction * count)) for count in (200, 50, 3, 0, 1)]
    expected[3] = 0
    assert labels[chosen].bincount(minlength=5).tolist() == expected


def test_a_fraction_hangs_on_the_seed_and_grows():
    labels = torch.arange(1000) % 10
    small, large, other = (set(stratified_subset(labels, *words).tolist()) for words in ((0.1, 0), (0.5, 0), (0.1, 1)))
    assert small < large
    assert small != other


def test_linear_on_a_fraction_is_scikit_learns_on_it():
    some = features()
    index = stratified_subset(some.train_labels, 0.25, some.seed).numpy()
    scaler = StandardScaler().fit(some.train.numpy())
    train, labels = scaler.transform(some.train.numpy())[index], some.train_labels.numpy()[index]
    reference = LogisticRegression(C=1 / (1e-2 * len(train)), max_iter=2000, tol=1e-8).fit(train, labels)
    expected = 100 * reference.score(scaler.transform(some.test.numpy()), some.test_labels.numpy())
    assert linear(some, l2=1e-2, fraction=0.25)["top1"] == pytest.approx(expected, abs=0.2)


def test_linear_copes_with_constant_features():
    some = features()
    dead = torch.zeros(600, 3)
    with_dead = Features(
        torch.cat([some.train, dead], 1), some.train_labels, torch.cat([some.test, dead], 1), some.test_labels, 5, 0
    )
    assert linear(with_dead)["top1"] == pytest.approx(linear(some)["top1"], abs=0.4)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (200, 0.1)])
def test_knn_is_scikit_learns(k, temperature):
    some = features()
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / temperature)
    )
    reference.fit(some.train.numpy(), some.train_labels.numpy())
    expected = accuracy_of(reference, some)
    assert knn(some, k=k, temperature=temperature)["top1"] == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("k", [1, 10, 200])
def test_knn_with_no_more_images_than_neighbours_is_scikit_learns(k):
    some = features(n=10)
    voters = min(k, 10)
    reference = KNeighborsClassifier(
        voters, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(some.train.numpy(), some.train_labels.numpy())
    assert knn(some, k=k)["top1"] == pytest.approx(accuracy_of(reference, some), abs=1e-6)


def test_five_classes_are_not_guessed_of_fewer_neighbours():
    """With k neighbours at most k classes have a vote; scikit-learn's probability of the others is 0."""
    some = features(classes=20, n=400)
    for k in (1, 3, 30):
        reference = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
        ).fit(some.train.numpy(), some.train_labels.numpy())
        shares = reference.predict_proba(some.test.numpy())
        best = np.argsort(-shares, axis=1, kind="stable")[:, :5]
        hits = (best == some.test_labels.numpy()[:, None]) & (np.take_along_axis(shares, best, 1) > 0)
        found = knn(some, k=k)
        assert found["top5"] == pytest.approx(100 * hits.any(1).mean(), abs=0.2)
        if k == 1:
            assert found["top5"] == found["top1"]


@pytest.mark.parametrize("temperature", [1e-4, 1e-3, 1e6])
def test_no_vote_is_lost_at_an_extreme_temperature(temperature):
    """Against exact fractions of the most similar neighbour's vote; in floats the votes themselves would all be 0."""
    some = features(classes=4, n=60, d=3)
    a, b = (F.normalize(x.double()) for x in (some.test, some.train))
    hits = []
    for row, label in zip((a @ b.T).tolist(), some.test_labels.tolist(), strict=True):
        nearest = sorted(range(60), key=lambda i, row=row: -row[i])[:9]
        votes = [Fraction(0)] * 4
        for i in nearest:
            exponent = (row[i] - row[nearest[0]]) / temperature
            votes[some.train_labels[i]] += Fraction(math.exp(max(exponent, -700)))
        hits.append(votes.index(max(votes)) == label)
    assert knn(some, k=9, temperature=temperature)["top1"] == pytest.approx(100 * np.mean(hits), abs=0.2)


def test_features_of_length_zero_are_voted_on_by_the_first_images():
    some = features(n=60)
    empty = Features(some.train * 0, some.train_labels, some.test * 0, some.test_labels, 5, 0)
    first = some.train_labels[:20].bincount(minlength=5).argmax()
    share = 100 * (some.test_labels == first).double().mean().item()
    assert knn(empty) == {"top1": pytest.approx(share)}
    lone = Features(
        some.train, some.train_labels, torch.cat([some.test[:1] * 0, some.test[1:]]), some.test_labels, 5, 0
    )
    reference = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(lone.train.numpy(), lone.train_labels.numpy())
    assert knn(lone)["top1"] == pytest.approx(accuracy_of(reference, lone), abs=100 / 60 + 1e-6)  # where all are tied


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_linear_on_constant_features_is_the_most_frequent_class(value):
    some = features()
    constant = Features(torch.full_like(some.train, value), some.train_labels, some.test * 0, some.test_labels, 5, 0)
    reference = DummyClassifier().fit(some.train.numpy(), some.train_labels.numpy())
    expected = 100 * reference.score(some.test.numpy(), some.test_labels.numpy())
    assert linear(constant) == {"top1": pytest.approx(expected)}


def test_linear_predicts_no_class_without_training_images():
    """Of 20 classes three have training images, so that five are not guessed of them."""
    some = features(classes=20)
    few = some.train_labels < 3
    rare = Features(some.train[few], some.train_labels[few], some.test, some.test_labels, 20, 0)
    share = 100 * (some.test_labels < 3).double().mean().item()
    for solver in ("lbfgs", "adam"):
        found = linear(rare, solver=solver, epochs=2)
        assert found["top5"] == pytest.approx(share)
        assert found["top1"] <= found["top5"]


def test_a_linear_classifier_that_diverges_is_no_result():
    with pytest.raises(Diverged, match="not finite"):
        linear(features(), solver="adam", lr=1e38, epochs=3)


def test_frozen_means_frozen():
    """Representing images changes neither weights nor running statistics, and is not changed by its batch."""
    torch.manual_seed(0)
    backbone = Conv4().train()
    backbone(torch.rand(64, 3, 16, 16))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    images = torch.rand(30, 3, 16, 16)
    together = extract_features(backbone, images, lambda some: some, torch.device("cpu"))
    apart = torch.cat([extract_features(backbone, one[None], lambda some: some, torch.device("cpu")) for one in images])
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert backbone.training
    assert not together.requires_grad
    torch.testing.assert_close(together, apart)


def test_health_of_known_representations():
    g = torch.Generator().manual_seed(0)
    isotropic = torch.randn(2000, 16, generator=g)
    assert feature_std(isotropic) == pytest.approx(1.0, abs=0.02)
    assert rankme(isotropic) == pytest.approx(16, abs=0.1)
    line = torch.randn(2000, 1, generator=g) @ torch.ones(1, 16)
    assert rankme(line) == pytest.approx(1.0, abs=0.01)
    constant = torch.ones(2000, 16) + 1e-4 * isotropic
    assert feature_std(constant) == pytest.approx(0.0, abs=1e-3)


def test_rankme_is_the_exponential_of_the_entropy_of_singular_values():
    values = torch.tensor([3.0, 2.0, 1.0])
    p = values / 6
    matrix = torch.cat([torch.diag(values), torch.zeros(4, 3)])
    assert rankme(matrix) == pytest.approx(math.exp(-(p * p.log()).sum().item()), abs=1e-4)


def slow_lidar(views: np.ndarray, delta: float = 1e-4) -> float:
    """Sums over images and views, and the whitening matrix itself."""
    k, q, d = views.shape
    means = [sum(views[image]) / q for image in range(k)]
    centre = sum(means) / k
    between = sum(np.outer(mean - centre, mean - centre) for mean in means) / k
    deviations = [views[image, view] - means[image] for image in range(k) for view in range(q)]
    within = sum(np.outer(one, one) for one in deviations) / (k * q) + delta * np.eye(d)
    values, vectors = np.linalg.eigh(within)
    whitening = vectors @ np.diag(values**-0.5) @ vectors.T
    p = np.linalg.eigvalsh(whitening @ between @ whitening).clip(0)
    p = p / p.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def test_lidar_is_that_of_a_slow_reference_and_counts_what_views_share():
    draw = np.random.default_rng(0)
    images, noise = draw.standard_normal((40, 1, 6)), draw.standard_normal((40, 5, 6))
    for spread in (1e-3, 0.3, 2.0):
        views = images * [3, 2, 1, 1, 0.1, 0.1] + spread * noise * [1, 1, 1, 5, 5, 5]
        assert lidar(torch.from_numpy(views)) == pytest.approx(slow_lidar(views), rel=1e-6)
    flat = np.broadcast_to(images[..., :2].repeat(3, 2), (40, 5, 6))  # two dimensions, each three times
    assert lidar(torch.from_numpy(flat + 0.1 * noise)) == pytest.approx(2, abs=0.5)
    assert lidar(torch.from_numpy(images + 0.1 * noise)) > 5


def test_alignment_and_uniformity_are_the_definitions():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 5, generator=g), torch.randn(8, 5, generator=g)
    a, b = F.normalize(x), F.normalize(y)
    assert alignment(x, y) == pytest.approx(sum(float((i - j).square().sum()) for i, j in zip(a, b, strict=True)) / 8)
    pairs = [math.exp(-2 * float((a[i] - a[j]).square().sum())) for i in range(8) for j in range(i)]
    assert uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)


def test_health_of_features_of_length_zero_and_of_a_single_image_is_finite():
    """Whatever has no spread has collapsed, and is told so."""
    for x in (torch.zeros(300, 16), torch.rand(1, 16)):
        health = diagnose(x, x, x, x[:, None])
        assert (health.std, health.alignment, health.uniformity) == (0.0, 0.0, 0.0)
        assert (health.rankme, health.lidar) == (pytest.approx(1.0, abs=1e-3),) * 2
        assert "all images have almost the same representation" in health.warning


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: torch.ones_like(x) + 1e-4 * x, "all images have almost the same representation"),
        (lambda x: x[:, :1] * torch.ones_like(x), "one dimension"),
        (lambda x: x, ""),
    ],
)
def test_collapse_is_named(make, words):
    x = make(torch.randn(300, 16, generator=torch.Generator().manual_seed(0)))
    warning = diagnose(x, x, x, x[:, None]).warning
    assert words in warning
    assert bool(words) == bool(warning)


def test_health_of_few_images():
    """Of two at right angles by hand; of one there is no spread and no pair."""
    two = torch.eye(2) * torch.tensor([[3.0], [0.5]])
    assert uniformity(two) == pytest.approx(-4.0)
    assert feature_std(two) == pytest.approx(math.sqrt(0.5) * math.sqrt(2))
    assert uniformity(two[:1]) == feature_std(two[:1]) == 0.0
