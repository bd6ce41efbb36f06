import pytest
import torch
from torch.nn import functional as F

from methods.mmcr import manifold_capacity, nuclear_norm, polar_factor
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def reference(z: torch.Tensor, local: float) -> torch.Tensor:
    """By singular values, an image at a time."""
    z = F.normalize(z, dim=-1)
    own = [torch.linalg.svdvals(z[:, image]).sum() for image in range(z.shape[1])]
    return local * torch.stack(own).mean() - torch.linalg.svdvals(z.mean(0)).sum()


@pytest.mark.parametrize(("views", "images", "dim"), [(2, 9, 5), (2, 5, 9), (4, 6, 6)])
@pytest.mark.parametrize("local", [0.0, 0.3])
def test_loss_and_gradient_are_those_of_the_definition(views, images, dim, local):
    z = embeddings(views, images, dim)
    assert_same_loss_and_gradient(lambda z: manifold_capacity(z, local=local), lambda z: reference(z, local), z)


def test_loss_and_gradient_are_lightlys():
    """Which takes two halves of the views, as of two networks, and does not normalise them."""
    lightly = pytest.importorskip("lightly.loss")
    criterion = lightly.MMCRLoss(lmda=0.3)

    def theirs(z):
        first, second = F.normalize(z, dim=-1).transpose(0, 1).chunk(2, dim=1)
        return criterion(first, second)

    assert_same_loss_and_gradient(lambda z: manifold_capacity(z, local=0.3), theirs, embeddings(4, 7, 5), rtol=1e-4)


def test_the_polar_factor_is_exact_down_to_small_singular_values():
    u, v = (torch.linalg.qr(embeddings(8, 8, seed=seed)).Q for seed in (1, 2))
    values = torch.tensor([1.0, 0.5, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 0.0], dtype=torch.float64)
    matrix = u.double() @ values.diag() @ v.double().T
    expected = u.double()[:, :7] @ v.double()[:, :7].T
    last = torch.outer(u[:, 7], v[:, 7]).double()
    factor = polar_factor(matrix)
    projected = factor - (factor * last).sum() * last
    torch.testing.assert_close(projected, expected, atol=1e-6, rtol=0)
    assert nuclear_norm(matrix).item() == pytest.approx(values.sum().item(), abs=1e-6)


def test_the_norm_of_nothing_is_zero():
    """Of views that are all equal, and of a matrix of zeros."""
    assert nuclear_norm(torch.zeros(3, 4)) == 0
    z = F.normalize(torch.ones(2, 5, 4), dim=-1)
    torch.testing.assert_close(manifold_capacity(z, local=0.0), torch.tensor(-(5**0.5)))
