"""AdaSim: DINO whose second view may come from a nearest neighbour of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch

from methods.dino import DINO
from methods.graph import EMPTY, Bank, RingBuffer, merge_neighbours
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone, Batch, RunInfo


@register_method("adasim")
class AdaSim(DINO):
    """AdaSim (Lebailly et al., ICCV 2023, arXiv 2303.13606), after its released code.

    For every image, the teacher's nearest neighbours in each of the last ``window`` epochs are recorded and ranked by
    their summed similarity. If the image itself ranks first, its second view is made from an image sampled among the
    ``topk`` best; otherwise from the image itself.

    Deviations: epochs are counted per image, and images that were not seen yet are no neighbours.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of AdaSim; those without a description are DINO's (no small crops).

        Attributes:
            topk: number of neighbours recorded per epoch, and sampled from; at most the number of images.
            window: number of epochs recorded; until then, both views come from the image itself.
            sampling_temperature: of the softmax over neighbours that one is sampled from.
        """

        topk: Annotated[int, AtLeast(1)] = 10
        window: Annotated[int, AtLeast(1)] = 50
        sampling_temperature: Annotated[float, Above(0)] = 0.001
        prototypes: Annotated[int, AtLeast(2)] = 65_536
        hidden: Annotated[int, AtLeast(1)] = 2048
        bottleneck: Annotated[int, AtLeast(1)] = 256
        norm: bool = False
        student_temperature: Annotated[float, Above(0)] = 0.1
        teacher_temperature: Annotated[float, Above(0)] = 0.04
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.996
        centre_momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
        freeze: Annotated[float, AtLeast(0), AtMost(1)] = 0.01

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
        """Row 0: the images themselves. Row 1: for each, itself or a sampled neighbour."""
        candidates, logits = self.candidates(index)
        gumbel = -torch.empty_like(logits).exponential_().log()
        sampled = candidates.gather(1, (logits + gumbel).argmax(1, keepdim=True)).squeeze(1).long()
        use_neighbour = (candidates[:, 0] == index) & (self.neighbours.write_counts[index] >= self.options.window)
        return torch.stack([index, torch.where(use_neighbour, sampled, index)])

    def candidates(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The neighbours to sample from, best first, and the logits of the sampling softmax.

        Args:
            index: (b,) indices of the images.

        Returns:
            Indices and logits, (b, topk) each.
        """
        best, sums = merge_neighbours(self.neighbours.read(index), self.cosines.read(index), self.options.topk)
        return best, sums / self.options.window / self.options.sampling_temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """DINO's loss for the two views."""
        images = len(batch.index)
        student, teacher = self.student(batch.views), self.teacher(batch.views)
        self._index = batch.index
        self._first_view_features = teacher.representations[:images], student.representations[:images].detach()
        return self.distillation_loss(student.logits, teacher.logits, images)

    def after_step(self, progress: float) -> None:
        """Update teacher and centre, and record neighbours of the first views' features from before the update."""
        super().after_step(progress)
        self.record_neighbours(*self._first_view_features)

    def record_neighbours(self, teacher: Tensor, student: Tensor) -> Tensor:  # noqa: ARG002 - for graph_nnclr
        """Find and record the nearest neighbours of the first views by the teacher's features.

        Args:
            teacher: (b, dim) the teacher's features of the first views.
            student: (b, dim) the student's; unused here.

        Returns:
            (b, topk) indices of the neighbours.
        """
        ids, cosines = self.teacher_bank.query_and_update(self._index, teacher, self.options.topk)
        self.neighbours.write(self._index, ids)
        self.cosines.write(self._index, cosines)
        return ids
