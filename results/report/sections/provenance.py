"""Where all numbers of a report come from: code, machines, seeds, total cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.analysis.frame import RESULT_COLUMNS
from results.report.section import Cell, Column, Detail, Row, Section, Table
from results.report.sections import register_section
from results.report.sections.runs import origin_anchor
from results.report.text import format_duration, format_ranges, format_scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from results.analysis.frame import Frames
    from results.report.data import ReportData

CAPTION = "Code, machines, settings and total cost of all runs."

LINKED = ("Commits", "Machines", "Commands")
"""Origins that the runs of the report lead to."""

MOST_COMMANDS = 20
"""Commands that are named; a grid submitted run by run has thousands."""


@register_section(position=90)
def provenance(data: ReportData) -> Iterator[Section]:
    """One section with a table of origins; and the numbers of all other sections as CSV files."""
    rows = tuple(
        Row(
            (title if index == 0 else "",),
            (Cell(value),),
            group=title,
            anchor=origin_anchor(value) if title in LINKED else "",
        )
        for title, values in origins(data.frames)
        for index, value in enumerate(values)
    )
    column = Column("origin", is_number=False)
    yield Section(
        name="provenance",
        title="Where the numbers come from",
        tables=(Table("origins", ("of",), (column,), rows, caption=CAPTION, detail=Detail.ALL),),
        frames={
            "results": data.frames.results[RESULT_COLUMNS],
            "summary": data.summary,
            "differences": data.differences,
        },
        detail=Detail.ALL,
    )


def describe_runs(frames: Frames) -> str:
    """How many runs there are, by status, as a sentence."""
    counts = frames.runs["status"].value_counts()
    words = [f"{counts[name]} {name}" for name in ("done", "failed", "unfinished", "unreadable") if name in counts]
    collapsed = int((frames.problems["status"] == "collapsed").sum())
    text = f"{len(frames.runs)} runs: {', '.join(words)}"
    return f"{text}; {collapsed} of the done collapsed." if collapsed else f"{text}."


def origins(frames: Frames) -> Iterator[tuple[str, list[str]]]:
    """What is known of each kind of origin."""
    runs = frames.runs
    done = runs[runs["status"] == "done"]
    protocols = different(runs, ["protocol", "version", "fairness", "budget"])
    yield "Protocols", sorted(f"{n} version {float(v):.0f}, {fairness}, {b}" for n, v, fairness, b in protocols)
    yield "Seeds", [format_ranges(sorted(runs["seed"].dropna().astype(int).unique()))]
    yield (
        "Commits",
        [
            (commit or "not run from a checkout") + (", with uncommitted changes" if dirty == "True" else "")
            for commit, dirty in different(done, ["commit", "dirty"])
        ],
    )
    for title, key in (("Machines", "machine"), ("Software", "software")):
        yield title, [value for value in sorted(done[key].unique()) if value]
    yield "Precision", sorted(done["precision"].unique())
    finished = sorted(value for value in done["finished"].unique() if value)
    yield "Finished", [f"from {finished[0]} to {finished[-1]}"] if finished else []
    totals = [("all", done), *((str(method), of_method) for method, of_method in done.groupby("method"))]
    yield "Total cost", [f"{name}: {describe_total(some)}" for name, some in totals if len(some)]
    commands = [value for value in sorted(done["command"].unique()) if value]
    more = [f"and {len(commands) - MOST_COMMANDS} more commands"] if len(commands) > MOST_COMMANDS else []
    yield "Commands", commands[:MOST_COMMANDS] + more


def different(runs: pd.DataFrame, keys: list[str]) -> list[tuple[str, ...]]:
    """The different combinations of some columns, as text."""
    rows = runs[keys].dropna().drop_duplicates()
    return sorted(tuple(map(str, row)) for row in rows.itertuples(index=False))


def describe_total(runs: pd.DataFrame) -> str:
    """Time, views and operations of some runs together."""
    seconds, views, operations = (float(runs[key].sum()) for key in ("seconds", "views", "flops"))
    return (
        f"{format_duration(seconds)}, {format_scaled(views)} views in pretraining, "
        f"{format_scaled(operations)} FLOPs, {len(runs)} runs"
    )
