import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.ijepa import IJEPA, token_errors
from protocols.backbones.timm_models import timm
from tests.tools.parity import assert_same_loss_and_gradient, embeddings


def build(side: int = 32, **options: float) -> IJEPA:
    torch.manual_seed(0)
    small = {"width": 16, "depth": 1, "heads": 2, **options}
    info = RunInfo(classes=3, images=9, side=side, steps=4, seed=0)
    return IJEPA(timm("timm:test_vit@patch=4", side), IJEPA.Options(**small), info).train()


def slow_errors(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """0.5 d² where |d| < 1, |d| - 0.5 elsewhere."""
    errors = [d * d / 2 if abs(d) < 1 else abs(d) - 0.5 for d in (predictions - targets).flatten()]
    return torch.stack(errors).mean()


def test_loss_and_gradient_are_those_of_the_definition():
    targets = embeddings(2, 3, 4, seed=1)
    assert_same_loss_and_gradient(
        lambda predictions: token_errors(predictions, targets).mean(),
        lambda predictions: slow_errors(predictions, targets),
        embeddings(2, 3, 4),
    )


def test_blocks_are_rectangles_and_the_context_is_outside_of_them():
    method = build()
    for seed in range(8):
        torch.manual_seed(seed)
        context, blocks = method.sample_blocks(6, torch.device("cpu"))
        size = blocks.shape[2]
        assert 0.1 * 64 < size < 0.25 * 64
        assert context.shape == (6, 64 - 4 * size)
        for image in range(6):
            assert not set(context[image].tolist()) & set(blocks[image].flatten().tolist())
            assert context[image].unique().numel() == context.shape[1]
            for block in blocks[image]:
                rows, columns = block // 8, block % 8
                height, width = (int(axis.max() - axis.min()) + 1 for axis in (rows, columns))
                assert height * width == size == block.unique().numel()
    assert len({tuple(block.tolist()) for block in blocks.flatten(0, 1)}) > 5


def test_the_whole_method_block_by_block():
    """Each block predicted by itself, from the context; targets are normalised tokens of the unmasked image."""
    method, batch = build(side=16, blocks=2), Batch(torch.rand(3, 3, 16, 16), torch.arange(3))
    with torch.no_grad():
        method.target.module.model.blocks[0].mlp.fc1.weight.mul_(1.1)
    torch.manual_seed(5)
    loss = method(batch)["loss"]
    torch.manual_seed(5)
    context, blocks = method.sample_blocks(3, torch.device("cpu"))
    tokens = method.backbone.tokens(batch.views, context)
    with torch.no_grad():
        whole = method.encoder.tokens(batch.views)[:, 1:]
    errors = []
    for image in range(3):
        for block in blocks[image]:
            found = method.predictor(tokens[image : image + 1], context[image : image + 1], block[None])[0]
            target = (whole[image, block] - whole[image, block].mean(1, keepdim=True)) / (
                whole[image, block].var(1, unbiased=False, keepdim=True) + 1e-5
            ).sqrt()
            errors.append(F.smooth_l1_loss(found, target))
    torch.testing.assert_close(loss, torch.stack(errors).mean(), rtol=1e-5, atol=1e-5)


def test_the_target_follows_and_is_what_is_evaluated():
    method = build(side=16, momentum=0.5)
    before = method.encoder.model.pos_embed.clone()
    with torch.no_grad():
        method.backbone.model.pos_embed.add_(1.0)
    method.after_step(0.0)
    torch.testing.assert_close(method.encoder.model.pos_embed, before + 0.5)


def test_blocks_that_leave_no_context_are_refused():
    with pytest.raises(ValueError, match=r"5 blocks of 0\.15 to 0\.2 leave no context"):
        IJEPA.Options(blocks=5)
