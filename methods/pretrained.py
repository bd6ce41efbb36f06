"""A backbone that was pretrained elsewhere: weights of a file, or of timm."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from methods.base import Method
from methods.registry import METHODS, register_method
from methods.weight_files import load_weights, read_tensors
from results.constraints import AtLeast, AtMost
from results.errors import RequestError

if TYPE_CHECKING:
    from methods.base import Backbone, Channels, RunInfo

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's channels, as torchvision and most libraries have them."""

NAME = re.compile(r"[\w.+-]+")


@register_method("pretrained")
class Pretrained(Method):
    """Weights of a file, ``pretrained[weights=FILE]``, or of timm, ``pretrained[weights=timm]``; trains nothing.

    The file is a safetensors file or a checkpoint of torch or Lightning: of lightly, solo-learn, MoCo, DINO, VICReg,
    stable-pretraining, Patacchiola & Storkey's or GraphNNCLR's code, or any other whose backbone has the names of
    torchvision or timm. Its prefixes (``module.``, ``backbone.``, ``encoder_q.``, …) are found by comparing keys with
    the backbone's. A file that does not fit the backbone is refused; heads are left out.

    It stands beside what was trained here and does not compete: which images it saw, and how often, is not known. It
    is one repetition whatever the number of seeds, so it has no interval.

    solo-learn pads the first convolution of its stem for small images by 2 pixels, ``timm:NAME@small`` by 1: the
    features of such a file differ from solo-learn's at the borders of the maps.
    """

    baseline = "external"
    label_option = "name"

    @dataclass(frozen=True)
    class Options:
        """Where weights come from, and how images are prepared for them.

        Attributes:
            weights: file, or ``timm`` for the weights that timm publishes of a ``timm:`` backbone.
            name: in tables; by default the method with its options.
            tag: which of timm's weights, such as ``dino``; by default timm's choice.
            prefix: of the backbone's keys in the file, where several networks fit.
            normalisation: ``dataset``, ``imagenet`` or ``timm``, the statistics that images are normalised with; by
                default timm's for its weights, else those of the data set.
            mean: of each channel in [0, 1], in place of ``normalisation``.
            std: of each channel in [0, 1], beside ``mean``.
            image_size: side in pixels that images are resized to, unless an evaluation names one; by default they keep
                their size, and models of timm that take one size only resize them.
        """

        weights: Path | Literal["timm"] | None = None
        name: str = ""
        tag: str = ""
        prefix: str = ""
        normalisation: Literal["dataset", "imagenet", "timm"] | None = None
        mean: tuple[float, float, float] | None = None
        std: tuple[float, float, float] | None = None
        image_size: Annotated[int, AtLeast(1), AtMost(4096)] | None = None

        def __post_init__(self) -> None:
            if self.name and (not NAME.fullmatch(self.name) or self.name in METHODS):
                raise ValueError(f"name={self.name} has other signs than letters, digits, . + - _ or is a method's")
            if (self.mean is None) != (self.std is None) or (self.mean and self.normalisation):
                raise ValueError("give mean and std, or normalisation")
            if self.std and min(self.std) <= 0:
                raise ValueError("std must be above 0")
            if self.weights and str(self.weights) != "timm" and (self.tag or self.normalisation == "timm"):
                raise ValueError("tag and normalisation=timm are for weights=timm")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        if options.weights is None:
            raise RequestError("pretrained has no weights", hint="write pretrained[weights=FILE] or [weights=timm]")
        published = str(options.weights) == "timm"
        tensors = backbone.published_weights(options.tag) if published else read_tensors(Path(str(options.weights)))
        self.notice = load_weights(backbone, tensors, str(options.weights), options.prefix)

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003
        """No views, so no pretraining."""
        return ()

    @classmethod
    def image_side(cls, options: Options) -> int | None:
        """See ``Method``."""
        return options.image_size

    @classmethod
    def image_statistics(cls, options: Options, backbone: Backbone) -> tuple[Channels, Channels] | None:
        """See ``Method``."""
        if options.mean and options.std:
            return options.mean, options.std
        if options.normalisation == "imagenet":
            return IMAGENET
        if str(options.weights) == "timm" and options.normalisation != "dataset":
            return backbone.published_statistics(options.tag)
        return None
