import pytest
import torch

from methods import Batch, RunInfo
from methods.simmim import SimMIM, masked_errors
from protocols.backbones.timm_models import timm
from results.errors import RequestError
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def build(**options: float) -> SimMIM:
    torch.manual_seed(0)
    info = RunInfo(classes=3, images=9, side=16, steps=4, seed=0)
    return SimMIM(timm("timm:test_vit@patch=4", 16), SimMIM.Options(**options), info).train()


def released_loss(predictions: torch.Tensor, pixels: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """|x - x'| summed over masked pixels, divided by their number and that of channels, as in the released code."""
    patch = masked[..., None].float().expand_as(pixels)
    return (torch.nn.functional.l1_loss(pixels, predictions, reduction="none") * patch).sum() / patch.sum()


def test_loss_and_gradient_are_those_of_the_released_code():
    pixels, masked = embeddings(3, 4, 12, seed=1), torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 1, 0]]).bool()
    assert_same_loss_and_gradient(
        lambda predictions: masked_errors(predictions, pixels, masked).mean(),
        lambda predictions: released_loss(predictions, pixels, masked),
        embeddings(3, 4, 12),
    )


@pytest.mark.parametrize(("square", "masked_patches"), [(1, 10), (2, 12)])
def test_squares_are_masked_whole_and_the_share_is_rounded_up(square, masked_patches):
    method, seen = build(square=square), []
    tokens = method.backbone.tokens
    method.backbone.tokens = lambda images, **masks: seen.append(masks["mask"]) or tokens(images, **masks)
    method(Batch(torch.rand(5, 3, 16, 16), torch.arange(5)))
    grid = seen[0].view(5, 4 // square, square, 4 // square, square)
    assert (seen[0].sum(1) == masked_patches).all()
    assert torch.equal(grid.any(4).any(2), grid.all(4).all(2))
    assert len({tuple(mask.tolist()) for mask in seen[0]}) > 1


def test_what_is_masked_does_not_reach_the_encoder():
    """The gradient of a prediction with respect to masked pixels is zero, and with respect to some others it is not."""
    method = build(square=1)
    images, masked = torch.rand(1, 3, 16, 16, requires_grad=True), torch.zeros(1, 16, dtype=torch.bool)
    masked[0, 5] = True
    tokens = method.backbone.tokens(images, mask=masked, mask_token=method.mask_token)
    gradient = torch.autograd.grad(tokens[0, 1 + 5].square().sum(), images)[0]
    assert not gradient[..., 4:8, 4:8].any()
    assert gradient.any()


def test_squares_that_do_not_fit_are_refused():
    with pytest.raises(RequestError, match="4 × 4 patches cannot be cut into squares of 3 × 3"):
        build(square=3)
