import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.mae import MAE, pixel_errors
from protocols.backbones.timm_models import timm
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def build(**options: float) -> MAE:
    torch.manual_seed(0)
    small = {"width": 16, "depth": 1, "heads": 2, **options}
    info = RunInfo(classes=3, images=9, side=16, steps=4, seed=0)
    return MAE(timm("timm:test_vit@patch=4", 16), MAE.Options(**small), info).train()


def slow_errors(predictions: torch.Tensor, targets: torch.Tensor, normalise: bool) -> torch.Tensor:
    errors = []
    for image in range(len(predictions)):
        for found, pixels in zip(predictions[image], targets[image], strict=True):
            wanted = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt() if normalise else pixels
            errors.append(((found - wanted) ** 2).mean())
    return torch.stack(errors).mean()


@pytest.mark.parametrize("normalise", [True, False])
def test_loss_and_gradient_are_those_of_the_definition(normalise):
    targets = 3 * embeddings(2, 4, 12, seed=1) + 1
    assert_same_loss_and_gradient(
        lambda predictions: pixel_errors(predictions, targets, normalise=normalise).mean(),
        lambda predictions: slow_errors(predictions, targets, normalise),
        embeddings(2, 4, 12),
    )


@pytest.mark.parametrize("mask", [0.75, 0.5])
def test_the_whole_method_is_lightlys_targets_and_indices(mask):
    """Masked patches alone are targets; the encoder sees the others."""
    utils = pytest.importorskip("lightly.models.utils")
    method, batch = build(mask=mask), Batch(torch.rand(3, 3, 16, 16), torch.arange(3))
    torch.manual_seed(5)
    loss = method(batch)["loss"]
    torch.manual_seed(5)
    order = torch.rand(3, 16).argsort(1)
    visible, masked = order[:, : int(16 * (1 - mask))], order[:, int(16 * (1 - mask)) :]
    predictions = method.decoder(method.backbone.tokens(batch.views, visible), visible, masked)
    target = utils.normalize_mean_var(utils.get_at_index(utils.patchify(batch.views, 4), masked))
    torch.testing.assert_close(loss, F.mse_loss(predictions, target), rtol=1e-5, atol=1e-5)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width must be a multiple of 4 and of 3 heads, not 16"):
        MAE.Options(width=16, heads=3)
