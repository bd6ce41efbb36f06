"""Embeds test images by a fitted graph network, each independently of the others."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING

import torch

from protocols.refine.edges import star_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from protocols.refine.encoder import Encoder


def embed_test_images(
    encoder: Encoder, x: Tensor, neighbours: Tensor, states: Sequence[Tensor], degree: Tensor
) -> Tensor:
    """Embeddings of test images as new nodes of the training images' graph, which does not change.

    One image is embedded at a time, on the CPU: the rounding of a row of a matrix product may depend on the other rows,
    and a GPU sums messages in any order. Work this small is fastest in one thread.

    Args:
        encoder: fitted on the training images.
        x: (m, d) features of the test images.
        neighbours: (m, k) int32, the training images that each receives messages from; -1 where there is none.
        states: of the training images, by layer; see ``Encoder.layer_states``.
        degree: (n,) in-degrees of the training images in their graph.

    Returns:
        (m, dim) on the device of ``x``.
    """
    encoder = copy.deepcopy(encoder).cpu()
    states, degree = [state.cpu() for state in states], degree.cpu()
    with torch.inference_mode(), one_thread():
        images = zip(x.cpu(), neighbours.cpu().long(), strict=True)
        rows = [embed_test_image(encoder, image, near[near >= 0], states, degree) for image, near in images]
    return torch.cat(rows).to(x.device, copy=True)


def embed_test_image(
    encoder: Encoder, x: Tensor, neighbours: Tensor, states: Sequence[Tensor], degree: Tensor
) -> Tensor:
    """The embedding (1, dim) of one image (d,) with the training images ``neighbours`` (k,)."""
    graph, inputs = star_graph(degree[neighbours]), states[0][neighbours]
    image_states = [encoder.input_layer(x[None].clone())]
    for layer, state in zip(encoder.layers, states[:-1], strict=True):
        nodes = torch.cat([image_states[-1], state[neighbours]])
        image_states.append(layer(nodes, torch.cat([image_states[0], inputs]), graph)[:1])
    return encoder.combine(image_states[1:])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Restrict torch to one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
