"""Any model of timm, with or without a stem for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional as F

from methods.base import Backbone
from protocols.spec.plugins import register_backbone
from results.errors import RequestError, UnknownName

if TYPE_CHECKING:
    from torch import Tensor

SMALL = "@small"


class Timm(Backbone):
    """A timm model without its classifier.

    Images are resized to the input size of models that accept one size only, as most transformers do.

    Args:
        model: created with ``num_classes=0``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # Some models have a layer between their pooled features and the classifier, which is kept.
        self.dim = int(getattr(model, "head_hidden_size", model.num_features))  # type: ignore[arg-type]
        self.stem = self._stem()
        settings: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        self.side: int | None = settings["input_size"][-1] if settings.get("fixed_input_size") else None

    def _stem(self) -> nn.Module:
        for name in ("act1", "stem", "patch_embed"):
            if hasattr(self.model, name):
                return getattr(self.model, name)  # type: ignore[no-any-return]
        return next(iter(self.model.children()))

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, dim)."""
        if self.side is not None and images.shape[-1] != self.side:
            images = F.interpolate(images, size=self.side, mode="bicubic", antialias=True)
        features: Tensor = self.model(images)
        return features


@register_backbone("timm")
def timm(name: str) -> Backbone:
    """timm:NAME is any timm model, freshly initialised; timm:NAME@small has a stem for small images.

    The small stem is the usual one for CIFAR: the first convolution becomes 3×3 with stride 1 and padding 1, and the
    max-pool is removed. Without ``@small`` the model is timm's own.

    Raises:
        UnknownName: timm has no such model.
        RequestError: ``@small`` for a model that does not begin with ``conv1`` and ``maxpool``.
    """
    import timm as library

    requested = name.partition(":")[2]
    model_name = requested.removesuffix(SMALL)
    if model_name not in library.list_models():
        raise UnknownName("timm model", model_name, library.list_models())
    model = library.create_model(model_name, num_classes=0)
    if requested.endswith(SMALL):
        shrink_stem(model, name)
    return Timm(model)


def shrink_stem(model: nn.Module, name: str) -> None:
    """Replace the stem of a timm ResNet by the CIFAR stem, in place."""
    first, pool = getattr(model, "conv1", None), getattr(model, "maxpool", None)
    if not isinstance(first, nn.Conv2d) or not isinstance(pool, nn.Module):
        raise RequestError(f"{name}: no small stem is known for this model", hint="leave out @small")
    model.conv1 = nn.Conv2d(3, first.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
