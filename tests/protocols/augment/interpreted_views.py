"""Views by Triton's kernels, computed by its interpreter, against those of torch's operations; prints JSON.

Executed by the tests, in a process whose environment has ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import torch

from protocols.augment import gpu_views
from protocols.augment.augmenter import Augmenter
from protocols.spec.protocol import Augmentation
from tests.protocols.augment.test_augment import FULL, photos, random_numbers

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PLAIN = Augmentation()
SHARP = dataclasses.replace(FULL, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)
CASES: dict[str, tuple[Augmentation, int, int]] = {
    "nothing": (PLAIN, 32, 32),
    "all": (FULL, 32, 32),
    "all, 64 from 72": (FULL, 64, 72),
    "without blur": (dataclasses.replace(FULL, blur=0.0), 32, 32),
    "without contrast": (dataclasses.replace(FULL, contrast=0.0), 32, 32),
    "padded": (dataclasses.replace(FULL, crop=None, pad=0.125), 32, 32),
    "padded, larger": (dataclasses.replace(PLAIN, pad=0.25), 40, 32),
    **{
        f"{filter_name} to {size}{', antialiased' if antialias else ''}": (
            dataclasses.replace(SHARP, interpolation=filter_name, antialias=antialias),
            size,
            32,
        )
        for filter_name, antialias, size in itertools.product(("bilinear", "bicubic"), (True, False), (32, 20, 48, 9))
    },
}
"""Augmentation, side of the views and of the images."""


def compare(augmentation: Augmentation, size: int, side: int, dtype: torch.dtype, views: int) -> dict[str, Any]:
    """The largest and the mean difference of a value in [0, 1], and the fraction above 1e-4."""
    augmentation = dataclasses.replace(augmentation, size=size)
    stored, index = photos(side, views), torch.arange(views).flip(0)
    reference = Augmenter(augmentation, MEAN, STD, reference=True)
    parameters = reference.draw(random_numbers(views), side)
    expected = reference.make_views(stored, index, parameters).permute(0, 2, 3, 1)
    out = torch.empty(views, size, size, 3, dtype=dtype)
    gpu_views.make_views(stored, index, parameters, augmentation, out=out, mean=MEAN, std=STD)
    difference = (out.float() - expected).abs() * torch.tensor(STD)
    return {"max": difference.max().item(), "mean": difference.mean().item()}


def interpret(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """Stands in for ``launch``, which asks CUDA for a device."""
    kernel[(programs,)](*arguments, **constants)


if __name__ == "__main__":
    torch.set_num_threads(1)
    gpu_views.launch = interpret
    results = {name: compare(*case, torch.float32, views=3) for name, case in CASES.items()}
    results["all, bfloat16"] = compare(*CASES["all"], torch.bfloat16, views=8)
    results["all, float16"] = compare(*CASES["all"], torch.float16, views=8)
    print(json.dumps(results))
