"""DINO: predict a momentum teacher's assignment of an image to prototypes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import torch
from torch import nn

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import PrototypeHead
from methods.losses import self_distillation
from methods.registry import register_method
from methods.state_names import load_old_names
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


class NetworkOutput(NamedTuple):
    """Output of a student or teacher: representations (n, dim) and logits (n, prototypes)."""

    representations: Tensor
    logits: Tensor


class Network(nn.Module):
    """A student or teacher: a backbone and a head, returning the output of both."""

    def __init__(self, backbone: Backbone, head: PrototypeHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, views: Tensor) -> NetworkOutput:
        """Views (n, 3, side, side) to representations and logits."""
        representations = self.backbone(views)
        return NetworkOutput(representations, self.head(representations))


@register_method("dino")
class DINO(Method):
    """DINO (Caron et al., ICCV 2021, arXiv 2104.14294).

    The teacher's backbone is evaluated, as in the paper. Small crops use the protocol's augmentation ``small``.

    Deviations: views of one size go through a network in one pass and share BatchNorm statistics; the teacher's
    temperature is constant; stochastic depth is left to the backbone.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of DINO; defaults of the released code.

        Attributes:
            crops: number of small crops per image, beside the two full views.
            prototypes: K, number of outputs of the head.
            hidden: width of the head's hidden layers.
            bottleneck: size of the vectors that are compared with the prototypes.
            norm: whether the head has BatchNorm; the paper leaves it out for transformers.
            student_temperature: of the student's softmax.
            teacher_temperature: of the teacher's softmax.
            momentum: of the teacher's moving average at the start; rises to 1 along a cosine.
            centre_momentum: of the centre's moving average.
            freeze: fraction of the pretraining during which the prototypes are not trained.
        """

        crops: Annotated[int, AtLeast(0)] = 8
        prototypes: Annotated[int, AtLeast(2)] = 65_536
        hidden: Annotated[int, AtLeast(1)] = 2048
        bottleneck: Annotated[int, AtLeast(1)] = 256
        norm: bool = False
        student_temperature: Annotated[float, Above(0)] = 0.1
        teacher_temperature: Annotated[float, Above(0)] = 0.04
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.996
        centre_momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
        freeze: Annotated[float, AtLeast(0), AtMost(1)] = 0.01

    centre: Tensor
    prototypes_trainable: Tensor

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        head = PrototypeHead(backbone.dim, options.hidden, options.bottleneck, options.prototypes, norm=options.norm)
        self.student = Network(backbone, head)
        self.teacher = EMA(self.student)
        self.log_prototypes = math.log(options.prototypes)
        self.register_buffer("centre", torch.zeros(options.prototypes))
        self.register_buffer("prototypes_trainable", torch.tensor(float(options.freeze == 0)))
        head.prototypes.register_hook(lambda gradient: gradient * self.prototypes_trainable)
        load_old_names(self, {"thawed": "prototypes_trainable"})

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:
        """Two full views, then the small crops."""
        small: tuple[str, ...] = ("small",) * options.crops
        return ("standard", "standard", *small)

    @property
    def encoder(self) -> Backbone:
        """The teacher's backbone."""
        return cast("Backbone", self.teacher.module.backbone)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of every view by the student under every other full view by the teacher."""
        student_logits = torch.cat([self.student(views).logits for views in (batch.views, *batch.crops)])
        return self.distillation_loss(student_logits, self.teacher(batch.views).logits, len(batch.index))

    def distillation_loss(self, student: Tensor, teacher: Tensor, images: int) -> dict[str, Tensor]:
        """The loss of given logits, remembering the teacher's mean for the update of the centre.

        Args:
            student: (s · images, K) logits of all views.
            teacher: (t · images, K) logits of the first t of them.
            images: number of images in the batch.
        """
        self._teacher_mean = teacher.float().mean(0)
        loss = self_distillation(
            student.unflatten(0, (-1, images)),
            teacher.unflatten(0, (-1, images)),
            self.centre,
            student_temperature=self.options.student_temperature,
            teacher_temperature=self.options.teacher_temperature,
        )
        return {"loss": loss}

    def after_step(self, progress: float) -> None:
        """Update the teacher and the centre."""
        self.teacher.update(self.student, cosine_schedule(self.options.momentum, 1.0, progress))
        self.centre.lerp_(self._teacher_mean, 1.0 - self.options.centre_momentum)
        self.prototypes_trainable.fill_(progress >= self.options.freeze)

    def extra_state(self) -> dict[str, Tensor]:
        """The weights of the student's backbone, with names that begin with ``student.``."""
        return {f"student.{name}": value for name, value in self.backbone.state_dict().items()}
