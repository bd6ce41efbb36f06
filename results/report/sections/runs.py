"""Every run: its seed, numbers, commit, machine, command and settings; what the numbers of the tables lead to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from results.analysis.tables import by_table, records
from results.analysis.variants import leaves, pretraining_setup
from results.names import display_name
from results.printable import printable
from results.report.section import MISSING, Cell, Column, Detail, Row, Section, Table
from results.report.sections import register_section
from results.report.text import format_duration, format_number
from results.store import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from results.analysis.tables import ResultTable
    from results.record import JsonDict
    from results.report.data import ReportData

MOST_RUNS = 5000
"""Runs up to which all are listed; a page of more would be slow to open."""

RUNS = (
    "A row per run. The name of a run leads back to its method; commit, machine and command to their full text, "
    "settings to what the run does not share with all others."
)
SETTINGS = "What not all runs of the table share, by method and data set. All share: "
HEADER = ("method", "data", "seed", "status", "measured", "pretraining", "commit", "machine", "command", "settings")


@register_section(position=80)
def runs(data: ReportData) -> Iterator[Section]:
    """One section, with the runs and settings of every table."""
    if len(data.frames.runs) > MOST_RUNS:
        return
    by_key, results = by_table(data.frames.runs), by_table(data.frames.unrefined)
    tables: list[Table] = []
    for table in data.tables:
        if table.rows:
            tables += [
                runs_table(table, by_key[table.key], results[table.key]),
                settings_table(table, by_key[table.key], data.frames.folders),
            ]
    if tables:
        yield Section("runs", "All runs", tables=tuple(tables), detail=Detail.ALL)


def anchor(kind: str, *parts: object) -> str:
    """An identifier of a kind of row, the same in every report for the same parts."""
    return f"{kind}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:10]}"


def key_words(table: tuple[Any, ...]) -> list[str]:
    """The key of a table as text; its version may be a whole number or not, as frames have gaps or none."""
    return [f"{part:g}" if isinstance(part, int | float) else str(part) for part in table]


def runs_anchor(table: tuple[Any, ...], dataset: str, method: str) -> str:
    """Of the runs of a method that was pretrained on a data set.

    Args:
        table: key of the table.
        dataset: name of the data set.
        method: label of the method.
    """
    return anchor("runs", *key_words(table), dataset, method)


def method_anchor(table: tuple[Any, ...], method: str) -> str:
    """Of the row of a method in the main table; see :func:`runs_anchor`."""
    return anchor("method", *key_words(table), method)


def origin_anchor(text: str) -> str:
    """Of a commit, a machine or a command."""
    return anchor("origin", text)


def runs_table(table: ResultTable, runs: pd.DataFrame, results: pd.DataFrame) -> Table:
    """The runs of one table, in the order of its methods."""
    order = {row.method: index for index, row in enumerate(table.rows)}
    numbers: dict[str, list[str]] = {}
    top1 = results[results["metric"] == "top1"]
    for run, evaluation, where, dataset, value in top1[
        ["run", "evaluation", "evaluated_on", "dataset", "value"]
    ].itertuples(index=False):
        on = "" if where == dataset else f" on {where}"
        numbers.setdefault(run, []).append(f"{evaluation}{on} {format_number(value)}")
    known = runs.dropna(subset=["method", "dataset", "seed"])
    ranked = known.assign(order=known["method"].map(order).fillna(len(order)))
    commands = {
        command: number for number, command in enumerate(sorted(filter(None, set(runs["command"].dropna()))), 1)
    }
    machines = {
        machine: number for number, machine in enumerate(sorted(filter(None, set(runs["machine"].dropna()))), 1)
    }
    rows, previous = [], ""
    for run in records(ranked.sort_values(["dataset", "order", "method", "seed"], kind="stable")):
        group = runs_anchor(table.key, run["dataset"], run["method"])
        done = run["status"] == "done"
        commit = str(run["commit"]) if done and run["commit"] else ""
        cells = (
            Cell(run["method"]),
            Cell(run["dataset"]),
            Cell(f"{run['seed']:.0f}"),
            Cell("collapsed" if done and run["warning"] else run["status"]),
            Cell(", ".join(numbers.get(run["run"], [])) if done else str(run["reason"])),
            Cell(format_duration(run["pretrain_seconds"]) if done else MISSING),
            origin_cell(
                f"{commit[:7]}{', changed' * (str(run['dirty']) == 'True')}" if commit else "",
                commit_text(run) if commit else "",
            ),
            origin_cell(f"machine {machines[run['machine']]}" if done and run["machine"] else "", run["machine"]),
            origin_cell(f"command {commands[run['command']]}" if done and run["command"] else "", run["command"]),
            Cell("settings", link=anchor("settings", group)),
        )
        link = method_anchor(table.key, run["method"]) if run["method"] in order else ""
        rows.append(Row((run["run"],), cells, group, anchor="" if group == previous else group, link=link))
        previous = group
    words = {"method", "data", "status", "measured", "commit", "machine", "command", "settings"}
    columns = tuple(Column(name, is_number=name not in words) for name in HEADER)
    title = f"Runs: {table.title}"
    return Table(f"{table.name}-runs", ("run",), columns, tuple(rows), title=title, caption=RUNS, is_long=True)


def commit_text(run: Mapping[str, Any]) -> str:
    """A commit as the table of origins has it."""
    return (run["commit"] or "not run from a checkout") + ", with uncommitted changes" * (str(run["dirty"]) == "True")


def origin_cell(text: str, origin: str) -> Cell | None:
    """A short text that leads to the full one; None where there is none."""
    return Cell(text, link=origin_anchor(origin)) if text else None


def settings_table(table: ResultTable, runs: pd.DataFrame, folders: Mapping[str, Path]) -> Table:
    """What decides the numbers of a method on a data set and is not the same for all of the table.

    Args:
        table: of results.
        runs: of the table.
        folders: of the runs, by their names.
    """
    first = runs.dropna(subset=["method", "dataset"]).drop_duplicates(["method", "dataset"])
    settings = {
        (run["method"], run["dataset"]): settings_of(read_run(folders[run["run"]]).config)
        for run in records(first.sort_values(["dataset", "method"], kind="stable"))
    }
    shared = set.intersection(*(set(one.items()) for one in settings.values())) if settings else set()
    rows = [
        Row(
            (f"{method} on {dataset}",),
            (Cell(join_settings([item for item in one.items() if item not in shared]) or MISSING),),
            anchor=anchor("settings", runs_anchor(table.key, dataset, method)),
            link=runs_anchor(table.key, dataset, method),
        )
        for (method, dataset), one in settings.items()
    ]
    in_order = [item for item in next(iter(settings.values()), {}).items() if item in shared]
    return Table(
        name=f"{table.name}-settings",
        names=("of",),
        columns=(Column("settings", is_number=False),),
        rows=tuple(rows),
        title=f"Settings: {table.title}",
        caption=f"{SETTINGS}{join_settings(in_order)}.",
        is_long=True,
    )


def settings_of(config: JsonDict | None) -> dict[str, str]:
    """The settings of a run as text, by dotted keys; those of evaluations by their label."""
    if config is None:
        return {}
    found = {key: str(value) for key, value in leaves(pretraining_setup(config)) if value not in (None, "", [], {})}
    for evaluation in config["evaluations"]:
        if not evaluation.get("refinement"):
            options = {
                f"{display_name(evaluation['label'])}.{key}": value for key, value in evaluation["options"].items()
            }
            found |= {key: str(value) for key, value in options.items()}
    return {printable(key): printable(value) for key, value in found.items()}


def join_settings(items: Sequence[tuple[str, str]]) -> str:
    """``a=1, b.c=2``."""
    return ", ".join(f"{key}={value}" for key, value in items)
