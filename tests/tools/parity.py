"""Compares a loss and its gradient with those of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def embeddings(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same_loss_and_gradient(
    loss: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor, rtol: float = 1e-5
) -> None:
    """Both functions of the inputs have the same value and the same gradient for every input, to rounding.

    Args:
        loss: that is tested.
        reference: returns what is expected, a scalar.
        inputs: floating-point tensors.
        rtol: allowed difference of the values, and of the gradients as fractions of their largest entry.
    """
    results = []
    for function in (loss, reference):
        leaves = [one.detach().clone().requires_grad_() for one in inputs]
        value = function(*leaves)
        gradients = torch.autograd.grad(value, leaves, allow_unused=True)
        zeros = [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, gradients, strict=True)]
        results.append((value.detach(), zeros))
    (value, found), (expected_value, expected) = results
    torch.testing.assert_close(value, expected_value.to(value), rtol=rtol, atol=rtol)
    for gradient, wanted in zip(found, expected, strict=True):
        scale = float(wanted.abs().max())
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=rtol * max(scale, 1e-6))
    assert any(one.abs().max() > 0 for one in expected), "the gradient is zero, and shows nothing"
