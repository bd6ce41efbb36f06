"""What follows a convolution, done at once, against torch's operations one after the other."""

import copy
import logging

import pytest
import torch
from torch import nn

from protocols.backbones import block
from protocols.backbones.pool import SpatialMean
from protocols.backbones.small import Conv4
from protocols.system import compiled
from protocols.system.reference_ops import use_reference_ops

KINDS = [(channels, halved) for channels in (1, 8, 16, 32, 64) for halved in (False, True)]


@pytest.fixture(autouse=True)
def however_small(monkeypatch):
    monkeypatch.setattr(block, "MIN_NUMEL", 1)


def made(channels):
    """A block of which no parameter is at its default."""
    torch.manual_seed(channels)
    layer = block.Block(3, channels)
    with torch.no_grad():
        layer[1].weight.uniform_(0.5, 2.0)
        layer[1].bias.normal_()
        layer[0].weight += 0.2
    return layer.to(memory_format=torch.channels_last)


def plain(layer, dtype=torch.float64):
    reference = copy.deepcopy(layer).to(dtype)
    use_reference_ops(reference)
    return reference


def images(dtype=torch.float32):
    x = torch.randn(6, 3, 16, 32).to(dtype) + 0.5
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def passed(layer, x, *, halved):
    """What comes out, and the gradients for images and parameters."""
    out = layer.forward_pooled(x) if halved else layer(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return out, *torch.autograd.grad((out * weights.to(out)).sum(), [x, *layer.parameters()])


@pytest.mark.parametrize(("channels", "halved"), KINDS)
def test_a_block_is_batch_norm_relu_and_average_pooling(channels, halved):
    layer, x = made(channels), images()
    reference = plain(layer)
    assert layer.is_fused(layer[0](x))
    for _ in range(2):
        got, expected = passed(layer, x, halved=halved), passed(reference, x.double(), halved=halved)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other.float(), rtol=1e-3, atol=1e-3)
        assert got[0].is_contiguous(memory_format=torch.channels_last)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        one, other = (getattr(some[1], name) for some in (layer, reference))
        torch.testing.assert_close(one, other.to(one.dtype))
    layer.eval()
    torch.testing.assert_close(layer(x), reference.eval()(x.double()).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("halved", [False, True])
def test_bfloat16_is_kept_and_computed_with_in_float32(halved):
    layer, x = made(8), images()
    with torch.autocast("cpu", torch.bfloat16):
        out, grad, *_ = passed(layer, x, halved=halved)
        expected, wanted, *_ = passed(plain(layer, torch.float32), x, halved=halved)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(grad, wanted, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_repeats_to_the_bit(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        layer, x = made(8), images()
        one, again = (passed(layer, x, halved=True) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))


@pytest.mark.parametrize(
    "x",
    [torch.randn(2, 8, 4, 4), torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)],
    ids=["not channels-last", "no divisor"],
)
def test_all_else_is_left_to_torch(x):
    assert not block.can_fuse(x)


def test_odd_maps_are_halved_by_torch():
    layer, x = made(8), torch.randn(4, 3, 5, 8).contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.forward_pooled(x), plain(layer, torch.float32).forward_pooled(x))


def test_small_maps_are_left_to_torch(monkeypatch):
    monkeypatch.undo()
    layer = made(8)
    assert not layer.is_fused(layer[0](images()))


def test_without_a_compiler_torch_does_it_and_a_line_says_so(monkeypatch, caplog):
    def fail(function):
        def call(*_):
            raise RuntimeError("no compiler found\nand more")

        return call

    monkeypatch.setattr(compiled, "compile_function", fail)
    compiled.compilation_works.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            layer, x = made(8), images()
            expected = plain(layer, torch.float32)(x)
            assert torch.equal(layer(x), expected)
            layer(x)
        (line,) = caplog.messages
        assert "C++ compiler" in line
        assert "no compiler found" in line
        assert "\n" not in line
    finally:
        compiled.compilation_works.cache_clear()


def test_conv4_quick_and_plain_are_one_network():
    torch.manual_seed(0)
    backbone = Conv4().to(memory_format=torch.channels_last)
    slow = copy.deepcopy(backbone)
    use_reference_ops(slow)
    x = images()
    (z, maps), (expected_z, expected_maps) = backbone.forward_with_map(x), slow.forward_with_map(x)
    torch.testing.assert_close(maps, expected_maps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z, expected_z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(backbone(x), z, rtol=1e-4, atol=1e-4)
    assert isinstance(backbone.stem[1], nn.BatchNorm2d)


def test_the_mean_over_pixels_keeps_channels_last_gradients():
    x = torch.randn(6, 64, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    mean, grads = SpatialMean(), []
    for is_plain in (False, True):
        mean.plain = is_plain
        out = mean(x)
        torch.testing.assert_close(out, x.mean((2, 3)))
        grads += torch.autograd.grad(out.square().sum(), x)
    torch.testing.assert_close(*grads)
    assert grads[0].is_contiguous(memory_format=torch.channels_last)
