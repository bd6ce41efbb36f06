"""The settings of trials.

Those of trial i of a Sobol sequence follow from the space, the method and i alone. So trials need no coordinator: they
can be computed in any order, on any machine, and 16 of them are the first 16 of 32. TPE draws each trial knowing the
results of those before.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from optuna.trial import Trial

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


def tpe_settings(
    method: str, space: Sequence[Dimension], count: int, score: Callable[[dict[str, Any]], float | None]
) -> list[dict[str, Any]]:
    """The settings of the first trials of a method as TPE draws them, one after the other, the default before.

    The tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) of Optuna, with its defaults: the first ten are
    drawn at random. The settings follow from the method's name, the space and the scores of the trials before.

    Args:
        method: its name.
        space: of the method.
        count: trials, at least one.
        score: of a setting; NaN if it failed, None if it has not run to its end.

    Returns:
        Values by target, at most ``count``; where one has no score yet, it is the last.

    Raises:
        RequestError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        hint = "uv pip install 'ssl-bench[tpe]', or use --sampler sobol"
        raise RequestError("--sampler tpe needs Optuna", hint=hint) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = int(shift(method, "tpe") * 2**32)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    settings: list[dict[str, Any]] = [{}]
    while len(settings) < count:
        trial = study.ask()
        settings.append({dimension.target: dimension.value(suggest(trial, dimension)) for dimension in space})
        value = score(settings[-1])
        if value is None:
            break
        failed = optuna.trial.TrialState.FAIL if math.isnan(value) else None
        study.tell(trial, None if failed else value, state=failed)
    return settings


def suggest(trial: Trial, dimension: Dimension) -> float:
    """Where in [0, 1) a trial of Optuna has the value of a dimension; choices have no order."""
    if dimension.scale != "choice":
        return min(trial.suggest_float(dimension.target, 0.0, 1.0), math.nextafter(1.0, 0.0))
    count = len(dimension.values)
    return (trial.suggest_categorical(dimension.target, range(count)) + 0.5) / count
