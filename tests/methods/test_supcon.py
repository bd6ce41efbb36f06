import pytest
import torch

from methods import METHODS, Batch, RunInfo
from methods.losses import nt_xent
from methods.supcon import SupCon, supervised_contrastive
from protocols.backbones.small import Conv4
from protocols.spec.protocol import load
from tests.tools.parity import assert_same_loss_and_gradient, embeddings

LABELS = torch.tensor([0, 1, 2, 0, 1, 0]).repeat(2)


def slow_loss(z: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Equation 2 of the paper, one sum at a time."""
    z = z / z.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        denominator = sum((z[i] @ z[j] / temperature).exp() for j in others)
        positives = [j for j in others if labels[j] == labels[i]]
        log_p = [z[i] @ z[j] / temperature - denominator.log() for j in positives]
        losses.append(-sum(log_p) / len(positives))
    return torch.stack(losses).mean()


def released_loss(z: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """The steps of the released code: logits less their maximum, two masks, a sum over all but the anchor."""
    z = torch.nn.functional.normalize(z)
    logits = z @ z.T / temperature
    logits = logits - logits.max(1, keepdim=True).values.detach()
    not_itself = 1 - torch.eye(len(z))
    mask = torch.eq(labels[:, None], labels[None]).float() * not_itself
    log_prob = logits - (logits.exp() * not_itself).sum(1, keepdim=True).log()
    return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


@pytest.mark.parametrize("reference", [slow_loss, released_loss])
def test_loss_and_gradient_are_those_of_the_definition(reference):
    assert_same_loss_and_gradient(
        lambda z: supervised_contrastive(z, LABELS, temperature=0.2),
        lambda z: reference(z, LABELS, 0.2),
        embeddings(12, 5),
    )


def test_without_two_images_of_a_class_it_is_simclr():
    z = embeddings(10, 4)
    loss = supervised_contrastive(z, torch.arange(5).repeat(2), temperature=0.3)
    torch.testing.assert_close(loss, nt_xent(z, temperature=0.3))


def test_temperatures_scale_the_loss():
    """With the same embeddings: 0.1 / 0.07 of the loss that has one temperature."""
    losses = []
    for base in (0.1, 0.07):
        torch.manual_seed(0)
        options = SupCon.Options(base_temperature=base, hidden=8, output=4)
        method = SupCon(Conv4(), options, RunInfo(classes=3, images=6, side=16, steps=1, seed=0))
        losses.append(method(Batch(torch.rand(12, 3, 16, 16), torch.arange(6), LABELS[:6]))["loss"])
    torch.testing.assert_close(losses[1] / losses[0], torch.tensor(0.1 / 0.07))


def test_it_uses_labels_and_frames_a_table():
    assert METHODS.get("supcon").uses_labels
    assert METHODS.describe("supcon").declared["baseline"] == "upper"


@pytest.mark.parametrize("protocol", ["quick", "graphnnclr2025-small"])
def test_under_shared_conditions_labels_alone_tell_it_from_simclr(protocol):
    tables = load(protocol).tables["methods"]
    simclr = vars(METHODS.get("simclr").Options(**tables.get("simclr", {})))
    supcon = vars(SupCon.Options(**tables["supcon"]))
    assert {key: supcon[key] for key in ("temperature", "hidden", "output")} == {
        key: simclr[key] for key in ("temperature", "hidden", "output")
    }
    assert supcon["norm"]
    assert supcon["base_temperature"] == supcon["temperature"]
