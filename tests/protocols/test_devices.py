"""What is made of tensors on another device is made there: torch's meta device stands for a GPU that tests lack."""

import numpy as np
import pytest
import torch

from methods import METHODS, Batch, RunInfo
from protocols.augment import affine, crop, cutout, gaussian_blur, grayscale, normalise, parameters, solarize
from protocols.augment.colour_jitter import jitter
from protocols.backbones.small import Conv4
from protocols.evaluate.knn import vote
from protocols.features.neighbours import Neighbours
from protocols.spec.protocol import Augmentation

N, SIDE = 4, 16


def elsewhere(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="meta")


def uniforms(columns: int) -> np.ndarray:
    return np.random.default_rng(0).random((N, columns), dtype=np.float32)


STORED, VIEWS = elsewhere(N, SIDE, 3, SIDE, dtype=torch.uint8), elsewhere(N, SIDE, 3, SIDE)
CROP = Augmentation(crop=(0.2, 1.0), flip=0.5)
ZEROS, ONES = (0.0,) * 3, (1.0,) * 3

OPERATIONS = {
    "normalise": lambda: normalise.normalise(STORED, ZEROS, ONES),
    "crop": lambda: crop.crop(STORED, parameters.sample_parameters(CROP, uniforms(parameters.COLUMNS), SIDE), CROP, 12),
    "jitter": lambda: jitter(VIEWS, elsewhere(N, dtype=torch.int64), elsewhere(N)),
    "grayscale": lambda: grayscale.grayscale(VIEWS),
    "blur": lambda: gaussian_blur.gaussian_blur(VIEWS, elsewhere(N, 1)),
    "solarize": lambda: solarize.solarize(VIEWS),
    "cutout": lambda: cutout.cutout(elsewhere(N, 3, SIDE, SIDE), elsewhere(N, 3)),
    "affine": lambda: affine.affine(STORED, uniforms(affine.COLUMNS), ZEROS, ONES, erase=0.1),
    "votes": lambda: vote(
        Neighbours(elsewhere(N, 3), elsewhere(N, 3, dtype=torch.int32)), elsewhere(9, dtype=torch.int64), 5, 0.1
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_stays_on_its_device(name):
    assert OPERATIONS[name]().device.type == "meta"


@pytest.mark.parametrize("name", ["rotnet", "supervised", "deepcluster"])
def test_a_loss_is_computed_where_the_views_are(name):
    """Of methods whose loss needs no autocast, which the meta device has not."""
    kind = METHODS.get(name)
    options = kind.Options(clusters=4) if name == "deepcluster" else kind.Options()
    method = kind(Conv4(), options, RunInfo(classes=3, images=N, side=SIDE, steps=1, seed=0)).to("meta")
    index = elsewhere(N, dtype=torch.int64)
    scalars = method(Batch(elsewhere(N, 3, SIDE, SIDE), index, index))
    assert {value.device.type for value in scalars.values()} == {"meta"}
