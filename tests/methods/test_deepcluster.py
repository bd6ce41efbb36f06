import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.deepcluster import DeepCluster
from protocols.backbones.small import Conv4
from results.errors import RequestError


def build(images: int = 60, **options) -> DeepCluster:
    torch.manual_seed(0)
    info = RunInfo(classes=10, images=images, side=16, steps=1, seed=0)
    return DeepCluster(Conv4(), DeepCluster.Options(**options), info)


def blobs(n: int) -> torch.Tensor:
    """Features of three kinds, of which every fourth is of the second kind and every twelfth of the third."""
    g = torch.Generator().manual_seed(0)
    kind = torch.tensor([2 if i % 12 == 0 else int(i % 4 == 0) for i in range(n)])
    return F.one_hot(kind, 64) * 10.0 + 0.1 * torch.randn(n, 64, generator=g)


def test_head_sizes_are_the_papers():
    """Linear to 256, BatchNorm, LeakyReLU, Linear to the clusters."""
    head = build(clusters=50).head
    assert sum(p.numel() for p in head.parameters()) == (64 * 256 + 256) + 2 * 256 + (256 * 50 + 50)
    assert isinstance(head[2], torch.nn.LeakyReLU)


@pytest.mark.parametrize("weighting", ["inverse", "complement"])
def test_loss_is_cross_entropy_weighted_by_the_size_of_clusters(weighting):
    method = build(clusters=3, components=2, weighting=weighting)
    method.before_epoch(0, lambda: blobs(60))
    sizes = torch.bincount(method.pseudo_labels)
    assert sorted(sizes.tolist()) == [5, 10, 45]

    index = torch.tensor([0, 1, 4, 7, 12, 59])
    views = torch.rand(6, 3, 16, 16)
    logits = method.eval().head(method.backbone(views))
    weight = {"inverse": 1.0 / sizes, "complement": 1.0 - sizes / 60}[weighting]
    total, weights = 0.0, 0.0
    for row, image in enumerate(index):
        label = method.pseudo_labels[image]
        total += weight[label] * -logits[row].log_softmax(0)[label]
        weights += weight[label]
    torch.testing.assert_close(method(Batch(views, index))["loss"], total / weights)


def test_only_the_last_layer_starts_anew():
    method = build(clusters=20)
    before = {name: value.clone() for name, value in method.named_parameters()}
    method.before_epoch(0, lambda: blobs(60))
    changed = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"head.3.weight", "head.3.bias"}
    assert method.head[3].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not method.head[3].bias.any()


def test_more_clusters_than_images_are_refused():
    with pytest.raises(RequestError, match=r"100 clusters of 60 images; lower them with --set deepcluster\.clusters=N"):
        build(images=60)


@pytest.mark.parametrize("weighting", ["inverse", "complement"])
def test_an_empty_cluster_has_a_finite_weight(weighting):
    method = build(images=20, clusters=6, components=2, restarts=1, weighting=weighting)
    method.before_epoch(0, lambda: F.one_hot(torch.arange(20) % 3, 64).float())
    assert len(method.pseudo_labels.unique()) < 6
    assert method.cluster_weights.isfinite().all()
