"""SimMIM: reconstruct the pixels of masked patches by one linear layer, from an encoder that sees mask tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.losses import full_precision
from methods.masking import for_images, masked_of, patches_of, random_order
from methods.registry import register_method
from results.constraints import Above, AtLeast, Below
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


@register_method("simmim")
class SimMIM(Method):
    """SimMIM (Xie et al., CVPR 2022, arXiv 2111.09886).

    Squares of patches are masked together. One view with the augmentation ``light``.

    Deviation: the backbone keeps its last normalisation and its position embeddings.
    """

    uses_tokens = True
    augmentations = ("light",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of SimMIM; defaults of the released code for ViT.

        Attributes:
            mask: fraction of the squares that are masked, rounded up.
            square: side of the squares, in patches; a divisor of the image's.
        """

        mask: Annotated[float, Above(0), Below(1)] = 0.6
        square: Annotated[int, AtLeast(1)] = 2

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        grid = info.side // backbone.patch_size
        if grid % options.square:
            raise RequestError(
                f"simmim: {grid} × {grid} patches cannot be cut into squares of {options.square} × {options.square}",
                hint="choose another simmim.square",
            )
        self.squares = grid // options.square
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(backbone.dim), std=0.02))
        self.head = nn.Linear(backbone.dim, 3 * backbone.patch_size**2)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error of the masked patches' pixels."""
        order = random_order(len(batch.views), self.squares**2, batch.views.device)
        masked = masked_of(order, math.ceil(self.squares**2 * self.options.mask)).unflatten(1, (self.squares, -1))
        for dimension in (1, 2):
            masked = masked.repeat_interleave(self.options.square, dimension)
        (errors,) = for_images(self.backbone, self.reconstruction_errors, batch.views, masked.flatten(1))
        return {"loss": errors.mean()}

    def reconstruction_errors(self, images: Tensor, masked: Tensor) -> tuple[Tensor]:
        """The error (n,) of each image, whose patches ``masked`` (n, patches) are replaced."""
        tokens = self.backbone.tokens(images, mask=masked, mask_token=self.mask_token)
        predictions = self.head(tokens[:, self.backbone.prefix_tokens :])
        return (masked_errors(predictions, patches_of(images, self.backbone.patch_size), masked),)


@full_precision
def masked_errors(predictions: Tensor, pixels: Tensor, masked: Tensor) -> Tensor:
    """Mean absolute error (n,) of predictions and pixels (n, patches, pixels) where ``masked`` (n, patches) is 1."""
    errors = (predictions - pixels).abs().mean(-1)
    return (errors * masked).sum(1) / masked.sum(1)
