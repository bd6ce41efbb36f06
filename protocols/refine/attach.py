"""Embedding test images, each on its own."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING

import torch

from protocols.refine.edges import star

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from protocols.refine.encoder import Encoder


def attached(encoder: Encoder, x: Tensor, neighbours: Tensor, states: Sequence[Tensor], degree: Tensor) -> Tensor:
    """Embeddings of test images as new nodes of the training images' graph, which stays as it is.

    One image is embedded at a time, on the CPU: a matrix product may round a row otherwise in other company or at
    another place, and a GPU adds up messages in any order. Work this small is quickest in one thread.

    Args:
        encoder: fitted on the training images.
        x: (m, d) features of the test images.
        neighbours: (m, k) int32, the training images that each hears; none below 0.
        states: of the training images, by layer; see ``Encoder.states``.
        degree: (n,) of the training images in their graph.

    Returns:
        (m, dim) on the device of ``x``.
    """
    encoder = copy.deepcopy(encoder).cpu()
    states, degree = [state.cpu() for state in states], degree.cpu()
    with torch.inference_mode(), one_thread():
        images = zip(x.cpu(), neighbours.cpu().long(), strict=True)
        rows = [attach(encoder, one, near[near >= 0], states, degree) for one, near in images]
    return torch.cat(rows).to(x.device, copy=True)


def attach(encoder: Encoder, x: Tensor, near: Tensor, states: Sequence[Tensor], degree: Tensor) -> Tensor:
    """The embedding (1, dim) of one image (d,) that hears the training images ``near``, (k,)."""
    graph, first = star(degree[near]), states[0][near]
    own = [encoder.enter(x[None].clone())]
    for layer, state in zip(encoder.layers, states[:-1], strict=True):
        own.append(layer(torch.cat([own[-1], state[near]]), torch.cat([own[0], first]), graph)[:1])
    return encoder.combine(own[1:])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
