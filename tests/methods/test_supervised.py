"""Supervised training: its loss and its accuracy."""

import torch
from torch.nn import functional as F

from methods import Batch, RunInfo
from methods.supervised import Supervised
from protocols.backbones.small import Conv4


def test_loss_and_accuracy_are_those_of_the_logits():
    torch.manual_seed(0)
    method = Supervised(Conv4(), Supervised.Options(), RunInfo(classes=3, images=12, side=16, steps=1, seed=0)).eval()
    views, labels = torch.randn(12, 3, 16, 16), torch.arange(12) % 3
    logits = method.classifier(method.backbone(views))
    right = [int(row.argmax()) == label for row, label in zip(logits, labels.tolist(), strict=True)]
    assert sum(right) not in (0, 6, 12)
    found = method(Batch(views=views, index=torch.arange(12), labels=labels))
    assert found["accuracy"].item() == torch.tensor(right).float().mean()
    log_probabilities = torch.stack([F.log_softmax(row, 0)[label] for row, label in zip(logits, labels, strict=True)])
    torch.testing.assert_close(found["loss"], -log_probabilities.mean())
