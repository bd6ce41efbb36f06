"""RGRL: a graph network that learns, without labels, to keep a node's similarities to other nodes in another view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.utils import scatter, softmax

from methods.ema import EMA
from methods.losses import full_precision
from protocols.refine.edges import Direction  # noqa: TC001 - options are checked by their hints
from protocols.refine.encoder import GNN, Combine  # noqa: TC001
from protocols.refine.graph import Origin, connect, fit_and_embed
from protocols.refine.selfgnn import FitOptions, GraphObjective
from protocols.spec.plugins import register_refinement
from results.constraints import Above, AtLeast, AtMost, Below

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.features.features import Features
    from protocols.refine.edges import Subgraph
    from protocols.refine.encoder import Encoder


@register_refinement("rgrl")
def rgrl(  # noqa: D417 - the other options are described at `graph`
    features: Features,
    *,
    gnn: GNN = "gcn",
    k: Annotated[int, AtLeast(1)] = 15,
    neighbours: Origin = "nearest",
    direction: Direction = "from_neighbours",
    layers: Annotated[int, AtLeast(1)] = 2,
    combine: Combine = "max",
    width: Annotated[int, AtLeast(0)] = 0,
    epochs: Annotated[int, AtLeast(0)] = 100,
    lr: Annotated[float, Above(0)] = 1e-4,
    momentum: Annotated[float, AtLeast(0), AtMost(1)] = 0.99,
    drop: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    mask: Annotated[float, AtLeast(0), Below(1)] = 0.2,
    clusters: Annotated[int, AtLeast(1)] = 40,
    at_once: Annotated[int, AtLeast(1)] = 16,
    append_input: bool = False,
    anchors: Annotated[int, AtLeast(1)] = 256,
    alpha: Annotated[float, Above(0), AtMost(1)] = 0.9,
    teacher_temperature: Annotated[float, Above(0)] = 0.01,
    student_temperature: Annotated[float, Above(0)] = 0.1,
    local_teacher_temperature: Annotated[float, Above(0)] = 1.0,
    local_student_temperature: Annotated[float, Above(0)] = 0.1,
    local_weight: Annotated[float, AtLeast(0)] = 1.0,
) -> Features:
    """The graph network of ``graph``, trained by the relational objective of RGRL (Lee et al., CIKM 2022).

    A node's similarities to anchor nodes, and to its neighbours, become two distributions; those of a student's view
    are to be those of a momentum teacher's other view (arXiv 2208.10493). Network, edges, mini-batches and the other
    options are those of ``graph``, so that the objective alone differs. Deviations: of the paper's local relation, a
    node's neighbours in the graph take the place of the closest nodes by diffusion; training ends after ``epochs``,
    where the released code stops by the labels.

    Args:
        features: of the run; they are scaled to length 1.
        anchors: nodes of a mini-batch that all its nodes are compared with, drawn anew for every step.
        alpha: the lower, the rarer are nodes of many edges among the anchors; 1 draws all equally often.
        teacher_temperature: of the softmax over a teacher's similarities to the anchors.
        student_temperature: of the softmax over a student's similarities to the anchors.
        local_teacher_temperature: of the softmax over a teacher's similarities to the neighbours.
        local_student_temperature: of the softmax over a student's similarities to the neighbours.
        local_weight: of the term of the neighbours.
    """
    options = FitOptions(gnn, layers, combine, width, epochs, lr, momentum, drop, mask, clusters, at_once)
    networks = [connect(network, k, neighbours) for network in features.networks]
    objective = partial(
        RGRL,
        anchors=anchors,
        alpha=alpha,
        temperatures=(teacher_temperature, student_temperature),
        local_temperatures=(local_teacher_temperature, local_student_temperature),
        local_weight=local_weight,
    )
    return fit_and_embed(features, networks, direction, options, append_input=append_input, objective=objective)


class RGRL(GraphObjective):
    """Relational graph representation learning; options as of :func:`rgrl`, temperatures teacher's first."""

    def __init__(
        self,
        encoder: Encoder,
        momentum: float,
        *,
        anchors: int,
        alpha: float,
        temperatures: tuple[float, float],
        local_temperatures: tuple[float, float],
        local_weight: float,
    ) -> None:
        super().__init__()
        self.online = encoder
        self.predictor = nn.Sequential(nn.Linear(encoder.dim, 512), nn.PReLU(), nn.Linear(512, encoder.dim))
        self.target = EMA(encoder)
        self.momentum = momentum
        self.anchors, self.alpha = anchors, alpha
        self.temperatures, self.local_temperatures = temperatures, local_temperatures
        self.local_weight = local_weight

    def forward(self, view1: tuple[Tensor, Subgraph], view2: tuple[Tensor, Subgraph]) -> Tensor:
        """The sum over both directions of the terms of anchors and of neighbours."""
        predictions = [F.normalize(self.predictor(self.online(*view))) for view in (view1, view2)]
        targets = [F.normalize(self.target(*view)) for view in (view1, view2)]
        anchors = sample_anchors(view1[1], self.anchors, self.alpha)
        loss = predictions[0].new_zeros(())
        for prediction, target, graph in (
            (predictions[0], targets[1], view2[1]),
            (predictions[1], targets[0], view1[1]),
        ):
            loss = loss + anchor_divergence(prediction, target, anchors, self.temperatures)
            local = neighbour_divergence(prediction, target, graph.edge_index, self.local_temperatures)
            loss = loss + self.local_weight * local
        return loss

    def update_target(self) -> None:
        """Move the target's weights towards the online network's."""
        self.target.update(self.online, self.momentum)


def sample_anchors(graph: Subgraph, count: int, alpha: float) -> Tensor:
    """Up to ``count`` different nodes, of log probability log ``alpha`` · log (edges + 1) each, up to a constant."""
    edges = graph.edge_index.flatten().bincount(minlength=len(graph.degree))
    log_probability = torch.tensor(alpha).log() * (edges + 1.0).log()
    gumbel = -torch.empty_like(log_probability).exponential_().log()
    return (log_probability + gumbel).topk(min(count, len(edges))).indices


@full_precision
def anchor_divergence(prediction: Tensor, target: Tensor, anchors: Tensor, temperatures: tuple[float, float]) -> Tensor:
    """Mean over nodes of KL(teacher, student) between their softmax similarities to the teacher's anchors.

    Args:
        prediction: (n, d) of length 1, the student's.
        target: (n, d) of length 1, the teacher's; receives no gradient.
        anchors: (a,) nodes, int64.
        temperatures: of the teacher and of the student.
    """
    target, anchors = target.detach(), anchors.long()
    log_p = (target @ target[anchors].T / temperatures[0]).log_softmax(1)
    log_q = (prediction @ target[anchors].T / temperatures[1]).log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


@full_precision
def neighbour_divergence(
    prediction: Tensor, target: Tensor, edge_index: Tensor, temperatures: tuple[float, float]
) -> Tensor:
    """The same over a node's neighbours, the sources of edges (2, e) that end at it; mean over nodes that have some."""
    target = target.detach()
    source, node = edge_index.long()
    n = len(target)
    p = softmax((target[node] * target[source]).sum(1) / temperatures[0], node, num_nodes=n)
    q = softmax((prediction[node] * target[source]).sum(1) / temperatures[1], node, num_nodes=n)
    divergence: Tensor = scatter(p * (p.log() - q.log()), node, dim_size=n, reduce="sum")
    nodes: Tensor = node.bincount(minlength=n).clamp(max=1).sum()
    return divergence.sum() / nodes.clamp(min=1)
