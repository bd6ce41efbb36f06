"""Pooling against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from protocols.backbones import pool


def maps(channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(channels)
    return torch.randn(6, channels, height, width).to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 4, 32), (4, 16, 8), (8, 14, 28), (16, 4, 6)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_narrow_pooling_is_average_pooling(channels, height, width, dtype, tolerance):
    x = maps(channels, height, width, dtype).requires_grad_()
    assert pool.is_narrow(x)
    out, expected = pool.AvgPool2d()(x), F.avg_pool2d(x, 2)
    weights = torch.randn_like(expected)
    got, wanted = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (out, expected))
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 8, 4, 4),
        maps(32, 4, 4),
        maps(3, 4, 4),
        maps(8, 5, 4),
        maps(8, 4, 2),
        maps(8, 4, 7),
    ],
    ids=["not channels-last", "many channels", "no divisor", "odd height", "too narrow", "odd width"],
)
def test_all_else_is_left_to_torch(x):
    assert not pool.is_narrow(x)
    assert torch.equal(pool.AvgPool2d()(x), F.avg_pool2d(x, 2))


def test_the_mean_over_pixels_keeps_channels_last_gradients():
    x = maps(64, 4, 4).requires_grad_()
    mean, grads = pool.SpatialMean(), []
    for plain in (False, True):
        mean.plain = plain
        out = mean(x)
        torch.testing.assert_close(out, x.mean((2, 3)))
        grads += torch.autograd.grad(out.square().sum(), x)
    torch.testing.assert_close(*grads)
    assert grads[0].is_contiguous(memory_format=torch.channels_last)
