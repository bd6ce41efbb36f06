"""Runs that bear the same labels and yet differ: told apart before anything is averaged.

A label says what the command line changed. It does not say that a plugin was edited or raised to a new version since
an older run was made, so trials are averaged only where everything that decides a number agrees but for the seed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

Table = dict[str, Any]

CELL = ["protocol", "version", "track", "backbone", "dataset", "evaluated_on", "method", "evaluation", "metric"]
"""What the trials of one cell of a table share."""

WORDS = ("seed", "fingerprint", "label", "track", "plugins", "preset", "evaluations")
"""Keys of a run's configuration that can change no number, or tell trials of one setup apart."""

PARTS = ("method", "dataset", "backbone")


def setup(config: Table, evaluation: str, dataset: str, refinement: str = "") -> Table:
    """Everything that decides a number but the seed.

    Args:
        config: a resolved run.
        evaluation: label of the evaluation the number comes from.
        dataset: name of what it was measured on.
        refinement: label of what the representation went through before; empty if nothing.

    Raises:
        KeyError, TypeError, AttributeError: it is not a resolved run.
    """
    return {**pretraining(config), "evaluation": evaluation_of(config, evaluation, dataset, refinement)}


def pretraining(config: Table) -> Table:
    """Everything that decides the pretrained weights but the seed."""
    shared = {key: value for key, value in config.items() if key not in WORDS}
    return {**shared, **{key: without_label(config[key]) for key in PARTS}}


def evaluation_of(config: Table, label: str, dataset: str, refinement: str = "") -> Table:
    """The evaluation with that label, on that data set, after that refinement; empty if the run names none."""
    parts = ({"dataset": config["dataset"], "refinement": None, **part} for part in config["evaluations"])
    found = [part for part in parts if place_of(part) == (label, dataset, refinement)]
    return without_label({**found[0], "refinement": without_label(found[0]["refinement"] or {})}) if found else {}


def place_of(part: Table) -> tuple[str, str, str]:
    """Label, data set and label of the refinement of an evaluation."""
    return part["label"], part["dataset"]["name"], part["refinement"]["label"] if part["refinement"] else ""


def without_label(part: Table) -> Table:
    """What of a part can change a number."""
    return {key: value for key, value in part.items() if key != "label"}


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that name a plain value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def separate(results: pd.DataFrame, read_config: Callable[[str], Table]) -> pd.DataFrame:
    """Give trials of one cell that differ in more than their seed methods of different names.

    Such a method is followed by what differs, in braces: ``mine{method.digest=1a2b3c4d}``. A run that is stored twice
    is kept once.

    Args:
        results: a row per run and metric, with the columns of :data:`CELL`, ``refinement``, ``setup``, ``seed`` and
            ``run``.
        read_config: the configuration of a run, by the name of its folder.
    """
    keys = [*CELL, "refinement"]
    results = results.drop_duplicates([*keys, "setup", "seed"], ignore_index=True)
    many = results.groupby(keys, sort=False)["setup"].transform("nunique") > 1
    for _, cell in results[many].groupby(keys, sort=False):
        examples = cell.drop_duplicates("setup").set_index("setup")["run"]
        place = cell[["evaluation", "evaluated_on", "refinement"]].iloc[0]
        names = distinctions({str(key): setup(read_config(run), *place) for key, run in examples.items()})
        results.loc[cell.index, "method"] += cell["setup"].map(lambda key, names=names: f"{{{names[key]}}}")
    return results


def distinctions(setups: dict[str, Table]) -> dict[str, str]:
    """For each of several setups the leaves in which not all agree: ``method.version=2``."""
    flat = {name: dict(leaves(value)) for name, value in setups.items()}
    keys = sorted({key for values in flat.values() for key in values})
    varying = [key for key in keys if len({shown(values.get(key)) for values in flat.values()}) > 1]
    return {name: ",".join(f"{key}={shown(values.get(key))}" for key in varying) for name, values in flat.items()}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables, by dotted key."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}" if path else key)


def shown(value: Any) -> str:
    """A leaf in words; digests are cut."""
    text = str(value)
    return text[:8] if len(text) == 64 else text
