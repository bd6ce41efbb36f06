"""What methods that mask patches share: random masks, the pixels of patches, and a transformer that fills the gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from methods.base import Backbone


def for_images(
    backbone: Backbone, function: Callable[..., tuple[Tensor, ...]], images: Tensor, *rows: Tensor
) -> tuple[Tensor, ...]:
    """Outputs of a function of images and further rows; where ranks share a batch, each computes those of its images.

    Args:
        backbone: whose ranks divide the work.
        function: returns tensors with a row for each image.
        images: (n, 3, side, side).
        rows: tensors with a row for each image.
    """
    outputs: tuple[Tensor, ...]
    outputs = (
        function(images, *rows) if backbone.run_parallel is None else backbone.run_parallel(function, images, *rows)
    )
    return outputs


def patches_of(images: Tensor, size: int) -> Tensor:
    """The pixels (n, patches, size · size · 3) of images (n, 3, side, side), patch by patch, row by row."""
    rows = images.unfold(2, size, size).unfold(3, size, size)  # (n, 3, height, width, size, size)
    return rows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def random_order(images: int, patches: int, device: torch.device) -> Tensor:
    """For each image a random permutation of its patches, (images, patches) int64."""
    return torch.rand(images, patches, device=device).argsort(1)


def masked_of(order: Tensor, count: Tensor | int) -> Tensor:
    """Masks (n, patches), true at the first ``count`` patches of an ``order`` (n, patches); (n, 1) or one for all."""
    return order.argsort(1) < count


class MaskedTransformer(nn.Module):
    """Predicts at masked positions: a transformer over visible tokens and mask tokens, with fixed positions.

    Blocks normalise first. Positions are sines and cosines of row and column, as in MAE and I-JEPA.

    Args:
        dim: size of the visible tokens.
        output: size of a prediction.
        grid: number of patches in a row and in a column of the image.
        width: of the blocks.
        depth: number of blocks.
        heads: of attention; a divisor of ``width``.
    """

    positions: Tensor

    def __init__(self, dim: int, output: int, grid: int, *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        block = nn.TransformerEncoderLayer(
            width,
            heads,
            dim_feedforward=4 * width,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.TransformerEncoder(block, depth, norm=norm, enable_nested_tensor=False)
        self.predict = nn.Linear(width, output)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:  # blocks are copies of one, and each begins with weights of its own
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        self.register_buffer("positions", sine_cosine_positions(grid, width))

    def forward(self, tokens: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """Predictions for masked patches.

        Args:
            tokens: (n, prefix + v, dim): prefix tokens without a position, then those of visible patches.
            visible: (n, v) int64, the positions of the visible patches.
            masked: (n, m) int64, those of the masked patches.

        Returns:
            (n, m, output).
        """
        prefix = tokens.shape[1] - visible.shape[1]
        seen = self.embed(tokens)
        seen = torch.cat([seen[:, :prefix], seen[:, prefix:] + self.positions[visible]], dim=1)
        hidden = torch.cat([seen, self.mask_token + self.positions[masked]], dim=1)
        predictions: Tensor = self.predict(self.blocks(hidden)[:, seen.shape[1] :])
        return predictions


def sine_cosine_positions(grid: int, width: int) -> Tensor:
    """Fixed position embeddings (grid · grid, width): a quarter each of sines and cosines of the column and the row.

    Raises:
        ValueError: the width is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"a width of {width} is no multiple of 4")
    frequencies = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = (
        axis.flatten()[:, None] * frequencies for axis in torch.meshgrid(*[torch.arange(grid)] * 2, indexing="ij")
    )
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1).float()
