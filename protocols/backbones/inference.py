"""Feature extraction by a frozen backbone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from methods.base import Backbone

BATCH_SIZE = 1000
"""Images in one forward pass, at most."""

BATCH_SIZE_PER_THREAD = 100
"""Images in one forward pass on a CPU, for each thread: with more, feature maps leave the cache."""

LARGE_IMAGE_PIXELS = 96**2
"""Pixels from which on images pass in smaller batches, so that feature maps take hundreds of MB, not GB."""


def extract_features(
    backbone: Backbone,
    images: Tensor,
    preprocess: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    report: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Representations (n, dim) of images (n, …), preprocessed and computed batch by batch in float32.

    Args:
        backbone: frozen.
        images: of any type that ``preprocess`` takes.
        preprocess: returns what the backbone sees of some of them.
        device: of the backbone.
        report: called after each batch with the number of images that are done.
    """
    batches = list[torch.Tensor]()
    with evaluation_mode(backbone), torch.inference_mode():
        size = images_per_batch(preprocess(images[:1].to(device)).shape[2:].numel(), device)
        for batch in images.split(size):
            batches.append(backbone(preprocess(batch.to(device))).float())
            report(min(size * len(batches), len(images)))
    return torch.cat(batches).clone()


def images_per_batch(pixels: int, device: torch.device) -> int:
    """Images of so many pixels in one forward pass."""
    size = batch_size(device)
    return max(1, min(size, size * LARGE_IMAGE_PIXELS // pixels))


def batch_size(device: torch.device) -> int:
    """Small images in one forward pass."""
    return min(BATCH_SIZE, BATCH_SIZE_PER_THREAD * torch.get_num_threads()) if device.type == "cpu" else BATCH_SIZE


@contextlib.contextmanager
def evaluation_mode(backbone: Backbone) -> Iterator[None]:
    """Put a backbone into evaluation mode; restores the former mode of each of its modules at the end."""
    training = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
