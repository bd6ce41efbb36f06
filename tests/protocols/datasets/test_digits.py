import numpy as np
import pytest
from sklearn.datasets import load_digits

from protocols.datasets.base import statistics
from protocols.datasets.digits import SIDE, last_of_each
from protocols.datasets.load import load_dataset


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_dataset("digits", tmp_path_factory.mktemp("nothing"))


def test_split_is_stratified_and_complete(digits):
    assert (len(digits.train), len(digits.test)) == (1297, 500)
    assert np.bincount(digits.test.labels).tolist() == [50] * 10
    everything = np.bincount(digits.train.labels) + np.bincount(digits.test.labels)
    assert everything.tolist() == np.bincount(load_digits().target).tolist()


def test_pixels_are_those_of_scikit_learn(digits):
    original = load_digits()
    chosen = ~last_of_each(original.target, 50)
    shrunk = digits.train.images[:, :, 0].reshape(-1, 8, SIDE // 8, 8, SIDE // 8).mean(axis=(2, 4))
    wanted = original.images[chosen] * 255 / 16
    correlation = np.corrcoef(shrunk.ravel(), wanted.ravel())[0, 1]
    assert correlation > 0.97
    assert shrunk.mean() == pytest.approx(wanted.mean(), abs=1)


def test_no_image_is_in_both_splits(digits):
    train = {image.tobytes() for image in digits.train.images}
    assert not any(image.tobytes() in train for image in digits.test.images)


def test_normalisation_is_that_of_the_train_split(digits):
    assert (digits.mean, digits.std) == statistics(digits.train.images)


def test_last_of_each():
    assert last_of_each(np.array([0, 1, 0, 0, 1]), 1).tolist() == [False, False, False, True, True]
