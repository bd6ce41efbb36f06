"""Gaussian blur as matrix products, with one matrix of weights per axis and view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def gaussian_blur(views: Tensor, sigma: Tensor, radius: int | None = None) -> Tensor:
    """Gaussian blur as torchvision's ``gaussian_blur``: reflected borders, a kernel of a tenth of the side.

    Args:
        views: (n, side, 3, side).
        sigma: (n, 1) standard deviations in pixels.
        radius: of the kernel in pixels, below the side; by default that of a tenth of the side.
    """
    n, side = views.shape[:2]
    weights = blur_weights(sigma, side, blur_radius(side) if radius is None else radius)
    half = torch.bmm(weights, views.view(n, side, 3 * side)).view(n, 3 * side, side)
    return torch.bmm(half, weights.transpose(1, 2)).view_as(views)


def blur_weights(sigma: Tensor, size: int, radius: int) -> Tensor:
    """Matrices (n, size, size) of the blur along one axis."""
    offsets = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = kernel / kernel.sum(1, keepdim=True)
    pixel = torch.arange(size, device=sigma.device)
    source = (pixel + offsets[:, None]).abs()
    source = torch.minimum(source, 2 * (size - 1) - source)
    one_hot = torch.nn.functional.one_hot(source, size).float()
    return torch.einsum("nt,tos->nos", kernel, one_hot)


def blur_radius(size: int) -> int:
    """Radius of the blur kernel in pixels: its width is a tenth of the side, as in SimCLR, and odd."""
    return max(1, size // 20)
