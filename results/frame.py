"""Stored runs as tidy frames: a row per run, a row per run and metric, a row per run and epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from results.index import summaries
from results.setups import digest, evaluation_of, pretraining, separate
from results.store import RECORD, read_json, read_run

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from pathlib import Path

    from results.store import Stored

Table = dict[str, Any]

VERSION = 3
"""Of what :func:`summarize` returns; bumped by hand when it changes."""

IDENTITY = ["dataset", "backbone", "protocol", "version", "track", "method", "method_name", "seed", "budget"]
COST = ["views", "seconds", "pretrain_seconds", "views_per_second", "flops", "peak_memory", "device", "precision"]
LEARNING = ["epochs", "first_loss", "last_loss"]
PROVENANCE = ["commit", "dirty", "software", "machine", "command", "finished"]
MEASURED = [
    *["evaluated_on", "split", "evaluation", "evaluation_name", "metric", "value", "n", "setup"],
    *["refinement", "transductive"],
]

RUN_COLUMNS = ["run", "status", "reason", *IDENTITY, *COST, *LEARNING, "warning", *PROVENANCE]
RESULT_COLUMNS = [
    *["dataset", "evaluated_on", "backbone", "protocol", "version", "track", "method", "seed"],
    *["evaluation", "metric", "value", "n", "split", "run", *COST, "warning", "commit", "budget"],
    *["method_name", "evaluation_name", "setup", "refinement", "transductive"],
]
NUMBERS = ["version", "seed", *COST[:6], *LEARNING]
SEEDS = 5
"""Trials of a method on a data set whose learning curves are shown."""

DOTS = 50
"""Trials of a cell that are shown singly in a figure, at most."""

HISTORY_COLUMNS = ["run", "epoch", "views", "seconds", "loss"]


@dataclass(frozen=True)
class Frames:
    """What a runs folder holds.

    Attributes:
        results: a row per finished run and metric, ``RESULT_COLUMNS``; ``value`` and ``n`` as in ``results.record``.
            Representations are as they were pretrained.
        refined: the same of representations that went through a ``refinement``.
        runs: a row per run, whatever became of it, ``RUN_COLUMNS``; seconds, bytes and views as in ``results.record``.
    """

    results: pd.DataFrame
    refined: pd.DataFrame
    runs: pd.DataFrame

    @property
    def problems(self) -> pd.DataFrame:
        """The runs that failed, are unfinished, cannot be read or have collapsed; ``reason`` says why."""
        collapsed = (self.runs["status"] == "done") & (self.runs["warning"] != "")
        problems = self.runs[collapsed | (self.runs["status"] != "done")].copy()
        problems.loc[collapsed, "status"] = "collapsed"
        problems.loc[collapsed, "reason"] = problems["warning"]
        return problems.reset_index(drop=True)


def read(runs: Path, only: Container[str] | None = None) -> Frames:
    """Read every run below a folder; never raises for what is damaged in it.

    Args:
        runs: the runs folder.
        only: names of run folders, if not all shall be read.

    Raises:
        OSError: the folder itself cannot be read.
    """
    found = summaries(runs, lambda folder: summarize(read_run(folder)), VERSION)
    if only is not None:
        found = {name: summary for name, summary in found.items() if name in only}
    table = pd.DataFrame([{"run": name, **summary["run"]} for name, summary in found.items()], columns=RUN_COLUMNS)
    table[NUMBERS] = table[NUMBERS].apply(pd.to_numeric)
    metrics = [[name, *metric] for name, summary in found.items() for metric in summary["metrics"]]
    measured = pd.DataFrame(metrics, columns=["run", *MEASURED])
    measured[["value", "n"]] = measured[["value", "n"]].apply(pd.to_numeric)
    results = measured.merge(table, on="run")[RESULT_COLUMNS].astype({"version": int, "seed": int})
    results = separate(results, lambda run: read_json(runs / run / RECORD)["run"])
    bare = results["refinement"] == ""
    return Frames(results[bare].reset_index(drop=True), results[~bare].reset_index(drop=True), table)


def summarize(stored: Stored) -> Table:
    """What the frames need of one run, as plain JSON: its row in ``run``, its ``metrics`` as rows of ``MEASURED``."""
    try:
        identity = identity_of(stored.config) if stored.config else {}
        if stored.record is None:
            row = {"status": stored.status, "reason": reason(stored), **identity}
            return {"run": row, "metrics": []}
        row = {"status": "done", "reason": "", **identity, **measured_of(stored.record)}
        return {"run": row, "metrics": metrics_of(stored.record)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"not a record of this bench: {type(error).__name__} {error}"
        return {"run": {"status": "unreadable", "reason": problem}, "metrics": []}


def identity_of(config: Table) -> Table:
    """The columns that say which run it is."""
    pretrain = config["pretrain"]
    budget = f"{pretrain['epochs']:g} epochs" if pretrain["epochs"] is not None else f"{pretrain['views']:,} views"
    return {
        "dataset": named(config["dataset"]),
        "backbone": named(config["backbone"]),
        "protocol": config["label"],
        "version": config["version"],
        "track": config["track"],
        "method": named(config["method"]),
        "method_name": config["method"]["name"],
        "seed": int(config["seed"]),
        "budget": budget,
    }


def named(part: Table) -> str:
    """A part's label, or its name if it has none."""
    return str(part["label"] or part["name"])


def measured_of(record: Table) -> Table:
    """The columns of cost, health and provenance."""
    cost, provenance = record["cost"], record["provenance"]
    return {
        **{key: cost[key] for key in COST if not key.endswith("seconds")},
        "seconds": sum(cost["seconds"].values()),
        "pretrain_seconds": cost["seconds"].get("pretrain", 0.0),
        **learning_of(record["history"]),
        "warning": record["health"]["warning"],
        **{key: str(provenance.get(key, "")) for key in ("commit", "command", "finished")},
        "dirty": bool(provenance.get("dirty")),
        "software": ", ".join(f"{name} {version}" for name, version in software(provenance).items()),
        "machine": machine(provenance),
    }


def learning_of(history: list[Table]) -> Table:
    """The columns of ``LEARNING``."""
    if not history:
        return {"epochs": 0}
    return {"epochs": len(history), "first_loss": history[0].get("loss"), "last_loss": history[-1].get("loss")}


def software(provenance: Table) -> Table:
    """Versions by name."""
    own = {name: provenance[name] for name in ("bench", "python") if provenance.get(name)}
    return {**own, **provenance.get("packages", {})}


def machine(provenance: Table) -> str:
    """Device, processor and system in one line."""
    words = [str(provenance[key]) for key in ("device", "processor", "system") if provenance.get(key)]
    return ", ".join(word for place, word in enumerate(words) if not any(word in before for before in words[:place]))


def metrics_of(record: Table) -> list[list[Any]]:
    """The rows of ``MEASURED``."""
    pretrained, setups = digest(pretraining(record["run"])), {}
    rows = []
    for metric in record["metrics"]:
        place = metric["label"], metric["dataset"], metric.get("refinement", "")
        if place not in setups:
            setups[place] = digest([pretrained, evaluation_of(record["run"], *place)])
        where = [metric["dataset"], metric["split"], metric["label"], metric["evaluation"], metric["metric"]]
        value, leaks = float(metric["value"]), bool(metric.get("transductive"))
        rows.append([*where, value, metric["n"], setups[place], place[2], leaks])
    return rows


def reason(stored: Stored) -> str:
    """Why a run has no record, in words."""
    if stored.status == "failed":
        failure = stored.failure or {}
        return str(failure.get("reason") or "no reason was stored")
    if stored.status == "unreadable":
        return stored.problem
    return "the same command carries on"


def read_histories(runs: Path, names: Iterable[str]) -> pd.DataFrame:
    """The epochs of some finished runs, by the names of their folders.

    Returns:
        ``HISTORY_COLUMNS``; views and seconds are those of pretraining so far, loss is the epoch's mean.
    """
    rows = []
    for name in names:
        record = read_json(runs / name / RECORD) or {}
        rows += [[name, *map(epoch.get, HISTORY_COLUMNS[1:])] for epoch in record.get("history", ())]
    return pd.DataFrame(rows, columns=HISTORY_COLUMNS)


def first_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """The first ``SEEDS`` trials of every method on every data set, of rows that stand for a run each."""
    ordered = runs.sort_values(["method", "dataset", "seed"], kind="stable")
    return ordered.groupby(["method", "dataset"], sort=False).head(SEEDS)
