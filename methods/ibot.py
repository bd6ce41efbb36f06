"""iBOT: DINO that also predicts a teacher's assignment of masked patches to prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import torch
from torch import nn

from methods.dino import DINO
from methods.losses import full_precision
from methods.masking import masked_of, random_order
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone, Batch, RunInfo


@register_method("ibot")
class IBOT(DINO):
    """iBOT (Zhou et al., ICLR 2022, arXiv 2111.07832).

    Class tokens and patches share one head. Half of the full views have masked patches.

    Deviations: patches are masked one by one instead of in blocks; temperatures of the teacher are constant.
    """

    uses_tokens = True
    augmentations = ("small",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of iBOT; those without a description are DINO's. Defaults of the released code for ViT-S.

        Attributes:
            mask: mean fraction of the patches that are masked, in the half of the full views that have any.
            mask_range: largest difference of a view's fraction from the mean.
            patch_weight: weight of the masked patches' loss beside that of the class tokens.
            patch_temperature: of the teacher's softmax for patches.
        """

        crops: Annotated[int, AtLeast(0)] = 10
        mask: Annotated[float, AtLeast(0), AtMost(1)] = 0.3
        mask_range: Annotated[float, AtLeast(0), AtMost(1)] = 0.2
        patch_weight: Annotated[float, AtLeast(0)] = 1.0
        patch_temperature: Annotated[float, Above(0)] = 0.04
        prototypes: Annotated[int, AtLeast(2)] = 8192
        hidden: Annotated[int, AtLeast(1)] = 2048
        bottleneck: Annotated[int, AtLeast(1)] = 256
        norm: bool = False
        student_temperature: Annotated[float, Above(0)] = 0.1
        teacher_temperature: Annotated[float, Above(0)] = 0.04
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.996
        centre_momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
        freeze: Annotated[float, AtLeast(0), AtMost(1)] = 0.01

        def __post_init__(self) -> None:
            if not self.mask_range <= self.mask <= 1 - self.mask_range:
                raise ValueError(f"mask ± mask_range must lie in [0, 1], not {self.mask} ± {self.mask_range}")

    patch_centre: Tensor

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        if not backbone.prefix_tokens:
            raise RequestError("ibot: this backbone has no class token", hint="try timm:vit_tiny_patch16_224@patch=4")
        self.mask_token = nn.Parameter(torch.zeros(backbone.dim))
        self.register_buffer("patch_centre", torch.zeros(options.prototypes))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """DINO's loss of the class tokens, the cross-entropy of masked patches, and their weighted sum."""
        views, images, prefix = batch.views, len(batch.index), self.backbone.prefix_tokens
        with torch.no_grad():
            teacher = self.encoder.tokens(views)
            head = cast("Any", self.teacher.module).head
            teacher_class, teacher_patches = head(teacher[:, 0]), head(teacher[:, prefix:])
        masked = self.sample_masks(len(teacher_patches), teacher_patches.shape[1], views.device)
        student = self.backbone.tokens(views, mask=masked, mask_token=self.mask_token)
        student_class = [student[:, 0], *(self.backbone.tokens(crops)[:, 0] for crops in batch.crops)]
        scalars = self.distillation_loss(self.student.head(torch.cat(student_class)), teacher_class, images)
        self._patch_mean = teacher_patches.float().mean((0, 1))
        patches = masked_cross_entropy(
            self.student.head(student[:, prefix:]) / self.options.student_temperature,
            (teacher_patches.float() - self.patch_centre) / self.options.patch_temperature,
            masked,
        )
        loss = scalars["loss"] + self.options.patch_weight * patches
        return {"loss": loss, "class_loss": scalars["loss"], "patch_loss": patches}

    def sample_masks(self, views: int, patches: int, device: torch.device) -> Tensor:
        """Masks (views, patches): none for half of the views, else a random fraction of random patches."""
        fraction = self.options.mask + self.options.mask_range * (2.0 * torch.rand(views, 1, device=device) - 1.0)
        count = (fraction * patches * (torch.rand(views, 1, device=device) < 0.5)).floor()
        return masked_of(random_order(views, patches, device), count)

    def after_step(self, progress: float) -> None:
        """Update the teacher and both centres."""
        super().after_step(progress)
        self.patch_centre.lerp_(self._patch_mean, 1.0 - self.options.centre_momentum)


@full_precision
def masked_cross_entropy(student: Tensor, teacher: Tensor, masked: Tensor) -> Tensor:
    """Cross-entropy of the student's softmax under the teacher's at masked patches, an equal share for every view.

    Args:
        student: (n, patches, k) logits.
        teacher: (n, patches, k) logits; receive no gradient.
        masked: (n, patches), 1 where masked. A view without masked patches adds 0.

    Returns:
        A scalar, the mean over views.
    """
    cross_entropy = -(teacher.detach().softmax(-1) * student.log_softmax(-1)).sum(-1)
    return ((cross_entropy * masked).sum(1) / masked.sum(1).clamp(min=1)).mean()
