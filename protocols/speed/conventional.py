"""A conventional input pipeline: views made image by image, by PIL and torchvision, in a DataLoader's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from methods.base import Batch
from protocols.augment.gaussian_blur import blur_radius
from protocols.pretrain.loop import concatenate_by_size

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from protocols.augment.augmenter import Augmenter
    from protocols.pretrain.loop import PretrainJob


class ViewDataset(Dataset[tuple[list["Tensor"], int]]):
    """The views of each image of a job."""

    def __init__(self, job: PretrainJob) -> None:
        self.images = job.images.stored.cpu().permute(0, 1, 3, 2).contiguous().numpy()
        side = self.images.shape[1]
        transforms = {name: torchvision_transform(job.augmenters[name], side) for name in set(job.views)}
        self.transforms = [transforms[name] for name in job.views]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[list[Tensor], int]:
        """The views of an image, and its index."""
        image = Image.fromarray(self.images[number])
        return [transform(image) for transform in self.transforms], number


def torchvision_transform(augmenter: Augmenter, side: int) -> T.Compose:
    """An augmentation as torchvision transforms."""
    augmentation, size = augmenter.augmentation, augmenter.augmentation.size or side
    jitter = T.ColorJitter(augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue)
    steps = []
    if augmentation.crop:
        filter_ = InterpolationMode(augmentation.interpolation)
        steps.append(T.RandomResizedCrop(size, augmentation.crop, augmentation.ratio, filter_))
    if augmentation.pad:
        steps.append(T.RandomCrop(size, padding=round(augmentation.pad * side)))
    random_steps = (
        (augmentation.flip, T.RandomHorizontalFlip(augmentation.flip)),
        (augmentation.jitter, T.RandomApply([jitter], augmentation.jitter)),
        (augmentation.grayscale, T.RandomGrayscale(augmentation.grayscale)),
        (
            augmentation.blur,
            T.RandomApply([T.GaussianBlur(2 * blur_radius(size) + 1, augmentation.sigma)], augmentation.blur),
        ),
        (augmentation.solarize, T.RandomSolarize(128, augmentation.solarize)),
    )
    steps += [step for probability, step in random_steps if probability]
    return T.Compose([*steps, T.ToTensor(), T.Normalize(augmenter.mean, augmenter.std)])


def batches(job: PretrainJob, workers: int) -> Generator[Batch]:
    """Batches of a job without end, made by ``workers`` processes."""
    device = job.images.device
    loader = DataLoader(
        ViewDataset(job),
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
            index_on_device = index.to(device, non_blocking=True)
            labels = None if job.labels is None else job.labels[index_on_device]
            full, *crops = concatenate_by_size([view.to(device, non_blocking=True) for view in views])
            yield Batch(full, index_on_device, labels, tuple(crops))
