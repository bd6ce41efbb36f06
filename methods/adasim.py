"""AdaSim: DINO whose second view may show a neighbour, for images that still recognise themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from methods.dino import DINO, validate
from methods.graph import EMPTY, Bank, RingBuffer, merge_neighbours
from methods.registry import register_method
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone, Batch, RunInfo


@register_method("adasim")
class AdaSim(DINO):
    """AdaSim (Lebailly et al., ICCV 2023, arXiv 2303.13606), after its released code.

    Of every image, the teacher's nearest neighbours of the last ``window`` epochs are remembered. If the best of them,
    by the sum of similarities, is the image itself, its second view shows an image drawn from the ``topk`` best; else
    it shows the image. Deviation: epochs are counted for each image, and images not seen yet are nobody's neighbours.
    """

    @dataclass(frozen=True)
    class Options:
        """Options of DINO but for its crops, and of the draw.

        Attributes:
            topk: neighbours remembered of an epoch, and drawn from.
            window: epochs remembered; before that, both views show the image itself.
            sampling_temperature: of the draw among the neighbours; > 0.
        """

        topk: int = 10
        window: int = 50
        sampling_temperature: float = 0.001
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
            validate(self)
            if min(self.topk, self.window) < 1:
                raise ValueError("topk and window must be 1 or more")

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        if options.topk > info.images:
            raise RequestError(f"topk = {options.topk} is more than the {info.images} images", hint="lower it")
        self.teacher_bank = Bank(info.images, backbone.dim)
        self.neighbours = RingBuffer(info.images, options.window, options.topk, EMPTY)
        self.cosines = RingBuffer(info.images, options.window, options.topk, 0.0)

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003
        """Two full views."""
        return ("standard", "standard")

    def source_indices(self, index: Tensor, views: int) -> Tensor:  # noqa: ARG002
        """The image itself, and the image or one of its neighbours."""
        candidates, log_odds = self.candidates(index)
        gumbel = -torch.empty_like(log_odds).exponential_().log()
        drawn = candidates.gather(1, (log_odds + gumbel).argmax(1, keepdim=True)).squeeze(1).long()
        trusted = (candidates[:, 0] == index) & (self.neighbours.write_counts[index] >= self.options.window)
        return torch.stack([index, torch.where(trusted, drawn, index)])

    def candidates(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The best neighbours of images, best first, and the logarithms of their odds; (b, topk) each."""
        best, sums = merge_neighbours(self.neighbours.read(index), self.cosines.read(index), self.options.topk)
        return best, sums / self.options.window / self.options.sampling_temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """DINO's loss of the two views."""
        images = len(batch.index)
        student, teacher = self.student(batch.views), self.teacher(batch.views)
        self._index = batch.index
        self._first_views = teacher.representations[:images], student.representations[:images].detach()
        return self.distillation_loss(student.logits, teacher.logits, images)

    def after_step(self, progress: float) -> None:
        """Follow, and record the first views, as they were before this step."""
        super().after_step(progress)
        self.record(*self._first_views)

    def record(self, teacher: Tensor, student: Tensor) -> Tensor:  # noqa: ARG002 - of the student graph_nnclr keeps more
        """Remember whom the teacher finds near the first views.

        Args:
            teacher: (b, dim) their features by the teacher.
            student: (b, dim) by the student.

        Returns:
            (b, topk) positions of the images it finds.
        """
        ids, cosines = self.teacher_bank.query_and_update(self._index, teacher, self.options.topk)
        self.neighbours.write(self._index, ids)
        self.cosines.write(self._index, cosines)
        return ids
