"""The length of a pretraining in steps, epochs and views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.errors import RequestError

if TYPE_CHECKING:
    from protocols.spec.protocol import Pretrain


@dataclass(frozen=True)
class Budget:
    """The length of a pretraining.

    Attributes:
        images: of the pretraining split.
        batch: images a step.
        views: of every image that go through the backbone.
        steps: of the whole pretraining; 0 if there are no views.
        flops_per_view: floating-point operations, forward and backward, that fixed the steps of a budget in FLOPs.
    """

    images: int
    batch: int
    views: int
    steps: int
    flops_per_view: float | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; its last batch may be smaller, but a batch of one image is left out."""
        return self.images // self.batch + (self.images % self.batch > 1)

    def locate(self, step: int) -> tuple[int, slice]:
        """The epoch of a step, counted from 0, and the slice of that epoch's image order for its batch."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        return epoch, slice(step_in_epoch * self.batch, (step_in_epoch + 1) * self.batch)

    @property
    def total_views(self) -> int:
        """Total number of views."""
        epochs, rest = divmod(self.steps, self.steps_per_epoch)
        return epochs * self.views_per_epoch + rest * self.batch * self.views

    @property
    def views_per_epoch(self) -> int:
        """Number of views in an epoch."""
        return self.views * (self.images - (self.images % self.batch == 1))


def budget_for(pretrain: Pretrain, *, images: int, views: int, flops_per_view: float | None = None) -> Budget:
    """Compute the budget of a method under a protocol.

    Args:
        pretrain: names the budget in epochs, views or FLOPs.
        images: of the pretraining split.
        views: of every image that go through the backbone; 0 for a method that is not trained.
        flops_per_view: floating-point operations, forward and backward; needed for a budget in FLOPs.

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
        steps = round(pretrain.epochs * whole.steps_per_epoch)
    else:
        given = pretrain.flops if flops_per_view else pretrain.views
        assert given is not None, "a budget is in epochs, views or FLOPs"
        asked = given / flops_per_view if flops_per_view else given
        epochs, rest = divmod(asked, whole.views_per_epoch)
        steps = int(epochs) * whole.steps_per_epoch + round(rest / (pretrain.batch * views))
    return Budget(images, pretrain.batch, views, max(steps, 1), flops_per_view)
