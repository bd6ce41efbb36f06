"""MAE: reconstruct the pixels of masked patches from the quarter that the encoder sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch

from methods.base import Backbone, Batch, Method, RunInfo
from methods.losses import full_precision
from methods.masking import MaskedTransformer, for_images, patches_of, random_order
from methods.registry import register_method
from results.constraints import Above, AtLeast, Below

if TYPE_CHECKING:
    from torch import Tensor


@register_method("mae")
class MAE(Method):
    """Masked autoencoders (He, Chen, Xie, Li, Dollár & Girshick, CVPR 2022, arXiv 2111.06377).

    The encoder sees the patches that are not masked, a small decoder the whole image. One view with the augmentation
    ``light``. Cost: a view of MAE is a quarter of one for the encoder, to which the decoder is added.

    Deviations: the encoder's position embeddings and initialisation are those of the backbone; the class token has no
    position in the decoder.
    """

    uses_tokens = True
    augmentations = ("light",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of MAE; defaults of the released code.

        Attributes:
            mask: fraction of the patches that are masked.
            width: of the decoder, a multiple of 4 and of ``heads``.
            depth: number of blocks of the decoder.
            heads: of the decoder's attention.
            normalise: whether the pixels of each patch are standardised before they are a target.
        """

        mask: Annotated[float, Above(0), Below(1)] = 0.75
        width: Annotated[int, AtLeast(4)] = 512
        depth: Annotated[int, AtLeast(1)] = 8
        heads: Annotated[int, AtLeast(1)] = 16
        normalise: bool = True

        def __post_init__(self) -> None:
            if self.width % 4 or self.width % self.heads:
                raise ValueError(f"width must be a multiple of 4 and of {self.heads} heads, not {self.width}")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.grid = info.side // backbone.patch_size
        self.visible = max(1, int(self.grid**2 * (1.0 - options.mask)))
        self.decoder = MaskedTransformer(
            backbone.dim,
            3 * backbone.patch_size**2,
            self.grid,
            width=options.width,
            depth=options.depth,
            heads=options.heads,
        )

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the masked patches' pixels."""
        order = random_order(len(batch.views), self.grid**2, batch.views.device)
        (errors,) = for_images(self.backbone, self.reconstruction_errors, batch.views, order)
        return {"loss": errors.mean()}

    def reconstruction_errors(self, images: Tensor, order: Tensor) -> tuple[Tensor]:
        """The error (n,) of each image; the first patches in ``order`` (n, patches) are visible."""
        visible, masked = order[:, : self.visible], order[:, self.visible :]
        predictions = self.decoder(self.backbone.tokens(images, visible), visible, masked)
        pixels = patches_of(images, self.backbone.patch_size)
        targets = pixels.gather(1, masked[..., None].expand(-1, -1, pixels.shape[-1]))
        return (pixel_errors(predictions, targets, normalise=self.options.normalise),)


@full_precision
def pixel_errors(predictions: Tensor, targets: Tensor, *, normalise: bool) -> Tensor:
    """Mean squared error of every image, (n,).

    Args:
        predictions: (n, patches, pixels).
        targets: (n, patches, pixels), the images' pixels.
        normalise: subtract a patch's mean and divide by its standard deviation, with the unbiased variance.
    """
    if normalise:
        variance, mean = torch.var_mean(targets, -1, keepdim=True)
        targets = (targets - mean) / (variance + 1e-6).sqrt()
    return (predictions - targets).square().mean((1, 2))
