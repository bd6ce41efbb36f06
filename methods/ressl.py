"""ReSSL: keep the similarities to earlier images that a momentum teacher sees in a weakly augmented view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.ema import EMA, cosine_schedule
from methods.heads import mlp
from methods.losses import full_precision
from methods.memory import Queue, cosine_similarities
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor


@register_method("ressl")
class ReSSL(Method):
    """ReSSL (Zheng et al., NeurIPS 2021, arXiv 2107.09282).

    Deviations: the teacher's view is the protocol's augmentation ``light``, which may shift an image instead of
    cropping it; no shuffling BatchNorm, since statistics are those of the whole batch.
    """

    augmentations = ("light",)

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of ReSSL; defaults of the released code, for ImageNet.

        Attributes:
            student_temperature: of the softmax over the student's similarities.
            teacher_temperature: of the softmax over the teacher's similarities; lower than the student's.
            queue: number of the teacher's embeddings of earlier batches that images are compared with.
            hidden: width of the projector's hidden layer.
            output: size of the embedding.
            momentum: of the teacher's moving average at the start.
            final_momentum: at the end; reached along a cosine.
        """

        student_temperature: Annotated[float, Above(0)] = 0.1
        teacher_temperature: Annotated[float, Above(0)] = 0.04
        queue: Annotated[int, AtLeast(1)] = 131_072
        hidden: Annotated[int, AtLeast(1)] = 4096
        output: Annotated[int, AtLeast(1)] = 512
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.999
        final_momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.999

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.student = nn.Sequential(backbone, mlp(backbone.dim, options.hidden, options.output))
        self.teacher = EMA(self.student)
        self.queue = Queue(options.queue, options.output)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """The student's view with the augmentation ``standard``, the teacher's with ``light``."""
        return ("standard", "light")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the student's relations to the queue under the teacher's."""
        images, options = len(batch.index), self.options
        student = self.student(batch.views[:images])
        self._teacher = self.teacher(batch.views[images:])
        loss = relational_consistency(
            student,
            self._teacher,
            self.queue.embeddings,
            student_temperature=options.student_temperature,
            teacher_temperature=options.teacher_temperature,
        )
        return {"loss": loss}

    def after_step(self, progress: float) -> None:
        """Update the teacher, then push its embeddings of this step to the queue."""
        options = self.options
        self.teacher.update(self.student, cosine_schedule(options.momentum, options.final_momentum, progress))
        self.queue.push(self._teacher)


@full_precision
def relational_consistency(
    student: Tensor, teacher: Tensor, others: Tensor, *, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Cross-entropy between two distributions over other images, each a softmax of cosine similarities (equation 4).

    Args:
        student: (n, d); need not be normalised.
        teacher: (n, d); need not be normalised, receives no gradient.
        others: (m, d) normalised embeddings, the same for all; receive no gradient.
        student_temperature: divides the student's similarities.
        teacher_temperature: divides the teacher's similarities.

    Returns:
        A scalar, the mean over rows.
    """
    targets = (cosine_similarities(teacher.detach(), others.detach()) / teacher_temperature).softmax(1)
    return F.cross_entropy(cosine_similarities(student, others.detach()) / student_temperature, targets)
