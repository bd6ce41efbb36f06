"""The contract between a method and the harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import nn

from results.errors import BrokenPlugin, RequestError
from results.names import OLD_HOOKS, Baseline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


Channels: TypeAlias = tuple[float, float, float]

TOKENS_EXAMPLE = "timm:vit_tiny_patch16_224@patch=4"
"""A backbone with tokens of patches, for messages."""


NOT_OF_TIMM = "the backbone is not one of timm's models"


class Backbone(nn.Module):
    """The encoder that is pretrained, kept and evaluated.

    ``forward`` maps images (n, 3, side, side) to representations (n, ``dim``).

    Attributes:
        dim: size of the representation.
        stem: the first convolution with its normalisation and activation, before any pooling. Its output is the
            feature map of methods with local objectives.
        has_tokens: whether :meth:`tokens` works.
        patch_size: side of a patch in pixels of the images; 0 without tokens, and where images are resized first.
        prefix_tokens: number of tokens before those of patches: class and register tokens.
    """

    dim: int
    stem: nn.Module
    has_tokens: bool = False
    patch_size: int = 0
    prefix_tokens: int = 0
    run_parallel: Callable[..., Any] | None = None
    """Set where several processes share a batch: computes the outputs of a function of images together.

    It is given the function, the images, and tensors with a row for each image that the function takes too.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.with_map is not Backbone.with_map:
            refuse_old_name(cls, "with_map", "_forward_with_map")

    def forward_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Representations and the stem's feature map, from one forward pass.

        Args:
            images: (n, 3, side, side).

        Returns:
            Representations (n, ``dim``) and feature maps (n, channels, height, width).
        """
        forward = self._forward_with_map
        representations, maps = forward(images) if self.run_parallel is None else self.run_parallel(forward, images)
        return representations, maps

    def _forward_with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`forward_with_map` in this process; for a backbone with a faster way to override."""
        outputs: list[Tensor] = []
        hook = self.stem.register_forward_hook(lambda *call: outputs.append(call[-1]))
        try:
            return self(images), outputs[0]
        finally:
            hook.remove()

    def tokens(
        self,
        images: Tensor,
        keep: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """Tokens before pooling, after the last normalisation: the prefix tokens, then those of patches, row by row.

        Args:
            images: (n, 3, side, side).
            keep: (n, k) int64, the patches of each image that the encoder sees, counted from 0 row by row; all by
                default. Their position embeddings are those of the whole image.
            mask: (n, patches) bool, patches whose embeddings are replaced by ``mask_token`` before position embeddings
                are added.
            mask_token: (``dim``,).

        Returns:
            (n, ``prefix_tokens`` + k, ``dim``), patches in the order of ``keep``.

        Raises:
            RequestError: the backbone has no tokens.
        """
        rows = [tensor for tensor in (keep, mask) if tensor is not None]

        def forward(images: Tensor, *rows: Tensor) -> tuple[Tensor]:
            left = list(rows)
            kept_patches = None if keep is None else left.pop(0)
            return (self._tokens(images, kept_patches, left[0] if left else None, mask_token),)

        (tokens,) = forward(images, *rows) if self.run_parallel is None else self.run_parallel(forward, images, *rows)
        return tokens

    def _tokens(self, images: Tensor, keep: Tensor | None, mask: Tensor | None, mask_token: Tensor | None) -> Tensor:
        """:meth:`tokens` in this process; for a backbone with tokens to override."""
        del images, keep, mask, mask_token
        raise RequestError(f"{type(self).__name__} has no tokens", hint=f"choose a ViT, such as {TOKENS_EXAMPLE}")

    def common_names(self) -> dict[str, str]:
        """Keys of the state dict by the names that files of other libraries have for them, each tensor once."""
        keys: dict[int, str] = {}
        for key, value in self.state_dict(keep_vars=True).items():
            keys.setdefault(id(value), key)
        return {key: key for key in keys.values()}

    def plain_architecture(self) -> dict[str, Any] | None:
        """What ``protocols/backbones/plain.py`` builds it from; None for a backbone that it does not know."""
        return None

    def published_weights(self, tag: str) -> dict[str, Tensor]:
        """The weights that the library of the backbone publishes for it, downloaded at the first call.

        Args:
            tag: which of several; empty for the library's choice.

        Raises:
            RequestError: there are none, or they are not on this machine and cannot be downloaded.
        """
        raise RequestError(
            f"weights=timm{tag and f',tag={tag}'}: {NOT_OF_TIMM}", hint="name a file, or choose timm:MODEL"
        )

    def published_statistics(self, tag: str) -> tuple[Channels, Channels]:
        """Mean and deviation of each channel in [0, 1] that images are normalised with for published weights.

        Raises:
            RequestError: there are no published weights.
        """
        raise RequestError(
            f"weights=timm{tag and f',tag={tag}'}: {NOT_OF_TIMM}", hint="name a file, or choose timm:MODEL"
        )

    def with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Name of :meth:`forward_with_map` in earlier versions, for methods that call it."""
        return self.forward_with_map(images)


@dataclass(frozen=True)
class RunInfo:
    """Facts about a run that its method may depend on.

    Attributes:
        classes: number of classes of the data set.
        images: number of images in the pretraining split.
        side: height and width of a view, in pixels.
        steps: number of optimizer steps of the whole pretraining.
        seed: the run's seed, for what a method draws at random outside ``forward``.
        batch: number of images of a step, of which the last of an epoch may have fewer; 0 if it is not known.
    """

    classes: int
    images: int
    side: int
    steps: int
    seed: int
    batch: int = 0


Setting = RunInfo  # name of earlier versions


@dataclass(frozen=True)
class Batch:
    """The input of one optimizer step, for a batch of b images.

    Attributes:
        views: (k·b, 3, side, side), normalised; view v of image i is row v·b + i. On CUDA they are in the precision
            of the training, elsewhere float32.
        index: (b,) indices of the images in the pretraining split, int64.
        labels: (b,) classes, int64; None unless the method declares ``uses_labels``.
        crops: views of other sizes than the first view's, one tensor per size in the order of the views, with rows
            ordered as in ``views``.
    """

    views: Tensor
    index: Tensor
    labels: Tensor | None = None
    crops: tuple[Tensor, ...] = ()


class Method(nn.Module):
    """A self-supervised objective: its heads, its loss, the views it wants. No data, no loop, no device code.

    A subclass lists its hyper-parameters with the paper's defaults in a nested frozen dataclass ``Options``. Defaults
    are literals; ``__post_init__`` raises ``ValueError`` for values that cannot work. ``__init__`` builds the heads,
    ``forward`` returns the loss.

    All state lies in parameters and buffers: a checkpoint is the method's ``state_dict``. ``forward`` writes to no
    buffer of the method; ``after_step`` does. Every hook but ``after_step`` may draw from torch's default generators,
    which are seeded before it is called.

    Every method is built once before any work starts. Raise ``RequestError`` in ``__init__`` for a backbone or a run
    that the method cannot work with.

    Attributes:
        backbone: the encoder; its initial weights are the same for every method of a seed.
        options: hyper-parameters of this run, an ``Options``.
        info: facts about the run.
        uses_labels: class attribute; whether ``Batch.labels`` is filled.
        uses_tokens: class attribute; whether the backbone has to have tokens of patches, see ``Backbone.tokens``.
        baseline: class attribute; ``lower`` or ``upper`` for a method that frames a table from below or above and is
            not itself compared, ``external`` for weights that were trained elsewhere, which are one repetition whatever
            the number of seeds. A literal, since it is read from the source without importing it.
        label_option: class attribute, a literal; name of an option that is the method's label in tables if it is given.
        log_prototypes: of an instance; ln K for a method whose loss is a cross-entropy over K prototypes, the loss of
            predictions that are equal for all: one that stays there tells of a collapse. None for others.
        notice: of an instance; what a user should know before the run, in one line; empty for nothing.
        augmentations: class attribute; augmentations that a protocol added after its first runs (``added = true``) and
            this method uses. A literal in the class itself, for the same reason.
        SPACE: class attribute; the hyper-parameters that ``bench tune`` searches beside those that all methods share,
            such as ``{"temperature": {"log": [0.05, 1.0]}}``, in the form of ``protocols/tune/spaces.toml``.
    """

    uses_labels: ClassVar[bool] = False
    uses_tokens: ClassVar[bool] = False
    baseline: ClassVar[Baseline] = ""
    label_option: ClassVar[str] = ""
    log_prototypes: float | None = None
    notice: str = ""
    augmentations: ClassVar[tuple[str, ...]] = ()
    SPACE: ClassVar[Mapping[str, Any]] = {}

    @dataclass(frozen=True)
    class Options:
        """A method without hyper-parameters."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in OLD_HOOKS.items():
            if hasattr(cls, old):
                refuse_old_name(cls, old, new)

    def __init__(self, backbone: Backbone, options: Any, info: RunInfo) -> None:
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.info = info

    @property
    def setting(self) -> RunInfo:
        """Name of ``info`` in earlier versions."""
        return self.info

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003 - most methods want two whatever their options
        """The augmentation of each view of an image, by its name in the protocol; empty for no pretraining."""
        return ("standard", "standard")

    @classmethod
    def views_per_image(cls, options: Any) -> int:
        """How many views an image counts for in budgets: the number of its views, or of backbone inputs if larger."""
        return len(cls.views(options))

    @classmethod
    def image_side(cls, options: Any) -> int | None:  # noqa: ARG003 - the images of the data set, whatever the options
        """Side in pixels that evaluations resize images to, unless they name one; None for that of the data set."""
        return None

    @classmethod
    def image_statistics(cls, options: Any, backbone: Backbone) -> tuple[Channels, Channels] | None:  # noqa: ARG003
        """Mean and deviation of each channel that evaluations normalise images with; None for those of the data set."""
        return None

    @property
    def encoder(self) -> Backbone:
        """The backbone whose weights are stored and evaluated after pretraining."""
        return self.backbone

    def source_indices(self, index: Tensor, views: int) -> Tensor:
        """The images that the views are made from, by default those of the batch; called before every step.

        Args:
            index: (b,) indices of the batch's images in the pretraining split, on the device.
            views: number of views per image.

        Returns:
            (views, b) indices; row v holds the images that view v is made from.
        """
        return index.expand(views, -1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of one batch under ``"loss"``, and any other scalars to log by name."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Update what is not trained by gradients; called after every optimizer step.

        Args:
            progress: fraction of the pretraining that is done, in (0, 1].
        """

    def before_epoch(self, epoch: int, extract_features: Callable[[], Tensor]) -> None:
        """Called before every epoch, but not when a run resumes in the middle of one.

        Args:
            epoch: counted from 0.
            extract_features: returns the float32 representations (images, ``dim``) of the pretraining split, without
                augmentation, from the backbone in evaluation mode. Its time counts as training time, its images do not
                count as views.
        """

    def extra_state(self) -> dict[str, Tensor]:
        """Tensors to store with the encoder after pretraining, for a refinement or an analysis; by default none."""
        return {}


def refuse_old_name(cls: type, old: str, new: str) -> None:
    """Refuse a plugin that defines a hook under its name of an earlier version, where it would never be called.

    Raises:
        BrokenPlugin: always.
    """
    raise BrokenPlugin(f"{cls.__name__} defines {old}, which is now called {new}", hint=f"rename it to {new}")
