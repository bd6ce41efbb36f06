"""Stored runs as tidy data frames: a row per run, a row per run and metric, a row per run and epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from results.analysis.variants import digest, disambiguate_methods, evaluation_setup, pretraining_setup
from results.errors import RequestError
from results.index import summaries
from results.names import baseline_of
from results.store import CONFIG, NO_RUNS_HINT, RECORD, read_run, require_runs_folder
from results.tuning import Tuning, read_tuning

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from results.record import JsonDict
    from results.store import Stored

VERSION = 9
"""Of what :func:`summarize_run` returns; raised by hand when it changes."""

IDENTITY = [
    *["dataset", "backbone", "protocol", "version", "fairness", "method", "method_name", "baseline", "seed", "budget"],
    "lr",
]
COST = [
    *["views", "seconds", "pretrain_seconds", "views_per_second", "flops", "peak_memory", "gpu_seconds", "energy"],
    *["device", "precision"],
]
LEARNING = ["epochs", "first_loss", "last_loss"]
PROVENANCE = ["commit", "dirty", "software", "machine", "command", "finished"]
SELECTION = ["preset", "rankme", "lidar"]
MEASURED = [
    *["evaluated_on", "split", "evaluation", "evaluation_name", "metric", "value", "n", "setup"],
    *["refinement", "transductive"],
]

RUN_COLUMNS = ["run", "status", "reason", *IDENTITY, *COST, *LEARNING, "warning", *PROVENANCE, *SELECTION]
RESULT_COLUMNS = [
    *["dataset", "evaluated_on", "backbone", "protocol", "version", "fairness", "method", "seed"],
    *["evaluation", "metric", "value", "n", "split", "run", *COST, "warning", "commit", "budget"],
    *["method_name", "evaluation_name", "setup", "refinement", "transductive", "baseline", "pretraining"],
]
HISTORY_COLUMNS = ["run", "epoch", "views", "seconds", "loss", "knn_top1"]
COST_COLUMNS = ["run", *IDENTITY, *COST]
NUMBERS = ["version", "seed", "lr", *COST[:8], *LEARNING, "rankme", "lidar"]


@dataclass(frozen=True)
class Frames:
    """What a runs folder holds, as tidy data frames; names of refinements are the stored ones.

    Attributes:
        folders: of every run, by its name.
        runs: a row per run, whatever its status, ``RUN_COLUMNS``: what it is, ``status`` (``done``, ``failed``,
            ``unfinished`` or ``unreadable``) and its ``reason``, costs, first and last loss, provenance. ``baseline``
            is ``upper`` for training with labels, ``lower`` for random weights, ``external`` for weights trained
            elsewhere, else empty.
        results: a row per finished run and metric, ``RESULT_COLUMNS``. ``value`` is in percent, ``n`` the number of
            images, ``refinement`` the label of the refinement before the evaluation (empty for none) and
            ``transductive`` whether it used other test images. ``pretraining`` is the label of the method, of several
            that are one pretraining the first of theirs (see :func:`name_pretraining`). Rows without refinement come
            first.
        trials: the rows of ``runs`` that are trials of a search for hyper-parameters, which the others leave out.
        trial_results: a row per trial and metric, ``run`` and ``MEASURED``.
        tuning: the searches, and which runs used what they chose. These have the label of the tuned protocol and the
            plain name of the method; one that is also a run of the default settings is there twice.
        stored_labels: what a label stands for, where readers see another one; see ``results.analysis.labels``.
        conflicts: a line for each run that has different numbers in two runs folders; those of the first are used.
    """

    folders: Mapping[str, Path]
    runs: pd.DataFrame
    results: pd.DataFrame
    trials: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=RUN_COLUMNS))
    trial_results: pd.DataFrame = field(default_factory=partial(pd.DataFrame, columns=["run", *MEASURED]))
    tuning: Tuning = field(default_factory=Tuning)
    conflicts: tuple[str, ...] = ()
    stored_labels: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def unrefined(self) -> pd.DataFrame:
        """The rows of ``results`` that were measured without a refinement."""
        return self.results[self.results["refinement"] == ""].reset_index(drop=True)

    @cached_property
    def refined(self) -> pd.DataFrame:
        """The rows of ``results`` that were measured after a refinement."""
        return self.results[self.results["refinement"] != ""].reset_index(drop=True)

    @cached_property
    def problems(self) -> pd.DataFrame:
        """The rows of ``runs`` that failed, are unfinished, unreadable or ``collapsed``; ``reason`` says why."""
        collapsed = (self.runs["status"] == "done") & (self.runs["warning"] != "")
        problems = self.runs[collapsed | (self.runs["status"] != "done")].copy()
        problems.loc[collapsed, "status"] = "collapsed"
        # The text of a warning begins with that word too.
        problems.loc[collapsed, "reason"] = problems["warning"].astype(str).str.removeprefix("collapsed: ")
        return problems.reset_index(drop=True)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """A row per finished run, ``COST_COLUMNS``: images seen, seconds, views per second, operations, bytes."""
        return self.runs.loc[self.runs["status"] == "done", COST_COLUMNS].reset_index(drop=True)

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row per finished run and epoch, with ``method``, ``dataset`` and ``seed``; reads every record."""
        done = self.runs.loc[self.runs["status"] == "done", ["run", "method", "dataset", "seed"]]
        return read_histories(self.folders[run] for run in done["run"]).merge(done, on="run")


def load_runs(paths: Path | Sequence[Path], only: Container[str] | None = None) -> Frames:
    """Read every run below one or several folders; what is damaged in them becomes a row of ``problems``.

    Of a run that lies in several folders, the results are those of all of them. Where the same result has different
    numbers, those of the folder that is named first are used, and a line of ``conflicts`` says so.

    Args:
        paths: runs folders.
        only: names of run folders, if not all shall be read.

    Raises:
        RequestError: there is no such folder, it is itself a run, or it cannot be read.
    """
    paths = [paths] if isinstance(paths, Path) else paths
    found: dict[str, JsonDict] = {}
    folders: dict[str, Path] = {}
    conflicts: list[str] = []
    for path in paths:
        require_runs_folder(path)
        try:
            summaries_here = summaries(path, lambda folder: summarize_run(read_run(folder)), VERSION)
        except OSError as error:
            raise RequestError(f"cannot read runs in {path}: {error.strerror}", hint=NO_RUNS_HINT) from error
        for name, summary in summaries_here.items():
            earlier = found.get(name)
            if earlier is None or (earlier["run"]["status"] != "done" and summary["run"]["status"] == "done"):
                found[name], folders[name] = summary, path / name
            elif summary["run"]["status"] == "done":
                found[name], different = merge_metrics(earlier, summary)
                conflicts += [f"{name}: {text} ({folders[name].parent}, {path})" for text in different]
    if only is not None:
        found = {name: summary for name, summary in found.items() if name in only}
    runs = pd.DataFrame([{"run": name, **summary["run"]} for name, summary in found.items()], columns=RUN_COLUMNS)
    runs[NUMBERS] = runs[NUMBERS].apply(pd.to_numeric)
    tuning = read_tuning(*paths)
    is_trial = runs["run"].isin(tuning.trials if only is None else ())
    runs, trials = with_tuned(runs[~is_trial], tuning), runs[is_trial].reset_index(drop=True)
    metrics = [[name, *metric] for name, summary in found.items() for metric in summary["metrics"]]
    measured = pd.DataFrame(metrics, columns=["run", *MEASURED])
    measured[["value", "n"]] = measured[["value", "n"]].apply(pd.to_numeric)
    results = measured.merge(runs, on="run")[RESULT_COLUMNS[:-1]].astype({"version": int, "seed": int})
    results = disambiguate_methods(results, lambda run: (read_run(folders[run]).record or {})["run"])
    results = name_pretraining(results, runs)
    is_refined = results["refinement"] != ""
    results = pd.concat([results[~is_refined], results[is_refined]], ignore_index=True)
    trial_results = measured[measured["run"].isin(trials["run"])].reset_index(drop=True)
    return Frames(folders, runs, results, trials, trial_results, tuning, tuple(conflicts))


def merge_metrics(first: JsonDict, second: JsonDict) -> tuple[JsonDict, list[str]]:
    """The summary of a run with the metrics of another one of it, and a line for each whose numbers differ.

    Args:
        first: see :func:`summarize_run`; its numbers are the ones that are used.
        second: of the same run in another folder.
    """
    keys = [MEASURED.index(key) for key in MEASURED if key not in ("value", "n")]
    value, evaluation, metric = (MEASURED.index(key) for key in ("value", "evaluation", "metric"))
    known = {tuple(row[key] for key in keys): row for row in first["metrics"]}
    added, different = [], []
    for row in second["metrics"]:
        earlier = known.get(tuple(row[key] for key in keys))
        if earlier is None:
            added.append(row)
        elif earlier[value] != row[value]:
            different.append(f"{row[evaluation]} {row[metric]} is {earlier[value]:.2f} and {row[value]:.2f}")
    return {**first, "metrics": [*first["metrics"], *added]}, different


def with_tuned(runs: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    """Runs under the label of the tuned protocol that they belong to, with the plain name of their method.

    A run that was made for another protocol and has the same settings stays, and is added under the tuned label.

    Args:
        runs: see ``RUN_COLUMNS``.
        tuning: says which runs belong to a tuned protocol.
    """
    parts = [runs[~runs["preset"].isin({column.protocol for column in tuning.columns.values()})]]
    for column in tuning.columns.values():
        tuned = runs[runs["run"].isin(column.methods)]
        parts.append(tuned.assign(protocol=column.label, method=tuned["run"].map(column.methods)))
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else runs.reset_index(drop=True)


def name_pretraining(results: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``pretraining``, by which methods that differ in what follows pretraining only are known.

    Two methods are one pretraining if the losses of their first and last epoch and all their unrefined results are the
    same numbers for every seed that both have. Two trainings that differ in anything do not agree in all of these.

    Args:
        results: see ``RESULT_COLUMNS``.
        runs: see ``RUN_COLUMNS``.
    """
    shared = ["protocol", "version", "fairness", "backbone", "dataset"]
    unrefined = results[results["refinement"] == ""]
    losses = unrefined.drop_duplicates("run").merge(runs[["run", "first_loss", "last_loss"]], on="run")
    measured = unrefined["evaluated_on"] + " " + unrefined["evaluation"] + " " + unrefined["metric"]
    numbers = pd.concat(
        [
            unrefined.assign(number=measured),
            *(losses.assign(number=name, value=losses[name]) for name in ("first_loss", "last_loss")),
        ]
    )
    labelled = results.assign(pretraining=results["method"])
    for key, group in numbers.groupby(shared):
        by_method = group.pivot_table(index=["number", "seed"], columns="method", values="value")
        is_loss = by_method.index.get_level_values("number") == "last_loss"
        firsts: dict[str, NDArray[np.float64]] = {}  # every two methods are compared, so in numpy
        for method, values in zip(by_method, by_method.to_numpy(dtype=float).T, strict=True):
            for first, others in firsts.items():
                both = ~(np.isnan(others) | np.isnan(values))
                if (both & is_loss).any() and (others[both] == values[both]).all():
                    of_method = (labelled[[*shared, "method"]] == [*key, method]).all(axis=1)
                    labelled.loc[of_method, "pretraining"] = first
                    break
            else:
                firsts[str(method)] = values
    return labelled


def summarize_run(stored: Stored) -> JsonDict:
    """What the frames need of one run, as plain JSON: its row as ``run``, its ``metrics`` as rows of ``MEASURED``."""
    try:
        identity = identity_columns(stored.config) if stored.config else {}
        if stored.record is None:
            row = {"status": stored.status, "reason": missing_record_reason(stored), **identity}
            return {"run": row, "metrics": []}
        row = {"status": "done", "reason": "", **identity, **record_columns(stored.record)}
        return {"run": row, "metrics": metric_rows(stored.record)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        file = CONFIG if stored.record is None else RECORD
        problem = f"{file} is not of this bench: {type(error).__name__} {error}"
        return {"run": {"status": "unreadable", "reason": problem}, "metrics": []}


def identity_columns(config: JsonDict) -> JsonDict:
    """The columns of ``IDENTITY``, from a configuration in stored names."""
    pretrain = config["pretrain"]
    if pretrain.get("flops") is not None:
        budget = f"{pretrain['flops']:g} FLOPs"
    elif pretrain["epochs"] is not None:
        budget = f"{pretrain['epochs']:g} epochs"
    else:
        budget = f"{pretrain['views']:,} views"
    return {
        "dataset": display_label(config["dataset"]),
        "backbone": display_label(config["backbone"]),
        "protocol": config["label"],
        "version": config["version"],
        "fairness": config["track"],
        "method": display_label(config["method"]),
        "method_name": config["method"]["name"],
        "baseline": baseline_of(config),
        "seed": int(config["seed"]),
        "budget": budget,
        "lr": pretrain["lr"],
        "preset": str(config.get("preset", "")),
    }


def display_label(component: JsonDict) -> str:
    """The label of a method, data set or backbone, or its name if it has none."""
    return str(component["label"] or component["name"])


def record_columns(record: JsonDict) -> JsonDict:
    """The columns of cost, learning, health and provenance."""
    cost, history, provenance = record["cost"], record["history"], record["provenance"]
    versions = {name: provenance[name] for name in ("bench", "python") if provenance.get(name)}
    versions |= provenance.get("packages", {})
    hardware = [str(provenance[key]) for key in ("device", "processor", "system") if provenance.get(key)]
    return {
        **{key: cost.get(key) for key in COST if key not in ("seconds", "pretrain_seconds")},
        "seconds": sum(cost["seconds"].values()),
        "pretrain_seconds": cost["seconds"].get("pretrain", 0.0),
        "epochs": len(history),
        **({"first_loss": history[0].get("loss"), "last_loss": history[-1].get("loss")} if history else {}),
        "warning": record["health"]["warning"],
        "rankme": record["health"]["rankme"],
        "lidar": record["health"].get("lidar"),
        **{key: str(provenance.get(key, "")) for key in ("commit", "command", "finished")},
        "dirty": bool(provenance.get("dirty")),
        "software": ", ".join(f"{name} {version}" for name, version in versions.items()),
        # A processor that the device already names is not named twice.
        "machine": ", ".join(
            text for index, text in enumerate(hardware) if not any(text in earlier for earlier in hardware[:index])
        ),
    }


def metric_rows(record: JsonDict) -> list[list[Any]]:
    """The rows of ``MEASURED``."""
    pretraining = digest(pretraining_setup(record["run"]))
    setups: dict[tuple[str, str, str], str] = {}
    rows = []
    for metric in record["metrics"]:
        measured = metric["label"], metric["dataset"], metric.get("refinement", "")
        if measured not in setups:
            setups[measured] = digest([pretraining, evaluation_setup(record["run"], *measured)])
        where = [metric["dataset"], metric["split"], metric["label"], metric["evaluation"], metric["metric"]]
        transductive = bool(metric.get("transductive"))
        rows.append([*where, float(metric["value"]), metric["n"], setups[measured], measured[2], transductive])
    return rows


def missing_record_reason(stored: Stored) -> str:
    """Why a run has no record, in words."""
    if stored.status == "failed":
        return str((stored.failure or {}).get("reason") or "no reason was stored")
    if stored.status == "unreadable":
        return stored.problem
    return "the same command resumes it"


def read_histories(folders: Iterable[Path]) -> pd.DataFrame:
    """The epochs of some finished runs.

    Args:
        folders: of the runs.

    Returns:
        ``HISTORY_COLUMNS``; ``views`` and ``seconds`` of pretraining so far, ``loss`` is the mean of the epoch,
        ``knn_top1`` the accuracy on held-out training images in percent where it was measured (``knn_every``).
    """
    rows = []
    for folder in folders:
        record = read_run(folder).record or {}  # damaged since its summary was made: no epochs
        rows += [[folder.name, *map(epoch.get, HISTORY_COLUMNS[1:])] for epoch in record.get("history", ())]
    return pd.DataFrame(rows, columns=HISTORY_COLUMNS).astype({"knn_top1": float})


def first_seeds(runs: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most ``most`` seeds of every method on every data set, the lowest ones; of a frame with a row per run."""
    ordered = runs.sort_values(["method", "dataset", "seed"], kind="stable")
    return ordered.groupby(["method", "dataset"], sort=False).head(most)
