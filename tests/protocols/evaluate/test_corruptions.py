"""Accuracy on corrupted images, against slow references in NumPy and SciPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from protocols.backbones.small import Conv4
from protocols.datasets.load import load_dataset
from protocols.evaluate import corruptions as module
from protocols.evaluate.corruptions import KINDS, STRENGTHS, corrupt, corruptions
from protocols.evaluate.linear import linear
from protocols.features.context import EvaluationContext
from protocols.system.progress import ProgressListener


def slow_pixelate(image: np.ndarray, strength: int) -> np.ndarray:
    """Means of the coarse grid's cells, pixel by pixel; cells that share a pixel overlap."""
    side = len(image)
    coarse = round(side / (1 + strength / 2))
    limits = [(i * side // coarse, -(-(i + 1) * side // coarse)) for i in range(coarse)]
    cell = [int((pixel + 0.5) * coarse / side) for pixel in range(side)]
    spans = [slice(*limits[c]) for c in cell]
    return np.array([[image[rows, columns].mean((0, 1)) for columns in spans] for rows in spans])


SLOW = {
    "gaussian_noise": lambda image, noise, strength: image + 0.04 * strength * noise,
    "blur": lambda image, noise, strength: ndimage.gaussian_filter(
        image, 0.2 * (1 + strength), axes=(0, 1), mode="mirror", radius=round(0.8 * (1 + strength))
    ),
    "brightness": lambda image, noise, strength: image + strength / 10,
    "contrast": lambda image, noise, strength: image.mean((0, 1)) + (image - image.mean((0, 1))) / (1 + strength),
    "pixelate": lambda image, noise, strength: slow_pixelate(image, strength),
}


@pytest.mark.parametrize("kind", KINDS)
def test_corrupted_images_are_those_of_a_slow_reference(kind):
    """To one level of grey, where rounding may differ."""
    draw = np.random.default_rng(0)
    images, noise = draw.integers(0, 256, (2, 20, 20, 3)), draw.standard_normal((2, 20, 20, 3))
    ours = [
        torch.from_numpy(x.transpose(0, 1, 3, 2)).contiguous()
        for x in (images.astype(np.uint8), noise.astype(np.float32))
    ]
    for strength in STRENGTHS:
        found = corrupt(*ours, kind, strength).numpy().transpose(0, 1, 3, 2).astype(int)
        expected = [SLOW[kind](image / 255, z, strength) for image, z in zip(images, noise, strict=True)]
        assert np.abs(found - (255 * np.clip(expected, 0, 1)).round()).max() <= 1
        assert np.abs(found - images).mean() > 3 * (strength if kind == "gaussian_noise" else 1)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Random weights on part of digits, in two parts of test images."""
    dataset = load_dataset("digits", tmp_path_factory.mktemp("data"))
    train, test = (
        replace(split, images=split.images[:n], labels=split.labels[:n])
        for split, n in ((dataset.train, 300), (dataset.test, 100))
    )
    torch.manual_seed(0)
    return EvaluationContext(Conv4(), replace(dataset, train=train, test=test), {}, 0, ProgressListener())


def test_accuracy_is_that_of_the_clean_classifier_on_the_corrupted_images(context, monkeypatch):
    """As ``linear`` where the test images were corrupted before; means over strengths, then over kinds."""
    monkeypatch.setattr(module, "STRENGTHS", (1, 5))
    monkeypatch.setattr(module, "KINDS", {kind: KINDS[kind] for kind in ("brightness", "pixelate")})
    found, test = corruptions(context), context.dataset.test
    by_kind = {}
    for kind in ("brightness", "pixelate"):
        values = []
        for strength in (1, 5):
            images = corrupt(torch.from_numpy(test.images), torch.zeros(()), kind, strength).numpy()
            other = replace(context, dataset=replace(context.dataset, test=replace(test, images=images)))
            values.append(linear(other.features)["top1"])
        by_kind[kind] = sum(values) / 2
    assert found == pytest.approx({"top1": sum(by_kind.values()) / 2, **by_kind})
    assert found["top1"] < linear(context.features)["top1"]


def test_noise_is_a_function_of_the_seed_and_other_for_every_image(context, monkeypatch):
    monkeypatch.setattr(module, "IMAGES_PER_PART", 50)
    one = module.corrupted_features(context, "gaussian_noise", 5)
    assert torch.equal(one, module.corrupted_features(context, "gaussian_noise", 5))
    assert not torch.equal(one, module.corrupted_features(replace(context, seed=1), "gaussian_noise", 5))
    image = context.dataset.test.images[:1].repeat(100, 0)
    same = replace(context.dataset, test=replace(context.dataset.test, images=image))
    features = module.corrupted_features(replace(context, dataset=same), "gaussian_noise", 5)
    assert len(features.unique(dim=0)) == 100
