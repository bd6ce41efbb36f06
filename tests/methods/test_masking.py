from functools import partial

import numpy as np
import pytest
import torch

from methods.masking import MaskedTransformer, for_images, masked_of, patches_of, random_order, sine_cosine_positions
from protocols.backbones.small import Conv4

GRID = 4


def test_patches_are_cut_row_by_row():
    images = torch.rand(2, 3, 8, 8)
    patches = patches_of(images, 2)
    assert patches.shape == (2, 16, 12)
    for row in range(4):
        for column in range(4):
            pixels = images[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[1, 4 * row + column], pixels.permute(1, 2, 0).flatten())


def test_patches_and_positions_are_lightlys():
    utils = pytest.importorskip("lightly.models.utils")
    images = torch.rand(2, 3, 12, 12)
    assert torch.equal(patches_of(images, 3), utils.patchify(images, 3))
    expected = utils.get_2d_sine_cosine_positional_embedding(embed_dim=16, grid_size=GRID, cls_token=False)
    np.testing.assert_allclose(sine_cosine_positions(GRID, 16), expected, atol=1e-6)
    with pytest.raises(ValueError, match="a width of 6 is no multiple of 4"):
        sine_cosine_positions(GRID, 6)


def test_every_patch_is_equally_often_among_the_masked():
    torch.manual_seed(0)
    masked = masked_of(random_order(4000, 9, torch.device("cpu")), 3)
    assert (masked.sum(1) == 3).all()
    torch.testing.assert_close(masked.float().mean(0), torch.full((9,), 1 / 3), atol=0.03, rtol=0)
    counts = torch.tensor([[0.0], [2.0], [9.0]])
    assert masked_of(random_order(3, 9, torch.device("cpu")), counts).sum(1).tolist() == [0, 2, 9]


def transformer() -> MaskedTransformer:
    torch.manual_seed(0)
    return MaskedTransformer(6, 5, GRID, width=16, depth=2, heads=2)


def test_predictions_belong_to_positions_and_not_to_an_order():
    """Visible tokens in another order change nothing; masked positions in another order change the order."""
    model, tokens, order = transformer(), torch.rand(3, 1 + 7, 6), torch.rand(3, 16).argsort(1)
    visible, masked = order[:, :7], order[:, 7:]
    predictions = model(tokens, visible, masked)
    assert predictions.shape == (3, 9, 5)
    turned = torch.cat([tokens[:, :1], tokens[:, 1:].flip(1)], dim=1)
    torch.testing.assert_close(model(turned, visible.flip(1), masked.flip(1)), predictions.flip(1))
    assert not torch.allclose(model(tokens, visible.flip(1), masked), predictions, atol=1e-3)
    assert not torch.allclose(model(tokens, visible, visible.flip(1)[:, :1]), predictions[:, :1], atol=1e-3)


def test_blocks_are_those_of_timm():
    """The same weights in timm's pre-norm block give the same numbers; and blocks begin with weights of their own."""
    from timm.models.vision_transformer import Block

    model, x = transformer(), torch.rand(2, 5, 16)
    expected = x
    for layer in model.blocks.layers:
        block = Block(16, 2, qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
        weights = {
            "norm1.weight": layer.norm1.weight,
            "norm1.bias": layer.norm1.bias,
            "norm2.weight": layer.norm2.weight,
            "norm2.bias": layer.norm2.bias,
            "attn.qkv.weight": layer.self_attn.in_proj_weight,
            "attn.qkv.bias": layer.self_attn.in_proj_bias,
            "attn.proj.weight": layer.self_attn.out_proj.weight,
            "attn.proj.bias": layer.self_attn.out_proj.bias,
            "mlp.fc1.weight": layer.linear1.weight,
            "mlp.fc1.bias": layer.linear1.bias,
            "mlp.fc2.weight": layer.linear2.weight,
            "mlp.fc2.bias": layer.linear2.bias,
        }
        block.load_state_dict(weights)
        expected = block(expected)
    torch.testing.assert_close(model.blocks(x), model.blocks.norm(expected), atol=1e-5, rtol=1e-5)
    first, last = model.blocks.layers
    assert not torch.equal(first.linear1.weight, last.linear1.weight)


def test_outputs_of_images_are_those_of_the_function_or_of_what_ranks_compute_together():
    backbone, images, rows = Conv4(), torch.rand(2, 3, 8, 8), torch.rand(2, 4)

    def function(images, rows):
        return images.sum((1, 2, 3)), rows

    assert all(map(torch.equal, for_images(backbone, function, images, rows), function(images, rows)))
    backbone.run_parallel = lambda function, *tensors: ("together", function, len(tensors))
    assert for_images(backbone, function, images, rows) == ("together", function, 2)
