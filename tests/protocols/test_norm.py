"""BatchNorm of few channels against torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from protocols.backbones import norm


def like(layer: norm.BatchNorm2d) -> nn.BatchNorm2d:
    """Torch's layer with the same state, in float64."""
    reference = nn.BatchNorm2d(layer.num_features)
    reference.load_state_dict(layer.state_dict())
    return reference.double()


def images(channels: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Activations far from zero mean and unit variance, each channel differently."""
    torch.manual_seed(channels)
    scale = torch.arange(1, channels + 1).view(1, -1, 1, 1)
    x = torch.randn(6, channels, 16, 16) * scale + 3 * scale
    return x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_narrow_norm_is_batch_norm(channels: int) -> None:
    layer = norm.BatchNorm2d(channels)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2.0)
        layer.bias.normal_()
    reference = like(layer)
    x, weights = images(channels), torch.randn(6, channels, 16, 16)
    expected_x = x.detach().double().requires_grad_()
    assert norm.is_narrow(x)
    for _ in range(2):
        out, expected = layer(x), reference(expected_x)
        torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-5)
        (out * weights).sum().backward()
        (expected * weights).sum().backward()
    for got, wanted in [(x, expected_x), (layer.weight, reference.weight), (layer.bias, reference.bias)]:
        assert got.grad is not None
        assert wanted.grad is not None
        torch.testing.assert_close(got.grad, wanted.grad.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.running_mean, reference.running_mean.float())
    torch.testing.assert_close(layer.running_var, reference.running_var.float())
    assert layer.num_batches_tracked == 2
    layer.eval()
    reference.eval()
    torch.testing.assert_close(layer(x), reference(expected_x).float(), rtol=1e-5, atol=1e-5)


def test_narrow_norm_keeps_bfloat16_and_computes_in_float32() -> None:
    layer = norm.BatchNorm2d(8)
    x = images(8, torch.bfloat16)
    out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, like(layer).train()(x.detach().double()).bfloat16(), rtol=1e-2, atol=1e-2)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 8, 4, 4),
        torch.randn(2, 16, 4, 4).contiguous(memory_format=torch.channels_last),
        torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        torch.randn(1, 8, 3, 3).contiguous(memory_format=torch.channels_last),
    ],
    ids=["not channels-last", "many channels", "no divisor", "odd size"],
)
def test_all_else_is_left_to_torch(x: torch.Tensor) -> None:
    layer = norm.BatchNorm2d(x.shape[1])
    torch_layer = copy.deepcopy(like(layer).float())
    assert not norm.is_narrow(x)
    assert torch.equal(layer(x), torch_layer(x))
