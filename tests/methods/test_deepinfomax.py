import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods import Backbone, Batch, RunInfo
from methods.deepinfomax import DeepInfoMax, LocalDiscriminator
from protocols.spec.plugins import BACKBONES
from results.errors import RequestError


def build(backbone: str = "conv4", **options) -> DeepInfoMax:
    torch.manual_seed(0)
    info = RunInfo(classes=10, images=8, side=16, steps=1, seed=0)
    return DeepInfoMax(BACKBONES.get(backbone)(backbone), DeepInfoMax.Options(**options), info)


@pytest.mark.parametrize(("backbone", "parameters"), [("conv4", 183_810), ("resnet32", 185_858)])
def test_auxiliary_parameters_are_the_papers(backbone, parameters):
    method = build(backbone)
    heads = [*method.local_discriminator.parameters(), *method.prior_discriminator.parameters()]
    assert sum(p.numel() for p in heads) == parameters


def test_local_discriminator_concatenates_and_convolves():
    torch.manual_seed(0)
    local = LocalDiscriminator(dim=5, channels=3, hidden=7)
    maps, z = torch.rand(2, 3, 4, 4), torch.rand(2, 5)
    x = torch.cat([maps, z[:, :, None, None].expand(-1, -1, 4, 4)], dim=1)
    layers = [local.first, local.rest[0], local.rest[2]]
    for place, layer in enumerate(layers):
        x = F.conv2d(x.relu() if place else x, layer.weight[:, :, None, None], layer.bias)
    logits = local(maps.flatten(2).transpose(1, 2), z)
    torch.testing.assert_close(logits, x.flatten(2).transpose(1, 2))


def test_loss_is_the_definition():
    """Every place of every map against its own representation and that of the image before."""
    method = build(hidden=8, prior=0.3).eval()
    views = torch.rand(4, 3, 16, 16)
    z, maps = method.backbone.forward_with_map(views)
    terms = []
    for i in range(4):
        for place in maps[i].flatten(1).T[None].split(1):
            accept = method.local_discriminator(place, z[i : i + 1])
            reject = method.local_discriminator(place, z[i - 1 : i] if i else z[-1:])
            terms.append((F.softplus(-accept) + F.softplus(reject)).mean())
    torch.manual_seed(3)
    uniform = torch.rand(4, 64)
    real, fake = (method.prior_discriminator(x).sigmoid() for x in (uniform, z))
    prior = -real.log().mean() - (1 - fake).log().mean()
    torch.manual_seed(3)
    scalars = method(Batch(views, torch.arange(4)))
    torch.testing.assert_close(scalars["local"], torch.stack(terms).mean())
    torch.testing.assert_close(scalars["prior"], prior)
    torch.testing.assert_close(scalars["loss"], scalars["local"] + 0.3 * scalars["prior"])


def gradients(**options) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the backbone, and of the prior's discriminator."""
    method = build(**options).eval()
    torch.manual_seed(1)
    method(Batch(torch.rand(6, 3, 16, 16), torch.arange(6)))["loss"].backward()
    parts = method.backbone, method.prior_discriminator
    return tuple(torch.cat([p.grad.flatten() for p in part.parameters()]) for part in parts)


def test_the_encoder_works_against_the_prior_unless_told_otherwise():
    local, _ = gradients(prior=0.0)
    against, adversary = gradients()
    jointly, partner = gradients(adversarial=False)
    torch.testing.assert_close(against - local, local - jointly)
    torch.testing.assert_close(adversary, partner)
    assert (against - local).abs().max() > 1e-5


def test_a_few_places_estimate_the_mean_of_all():
    views, index = torch.rand(4, 3, 16, 16), torch.arange(4)
    whole = build().eval()(Batch(views, index))["local"]
    method = build(places=32).eval()
    some = torch.stack([method(Batch(views, index))["local"] for _ in range(100)]).detach()
    assert some.std() > 0
    assert some.mean().item() == pytest.approx(whole.item(), abs=4 * some.std().item() / math.sqrt(100))


class Patches(Backbone):
    """Begins with patches, which are rows and no map."""

    dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Flatten(2))

    def forward(self, images):
        return self.stem(images).mean(2)


def test_a_backbone_without_a_map_is_refused():
    info = RunInfo(classes=10, images=8, side=16, steps=1, seed=0)
    with pytest.raises(RequestError, match="yields no map; try conv4 or resnet32"):
        DeepInfoMax(Patches(), DeepInfoMax.Options(), info)


def test_a_map_comes_with_its_representation():
    backbone = BACKBONES.get("resnet8")("resnet8").eval()
    images = torch.rand(2, 3, 16, 16)
    z, maps = backbone.forward_with_map(images)
    torch.testing.assert_close(z, backbone(images))
    torch.testing.assert_close(maps, backbone.stem(images))
    assert not backbone.stem._forward_hooks
