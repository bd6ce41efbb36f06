import hashlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from protocols.datasets import shapes
from protocols.datasets.base import statistics
from protocols.datasets.load import load_dataset

PIXELS = {
    "train": "3b57f53c27eb486fde0a98fd7d880fa00db06a1fab128acf9eb94634b6df7a50",
    "test": "f4a8f0ffd0972596ceaf1049c7c79920e3a4d1b0f0648b0de4d1b7405167524b",
}
"""Whoever means to change these raises the version in ``@register``: results of other pixels are other results."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset("shapes", tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize("split", PIXELS)
def test_pixels_and_labels_are_the_same_wherever_they_are_drawn(dataset, split):
    images, labels = getattr(dataset, split).images, getattr(dataset, split).labels
    drawn = hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes())
    assert drawn.hexdigest() == PIXELS[split]


def test_sizes_and_classes_are_those_of_the_summary(dataset):
    assert (len(dataset.train), len(dataset.test), dataset.side) == (10_000, 2_000, 32)
    assert " ".join(dataset.classes) == "disk ring triangle square cross star stripes checks dots zigzag"


def test_every_ten_images_show_every_class(dataset):
    for split in (dataset.train, dataset.test):
        tens = split.labels.reshape(-1, 10)
        assert (np.sort(tens, axis=1) == np.arange(10)).all()
        assert len(np.unique(tens, axis=0)) > len(tens) * 0.9


def test_no_image_is_drawn_twice(dataset):
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert len({image.tobytes() for image in images}) == len(images)


def test_fewer_images_are_the_first_of_more(dataset):
    few = shapes.make_split(shapes.TEST, 1_000)
    assert np.array_equal(few.images, dataset.test.images[:1_000])
    assert np.array_equal(few.labels, dataset.test.labels[:1_000])


def test_normalisation_is_that_of_the_train_split(dataset):
    assert (dataset.mean, dataset.std) == statistics(dataset.train.images)


@pytest.mark.parametrize("shape", shapes.FIGURES)
def test_figures_are_their_own_mirror_image_and_end_where_the_picture_does(shape):
    x, y = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 1, 1, 1, 5_000))
    here, there = (shape(sign * x, y, shapes.Random(0, 0, 1)) for sign in (1, -1))
    assert np.array_equal(here, there)
    inside = here < 0
    assert 0.05 < inside.mean() < 0.5
    assert shapes.vector_length(x, y)[inside].max() < 1.15


@pytest.mark.parametrize("shape", shapes.CLASSES)
def test_distance_falls_by_one_a_unit_across_an_edge(shape):
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 1, 1, 1, 20_000))

    def distance(x, y):
        return shape(x, y, shapes.Random(0, 0, 1))

    step, edge = 1e-4, np.abs(distance(x, y)) < 0.05
    slope = shapes.vector_length(distance(x + step, y) - distance(x, y), distance(x, y + step) - distance(x, y)) / step
    assert np.median(slope[edge]) == pytest.approx(1, abs=0.1)


def test_directions_point_everywhere_alike():
    cos, sin = shapes.Random(0, 0, 100_000).unit_vector()
    assert np.allclose(shapes.vector_length(cos, sin), 1)
    counts, _ = np.histogram(np.arctan2(sin, cos), bins=16, range=(-np.pi, np.pi))
    assert counts == pytest.approx(np.full(16, 6250), rel=0.06)


def test_colour_tells_nothing_of_the_class(dataset):
    train, test = (split.images.mean(axis=(1, 3)) for split in (dataset.train, dataset.test))
    assert linear_accuracy(train, test, dataset) < 0.13


def test_pixels_do_not_separate_the_classes(dataset):
    train, test = (split.images.reshape(len(split), -1).astype(np.float32) for split in (dataset.train, dataset.test))
    assert linear_accuracy(train, test, dataset, C=1e-4) < 0.4


def test_random_weights_do_not_separate_the_classes(dataset):
    import torch

    from protocols.backbones.small import Conv4

    torch.manual_seed(0)
    backbone = Conv4().eval()

    @torch.no_grad()
    def features(split):
        mean, std = (np.float32(value).reshape(1, 1, 3, 1) for value in (dataset.mean, dataset.std))
        images = torch.from_numpy((split.images / np.float32(255) - mean) / std).transpose(1, 2)
        return torch.cat([backbone(some) for some in images.split(500)]).numpy()

    assert 0.2 < linear_accuracy(features(dataset.train), features(dataset.test), dataset) < 0.45


def test_module_does_without_torch():
    code = "import sys, protocols.datasets.shapes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def linear_accuracy(train, test, dataset, **options):
    scaler = StandardScaler().fit(train)
    classifier = LogisticRegression(max_iter=300, **options).fit(scaler.transform(train), dataset.train.labels)
    return classifier.score(scaler.transform(test), dataset.test.labels)
