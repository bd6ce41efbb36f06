"""I-JEPA: predict a momentum network's tokens in blocks of an image from the patches outside of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.losses import full_precision
from methods.masking import MaskedTransformer, for_images
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


@register_method("ijepa")
class IJEPA(Method):
    """I-JEPA (Assran et al., CVPR 2023, arXiv 2301.08243).

    The target network's backbone is evaluated; the paper pools its tokens by their mean (``@pool=avg``). One view with
    the augmentation ``light``.

    Deviations: the context is the whole image without the target blocks, and all images of a batch have as many context
    patches, those that are left where blocks do not overlap, drawn at random; in the released code it is a large block
    cut off at the fewest of the batch. The momentum rises along a cosine instead of a line.
    """

    uses_tokens = True
    augmentations = ("light",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of I-JEPA; defaults of the paper's ViT-B.

        Attributes:
            blocks: number of target blocks of an image.
            smallest: least fraction of the image that a target block covers.
            largest: greatest fraction; blocks of one step are of one size, drawn between both.
            width: of the predictor, a multiple of 4 and of ``heads``.
            depth: number of blocks of the predictor.
            heads: of the predictor's attention.
            momentum: of the target network's moving average at the start; rises to 1 along a cosine.
        """

        blocks: Annotated[int, AtLeast(1)] = 4
        smallest: Annotated[float, Above(0), AtMost(1)] = 0.15
        largest: Annotated[float, Above(0), AtMost(1)] = 0.2
        width: Annotated[int, AtLeast(4)] = 384
        depth: Annotated[int, AtLeast(1)] = 6
        heads: Annotated[int, AtLeast(1)] = 12
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.996

        def __post_init__(self) -> None:
            if self.width % 4 or self.width % self.heads:
                raise ValueError(f"width must be a multiple of 4 and of {self.heads} heads, not {self.width}")
            if not self.smallest <= self.largest or self.blocks * self.largest >= 1:
                raise ValueError(f"{self.blocks} blocks of {self.smallest} to {self.largest} leave no context")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.grid = info.side // backbone.patch_size
        if self.grid**2 * options.smallest < 1:
            raise RequestError(
                f"ijepa: a block of {self.grid} × {self.grid} patches has none", hint="use smaller patches"
            )
        self.predictor = MaskedTransformer(
            backbone.dim, backbone.dim, self.grid, width=options.width, depth=options.depth, heads=options.heads
        )
        self.target = EMA(backbone)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    @property
    def encoder(self) -> Backbone:
        """The target network's backbone."""
        return cast("Backbone", self.target.module)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Smooth L1 distance of predicted tokens from the target network's, in all blocks."""
        context, blocks = self.sample_blocks(len(batch.views), batch.views.device)
        (errors,) = for_images(self.backbone, self.prediction_errors, batch.views, context, blocks)
        return {"loss": errors.mean()}

    def sample_blocks(self, images: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Random context patches (images, c) and target blocks (images, blocks, patches) of each image."""
        options, grid = self.options, self.grid
        fraction, shape = torch.rand(2).tolist()  # the size of the blocks is one number for the host too
        area = max(1, int(grid**2 * (options.smallest + fraction * (options.largest - options.smallest))))
        aspect = 0.75 + shape * (1.5 - 0.75)
        height, width = (min(grid, max(1, round(math.sqrt(area * ratio)))) for ratio in (aspect, 1 / aspect))
        top, left = (
            (torch.rand(images, options.blocks, 1, 1, device=device) * (grid - size + 1)).long()
            for size in (height, width)
        )
        rows = top + torch.arange(height, device=device)[:, None]
        blocks = (rows * grid + left + torch.arange(width, device=device)).flatten(2)
        covered = torch.zeros(images, grid**2, device=device).scatter_(1, blocks.flatten(1), 1.0)
        order = (torch.rand(images, grid**2, device=device) + covered).argsort(1)
        return order[:, : max(1, grid**2 - options.blocks * height * width)], blocks

    def prediction_errors(self, images: Tensor, context: Tensor, blocks: Tensor) -> tuple[Tensor]:
        """The error (n,) of each image."""
        prefix, (n, count, _) = self.backbone.prefix_tokens, blocks.shape
        with torch.no_grad():
            target = self.encoder.tokens(images)[:, prefix:]
            target = F.layer_norm(target.float(), target.shape[-1:])
        tokens = self.backbone.tokens(images, context)
        predictions = self.predictor(
            tokens.repeat_interleave(count, 0), context.repeat_interleave(count, 0), blocks.flatten(0, 1)
        )
        wanted = target.gather(1, blocks.flatten(1)[..., None].expand(-1, -1, target.shape[-1]))
        return (token_errors(predictions.reshape(n, -1, target.shape[-1]), wanted),)

    def after_step(self, progress: float) -> None:
        """Update the target network."""
        self.target.update(self.backbone, cosine_schedule(self.options.momentum, 1.0, progress))


@full_precision
def token_errors(predictions: Tensor, targets: Tensor) -> Tensor:
    """Smooth L1 distance (n,) of predictions and targets (n, tokens, dim), the mean over tokens and dimensions."""
    return F.smooth_l1_loss(predictions, targets, reduction="none").mean((1, 2))
