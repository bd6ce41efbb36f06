"""Makes views of one augmentation in batches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from protocols.augment.colour_jitter import compiled_jitter, jitter
from protocols.augment.crop import crop
from protocols.augment.gaussian_blur import gaussian_blur
from protocols.augment.grayscale import grayscale
from protocols.augment.parameters import COLUMNS, ViewParameters, sample_parameters
from protocols.augment.solarize import solarize
from protocols.spec.plugins import AUGMENTATIONS
from protocols.system.compiled import compilation_works, reason_of
from protocols.system.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.spec.protocol import Augmentation

log = logging.getLogger(__name__)

PIXELS_PER_BLOCK = {"cpu": 2**19}
"""Pixels processed at a time on a CPU, so that they fit its cache: 512 views of 32×32."""

GPU_PIXELS_PER_BLOCK = 2**24
"""Pixels processed at a time on a GPU, so that intermediate results take some 200 MB each: 334 views of 224×224."""

MIN_COMPILE_NUMEL = 2**18
"""Values in a batch of views from which on the compiled colour jitter is faster."""


CHECKED_VIEWS = 64
"""Views that kernels make first on a GPU, to be compared with those of the operations."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2.0**-9, torch.bfloat16: 2.0**-6}
"""Largest difference of a value in [0, 1] in them: four units in the last place of half precision."""

LARGEST_FRACTION = 1e-3
"""Of values that may differ more: solarization jumps where a value is a half, to rounding."""


class Augmenter:
    """Makes views of one augmentation.

    On CUDA by the kernels of :mod:`protocols.augment.gpu_views`, if their first views are equal to those of the
    operations in the other modules, which make them otherwise.

    Args:
        augmentation: the distribution of the views.
        mean: of each channel in [0, 1], subtracted at the end.
        std: of each channel, divided by at the end.
        reference: do not compile; slower, to compare with.
        dtype: of the views.

    Attributes:
        columns: uniform random numbers per view.
        by_kernels: whether kernels make the views; None before the first views on CUDA.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        reference: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.augmentation = augmentation
        self.mean = mean
        self.std = std
        self.reference = reference
        self.dtype = dtype
        self.by_kernels: bool | None = None
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
            (n, 3, size, size) of ``dtype``, normalised, in channels-last memory.
        """
        drawn = Transfer([index, *self.draw(u, images.shape[1]).tensors()], images.device)
        index, *parameters = drawn.result()
        return self.make_views(images, index, ViewParameters(*parameters))

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Make views of another type from now on."""
        self.dtype, self.by_kernels = dtype, None

    def draw(self, u: NDArray[np.float32], side: int) -> ViewParameters:
        """The parameters of n views of images of ``side`` pixels, on the CPU; ``u`` as in :meth:`__call__`."""
        return sample_parameters(self.augmentation, u, side)

    def make_views(self, images: Tensor, index: Tensor, parameters: ViewParameters) -> Tensor:
        """Make views with given parameters; see :meth:`__call__`. All tensors are on the device of the images."""
        kind, size = images.device.type, self.augmentation.size or images.shape[1]
        make = self._views_on_cpu if kind == "cpu" else self._views_on_gpu
        if kind == "cuda" and not self.reference:
            if self.by_kernels is None:
                self.by_kernels = self._compare_kernels(images, index, parameters, size)
            make = self._views_by_kernels if self.by_kernels else make
        out = torch.empty(len(index), size, size, 3, device=images.device, dtype=self.dtype)
        step = max(1, PIXELS_PER_BLOCK.get(kind, GPU_PIXELS_PER_BLOCK) // size**2)
        for start in range(0, len(index), step):
            rows = slice(start, start + step)
            make(images, index[rows], parameters.select(rows), out[rows])
        return out.permute(0, 3, 1, 2)

    def _views_by_kernels(self, images: Tensor, index: Tensor, parameters: ViewParameters, out: Tensor) -> None:
        """Views on CUDA, written to ``out`` (n, size, size, 3)."""
        from protocols.augment import gpu_views

        if not self._operations:
            gpu_views.make_views(images, index, parameters, self.augmentation, out=out, mean=self.mean, std=self.std)
            return
        views = torch.empty_like(out, dtype=torch.float32)
        identity = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
        gpu_views.make_views(images, index, parameters, self.augmentation, out=views, **identity)
        self._normalise(self._apply_operations(views.permute(0, 1, 3, 2), parameters.uniforms), out)

    def _compare_kernels(self, images: Tensor, index: Tensor, parameters: ViewParameters, size: int) -> bool:
        """Whether kernels can be made here and make the views that operations make; logs a warning if not."""
        some = slice(CHECKED_VIEWS)
        index, parameters = index[some], parameters.select(some)
        views, expected = (
            torch.empty(len(index), size, size, 3, device=images.device, dtype=dtype)
            for dtype in (self.dtype, torch.float32)
        )
        self._views_on_gpu(images, index, parameters, expected)
        try:
            self._views_by_kernels(images, index, parameters, views)
            difference = (views - expected).abs() * torch.tensor(self.std, device=images.device)
            wrong = float((~(difference <= TOLERANCE[self.dtype])).float().mean())
        except Exception as error:  # noqa: BLE001 - of a compiler, a driver or a version of Triton
            log.warning("views are made by slower operations: Triton's kernels fail (%s)", reason_of(error))
            return False
        if wrong > LARGEST_FRACTION:
            log.warning("views are made by slower operations: %.1f %% of the kernels' values differ", 100 * wrong)
        return wrong <= LARGEST_FRACTION

    def _normalise(self, views: Tensor, out: Tensor) -> None:
        """Write views (n, size, 3, size) to ``out`` (n, size, size, 3), normalised."""
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            torch.add(torch.tensor(-mean / std), views[:, :, channel], alpha=1 / std, out=out[..., channel])

    def _views_on_cpu(self, images: Tensor, index: Tensor, parameters: ViewParameters, out: Tensor) -> None:
        """Every operation is applied to those views only that it changes."""
        views = crop(images.index_select(0, index), parameters, self.augmentation, out.shape[1])
        views = apply_colour_jitter(views, parameters, reference=self.reference)
        views = apply_to_some(views, parameters.grayscale, grayscale)
        views = apply_to_some(views, parameters.blur, gaussian_blur, parameters.sigma)
        views = apply_to_some(views, parameters.solarize, solarize)
        self._normalise(self._apply_operations(views, parameters.uniforms), out)

    def _views_on_gpu(self, images: Tensor, index: Tensor, parameters: ViewParameters, out: Tensor) -> None:
        """Every operation that the augmentation has is applied to all views, and its result taken where it is wanted.

        How many views an operation changes is known on the GPU only, and the host must not wait for it.
        """
        views = crop(images.index_select(0, index), parameters, self.augmentation, out.shape[1])
        if self.augmentation.jitter:
            for operation, factor in zip(parameters.operation, parameters.factor, strict=True):
                views = jitter(views, operation, factor)
        for mask, probability, function in (
            (parameters.grayscale, self.augmentation.grayscale, grayscale),
            (parameters.blur, self.augmentation.blur, lambda some: gaussian_blur(some, parameters.sigma[:, None])),
            (parameters.solarize, self.augmentation.solarize, solarize),
        ):
            if probability:
                views = torch.where(mask[:, None, None, None], function(views), views)
        self._normalise(self._apply_operations(views, parameters.uniforms), out)

    def _apply_operations(self, views: Tensor, uniforms: Tensor) -> Tensor:
        """The registered operations of the augmentation; ``uniforms`` as in ``ViewParameters``."""
        if not self._operations:
            return views
        images, first = views.permute(0, 2, 1, 3), 0
        for function, count, options in self._operations:
            images = function(images, uniforms.T[:, first : first + count], **options)
            first += count
        return images.permute(0, 2, 1, 3)


def apply_colour_jitter(views: Tensor, parameters: ViewParameters, *, reference: bool) -> Tensor:
    """Apply colour operations to views (n, size, 3, size), to each in its own order; compiled for large batches."""
    compile_it = not reference and views.numel() >= MIN_COMPILE_NUMEL and compilation_works()
    function = compiled_jitter if compile_it else jitter
    for operation, factor in zip(parameters.operation, parameters.factor, strict=True):
        if (operation >= 0).any():
            # Clones: torch.compile would recompile for slices of a larger tensor.
            views = function(views, operation.clone(), factor.clone())
    return views


def apply_to_some(
    views: Tensor, mask: Tensor, operation: Callable[..., Tensor], parameter: Tensor | None = None
) -> Tensor:
    """Apply an operation to some of the views.

    Args:
        views: (n, size, 3, size); may be overwritten.
        mask: (n,) bool.
        operation: a function of views (m, size, 3, size), and of parameters (m, 1) if given.
        parameter: (n,), if the operation takes one.

    Returns:
        (n, size, 3, size).
    """
    rows = mask.nonzero().squeeze(1)
    if len(rows) == 0:
        return views
    parameters = [] if parameter is None else [parameter[rows, None]]
    return views.index_copy_(0, rows, operation(views.index_select(0, rows), *parameters))
