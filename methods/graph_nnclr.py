"""GraphNNCLR's pretraining: AdaSim that records nearest-neighbour graphs of teacher and student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from methods.adasim import AdaSim
from methods.graph import EMPTY, Bank, RingBuffer, exclude_self
from methods.registry import register_method
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from torch import Tensor

    from methods.base import Backbone, RunInfo


@register_method("graph_nnclr")
class GraphNNCLR(AdaSim):
    """GraphNNCLR's first phase (Javidani et al., IEEE SPL 2025, arXiv 2510.22322), after its released code.

    It trains as AdaSim does and records two graphs for a refinement. Nodes are images; a node's feature is that of its
    image's first view in the last step that saw it, and its edges lead to the ``edges`` nearest images in each of the
    last ``window`` epochs. The second phase, the refinement, is not part of the method.

    Deviation: a missing neighbour makes no edge; in the released code it makes an edge from node 0 to itself.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of GraphNNCLR; defaults of the released code for CIFAR-10. Others are AdaSim's and DINO's.

        Attributes:
            edges: k, edges recorded per image and epoch; fewer than ``topk``.
        """

        topk: Annotated[int, AtLeast(2)] = 10
        window: Annotated[int, AtLeast(1)] = 5
        edges: Annotated[int, AtLeast(1)] = 3
        sampling_temperature: Annotated[float, Above(0)] = 0.001
        prototypes: Annotated[int, AtLeast(2)] = 10_000
        hidden: Annotated[int, AtLeast(1)] = 2048
        bottleneck: Annotated[int, AtLeast(1)] = 256
        norm: bool = False
        student_temperature: Annotated[float, Above(0)] = 0.1
        teacher_temperature: Annotated[float, Above(0)] = 0.04
        momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.996
        centre_momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.9
        freeze: Annotated[float, AtLeast(0), AtMost(1)] = 0.01

        def __post_init__(self) -> None:
            if self.edges >= self.topk:
                raise ValueError(f"edges must be fewer than topk = {self.topk}, not {self.edges}")

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.student_bank = Bank(info.images, backbone.dim)
        self.teacher_edges = RingBuffer(info.images, options.window, options.edges, EMPTY)
        self.student_edges = RingBuffer(info.images, options.window, options.edges, EMPTY)

    def record_neighbours(self, teacher: Tensor, student: Tensor) -> Tensor:
        """Record what AdaSim does, and the edges of both graphs; see :meth:`AdaSim.record_neighbours`."""
        teacher_ids = super().record_neighbours(teacher, student)
        student_ids, _ = self.student_bank.query_and_update(self._index, student, self.options.topk)
        for edges, ids in ((self.teacher_edges, teacher_ids), (self.student_edges, student_ids)):
            edges.write(self._index, exclude_self(ids, self._index, self.options.edges))
        return teacher_ids

    def extra_state(self) -> dict[str, Tensor]:
        """Both graphs, and the weights of the student's backbone.

        Returns:
            For each of ``teacher`` and ``student``: ``NAME_features`` (images, dim) float16, normalised, and
            ``NAME_neighbours`` (images, window · edges) int32, to be passed to :func:`methods.graph.edge_list`; and
            the weights of :meth:`DINO.extra_state`.
        """
        return {
            **super().extra_state(),
            "teacher_features": self.teacher_bank.features.half(),
            "teacher_neighbours": self.teacher_edges.slots.flatten(1),
            "student_features": self.student_bank.features.half(),
            "student_neighbours": self.student_edges.slots.flatten(1),
        }
