"""How long a pretraining is, in steps, epochs and views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.errors import RequestError

if TYPE_CHECKING:
    from protocols.protocol import Pretrain


@dataclass(frozen=True)
class Budget:
    """The length of a pretraining.

    Attributes:
        images: of the pretraining split.
        batch: images a step.
        views: of every image that go through the backbone.
        steps: of the whole pretraining; 0 if there are no views.
    """

    images: int
    batch: int
    views: int
    steps: int

    @property
    def epoch(self) -> int:
        """Steps an epoch. The last batch may be smaller, but a lone image makes no batch."""
        return self.images // self.batch + (self.images % self.batch > 1)

    def span(self, step: int) -> tuple[int, slice]:
        """Number of the epoch of a step, and the places of its images in that epoch's order."""
        epoch, place = divmod(step, self.epoch)
        return epoch, slice(place * self.batch, (place + 1) * self.batch)

    @property
    def total_views(self) -> int:
        """Views seen in all."""
        epochs, rest = divmod(self.steps, self.epoch)
        return epochs * self.views_an_epoch + rest * self.batch * self.views

    @property
    def views_an_epoch(self) -> int:
        """Views seen in a whole epoch."""
        return self.views * (self.images - (self.images % self.batch == 1))


def budget_for(pretrain: Pretrain, *, images: int, views: int) -> Budget:
    """The steps that a protocol grants a method.

    Args:
        pretrain: names the budget in epochs or in views.
        images: of the pretraining split.
        views: of every image that go through the backbone; 0 for a method that is not trained.

    Raises:
        RequestError: a batch is larger than the data set.
    """
    if not views:
        return Budget(images, pretrain.batch, 0, 0)
    if pretrain.batch > images:
        raise RequestError(
            f"a batch of {pretrain.batch} is larger than the {images:,} images to pretrain on",
            hint="lower it with --set pretrain.batch=N",
        )
    whole = Budget(images, pretrain.batch, views, 0)
    if pretrain.epochs is not None:
        steps = round(pretrain.epochs * whole.epoch)
    else:
        epochs, rest = divmod(pretrain.views or 0, whole.views_an_epoch)
        steps = epochs * whole.epoch + round(rest / (pretrain.batch * views))
    return Budget(images, pretrain.batch, views, max(steps, 1))
