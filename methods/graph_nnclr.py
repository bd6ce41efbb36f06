"""GraphNNCLR's pretraining: AdaSim that records whom teacher and student find near whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from methods.adasim import AdaSim
from methods.dino import validate
from methods.graph import EMPTY, Bank, RingBuffer, exclude_self
from methods.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone, RunInfo


@register_method("graph_nnclr")
class GraphNNCLR(AdaSim):
    """GraphNNCLR's first phase (Javidani et al., IEEE SPL 2025, arXiv 2510.22322), after its released code.

    It trains as AdaSim does, and keeps two graphs for a refinement. In each, an image is a node; its feature is that of
    its first view when it was last seen, and its edges lead to the ``edges`` images nearest to it in each of the last
    ``window`` epochs. Defaults are the code's last for CIFAR-10. Deviation: a slot without a neighbour is empty, where
    theirs is an edge of node 0 to itself. Its second phase, the refinement, is no part of the method.
    """

    @dataclass(frozen=True)
    class Options:
        """Options of AdaSim, and of the graphs.

        Attributes:
            edges: k, edges recorded of an image in an epoch; less than ``topk``.
        """

        topk: int = 10
        window: int = 5
        edges: int = 3
        sampling_temperature: float = 0.001
        prototypes: int = 10_000
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
            if min(self.edges, self.window) < 1:
                raise ValueError("edges and window must be 1 or more")
            if self.edges >= self.topk:
                raise ValueError(f"edges must be fewer than topk = {self.topk}, not {self.edges}")

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.student_bank = Bank(info.images, backbone.dim)
        self.teacher_edges = RingBuffer(info.images, options.window, options.edges, EMPTY)
        self.student_edges = RingBuffer(info.images, options.window, options.edges, EMPTY)

    def record(self, teacher: Tensor, student: Tensor) -> Tensor:
        """Remember what AdaSim does, and the edges of teacher and student."""
        by_teacher = super().record(teacher, student)
        by_student, _ = self.student_bank.query_and_update(self._index, student, self.options.topk)
        for edges, ids in ((self.teacher_edges, by_teacher), (self.student_edges, by_student)):
            edges.write(self._index, exclude_self(ids, self._index, self.options.edges))
        return by_teacher

    def extra_state(self) -> dict[str, Tensor]:
        """Both graphs, and the weights of the student's backbone.

        Returns:
            For each of ``teacher`` and ``student``: ``NAME_features`` (images, dim) float16, normalised, and
            ``NAME_neighbours`` (images, window · edges) int32, of which :func:`methods.graph.edge_list` makes a list of
            edges; and :meth:`DINO.extra_state`.
        """
        return {
            **super().extra_state(),
            "teacher_features": self.teacher_bank.features.half(),
            "teacher_neighbours": self.teacher_edges.slots.flatten(1),
            "student_features": self.student_bank.features.half(),
            "student_neighbours": self.student_edges.slots.flatten(1),
        }
