import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.mocov3 import MoCoV3
from protocols.backbones.small import Conv4
from tests.tools.parity import assert_same_loss_and_gradient

B = 8


def build(**options: float) -> MoCoV3:
    torch.manual_seed(0)
    info = RunInfo(classes=3, images=B, side=16, steps=4, seed=0)
    return MoCoV3(Conv4(), MoCoV3.Options(**{"hidden": 16, "output": 6, **options}), info).train()


def released_loss(q: torch.Tensor, k: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of the logits of normalised queries and keys, times twice the temperature."""
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / temperature
    return nn.CrossEntropyLoss()(logits, torch.arange(len(q))) * (2 * temperature)


def slow_loss(q: torch.Tensor, k: torch.Tensor, temperature: float) -> torch.Tensor:
    losses = []
    for i in range(len(q)):
        cosines = [F.cosine_similarity(q[i], k[j], dim=0) for j in range(len(k))]
        losses.append(-(cosines[i] / temperature).exp().div(sum((c / temperature).exp() for c in cosines)).log())
    return 2 * temperature * torch.stack(losses).mean()


@pytest.mark.parametrize("reference", [released_loss, slow_loss])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_loss_and_gradient_are_those_of_the_definition(reference, temperature):
    method, batch = build(temperature=temperature), Batch(torch.rand(2 * B, 3, 16, 16), torch.arange(B))
    projections = method.query_encoder(batch.views).detach()
    k1, k2 = method.key_encoder(batch.views).chunk(2)

    def ours(z):
        method.query_encoder.forward = lambda _: z
        return method(batch)["loss"]

    def theirs(z):
        q1, q2 = method.predictor(z).chunk(2)
        return reference(q1, k2, temperature) + reference(q2, k1, temperature)

    assert_same_loss_and_gradient(ours, theirs, projections)


def test_heads_are_those_of_the_released_code():
    """No biases; the projector ends in BatchNorm without weights, the predictor where it is a transformer's."""
    for options, projector, predictor in (
        ({}, ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"], ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        (
            {"layers": 3, "predictor_norm": True},
            [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear", "BatchNorm1d"],
            ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"],
        ),
    ):
        method = build(**options)
        heads = method.query_encoder[1], method.predictor
        assert [[type(layer).__name__ for layer in head] for head in heads] == [projector, predictor]
        assert all(layer.bias is None for head in heads for layer in head if isinstance(layer, nn.Linear))
        assert not heads[0][-1].affine


def test_keys_are_those_of_the_network_after_the_last_step():
    """As in the released code, which moves the key network first, at the beginning of the next step."""
    method, batch = build(momentum=0.0), Batch(torch.rand(2 * B, 3, 16, 16), torch.arange(B))
    with torch.no_grad():
        method.query_encoder[1][0].weight.mul_(2.0)
    method.after_step(0.0)
    key, query = (encoder(batch.views) for encoder in (method.key_encoder, method.query_encoder))
    torch.testing.assert_close(key, query)
