"""Views of images, made on the device, a batch at a time, every view with parameters of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.augment import colour, resample
from protocols.augment.draw import draw
from protocols.system.compiled import works

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.augment.draw import Draw
    from protocols.spec.protocol import Augmentation

PIXELS_PER_BLOCK = 2**19
"""Pixels worked on at a time on a CPU, so that they stay in its cache: 512 views of 32×32."""

MIN_COMPILE_NUMEL = 2**18
"""Numbers in a batch of views from which on it is worth to compile what is done with them."""


class Augmenter:
    """Makes views of one augmentation.

    Args:
        augmentation: how a view is drawn.
        mean: of each channel in [0, 1], subtracted at the end.
        std: of each channel, divided by at the end.
        reference: compile nothing; the slow way, to compare with.
    """

    def __init__(
        self, augmentation: Augmentation, mean: tuple[float, ...], std: tuple[float, ...], *, reference: bool = False
    ) -> None:
        self.augmentation = augmentation
        self.mean = mean
        self.std = std
        self.reference = reference

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
        size = self.augmentation.size or side
        drawn = draw(self.augmentation, u, side)
        out = torch.empty(len(index), size, size, 3, device=images.device)
        step = max(1, PIXELS_PER_BLOCK // size**2) if images.device.type == "cpu" else len(index)
        for start in range(0, len(index), step):
            rows = slice(start, start + step)
            some = images.index_select(0, index[rows].to(images.device, non_blocking=True))
            self._finish(self._make(some, drawn.part(rows), size), out[rows])
        return out.permute(0, 3, 1, 2)

    def _make(self, images: Tensor, drawn: Draw, size: int) -> Tensor:
        views = resample.crop(images, drawn, self.augmentation, size)
        views = apply_colour_jitter(views, drawn, quick=not self.reference)
        views = changed(views, drawn.grayscale, colour.grayscale)
        views = changed(views, drawn.blur, resample.blur, drawn.sigma)
        return changed(views, drawn.solarize, colour.solarize)

    def _finish(self, views: Tensor, out: Tensor) -> None:
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            torch.add(torch.tensor(-mean / std), views[:, :, channel], alpha=1 / std, out=out[..., channel])


def apply_colour_jitter(views: Tensor, drawn: Draw, *, quick: bool) -> Tensor:
    """Views (n, size, 3, size) after their colour operations, each in its own order; compiled if that pays."""
    compiled = quick and views.device.type == "cpu" and views.numel() >= MIN_COMPILE_NUMEL and works()
    jitter = colour.quick_jitter if compiled else colour.jitter
    for operation, factor in zip(drawn.operation, drawn.factor, strict=True):
        if (operation >= 0).any():
            # Copies: of a part of something, torch.compile takes the whole for an operand and compiles again.
            views = jitter(views, *(some.clone().to(views.device, non_blocking=True) for some in (operation, factor)))
    return views


def changed(views: Tensor, chosen: Tensor, operation: Callable[..., Tensor], parameter: Tensor | None = None) -> Tensor:
    """Apply an operation to some of the views.

    Args:
        views: (n, size, 3, size); may be spoilt.
        chosen: (n,) bool, on the CPU, so that no device has to be waited for.
        operation: of views (m, size, 3, size), given parameters (m, 1) if there are any.
        parameter: (n,), on the CPU.

    Returns:
        (n, size, 3, size).
    """
    places = chosen.nonzero().squeeze(1)
    if len(places) == 0:
        return views
    parameters = [] if parameter is None else [parameter[places, None].to(views.device, non_blocking=True)]
    places = places.to(views.device, non_blocking=True)
    return views.index_copy_(0, places, operation(views.index_select(0, places), *parameters))


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Images as they are: (n, side, 3, side) uint8 to (n, 3, side, side) float32 in channels-last memory."""
    shift, scale = (torch.tensor(values, device=images.device) for values in (mean, std))
    pixels = images.permute(0, 1, 3, 2).contiguous().float()
    return pixels.mul_(1 / 255).sub_(shift).div_(scale).permute(0, 3, 1, 2)
