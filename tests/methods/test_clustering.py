import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from methods import clustering
from methods.clustering import assign_clusters, kmeans, kmeans_plus_plus, lloyd, pca_whiten, sinkhorn


def cloud(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_whitening_is_scikit_learns():
    features = cloud(300, 8) @ cloud(8, 8, seed=1) + 3
    expected = torch.from_numpy(PCA(5, whiten=True).fit_transform(features.double().numpy())).float()
    mine = pca_whiten(features, 5)
    torch.testing.assert_close(mine * (mine * expected).sum(0).sign(), expected, rtol=1e-3, atol=1e-3)


def test_whitening_drops_what_does_not_vary():
    features = cloud(100, 6)
    features[:, 2], features[:, 4] = 7.0, 0.0
    white = pca_whiten(features, 256)
    assert white.shape == (100, 6)
    torch.testing.assert_close(white.std(0), torch.tensor([1.0, 1, 1, 1, 0, 0]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("iterations", [1, 3, 100])
def test_lloyd_is_scikit_learns(iterations):
    """Its labels belong to its last centres, which takes one assignment more."""
    points = cloud(500, 4)
    centres = points[:12]
    theirs = KMeans(12, init=centres.numpy(), n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(points)
    clusters, inertia = lloyd(points, centres, iterations + 1)
    assert np.array_equal(clusters, theirs.labels_)
    assert inertia == pytest.approx(theirs.inertia_, rel=1e-5)


def test_a_cluster_that_runs_empty_stays():
    points = torch.tensor([[0.0], [1.0], [10.0]])
    clusters, _ = lloyd(points, torch.tensor([[0.5], [10.0], [99.0]]), 5)
    assert clusters.tolist() == [0, 0, 1]


def test_nearest_centres_do_not_depend_on_the_chunk(monkeypatch):
    points, centres = cloud(50, 3), cloud(7, 3, seed=1)
    expected = torch.cdist(points, centres).argmin(1)
    assert torch.equal(assign_clusters(points, centres)[0], expected)
    monkeypatch.setattr(clustering, "DISTANCES_PER_BLOCK", 30)
    assert torch.equal(assign_clusters(points, centres)[0], expected)


def test_starts_are_drawn_by_squared_distance():
    """From 0, the points 1 and 3 are drawn as 1 to 9; a point is never drawn twice."""
    torch.manual_seed(0)
    points = torch.tensor([[0.0], [1.0], [3.0]])
    drawn = [kmeans_plus_plus(points, 3).flatten().tolist() for _ in range(2000)]
    assert all(sorted(centres) == [0, 1, 3] for centres in drawn)
    after_zero = [centres[1] for centres in drawn if centres[0] == 0]
    share, n = after_zero.count(3.0) / len(after_zero), len(after_zero)
    assert n == pytest.approx(2000 / 3, rel=0.15)
    assert share == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / n))


def test_blobs_are_found_again():
    torch.manual_seed(0)
    truth = torch.arange(10).repeat(30)
    points = 5 * cloud(10, 6, seed=2)[truth] + 0.1 * cloud(300, 6)
    clusters = kmeans(points, 10, restarts=5, iterations=30)
    assert len({(int(a), int(b)) for a, b in zip(truth, clusters, strict=True)}) == 10


def test_points_that_are_all_alike_can_be_clustered():
    assert kmeans(torch.ones(10, 3), 4, restarts=2, iterations=5).tolist() == [0] * 10


def test_sinkhorn_gives_every_prototype_as_many_points():
    scores = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
    q = sinkhorn(scores, torch.ones(12), epsilon=0.1, iterations=50)
    torch.testing.assert_close(q.sum(1), torch.ones(12))
    torch.testing.assert_close(q.sum(0), torch.full((4,), 3.0), atol=1e-4, rtol=0)


def test_sinkhorn_is_that_of_its_points_alone_where_others_have_no_weight():
    """Whatever the scores of the others; and neither scores nor a small epsilon overflow."""
    scores = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    expected = sinkhorn(scores[:6], torch.ones(6), epsilon=0.05, iterations=3)
    found = sinkhorn(scores, torch.tensor([1.0] * 6 + [0.0] * 3), epsilon=0.05, iterations=3)
    torch.testing.assert_close(found[:6], expected)
    assert not found[6:].any()
    assert sinkhorn(100 * scores, torch.ones(9), epsilon=0.05, iterations=3).isfinite().all()
