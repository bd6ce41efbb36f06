"""Any model of timm, with or without a stem for small images; ViTs at the size of the images."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Channels
from protocols.spec.plugins import register_backbone
from results.errors import RequestError, UnknownName

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = re.compile(r"(?P<small>small)|patch=(?P<patch>[1-9]\d{0,3})|pool=(?P<pool>token|avg)")
"""What may follow an ``@`` in the name."""

CONNECTION_TIMEOUT_S = 5.0
"""Seconds that the hub of timm's weights has to answer."""


@dataclass(frozen=True)
class ModelChoice:
    """What the name of a backbone says after ``timm:``.

    Attributes:
        model: name of the timm model.
        small: whether its stem is that for small images.
        patch: side of the patches of a ViT at the size of the images, in pixels; 0 for the model's own size.
        pool: ``token`` or ``avg``; empty for the model's own pooling.
    """

    model: str
    small: bool = False
    patch: int = 0
    pool: str = ""


def parse_name(name: str) -> ModelChoice:
    """Parse the name of a backbone, ``timm:MODEL@CHOICE@CHOICE``.

    Raises:
        RequestError: a choice is unknown, repeated or contradicts another.
    """
    model, *words = name.partition(":")[2].split("@")
    found: dict[str, str] = {}
    for word in words:
        match = CHOICES.fullmatch(word)
        if not match or match.lastgroup in found:
            raise RequestError(
                f"{name}: @{word} is unknown or repeated", hint="choose @small, @patch=PIXELS, @pool=token or @pool=avg"
            )
        found[str(match.lastgroup)] = match[str(match.lastgroup)]
    if "small" in found and len(found) > 1:
        raise RequestError(f"{name}: @small is for ResNets, @patch and @pool for ViTs", hint="leave one out")
    return ModelChoice(model, "small" in found, int(found.get("patch", 0)), found.get("pool", ""))


class Timm(Backbone):
    """A timm model without its classifier.

    Images are resized to the input size of models that accept one size only, as most transformers do, unless the model
    was made for the size of the images.

    Attributes:
        architecture: name of the timm model.
        options: what it was created with beside ``num_classes=0``.
        small_stem: whether its stem was replaced by that for small images.

    Args:
        model: created with these.
        architecture: see above.
        options: see above; with ``img_size``, images keep their size, whatever the model's own.
        small_stem: see above.
    """

    def __init__(
        self, model: nn.Module, architecture: str, options: dict[str, Any], *, small_stem: bool = False
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        self.model = model
        self.architecture = architecture
        self.options = options
        self.small_stem = small_stem
        # Some models have a layer between their pooled features and the classifier, which is kept.
        self.dim = int(getattr(model, "head_hidden_size", model.num_features))  # type: ignore[arg-type]
        self.stem = self._stem()
        settings: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        fixed = settings.get("fixed_input_size") and "img_size" not in options
        self.side: int | None = settings["input_size"][-1] if fixed else None
        self.has_tokens = isinstance(model, VisionTransformer)
        if self.has_tokens:
            self.prefix_tokens = int(model.num_prefix_tokens)  # type: ignore[arg-type]
            self.patch_size = 0 if fixed else int(model.patch_embed.patch_size[0])  # type: ignore[union-attr,index]

    def _stem(self) -> nn.Module:
        for name in ("act1", "stem", "patch_embed"):
            if hasattr(self.model, name):
                return getattr(self.model, name)  # type: ignore[no-any-return]
        return next(iter(self.model.children()))

    def _resize(self, images: Tensor) -> Tensor:
        if self.side is None or images.shape[-1] == self.side:
            return images
        return F.interpolate(images, size=self.side, mode="bicubic", antialias=True)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, side, side) to (n, dim)."""
        features: Tensor = self.model(self._resize(images))
        return features

    def common_names(self) -> dict[str, str]:
        """See ``Backbone``; timm's names, which for many models are those of torchvision and of papers' code."""
        return {name: f"model.{name}" for name in self.model.state_dict()}

    def plain_architecture(self) -> dict[str, Any]:
        """See ``Backbone``."""
        return {
            "kind": "timm",
            "model": self.architecture,
            "options": self.options,
            "small_stem": self.small_stem,
            "resize": self.side,
        }

    def published_weights(self, tag: str) -> dict[str, Tensor]:
        """See ``Backbone``; timm adapts position embeddings and patches to the size of the images."""
        import timm as library
        from huggingface_hub import constants

        name, before = self.published_name(tag), constants.HF_HUB_OFFLINE
        answers = before or is_reachable(constants.ENDPOINT)
        try:
            # Without a connection the hub would try again for a minute and more; what it has stored is found offline.
            constants.HF_HUB_OFFLINE = before or not answers
            model = library.create_model(name, pretrained=True, num_classes=0, **self.options)
        except Exception as error:  # whatever the hub, the network or the file system raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            reason = reason if answers else f"{constants.ENDPOINT} does not answer"
            raise RequestError(
                f"timm's weights of {name} are not on this machine and cannot be downloaded: {reason[:200]}",
                hint="repeat the command with a connection, or name a file: weights=FILE",
            ) from error
        finally:
            constants.HF_HUB_OFFLINE = before
        weights: dict[str, Tensor] = model.state_dict()
        return weights

    def published_statistics(self, tag: str) -> tuple[Channels, Channels]:
        """See ``Backbone``; those of timm's configuration of the weights."""
        import timm as library

        settings: Any = library.get_pretrained_cfg(self.published_name(tag))
        return settings.mean, settings.std

    def published_name(self, tag: str) -> str:
        """Name in timm of the weights: that of the model and a tag, by default timm's first.

        Raises:
            UnknownName: it has no weights of that tag.
            RequestError: it has none of this model.
        """
        import timm as library

        tags = [name.partition(".")[2] for name in library.list_pretrained(f"{self.architecture}.*")]
        if tag and tag not in tags:
            raise UnknownName(f"tag of {self.architecture}", tag, tags)
        if not tags and not library.is_model_pretrained(self.architecture):
            raise RequestError(f"timm has no weights of {self.architecture}", hint="name a file: weights=FILE")
        return f"{self.architecture}.{tag}" if tag else self.architecture

    def _tokens(self, images: Tensor, keep: Tensor | None, mask: Tensor | None, mask_token: Tensor | None) -> Tensor:
        """See ``Backbone``; the steps of timm's ``VisionTransformer.forward_features``."""
        if not self.has_tokens:
            return super()._tokens(images, keep, mask, mask_token)
        model: Any = self.model
        x = model.patch_embed(self._resize(images))  # (n, patches, dim), or (n, rows, columns, dim) for any size
        if mask is not None and mask_token is not None:
            x = torch.where(mask.view(*x.shape[:-1], 1), mask_token.to(x.dtype), x)
        x = model._pos_embed(x)  # noqa: SLF001 - which adds the prefix tokens too
        if keep is not None:
            patches = x[:, self.prefix_tokens :].gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))
            x = torch.cat([x[:, : self.prefix_tokens], patches], dim=1)
        tokens: Tensor = model.norm(model.blocks(model.norm_pre(x)))
        return tokens


def is_reachable(url: str) -> bool:
    """Whether a server answers within ``CONNECTION_TIMEOUT_S``, by the proxy of the environment; any answer counts."""
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the address of the hub
        with urllib.request.urlopen(request, timeout=CONNECTION_TIMEOUT_S):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub may know other certificates
    except (OSError, ValueError, http.client.HTTPException):
        return False


@register_backbone("timm", takes_side=True, argument="MODEL[@small]")
def timm(name: str, side: int) -> Backbone:
    """timm:NAME is any timm model, freshly initialised; timm:NAME@small has a stem for small images.

    The small stem is the usual one for CIFAR: the first convolution becomes 3×3 with stride 1 and padding 1, and the
    max-pool is removed. Without ``@small`` the model is timm's own.

    ``@patch=4`` makes a ViT for images of ``side`` × ``side`` pixels in patches of 4 × 4, whose position embeddings
    have that size; images of other sizes get interpolated ones. Without it, images are resized to the size that the
    model was made for. ``@pool=token`` and ``@pool=avg`` choose the representation of a ViT: the class token, or the
    mean of the patches' tokens, both after the last normalisation.

    Args:
        name: of the backbone.
        side: height and width of the data set's images, in pixels.

    Raises:
        UnknownName: timm has no such model.
        RequestError: ``@small`` for a model that does not begin with ``conv1`` and ``maxpool``; ``@patch`` or ``@pool``
            for a model that is no ViT.
    """
    import timm as library
    from timm.models.vision_transformer import VisionTransformer

    choice = parse_name(name)
    if choice.model not in library.list_models():
        raise UnknownName("timm model", choice.model, library.list_models())
    options: dict[str, Any] = {}
    if choice.patch:
        options |= {"img_size": side, "patch_size": choice.patch, "dynamic_img_size": True}
    if choice.pool:
        # Without fc_norm the mean is taken after the last normalisation, and names of weights are those of `token`.
        options |= {"global_pool": choice.pool, "fc_norm": False}
    try:
        model = library.create_model(choice.model, num_classes=0, **options)
    except (TypeError, AssertionError, ValueError) as error:
        if not options:
            raise
        raise RequestError(f"{name}: {error}", hint="@patch and @pool are for ViTs") from error
    if options and not isinstance(model, VisionTransformer):
        raise RequestError(f"{name} is no VisionTransformer of timm", hint="leave out @patch and @pool")
    if choice.small:
        shrink_stem(model, name)
    return Timm(model, choice.model, options, small_stem=choice.small)


def shrink_stem(model: nn.Module, name: str) -> None:
    """Replace the stem of a timm ResNet by the CIFAR stem, in place."""
    first, pool = getattr(model, "conv1", None), getattr(model, "maxpool", None)
    if not isinstance(first, nn.Conv2d) or not isinstance(pool, nn.Module):
        raise RequestError(f"{name}: no small stem is known for this model", hint="leave out @small")
    model.conv1 = nn.Conv2d(3, first.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
