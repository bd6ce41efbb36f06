"""Counter-based random numbers: every draw is a function of (seed, purpose, counters), not of earlier draws.

Initial weights, image order and view parameters depend on the run's seed and on their purpose, never on the method:
methods that ask for the same augmentation get the same views of the same images, a resumed run draws the same numbers
as an uninterrupted one, and a new method changes no other method's numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def key(seed: int, *purpose: str | int) -> int:
    """A 63-bit number that stands for a seed and a purpose, such as ``("views", epoch)``."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(key(seed, *purpose))


def permutation(n: int, seed: int, *purpose: str | int) -> Tensor:
    """A random order of n things, (n,) int64."""
    return torch.randperm(n, generator=generator(seed, *purpose))


def uniforms(key: int, rows: NDArray[np.int64], columns: int) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1) as a hash of (key, row, column): a row does not depend on the other rows.

    The hash is SplitMix64 (Steele, Lea & Flood 2014), of which the upper 24 bits are used.

    Args:
        key: from :func:`key`.
        rows: (n,) row numbers.
        columns: numbers per row; below 2**16.

    Returns:
        (n, columns) float32.
    """
    row = mix(rows.astype(np.uint64)[:, None] + np.uint64(key))
    column = np.arange(columns, dtype=np.uint64)[None, :]
    bits = mix(row + column * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of the input moves about half the bits of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
