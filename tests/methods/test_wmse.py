import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.wmse import WMSE, whiten, whitened_distance
from protocols.backbones.small import Conv4
from results.errors import RequestError
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def slow_loss(z: torch.Tensor, sub_batches: list[list[int]]) -> torch.Tensor:
    """Of (views, images, dim): every sub-batch of every view whitened by the inverse of a Cholesky factor."""
    views = len(z)
    distances = []
    for rows in sub_batches:
        whitened = []
        for view in range(views):
            centred = z[view, rows] - z[view, rows].mean(0)
            covariance = sum(torch.outer(row, row) for row in centred) / (len(rows) - 1)
            inverse = torch.linalg.inv(torch.linalg.cholesky(covariance))
            whitened.append([inverse @ row for row in centred])
        distances += [
            (a / a.norm() - b / b.norm()).square().sum()
            for one in range(views)
            for other in range(one)
            for a, b in zip(whitened[one], whitened[other], strict=True)
        ]
    return torch.stack(distances).mean()


@pytest.mark.parametrize("views", [2, 4])
def test_loss_and_gradient_are_those_of_the_definition(views):
    sub_batches = [[5, 0, 9, 3, 7, 11, 2], [1, 4, 6, 8, 10, 12, 13]]
    z = embeddings(views, 14, 3).double()
    rows = torch.tensor(sub_batches).flatten()
    assert_same_loss_and_gradient(
        lambda z: whitened_distance(z[:, rows].unflatten(1, (2, 7)), eps=0.0), lambda z: slow_loss(z, sub_batches), z
    )


def build(info_batch: int = 12, **options: float) -> WMSE:
    torch.manual_seed(0)
    info = RunInfo(classes=10, images=40, side=16, steps=9, seed=0, batch=info_batch)
    return WMSE(Conv4(), WMSE.Options(**{"hidden": 16, "output": 3, "sub_batch": 6, **options}), info).train()


def batch_of(images: int, views: int = 2) -> Batch:
    return Batch(torch.rand(views * images, 3, 16, 16), torch.arange(images))


@pytest.mark.parametrize(("views", "partitions"), [(2, 1), (2, 3), (4, 1)])
def test_the_whole_method_is_lightlys(views, partitions):
    """Which permutes the batch by the same calls of the same generator."""
    lightly = pytest.importorskip("lightly.loss")
    method, batch = build(views=views, partitions=partitions), batch_of(12, views)
    criterion = lightly.WMSELoss(3, w_iter=partitions, w_size=6, num_samples=views)
    representations = method.backbone(batch.views).detach()

    def ours(weight):
        torch.manual_seed(1)
        method.backbone.forward = lambda _: representations @ weight
        return method(batch)["loss"]

    def theirs(weight):
        torch.manual_seed(1)
        return criterion(method.projector(representations @ weight))

    assert_same_loss_and_gradient(ours, theirs, torch.eye(method.backbone.dim), rtol=1e-4)


def test_every_view_of_every_sub_batch_is_white_by_itself():
    """Divided by the number of images less one; both views of a pair get a gradient."""
    z = embeddings(2, 3, 9, 4).requires_grad_()
    white = whiten(z, eps=0.0)
    for group in white.detach().flatten(0, 1):
        torch.testing.assert_close(group.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(group.T.cov(), torch.eye(4), atol=1e-4, rtol=0)
    first, second = F.normalize(white, dim=-1)
    gradient = torch.autograd.grad((first * second).sum(), z)[0]
    assert (gradient.abs().amax((1, 2, 3)) > 0.01).all()


def test_images_that_fill_no_sub_batch_are_left_out():
    """Two of a batch of 8, and a batch of 5, which has no gradient."""
    method, batch = build(), batch_of(8)
    z = method.projector(method.backbone(batch.views)).unflatten(0, (2, 8))
    torch.manual_seed(3)
    rows = torch.randperm(8)[:6]
    torch.manual_seed(3)
    torch.testing.assert_close(method(batch)["loss"], whitened_distance(z[:, None, rows], eps=0.0))
    loss = method(batch_of(5))["loss"]
    loss.backward()
    assert loss == 0
    assert not any(parameter.grad.any() for parameter in method.parameters())


def test_a_covariance_that_cannot_be_factorised_gives_no_number():
    """A number would go on with wrong weights; the run ends as diverged."""
    constant = torch.zeros(2, 1, 6, 3)
    assert whitened_distance(constant, eps=0.0).isnan()
    assert whitened_distance(embeddings(2, 1, 6, 3) * torch.tensor([1.0, 1.0, 0.0]), eps=0.1).isfinite()


def test_what_cannot_be_whitened_is_refused():
    with pytest.raises(ValueError, match="the covariance of 64 dimensions of 64 images is singular"):
        WMSE.Options(sub_batch=64)
    with pytest.raises(RequestError, match="a batch of 4 has no sub-batch of 6"):
        build(info_batch=4)
