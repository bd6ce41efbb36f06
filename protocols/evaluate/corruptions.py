"""Robustness: accuracy of a linear classifier of clean images on corrupted ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import torch
from torch.nn import functional as F

from protocols.augment.gaussian_blur import gaussian_blur
from protocols.backbones.inference import extract_features
from protocols.evaluate.accuracy import top_k
from protocols.evaluate.linear import fit_to_convergence, fitted_scores, standardized
from protocols.features.extraction import prepare_images
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import AtLeast, AtMost

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from protocols.features.context import EvaluationContext

IMAGES_PER_PART = 1000
"""Images that are corrupted at a time, which share a generator of noise."""


def gaussian_noise(images: Tensor, noise: Tensor, strength: int) -> Tensor:
    """Add normal noise of deviation 0.04 times the strength to every pixel."""
    return images + 0.04 * strength * noise


def blur(images: Tensor, noise: Tensor, strength: int) -> Tensor:  # noqa: ARG001
    """Gaussian blur with a deviation of 0.01 of the side times 1 plus the strength; borders reflect."""
    side = images.shape[1]
    sigma = 0.01 * (1 + strength) * side
    deviations = torch.full((len(images), 1), sigma, device=images.device)
    return gaussian_blur(images, deviations, radius=min(side - 1, max(1, round(4 * sigma))))


def brightness(images: Tensor, noise: Tensor, strength: int) -> Tensor:  # noqa: ARG001
    """Add 0.1 times the strength to every pixel."""
    return images + 0.1 * strength


def contrast(images: Tensor, noise: Tensor, strength: int) -> Tensor:  # noqa: ARG001
    """Divide the distance of every pixel from its channel's mean by 1 plus the strength."""
    mean = images.mean((1, 3), keepdim=True)
    return mean + (images - mean) / (1 + strength)


def pixelate(images: Tensor, noise: Tensor, strength: int) -> Tensor:  # noqa: ARG001
    """Means over a coarser grid, whose side is divided by 1 plus half of the strength, shown as squares."""
    planes, side = images.transpose(1, 2), images.shape[1]
    coarse = F.interpolate(planes, size=(max(1, round(side / (1 + strength / 2))),) * 2, mode="area")
    return F.interpolate(coarse, size=(side, side), mode="nearest-exact").transpose(1, 2)


KINDS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    corruption.__name__: corruption for corruption in (gaussian_noise, blur, brightness, contrast, pixelate)
}
"""From images (n, side, 3, side) in [0, 1], standard normal noise of that shape and a strength to corrupted images."""

STRENGTHS = (1, 2, 3, 4, 5)


@register_evaluation("corruptions", takes="context")
def corruptions(
    context: EvaluationContext, *, l2: Annotated[float, AtLeast(0), AtMost(1000)] = 1e-4
) -> dict[str, float]:
    """Accuracy on corrupted test images of the classifier of ``linear``, trained on images without corruption.

    The kinds and their five strengths are this project's own, defined by arithmetic for images of any size and made on
    the device: comparable among its runs, not with tables of CIFAR-10-C or ImageNet-C (Hendrycks & Dietterich, ICLR
    2019, arXiv 1903.12261). The data set ``cifar10-c`` has the published images. Noise depends on the seed alone, and
    is the same at every strength up to its scale. Corrupted images are rounded to 8 bits.

    Args:
        context: backbone and data set.
        l2: weight decay of the classifier, as in ``linear``.

    Returns:
        ``top1``, the mean over kinds and strengths, and for each kind, by its name, the mean over strengths, in
        percent.

    Raises:
        Diverged: the scores are not finite.
        KeyboardInterrupt: the listener asked to stop.
    """
    context.listener.stage("corruptions", len(KINDS) * len(STRENGTHS))
    corrupted = []
    for number, kind in enumerate(KINDS):
        for strength in STRENGTHS:
            corrupted.append(corrupted_features(context, kind, strength))
            context.listener.advance_or_stop(number * len(STRENGTHS) + strength, kind)
    features = standardized(replace(context.features, test=torch.cat(corrupted)))
    scores = fitted_scores(features, partial(fit_to_convergence, l2=l2)).split(len(context.dataset.test))
    top1 = [top_k(part, features.test_labels, features.classes)["top1"] for part in scores]
    by_kind = torch.tensor(top1, dtype=torch.float64).view(len(KINDS), len(STRENGTHS)).mean(1).tolist()
    return {"top1": sum(by_kind) / len(by_kind), **dict(zip(KINDS, by_kind, strict=True))}


def corrupted_features(context: EvaluationContext, kind: str, strength: int) -> Tensor:
    """Frozen features (m, d) of the test images with one corruption."""
    dataset, device = context.dataset, context.device
    prepare = partial(
        prepare_images, dataset=dataset, size=context.image_size or dataset.side, crop_pct=context.crop_pct
    )
    features = []
    for number, part in enumerate(torch.from_numpy(dataset.test.images).split(IMAGES_PER_PART)):
        noise = torch.randn(part.shape, generator=randomness.generator(context.seed, "corruptions", number))
        images = corrupt(part.to(device), noise.to(device), kind, strength)
        features.append(extract_features(context.backbone, images, prepare, device))
    return torch.cat(features)


def corrupt(images: Tensor, noise: Tensor, kind: str, strength: int) -> Tensor:
    """Corrupted images (n, side, 3, side) uint8.

    Args:
        images: (n, side, 3, side) uint8.
        noise: standard normal, of the same shape.
        kind: a name of :data:`KINDS`.
        strength: from 1, the weakest, to 5.
    """
    changed = KINDS[kind](images.float() / 255, noise, strength)
    return (255 * changed.clamp(0, 1)).round().to(torch.uint8)
