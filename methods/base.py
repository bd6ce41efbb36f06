"""The contract between a method and the harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Backbone(nn.Module):
    """The encoder that is kept after pretraining.

    ``forward`` maps images (n, 3, side, side) to representations (n, ``dim``).

    Attributes:
        dim: size of the representation.
        stem: the first convolution with its normalisation and activation, before any pooling; its output is
            the map of methods with local objectives.
    """

    dim: int
    stem: nn.Module
    run_parallel: Callable[[Callable[[Tensor], Any], Tensor], Any] | None = None
    """Set where several processes share a batch: computes the outputs of a function of images together."""

    def with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Representations (n, ``dim``), and the stem's map (n, channels, height, width) of the same pass."""
        outputs = self._with_map(images) if self.run_parallel is None else self.run_parallel(self._with_map, images)
        z, feature_map = outputs
        return z, feature_map

    def _with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        hook = self.stem.register_forward_hook(lambda *call: seen.append(call[-1]))
        try:
            return self(images), seen[0]
        finally:
            hook.remove()


@dataclass(frozen=True)
class Setting:
    """What a method may know about the run it takes part in.

    Attributes:
        classes: number of classes of the data set.
        images: number of images it is pretrained on.
        side: height and width of a view, in pixels.
        steps: number of optimiser steps of the whole pretraining.
        seed: the run's trial, for what a method draws at random outside ``forward``.
    """

    classes: int
    images: int
    side: int
    steps: int
    seed: int


@dataclass(frozen=True)
class Batch:
    """One step's input.

    Attributes:
        views: (k·b, 3, side, side), normalised; view v of image i is row v·b + i.
        index: (b,) positions of the images in the pretraining split, int64.
        labels: (b,) classes, int64; None unless the method declares ``uses_labels``.
        crops: the views of other sizes than the first's, likewise; one tensor a size, in the order of the views.
    """

    views: Tensor
    index: Tensor
    labels: Tensor | None = None
    crops: tuple[Tensor, ...] = ()


class Method(nn.Module):
    """A self-supervised objective: its heads, its loss, the views it wants. No data, no loop, no device code.

    A subclass lists its options with the paper's defaults in a nested frozen dataclass ``Options`` (literals only;
    raise ``ValueError`` in ``__post_init__`` for what cannot work), builds its heads in ``__init__`` and returns its
    loss from ``forward``. What it must remember lies in parameters and buffers: a checkpoint is its ``state_dict``.
    ``forward`` writes to no buffer of its own; what a step leaves behind is written in ``after_step``. All but that may
    draw from torch's default generators, which are seeded for them. Before any work starts it is built
    once, to be refused in time: raise ``RequestError`` for a backbone or a setting that cannot work.

    Attributes:
        backbone: the encoder; shared weights at the start for every method of a trial.
        options: this run's options.
        setting: facts about the run.
    """

    uses_labels: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Options:
        """No options."""

    def __init__(self, backbone: Backbone, options: Any, setting: Setting) -> None:
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.setting = setting

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003 - most methods want two whatever their options
        """The views it wants of every image, by the names of the protocol's recipes; none means no pretraining."""
        return ("standard", "standard")

    @classmethod
    def passes(cls, options: Any) -> int:
        """What budgets in views count for each image of a batch: its views, or the backbone's inputs if more."""
        return len(cls.views(options))

    @property
    def encoder(self) -> Backbone:
        """The encoder whose weights are kept and evaluated in the end."""
        return self.backbone

    def sources(self, index: Tensor, views: int) -> Tensor:
        """Which images the views of a batch show, by default those of the batch; asked before every step.

        Args:
            index: (b,) positions of the batch's images in the pretraining split, on the device.
            views: of every image.

        Returns:
            (views, b) positions; row v is the images behind view v.
        """
        return index.expand(views, -1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of one batch under ``"loss"``, and any scalars worth logging beside it."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after every optimiser step; ``progress`` runs from 0 to 1 over the pretraining."""

    def before_epoch(self, epoch: int, represent: Callable[[], Tensor]) -> None:
        """Called before every epoch, but not when a run carries on in the middle of one.

        Args:
            epoch: counted from 0.
            represent: returns the float32 representations (images, ``dim``) of the pretraining split, not augmented, by
                the backbone in evaluation mode. Its time counts as training, its images do not count as views.
        """

    def keepsakes(self) -> dict[str, Tensor]:
        """What is worth keeping of a finished pretraining beside the encoder; stored in the run's folder."""
        return {}
