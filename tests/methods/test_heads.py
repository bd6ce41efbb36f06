"""Heads against layers written out."""

import torch
from torch import nn

from methods.heads import mlp


def test_a_hidden_layer_is_linear_batchnorm_and_activation():
    torch.manual_seed(0)
    head, x = mlp(5, 7, 6, 3), torch.randn(11, 5)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    expected = x
    for linear in (head[0], head[3]):
        expected = expected @ linear.weight.T + linear.bias
        expected = (expected - expected.mean(0)) / (expected.var(0, unbiased=False) + 1e-5).sqrt()
        expected = expected.clamp(min=0)
    torch.testing.assert_close(head(x), expected @ head[6].weight.T + head[6].bias)


def test_batchnorm_and_activation_are_chosen():
    layers = mlp(5, 7, 3, norm=False, activation=nn.LeakyReLU)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.LeakyReLU, nn.Linear]
    assert [type(layer) for layer in mlp(5, 3)] == [nn.Linear]


def test_biases_can_be_left_out_and_batchnorm_without_weights_comes_last():
    torch.manual_seed(0)
    head, x = mlp(5, 7, 3, bias=False, last_norm=True), torch.randn(11, 5)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert head[0].bias is None
    assert head[3].bias is None
    assert head[4].weight is None
    out = head(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
