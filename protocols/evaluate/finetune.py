"""Finetuning: accuracy of a network that is initialised by the pretrained backbone."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn
from torch.nn import functional as F

from protocols.augment.affine import COLUMNS as AFFINE_COLUMNS
from protocols.augment.affine import affine
from protocols.backbones.inference import extract_features
from protocols.evaluate.accuracy import mask_absent_classes, top_k
from protocols.features.extraction import prepare_images, resize
from protocols.features.features import stratified_subset
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import Above, AtLeast, AtMost, AugmentationName
from results.errors import Diverged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor

    from methods.base import Backbone
    from protocols.features.context import EvaluationContext

MILESTONES = (100, 150)
"""Epochs after which both learning rates are multiplied by 0.1."""


@register_evaluation("finetune", takes="context", version=1)
def finetune(
    context: EvaluationContext,
    *,
    epochs: Annotated[int, AtLeast(1)] = 100,
    batch: Annotated[int, AtLeast(2)] = 128,
    backbone_lr: Annotated[float, AtLeast(0)] = 1e-3,
    classifier_lr: Annotated[float, Above(0)] = 1e-4,
    weight_decay: Annotated[float, AtLeast(0), AtMost(1000)] = 1e-5,
    augmentation: Annotated[
        Literal["none", "light", "standard", "affine"], AugmentationName(besides=("none", "affine"))
    ] = "none",
    erase: Annotated[float, AtLeast(0), AtMost(1)] = 0.111,
    fraction: Annotated[float, Above(0), AtMost(1)] = 1.0,
) -> dict[str, float]:
    """Backbone and linear classifier trained together on the training split, scored once on the test split.

    The defaults are those of the released code of Patacchiola & Storkey (2020): Adam, learning rates multiplied by 0.1
    after 100 and 150 epochs (not reached in its 100 epochs), a smaller learning rate of the classifier than of the
    backbone, no augmentation, last epoch. Whether the published numbers were measured with their finetuning
    augmentation, ``affine``, is not known. Deviations: batches of one image are left out; precision is float32.

    Args:
        context: backbone and data set; a copy of the backbone is trained.
        epochs: passes over the labelled images.
        batch: images per step; the last batch of an epoch may be smaller.
        backbone_lr: learning rate of the backbone.
        classifier_lr: learning rate of the classifier.
        weight_decay: L2 penalty of both.
        augmentation: of the training images: the protocol's ``light`` or ``standard``, ``affine``, or ``none``.
        erase: area of the square that ``affine`` erases, as a fraction of the image; in the code 0.25 on CIFAR-10,
            0.0625 on CIFAR-100, 0.111 on STL-10.
        fraction: of the labels of every class that are used, drawn by the seed.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: the loss or the scores are not finite.
        KeyboardInterrupt: the listener asked to stop.
    """
    backbone, classifier = copy.deepcopy(context.backbone).train(), new_classifier(context)
    rates = [(backbone, backbone_lr), (classifier, classifier_lr)]
    groups = [{"params": list(module.parameters()), "lr": lr} for module, lr in rates]
    optimizer = torch.optim.Adam(groups, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, MILESTONES)
    indices = stratified_subset(torch.from_numpy(context.dataset.train.labels), fraction, context.seed)
    context.listener.stage("finetune", epochs * len(indices))
    for epoch in range(epochs):
        order = indices[randomness.permutation(len(indices), context.seed, "finetune", epoch)]
        prepare = partial(training_images, context, epoch=epoch, augmentation=augmentation, erase=erase)
        loss, seen = torch.zeros(()), epoch * len(indices)
        for images, labels in batches(context, order.split(batch), prepare):
            loss = F.cross_entropy(classifier(backbone(images)), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seen += len(labels)
            context.listener.advance_or_stop(seen, f"epoch {epoch + 1}/{epochs}")
        require_finite(loss)
        schedule.step()
    return score(backbone, classifier, context)


def batches(
    context: EvaluationContext, indices: Iterable[Tensor], prepare: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of the training split on the device; batches of one image are left out."""
    for index in indices:
        if len(index) > 1:
            yield prepare(index), torch.from_numpy(context.dataset.train.labels)[index].to(context.device)


def require_finite(loss: Tensor) -> None:
    """Check a loss.

    Raises:
        Diverged: it is not finite.
    """
    if not loss.isfinite():
        raise Diverged(f"the loss of finetuning became {loss.item()}", hint="try lower learning rates")


def new_classifier(context: EvaluationContext) -> nn.Linear:
    """A linear layer initialised by torch's default, as a function of the seed."""
    torch.manual_seed(randomness.key(context.seed, "classifier"))
    return nn.Linear(context.backbone.dim, len(context.dataset.classes)).to(context.device)


def training_images(
    context: EvaluationContext, index: Tensor, *, epoch: int, augmentation: str, erase: float
) -> Tensor:
    """Training images, normalised or augmented; random numbers depend on image and epoch only."""
    dataset, size = context.dataset, context.image_size or context.dataset.side
    images = torch.from_numpy(dataset.train.images)[index].to(context.device)
    key = randomness.key(context.seed, "finetune views", epoch)
    if augmentation == "none":
        return prepare_images(images, dataset, size, context.crop_pct)
    if augmentation == "affine":
        u = randomness.uniforms(key, index.numpy(), AFFINE_COLUMNS)
        return resize(affine(images, u, dataset.mean, dataset.std, erase=erase), size)
    augmenter = context.augmenters[augmentation]
    u = randomness.uniforms(key, index.numpy(), augmenter.columns)
    return augmenter(images, torch.arange(len(images)), u)


def score(backbone: Backbone, classifier: nn.Linear, context: EvaluationContext) -> dict[str, float]:
    """Accuracies on the test split."""
    dataset, device = context.dataset, context.device
    images, labels = torch.from_numpy(dataset.test.images), torch.from_numpy(dataset.test.labels)
    size, crop_pct = context.image_size or dataset.side, context.crop_pct
    test = extract_features(backbone, images, lambda batch: prepare_images(batch, dataset, size, crop_pct), device)
    with torch.no_grad():
        scores = mask_absent_classes(classifier(test), torch.from_numpy(dataset.train.labels).to(device))
    return top_k(scores, labels.to(device), len(dataset.classes))
