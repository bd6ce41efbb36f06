"""Representations of images by a frozen backbone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from methods.base import Backbone

BATCH = 1000
"""Images in one forward pass."""


def extract_features(
    backbone: Backbone, images: Tensor, preprocess: Callable[[Tensor], Tensor], device: torch.device
) -> Tensor:
    """Representations (n, dim) of images (n, …), preprocessed and computed batch by batch in float32."""
    with evaluation_mode(backbone), torch.inference_mode():
        batches = [backbone(preprocess(some.to(device))).float() for some in images.split(BATCH)]
    return torch.cat(batches).clone()


@contextlib.contextmanager
def evaluation_mode(backbone: Backbone) -> Iterator[None]:
    """Use running statistics and leave them untouched; afterwards the module is in its former mode."""
    training = backbone.training
    backbone.eval()
    try:
        yield
    finally:
        backbone.train(training)
