"""Runs with the same labels and different settings, told apart before anything is averaged.

A label says what the command line changed. It does not say that a plugin was edited or raised to a new version since
an older run was made. So results are averaged over seeds only where everything else that decides a number agrees.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from results.names import MONITORING_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from results.record import JsonDict

CELL = ["protocol", "version", "fairness", "backbone", "dataset", "evaluated_on", "method", "evaluation", "metric"]
"""What the results of one cell of a table share; they differ in their seeds."""

IGNORED_KEYS = ("seed", "fingerprint", "label", "track", "plugins", "preset", "evaluations", "unused", "baseline")
"""Stored keys of a run's configuration that change no number, or only tell seeds and evaluations apart."""

DESCRIPTIONS = ("label", "baseline")
"""Keys of a method, data set, … that describe it and change no number."""


def setup(config: JsonDict, evaluation: str, dataset: str, refinement: str = "") -> JsonDict:
    """Everything that decides a number except the seed.

    Args:
        config: the configuration of a run, in stored names.
        evaluation: label of the evaluation the number comes from.
        dataset: name of the data set it was measured on.
        refinement: label of the refinement before the evaluation; empty if there was none.

    Raises:
        KeyError, TypeError, AttributeError: it is not the configuration of a run.
    """
    return {**pretraining_setup(config), "evaluation": evaluation_setup(config, evaluation, dataset, refinement)}


def pretraining_setup(config: JsonDict) -> JsonDict:
    """Everything that decides the pretrained weights except the seed."""
    shared = {key: value for key, value in config.items() if key not in IGNORED_KEYS}
    shared["pretrain"] = {key: value for key, value in config["pretrain"].items() if key not in MONITORING_KEYS}
    unused = config.get("unused", ())
    shared["recipes"] = {name: value for name, value in config["recipes"].items() if name not in unused}
    return {**shared, **{key: without_descriptions(config[key]) for key in ("method", "dataset", "backbone")}}


def evaluation_setup(config: JsonDict, label: str, dataset: str, refinement: str = "") -> JsonDict:
    """The settings of an evaluation, its data set and its refinement; empty if the configuration has no such one."""
    for evaluation in config["evaluations"]:
        found = {"dataset": config["dataset"], "refinement": None, **evaluation}
        refined_by = found["refinement"] or {}
        if (found["label"], found["dataset"]["name"], refined_by.get("label", "")) == (label, dataset, refinement):
            return without_descriptions({**found, "refinement": without_descriptions(refined_by)})
    return {}


def without_descriptions(component: JsonDict) -> JsonDict:
    """What of a method, data set, … can change a number.

    Earlier versions stored the source of a plugin file as its ``digest``, as hashes still do.
    """
    found = {key: value for key, value in component.items() if key not in DESCRIPTIONS}
    if found.get("source") and not found.get("digest"):
        found["digest"] = found.pop("source")
    return found


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that identify a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def disambiguate_methods(results: pd.DataFrame, read_config: Callable[[str], JsonDict]) -> pd.DataFrame:
    """Give results of one cell that differ in more than their seed different method labels.

    Such a method is followed by what differs, in braces: ``mine{method.digest=1a2b3c4d}``. Of a run that is stored
    twice, one is taken.

    Args:
        results: a row per run and metric, with the columns of :data:`CELL`, ``refinement``, ``setup``, ``seed`` and
            ``run``.
        read_config: returns the configuration of a run, given the name of its folder.
    """
    keys = [*CELL, "refinement"]
    results = results.drop_duplicates([*keys, "setup", "seed"], ignore_index=True)
    ambiguous = results.groupby(keys, sort=False)["setup"].transform("nunique") > 1
    for _, cell in results[ambiguous].groupby(keys, sort=False):
        examples = cell.drop_duplicates("setup").set_index("setup")["run"]
        measured = cell[["evaluation", "evaluated_on", "refinement"]].iloc[0]
        names = different_leaves({str(key): setup(read_config(run), *measured) for key, run in examples.items()})
        results.loc[cell.index, "method"] += cell["setup"].map(lambda key, names=names: f"{{{names[key]}}}")
    return results


def different_leaves(setups: dict[str, JsonDict]) -> dict[str, str]:
    """For each of several setups the leaves in which not all agree: ``method.version=2``; hashes are cut."""
    flat = {
        name: {key: text[:8] if len(text := str(leaf)) == 64 else text for key, leaf in leaves(value)}
        for name, value in setups.items()
    }
    keys = sorted({key for values in flat.values() for key in values})
    varying = [key for key in keys if len({values.get(key, "None") for values in flat.values()}) > 1]
    return {name: ",".join(f"{key}={values.get(key, 'None')}" for key in varying) for name, values in flat.items()}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables, with their dotted keys."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}" if path else key)
