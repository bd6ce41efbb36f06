"""DINO: agree with a slowly moving teacher on how an image spreads over prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn

from methods.base import Backbone, Batch, Method, Setting
from methods.heads import PrototypeHead
from methods.losses import self_distillation
from methods.momentum import MomentumCopy, cosine_between
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor


class Seen(NamedTuple):
    """What a network makes of views: representations (n, dim) and logits (n, prototypes)."""

    representations: Tensor
    logits: Tensor


class Network(nn.Module):
    """A backbone and a head, of which both outcomes are wanted."""

    def __init__(self, backbone: Backbone, head: PrototypeHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, views: Tensor) -> Seen:
        """(n, 3, side, side) to what is made of them."""
        representations = self.backbone(views)
        return Seen(representations, self.head(representations))


def refuse(options: Any) -> None:
    """Raise ``ValueError`` if temperatures, momenta or the freeze of DINO, or of what is built on it, cannot work."""
    for name, value in vars(options).items():
        if "temperature" in name and value <= 0:
            raise ValueError(f"{name} must be above 0, not {value}")
        if ("momentum" in name or name == "freeze") and not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], not {value}")


@register_method("dino")
class DINO(Method):
    """DINO (Caron et al., ICCV 2021, arXiv 2104.14294).

    The teacher's backbone is kept, as in the paper. Small crops come from the protocol's recipe ``small``. Deviations:
    views of one size share BatchNorm statistics; stochastic depth is the backbone's own affair.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            crops: small crops beside the two full views.
            prototypes: K, outputs of the head.
            hidden: width of the head's hidden layers.
            bottleneck: size of what is compared with the prototypes.
            norm: BatchNorm in the head, which the paper leaves out for transformers.
            student_temperature: of the student's softmax; > 0.
            teacher_temperature: of the teacher's; > 0.
            momentum: of the teacher at the start, in [0, 1]; rises to 1 along a cosine.
            centre_momentum: of the centre, in [0, 1].
            freeze: fraction of the pretraining in which the prototypes stay as they are.
        """

        crops: int = 8
        prototypes: int = 65_536
        hidden: int = 2048
        bottleneck: int = 256
        norm: bool = False
        student_temperature: float = 0.1
        teacher_temperature: float = 0.04
        momentum: float = 0.996
        centre_momentum: float = 0.9
        freeze: float = 0.01

        def __post_init__(self) -> None:
            refuse(self)

    centre: Tensor
    thawed: Tensor

    def __init__(self, backbone: Backbone, options: Any, setting: Setting) -> None:
        super().__init__(backbone, options, setting)
        sizes = (backbone.dim, options.hidden, options.bottleneck, options.prototypes)
        head = PrototypeHead(*sizes, norm=options.norm)
        self.student = Network(backbone, head)
        self.teacher = MomentumCopy(self.student)
        self.register_buffer("centre", torch.zeros(options.prototypes))
        self.register_buffer("thawed", torch.tensor(float(options.freeze == 0)))
        head.prototypes.register_hook(lambda gradient: gradient * self.thawed)

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:
        """Two full views, then the small crops."""
        small: tuple[str, ...] = ("small",) * options.crops
        return ("standard", "standard", *small)

    @property
    def encoder(self) -> Backbone:
        """The teacher's."""
        return cast("Backbone", self.teacher.module.backbone)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """What the teacher says of a full view against what the student says of every other."""
        students = [self.student(views).logits for views in (batch.views, *batch.crops)]
        return self.distil(torch.cat(students), self.teacher(batch.views).logits, len(batch.index))

    def distil(self, student: Tensor, teacher: Tensor, images: int) -> dict[str, Tensor]:
        """The loss for logits (views · images, K) of the student and, of the first views, the teacher."""
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
        """Let the teacher and the centre follow."""
        self.teacher.follow(self.student, cosine_between(self.options.momentum, 1.0, progress))
        self.centre.lerp_(self._teacher_mean, 1.0 - self.options.centre_momentum)
        self.thawed.fill_(progress >= self.options.freeze)

    def keepsakes(self) -> dict[str, Tensor]:
        """The weights of the student's backbone, their names after ``student.``; the teacher's are the encoder's."""
        return {f"student.{name}": value for name, value in self.backbone.state_dict().items()}
