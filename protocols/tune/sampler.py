"""The settings of trials. Those of trial i follow from the space, the method and i alone.

So trials need no coordinator: they can be computed in any order, on any machine, and 16 of them are the first 16 of 32.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from protocols.tune.space import Dimension


def sobol_settings(method: str, space: Sequence[Dimension], count: int) -> list[dict[str, Any]]:
    """The settings of the first trials of a method: the default, then points of a Sobol sequence.

    A Sobol sequence (Sobol' 1967, direction numbers of Joe & Kuo 2008) fills the space more evenly than independent
    draws. Every dimension is shifted, modulo 1, by a number that follows from the names of method and target (Cranley &
    Patterson 1976), so that methods do not share the same points.

    Args:
        method: its name.
        space: of the method; not empty if more than one trial is asked for.
        count: trials, at least one.

    Returns:
        Values by target; empty for the default.
    """
    if count < 2:
        return [{}] * count
    points = sobol_points(len(space), count - 1)
    shifts = [shift(method, dimension.target) for dimension in space]
    settings: list[dict[str, Any]] = [{}]
    for point in points:
        values = [dimension.value((u + by) % 1.0) for dimension, u, by in zip(space, point, shifts, strict=True)]
        settings.append({dimension.target: value for dimension, value in zip(space, values, strict=True)})
    return settings


def sobol_points(dimensions: int, count: int) -> NDArray[np.float64]:
    """The first points of the Sobol sequence (count, dimensions), in [0, 1)."""
    from scipy.stats.qmc import Sobol

    points: NDArray[np.float64] = Sobol(dimensions, scramble=False).random_base2(max(count - 1, 1).bit_length())
    return points[:count]


def shift(method: str, target: str) -> float:
    """A number in [0, 1) that follows from two names."""
    digest = hashlib.sha256(f"{method} {target}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
