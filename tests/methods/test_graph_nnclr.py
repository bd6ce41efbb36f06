"""The recorded graphs against the pseudo-code of the paper's released code, written out with lists."""

from collections import defaultdict

import pytest
import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.graph import EMPTY, edge_list
from methods.graph_nnclr import GraphNNCLR
from protocols.backbones.small import Conv4

IMAGES, BATCH, TOPK, WINDOW, EDGES = 24, 6, 5, 2, 2


def build() -> GraphNNCLR:
    torch.manual_seed(0)
    options = GraphNNCLR.Options(
        topk=TOPK, window=WINDOW, edges=EDGES, prototypes=16, hidden=16, bottleneck=8, sampling_temperature=0.2
    )
    info = RunInfo(classes=10, images=IMAGES, side=16, steps=99, seed=0)
    return GraphNNCLR(Conv4(), options, info).train()


class Slow:
    """One stream: a bank, and for every node the edges of its last epochs."""

    def __init__(self) -> None:
        self.bank: dict[int, torch.Tensor] = {}
        self.lists = defaultdict(list)
        self.edges = defaultdict(list)

    def step(self, index: list[int], features: torch.Tensor) -> None:
        for i, query in zip(index, features, strict=True):
            near = {j: float(F.cosine_similarity(query, other, dim=0)) for j, other in self.bank.items()}
            best = sorted(near, key=lambda j: -near[j])[:TOPK]
            best += [EMPTY] * (TOPK - len(best))
            self.lists[i] = [*self.lists[i], best][-WINDOW:]
            chosen = [j for j in best if j != i][:EDGES]
            self.edges[i] = [*self.edges[i], chosen][-WINDOW:]
        self.bank |= dict(zip(index, features, strict=True))


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_graphs_are_those_of_the_pseudo_code(epochs):
    method = build()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    teacher, student = Slow(), Slow()
    images = torch.randn(IMAGES, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    for epoch in range(epochs):
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(epoch))
        for index in order.split(BATCH):
            views = torch.cat([images[index] + 0.3 * torch.randn(BATCH, 3, 16, 16) for _ in range(2)])
            with torch.no_grad():
                by_teacher, by_student = (net(views).representations for net in (method.teacher, method.student))
            method(Batch(views, index))["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(epoch / epochs)
            teacher.step(index.tolist(), by_teacher[:BATCH])
            student.step(index.tolist(), by_student[:BATCH])
    kept = method.extra_state()
    for name, slow in (("teacher", teacher), ("student", student)):
        expected = [[i, j] for i in range(IMAGES) for some in slow.edges[i] for j in some if j != EMPTY]
        assert sorted(edge_list(kept[f"{name}_neighbours"]).T.tolist()) == sorted(expected)
        nodes = F.normalize(torch.stack([slow.bank[i] for i in range(IMAGES)]))
        torch.testing.assert_close(kept[f"{name}_features"], nodes.half(), atol=1e-3, rtol=0)
    for i in range(IMAGES):
        assert sorted(method.neighbours.slots[i].tolist())[-len(teacher.lists[i]) :] == sorted(teacher.lists[i])


def test_graphs_are_kept_in_few_bytes():
    kept = build().extra_state()
    assert kept["teacher_neighbours"].shape == (IMAGES, WINDOW * EDGES)
    assert kept["teacher_neighbours"].dtype == torch.int32
    assert kept["student_features"].dtype == torch.float16


def test_edges_must_leave_room_for_the_image_itself():
    with pytest.raises(ValueError, match="fewer than topk = 3, not 3"):
        GraphNNCLR.Options(topk=3, edges=3)
