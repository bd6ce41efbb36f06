"""Makes views of one augmentation in batches."""

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
"""Pixels processed at a time on a CPU, so that they fit its cache: 512 views of 32×32."""

MIN_COMPILE_NUMEL = 2**18
"""Values in a batch of views from which on the compiled colour jitter is faster."""


class Augmenter:
    """Makes views of one augmentation.

    Args:
        augmentation: the distribution of the views.
        mean: of each channel in [0, 1], subtracted at the end.
        std: of each channel, divided by at the end.
        reference: do not compile; slower, to compare with.

    Attributes:
        columns: uniform random numbers per view.
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
            index: (n,) indices of the images; an image may occur several times.
            u: (n, ``columns``) uniform random numbers in [0, 1).

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
            views = self._views(selected, parameters.select(rows), size)
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
    """Apply colour operations to views (n, size, 3, size), to each in its own order; compiled for large batches."""
    compile_it = (
        not reference and views.device.type == "cpu" and views.numel() >= MIN_COMPILE_NUMEL and compilation_works()
    )
    function = compiled_jitter if compile_it else jitter
    for operation, factor in zip(parameters.operation, parameters.factor, strict=True):
        if (operation >= 0).any():
            # Clones: torch.compile would recompile for slices of a larger tensor.
            arguments = (values.clone().to(views.device, non_blocking=True) for values in (operation, factor))
            views = function(views, *arguments)
    return views


def apply_to_some(
    views: Tensor, mask: Tensor, operation: Callable[..., Tensor], parameter: Tensor | None = None
) -> Tensor:
    """Apply an operation to some of the views.

    Args:
        views: (n, size, 3, size); may be overwritten.
        mask: (n,) bool, on the CPU, so that a GPU is not synchronized.
        operation: a function of views (m, size, 3, size), and of parameters (m, 1) if given.
        parameter: (n,), on the CPU.

    Returns:
        (n, size, 3, size).
    """
    rows = mask.nonzero().squeeze(1)
    if len(rows) == 0:
        return views
    parameters = [] if parameter is None else [parameter[rows, None].to(views.device, non_blocking=True)]
    rows = rows.to(views.device, non_blocking=True)
    return views.index_copy_(0, rows, operation(views.index_select(0, rows), *parameters))
