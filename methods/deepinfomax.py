"""Deep InfoMax: tell the places of an image from those of another image by its representation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.heads import mlp
from methods.losses import jensen_shannon
from methods.registry import register_method
from results.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


@register_method("deepinfomax")
class DeepInfoMax(Method):
    """Deep InfoMax, local and prior (Hjelm et al., ICLR 2019, arXiv 1808.06670).

    DIM(L) with the Jensen-Shannon estimator and a concat-and-convolve discriminator. As in the code of Patacchiola &
    Storkey (2020), the map is the backbone's first activation, where Hjelm et al. take a late one, and meets one other
    image's representation, where they take all others'. Deviation from that code: the encoder works against the prior's
    discriminator, as Hjelm et al. define it, not with it. Needs a backbone whose stem yields a map: any but those that
    begin with patches.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            hidden: width of the local discriminator.
            places: of the map, drawn anew every step, that estimate the local term; 0 takes all.
            prior: weight of the prior's term.
            adversarial: the encoder maximises the prior's term that its discriminator minimises; without, both minimise
                it (Patacchiola & Storkey), which rewards representations that are *unlike* the prior.
        """

        hidden: int = 256
        places: int = 0
        prior: float = 0.1
        adversarial: bool = True

        def __post_init__(self) -> None:
            if self.places < 0:
                raise ValueError(f"places must be 0, for all, or more, not {self.places}")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        self.local = LocalDiscriminator(backbone.dim, channels_of_map(backbone, info.side), options.hidden)
        self.prior = mlp(backbone.dim, 512, 128, 1, norm=False)

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view, cropped and flipped only."""
        return ("light",)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Local term + weight · prior's term, and both by themselves."""
        z, maps = self.backbone.forward_with_map(batch.views)
        places = maps.flatten(2).transpose(1, 2)
        if self.options.places:
            places = places[:, torch.randperm(places.shape[1], device=z.device)[: self.options.places]]
        local = jensen_shannon(self.local(places, z), self.local(places, z.roll(1, 0)))
        judged = reversed_gradient(z) if self.options.adversarial else z
        prior = jensen_shannon(self.prior(torch.rand_like(z)), self.prior(judged))
        return {"loss": local + self.options.prior * prior, "local": local, "prior": prior}


class LocalDiscriminator(nn.Module):
    """Judges whether places of a map and a representation are of one image: 1×1 convolutions on both, concatenated.

    Args:
        dim: size of a representation.
        channels: of the map.
        hidden: width of the two hidden layers.
    """

    def __init__(self, dim: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels + dim, hidden)
        self.rest = mlp(hidden, hidden, 1, norm=False)

    def forward(self, places: Tensor, z: Tensor) -> Tensor:
        """Places (n, places, channels) and representations (n, dim) to logits (n, places, 1).

        The first layer is applied to each before they are put together, which is the same, and cheaper.
        """
        of_place, of_z = self.first.weight.split([places.shape[2], z.shape[1]], dim=1)
        together = F.linear(places, of_place) + F.linear(z, of_z, self.first.bias)[:, None]
        logits: Tensor = self.rest(F.relu(together))
        return logits


def reversed_gradient(x: Tensor) -> Tensor:
    """The same values, through which gradients flow back with the opposite sign."""
    return 2 * x.detach() - x


@torch.no_grad()
def channels_of_map(backbone: Backbone, side: int) -> int:
    """How many channels the map of a backbone has.

    Raises:
        RequestError: it is no map.
    """
    _, maps = copy.deepcopy(backbone).eval().forward_with_map(torch.zeros(1, 3, side, side))
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3]:
        raise RequestError("deepinfomax: the first layer of this backbone yields no map", hint="try conv4 or resnet32")
    return maps.shape[1]
