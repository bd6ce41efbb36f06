"""The conventional way to feed a training loop: image by image, by PIL and torchvision, in a DataLoader's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from methods.base import Batch
from protocols.augment.resample import blur_radius
from protocols.pretrain import by_size

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from protocols.augment import Augmenter
    from protocols.pretrain import Job


class PerImage(Dataset[tuple[list["Tensor"], int]]):
    """The images of a job, and for each its views."""

    def __init__(self, job: Job) -> None:
        self.images = job.images.stored.cpu().permute(0, 1, 3, 2).contiguous().numpy()
        side = self.images.shape[1]
        made = {name: transform_of(job.augmenters[name], side) for name in set(job.views)}
        self.transforms = [made[name] for name in job.views]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[list[Tensor], int]:
        """The views of an image."""
        image = Image.fromarray(self.images[number])
        return [transform(image) for transform in self.transforms], number


def transform_of(augmenter: Augmenter, side: int) -> T.Compose:
    """A recipe as torchvision's transforms."""
    recipe, size = augmenter.recipe, augmenter.recipe.size or side
    jitter = T.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    steps = []
    if recipe.crop:
        filter_ = InterpolationMode(recipe.interpolation)
        steps.append(T.RandomResizedCrop(size, recipe.crop, recipe.ratio, filter_))
    if recipe.pad:
        steps.append(T.RandomCrop(size, padding=round(recipe.pad * side)))
    by_chance = (
        (recipe.flip, T.RandomHorizontalFlip(recipe.flip)),
        (recipe.jitter, T.RandomApply([jitter], recipe.jitter)),
        (recipe.grayscale, T.RandomGrayscale(recipe.grayscale)),
        (recipe.blur, T.RandomApply([T.GaussianBlur(2 * blur_radius(size) + 1, recipe.sigma)], recipe.blur)),
        (recipe.solarize, T.RandomSolarize(128, recipe.solarize)),
    )
    steps += [step for chance, step in by_chance if chance]
    return T.Compose([*steps, T.ToTensor(), T.Normalize(augmenter.mean, augmenter.std)])


def batches(job: Job, workers: int) -> Generator[Batch]:
    """Batches of a job without end, made by so many worker processes."""
    device = job.images.device
    loader = DataLoader(
        PerImage(job),
        batch_size=job.budget.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        pin_memory=device.type == "cuda",
    )
    while True:
        for views, index in loader:
            here = index.to(device, non_blocking=True)
            labels = None if job.labels is None else job.labels[here]
            full, *crops = by_size([view.to(device, non_blocking=True) for view in views])
            yield Batch(full, here, labels, tuple(crops))
