"""Views of images, made on the device, a batch at a time, every view with parameters of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.augment import colour, resample
from protocols.augment.draw import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.augment.draw import Draw
    from protocols.protocol import Recipe

CACHEFUL = 2**19
"""Pixels worked on at a time on a CPU, so that they stay in its cache: 512 views of 32×32."""


class Augmenter:
    """Makes views of one recipe.

    Args:
        recipe: how a view is drawn.
        mean: of each channel in [0, 1], subtracted at the end.
        std: of each channel, divided by at the end.
    """

    def __init__(self, recipe: Recipe, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.recipe = recipe
        self.mean = mean
        self.std = std

    def __call__(self, images: Tensor, index: Tensor, u: NDArray[np.float32]) -> Tensor:
        """Make a view of some images.

        Args:
            images: (m, side, 3, side) uint8.
            index: (n,) which of them; an image may come several times.
            u: (n, ``COLUMNS``) uniform numbers in [0, 1) that decide everything.

        Returns:
            (n, 3, size, size) float32, normalised, in channels-last memory.
        """
        side = images.shape[1]
        size = self.recipe.size or side
        drawn = draw(self.recipe, u, side)
        views = torch.empty(len(index), size, size, 3, device=images.device)
        step = max(1, CACHEFUL // size**2) if images.device.type == "cpu" else len(index)
        for start in range(0, len(index), step):
            rows = slice(start, start + step)
            some = images.index_select(0, index[rows].to(images.device, non_blocking=True))
            self._make(some, drawn.part(rows), views[rows])
        return views.permute(0, 3, 1, 2)

    def _make(self, images: Tensor, drawn: Draw, out: Tensor) -> None:
        size = out.shape[1]
        views = resample.crop(images, drawn, self.recipe, size)
        planes = colour.jitter(views.view(3, len(images), size * size), drawn.order, drawn.factor)
        change(planes, drawn.grayscale, colour.grayscale)
        change(planes, drawn.blur, resample.blur, drawn.sigma)
        change(planes, drawn.solarize, colour.solarize)
        for channel, plane in enumerate(planes.view(3, len(images), size, size)):
            shift, scale = -self.mean[channel] / self.std[channel], 1 / self.std[channel]
            torch.add(torch.tensor(shift), plane, alpha=scale, out=out[..., channel])


def change(planes: Tensor, chosen: Tensor, operation: Callable[..., None], parameter: Tensor | None = None) -> None:
    """Apply an operation to some of the views, in place.

    Args:
        planes: (3, n, pixels).
        chosen: (n,) bool, on the CPU, so that no device has to be waited for.
        operation: works in place on planes (3, m, pixels), given parameters (m, 1) if there are any.
        parameter: (n,), on the CPU.
    """
    views = chosen.nonzero().squeeze(1)
    if len(views) == 0:
        return
    parameters = [] if parameter is None else [parameter[views, None].to(planes.device, non_blocking=True)]
    views = views.to(planes.device, non_blocking=True)
    some = planes.index_select(1, views)
    operation(some, *parameters)
    planes.index_copy_(1, views, some)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images as they are: (n, side, 3, side) uint8 to (n, 3, side, side) float32 in channels-last memory."""
    shift, scale = (torch.tensor(values, device=images.device) for values in (mean, std))
    pixels = images.permute(0, 1, 3, 2).contiguous().float()
    return pixels.mul_(1 / 255).sub_(shift).div_(scale).permute(0, 3, 1, 2)
