"""Makes the views of one augmentation, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from protocols.augment.colour_jitter import compiled_jitter, jitter
from protocols.augment.crop import crop
from protocols.augment.gaussian_blur import gaussian_blur
from protocols.augment.grayscale import grayscale
from protocols.augment.parameters import COLUMNS, sample_parameters
from protocols.augment.solarize import solarize
from protocols.spec.plugins import AUGMENTATIONS
from protocols.system.compiled import compilation_works

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.augment.parameters import ViewParameters
    from protocols.spec.protocol import Augmentation

PIXELS_PER_BLOCK = 2**19
"""Pixels worked on at a time on a CPU, so that they stay in its cache: 512 views of 32×32."""

MIN_COMPILE_NUMEL = 2**18
"""Numbers in a batch of views from which on compiling the colour jitter pays."""


class Augmenter:
    """Makes views of one augmentation.

    Args:
        augmentation: the distribution of the views.
        mean: of each channel in [0, 1], subtracted at the end.
        std: of each channel, divided by at the end.
        reference: compile nothing; slower, to compare with.

    Attributes:
        columns: uniform numbers that a view takes.
    """

    def __init__(
        self, augmentation: Augmentation, mean: tuple[float, ...], std: tuple[float, ...], *, reference: bool = False
    ) -> None:
        self.augmentation = augmentation
        self.mean = mean
        self.std = std
        self.reference = reference
        self._operations = [
            (AUGMENTATIONS.get(name), AUGMENTATIONS.describe(name).declared["uniforms"], options)
            for name, options in augmentation.operations.items()
        ]
        self.columns = COLUMNS + sum(uniforms for _, uniforms, _ in self._operations)

    def __call__(self, images: Tensor, index: Tensor, u: NDArray[np.float32]) -> Tensor:
        """Make a view of some images.

        Args:
            images: (m, side, 3, side) uint8.
            index: (n,) which of them; an image may occur several times.
            u: (n, ``columns``) uniform numbers in [0, 1) that decide everything.

        Returns:
            (n, 3, size, size) float32, normalised, in channels-last memory.
        """
        side = images.shape[1]
        size = self.augmentation.size or side
        parameters = sample_parameters(self.augmentation, u[:, :COLUMNS], side)
        out = torch.empty(len(index), size, size, 3, device=images.device)
        step = max(1, PIXELS_PER_BLOCK // size**2) if images.device.type == "cpu" else len(index)
        for start in range(0, len(index), step):
            rows = slice(start, start + step)
            selected = images.index_select(0, index[rows].to(images.device, non_blocking=True))
            views = self._views(selected, parameters.part(rows), size)
            if self._operations:
                views = self._apply_operations(views, u[rows, COLUMNS:])
            for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
                torch.add(torch.tensor(-mean / std), views[:, :, channel], alpha=1 / std, out=out[rows, ..., channel])
        return out.permute(0, 3, 1, 2)

    def _views(self, images: Tensor, parameters: ViewParameters, size: int) -> Tensor:
        views = crop(images, parameters, self.augmentation, size)
        views = apply_colour_jitter(views, parameters, reference=self.reference)
        views = apply_to_some(views, parameters.grayscale, grayscale)
        views = apply_to_some(views, parameters.blur, gaussian_blur, parameters.sigma)
        return apply_to_some(views, parameters.solarize, solarize)

    def _apply_operations(self, views: Tensor, u: NDArray[np.float32]) -> Tensor:
        numbers, images, first = torch.from_numpy(u).to(views.device), views.permute(0, 2, 1, 3), 0
        for function, uniforms, options in self._operations:
            images = function(images, numbers[:, first : first + uniforms], **options)
            first += uniforms
        return images.permute(0, 2, 1, 3)


def apply_colour_jitter(views: Tensor, parameters: ViewParameters, *, reference: bool) -> Tensor:
    """Views (n, size, 3, size) after their colour operations, each in its own order; compiled if that pays."""
    compile_it = (
        not reference and views.device.type == "cpu" and views.numel() >= MIN_COMPILE_NUMEL and compilation_works()
    )
    function = compiled_jitter if compile_it else jitter
    for operation, factor in zip(parameters.operation, parameters.factor, strict=True):
        if (operation >= 0).any():
            # Copies: of a part of something, torch.compile takes the whole for an operand and compiles again.
            moved = (some.clone().to(views.device, non_blocking=True) for some in (operation, factor))
            views = function(views, *moved)
    return views


def apply_to_some(
    views: Tensor, chosen: Tensor, operation: Callable[..., Tensor], parameter: Tensor | None = None
) -> Tensor:
    """Apply an operation to some of the views.

    Args:
        views: (n, size, 3, size); may be overwritten.
        chosen: (n,) bool, on the CPU, so that no device has to be waited for.
        operation: of views (m, size, 3, size), given parameters (m, 1) if there are any.
        parameter: (n,), on the CPU.

    Returns:
        (n, size, 3, size).
    """
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return views
    parameters = [] if parameter is None else [parameter[rows, None].to(views.device, non_blocking=True)]
    rows = rows.to(views.device, non_blocking=True)
    return views.index_copy_(0, rows, operation(views.index_select(0, rows), *parameters))
