"""Finetuning against a plain loop, and its augmentation against torchvision."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from protocols.augment.affine import COLUMNS, affine, affine_matrices, erased_squares
from protocols.augment.augmenter import Augmenter
from protocols.backbones.small import Conv4
from protocols.datasets.base import Dataset, Split
from protocols.evaluate import finetune as module
from protocols.evaluate.finetune import finetune
from protocols.features.context import EvaluationContext
from protocols.features.features import stratified_subset
from protocols.spec.protocol import Augmentation
from protocols.system.progress import ProgressListener
from protocols.system.randomness import key, permutation, uniforms
from results.errors import Diverged

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def split(n, seed):
    g = np.random.default_rng(seed)
    labels = g.integers(3, size=n)
    images = g.normal(100, 60, (n, 16, 3, 16)) + 20 * np.eye(3)[labels][:, None, :, None]
    return Split(images.clip(0, 255).astype(np.uint8), labels)


def subject_of(listener=None, train=None) -> EvaluationContext:
    dataset = Dataset("small", ("a", "b", "c"), MEAN, STD, train or split(37, 0), split(200, 1))
    torch.manual_seed(3)
    augmenters = {"light": Augmenter(Augmentation(pad=0.125, flip=0.5), MEAN, STD)}
    return EvaluationContext(Conv4(), dataset, augmenters, 0, listener or ProgressListener())


def normal(images):
    pixels = torch.from_numpy(images).permute(0, 2, 1, 3) / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.mark.parametrize("milestones", [(100, 150), (1, 2)])
def test_finetune_is_the_released_loop(monkeypatch, milestones):
    """Batch statistics, two learning rates of which the classifier's is the lower, no augmentation, last epoch."""
    monkeypatch.setattr(module, "MILESTONES", milestones)
    subject = subject_of()
    rates = {"backbone_lr": 0.01, "classifier_lr": 0.001, "weight_decay": 0.1}
    found = finetune(subject, epochs=3, batch=12, **rates)

    backbone = copy.deepcopy(subject.backbone)
    torch.manual_seed(key(0, "classifier"))
    layer = torch.nn.Linear(64, 3)
    images, labels = normal(subject.dataset.train.images), torch.from_numpy(subject.dataset.train.labels)
    for module_, name in ((backbone, "backbone_lr"), (layer, "classifier_lr")):
        module_.optimizer = torch.optim.Adam(module_.parameters(), lr=rates[name], weight_decay=0.1)
    for epoch in range(3):
        backbone.train()
        for index in permutation(37, 0, "finetune", epoch).split(12)[:3]:  # the fourth holds a lone image
            loss = F.cross_entropy(layer(backbone(images[index])), labels[index])
            for module_, name in ((backbone, "backbone_lr"), (layer, "classifier_lr")):
                module_.optimizer.param_groups[0]["lr"] = rates[name] * 0.1 ** sum(epoch >= m for m in milestones)
                module_.optimizer.zero_grad()
            loss.backward()
            backbone.optimizer.step()
            layer.optimizer.step()
    backbone.eval()
    with torch.no_grad():
        guesses = layer(backbone(normal(subject.dataset.test.images))).argmax(1)
    expected = 100 * (guesses == torch.from_numpy(subject.dataset.test.labels)).float().mean().item()
    assert found["top1"] == pytest.approx(expected, abs=0.6)  # one image of 200, for another order of sums
    assert expected > 40


def test_finetune_works_on_a_copy():
    subject = subject_of()
    subject.backbone.eval()
    before = copy.deepcopy(subject.backbone.state_dict())
    finetune(subject, epochs=1)
    assert all(torch.equal(before[name], value) for name, value in subject.backbone.state_dict().items())
    assert not subject.backbone.training


def test_only_the_labelled_fraction_is_seen():
    train = split(60, 0)
    known = stratified_subset(torch.from_numpy(train.labels), 0.2, 0).numpy()
    unknown = np.setdiff1d(np.arange(60), known)
    spoilt = Split(train.images.copy(), train.labels)
    spoilt.images[unknown] = 255
    clean, other = (finetune(subject_of(train=some), epochs=2, fraction=0.2) for some in (train, spoilt))
    assert clean == other
    assert finetune(subject_of(train=train), epochs=2, fraction=0.2) == clean


@pytest.mark.parametrize("augmentation", ["light", "affine"])
def test_augmented_images_depend_on_image_and_epoch_only(augmentation):
    subject = subject_of()
    words = {"augmentation": augmentation, "erase": 0.25}
    together = module.training_images(subject, torch.tensor([3, 5, 8]), epoch=1, **words)
    alone = module.training_images(subject, torch.tensor([5]), epoch=1, **words)
    torch.testing.assert_close(together[1:2], alone)
    assert not torch.allclose(module.training_images(subject, torch.tensor([5]), epoch=2, **words), alone)


def test_finetuning_tells_how_far_it_is_and_stops_when_asked():
    class Listener(ProgressListener):
        heard, stop = [], False

        def stage(self, name, total, done=0):
            self.heard.append((name, total))

        def progress(self, done, note=""):
            self.heard.append((done, note))

        def stopping(self):
            return len(self.heard) == 4

    listener = Listener()
    with pytest.raises(KeyboardInterrupt):
        finetune(subject_of(listener), epochs=2, batch=20)
    assert listener.heard == [("finetune", 74), (20, "epoch 1/2"), (37, "epoch 1/2"), (57, "epoch 2/2")]


def test_a_loss_that_is_not_a_number_is_named():
    with pytest.raises(Diverged, match="the loss of finetuning became nan"):
        finetune(subject_of(), epochs=3, backbone_lr=1e30, classifier_lr=1e30)


def test_warp_is_torchvisions_affine_map():
    side, n = 16, 24
    images = torch.randint(256, (n, side, 3, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    u = uniforms(7, np.arange(n), COLUMNS)
    made = affine(images, u, (0.0,) * 3, (1.0,) * 3, erase=0.0)
    assert sum(u[:, 1] < 0.5) not in (0, n)
    for image, got, row in zip(images, made, u.astype(float), strict=True):
        expected = image.permute(1, 0, 2) / 255
        if row[0] < 0.5:
            expected = TF.hflip(expected)
        if row[1] < 0.5:
            angle, shear, scale = 18 * (2 * row[2] - 1), 10 * (2 * row[3] - 1), 1 + 0.1 * (2 * row[4] - 1)
            shift = [round(0.1 * side * (2 * value - 1)) for value in row[5:7]]
            expected = TF.affine(expected, angle, shift, scale, [shear, 0.0], TF.InterpolationMode.BILINEAR)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("side", "area", "width"), [(32, 0.25, 16), (32, 0.0625, 8), (96, 0.111, 32)])
def test_the_papers_squares_are_erased(side, area, width):
    u = torch.from_numpy(uniforms(0, np.arange(400), COLUMNS))
    erased = erased_squares(u, side, area)
    sizes = erased.sum((1, 2))
    assert set(sizes.tolist()) == {0, width * width}
    assert (sizes > 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    rows = erased.any(2)[sizes > 0].float()
    assert set(rows.sum(1).tolist()) == {width}
    first = rows.argmax(1)
    assert (first.min(), first.max()) == (0, side - width)


def test_erased_pixels_are_the_mean_colour_and_nothing_moves_beside_them():
    images = torch.full((40, 8, 3, 8), 255, dtype=torch.uint8)
    u = uniforms(0, np.arange(40), COLUMNS)
    u[:, 1] = 0.9
    made = affine(images, u, MEAN, STD, erase=0.25)
    erased = erased_squares(torch.from_numpy(u), 8, 0.25)[:, None].expand_as(made)
    assert (made[erased] == 0).all()
    white = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(made[~erased], white[:, None, None].expand_as(made[0]).expand_as(made)[~erased])
    assert affine_matrices(torch.from_numpy(u), 8)[0].abs().sum().item() == pytest.approx(2.0)
    assert math.isclose(erased.float().mean().item(), 0.125, abs_tol=0.05)
