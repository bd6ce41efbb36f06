"""Deep InfoMax: match an image's representation with the locations of its own feature map."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import jensen_shannon
from methods.registry import register_method
from methods.state_names import load_old_names
from results.constraints import AtLeast
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


@register_method("deepinfomax")
class DeepInfoMax(Method):
    """Deep InfoMax, local and prior (Hjelm et al., ICLR 2019, arXiv 1808.06670).

    DIM(L) with the Jensen-Shannon estimator and a concat-and-convolve discriminator. Needs a backbone whose stem yields
    a feature map, so none that begins with patches.

    Deviations from Hjelm et al., as in the code of Patacchiola & Storkey (2020): the feature map is the backbone's
    first activation instead of a late one, and its negatives are one other image's representation instead of all
    others'. Deviation from that code: the encoder maximises the loss of the prior's discriminator, as Hjelm et al.
    define it, instead of minimising it.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of Deep InfoMax; defaults of the code of Patacchiola & Storkey, but for ``adversarial``.

        Attributes:
            hidden: width of the local discriminator's hidden layers.
            places: number of locations of the feature map, drawn again every step, on which the local term is
                computed; 0 for all.
            prior: weight of the prior term.
            adversarial: whether the encoder maximises the prior term that its discriminator minimises. If not, both
                minimise it (Patacchiola & Storkey), which rewards representations that differ from the prior.
        """

        hidden: Annotated[int, AtLeast(1)] = 256
        places: Annotated[int, AtLeast(0)] = 0
        prior: Annotated[float, AtLeast(0)] = 0.1
        adversarial: bool = True

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.local_discriminator = LocalDiscriminator(backbone.dim, map_channels(backbone, info.side), options.hidden)
        self.prior_discriminator = mlp(backbone.dim, 512, 128, 1, norm=False)
        load_old_names(self, {"local": "local_discriminator", "prior": "prior_discriminator"})

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Local term + ``prior`` · prior term, and each term by itself."""
        z, maps = self.backbone.forward_with_map(batch.views)
        locations = maps.flatten(2).transpose(1, 2)
        if self.options.places:
            locations = locations[:, torch.randperm(locations.shape[1], device=z.device)[: self.options.places]]
        # The negative is the representation of the previous image of the batch.
        local = jensen_shannon(
            self.local_discriminator(locations, z), self.local_discriminator(locations, z.roll(1, 0))
        )
        encoded = reverse_gradient(z) if self.options.adversarial else z
        prior = jensen_shannon(self.prior_discriminator(torch.rand_like(z)), self.prior_discriminator(encoded))
        return {"loss": local + self.options.prior * prior, "local": local, "prior": prior}


class LocalDiscriminator(nn.Module):
    """Classifies whether locations of a feature map and a representation come from the same image.

    Three 1×1 convolutions on the concatenation of both (the paper's concat-and-convolve).

    Args:
        dim: size of a representation.
        channels: of the feature map.
        hidden: width of the two hidden layers.
    """

    def __init__(self, dim: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels + dim, hidden)
        self.rest = mlp(hidden, hidden, 1, norm=False)

    def forward(self, locations: Tensor, z: Tensor) -> Tensor:
        """Logits of every location with its image's representation.

        The first layer is applied to locations and representations separately and the results are added, which equals
        the layer on their concatenation and is cheaper.

        Args:
            locations: (n, locations, channels).
            z: (n, dim) representations.

        Returns:
            (n, locations, 1).
        """
        location_weight, z_weight = self.first.weight.split([locations.shape[2], z.shape[1]], dim=1)
        hidden = F.linear(locations, location_weight) + F.linear(z, z_weight, self.first.bias)[:, None]
        logits: Tensor = self.rest(F.relu(hidden))
        return logits


def reverse_gradient(x: Tensor) -> Tensor:
    """The identity, whose gradient has the opposite sign."""
    return 2 * x.detach() - x


@torch.no_grad()
def map_channels(backbone: Backbone, side: int) -> int:
    """The number of channels of a backbone's feature map, for images of ``side`` pixels.

    Raises:
        RequestError: the output of its stem is not a square map.
    """
    _, maps = copy.deepcopy(backbone).eval().forward_with_map(torch.zeros(1, 3, side, side))
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3]:
        raise RequestError("deepinfomax: the first layer of this backbone yields no map", hint="try conv4 or resnet32")
    return maps.shape[1]
