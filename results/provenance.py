"""Where all numbers of a report come from: code, machines, seeds, totals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.costs import duration, scaled
from results.notes import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from results.frame import Frames

MOST_COMMANDS = 20
"""Commands that are named; a grid submitted run by run has thousands."""


def headline(frames: Frames) -> str:
    """How many runs there are and what became of them."""
    counts = frames.runs["status"].value_counts()
    words = [
        f"{counts[status]} {status}" for status in ("done", "failed", "unfinished", "unreadable") if status in counts
    ]
    collapsed = int((frames.problems["status"] == "collapsed").sum())
    return f"{len(frames.runs)} runs: {', '.join(words)}" + (
        f"; {collapsed} of the done collapsed." if collapsed else "."
    )


def lines(frames: Frames) -> Iterator[tuple[str, list[str]]]:
    """What is said of each kind of origin; kinds of which nothing is known are left out."""
    runs = frames.runs
    done = runs[runs["status"] == "done"]
    yield "Protocols", sorted(map(protocol_words, different(runs, ["protocol", "version", "track", "budget"])))
    yield "Seeds", [listed(sorted(runs["seed"].dropna().astype(int).unique()))]
    yield "Commits", [commit_words(*values) for values in different(done, ["commit", "dirty"])]
    for title, key in (("Machines", "machine"), ("Software", "software")):
        yield title, [value for value in sorted(done[key].unique()) if value]
    yield "Precision", sorted(done["precision"].unique())
    finished = sorted(value for value in done["finished"].unique() if value)
    yield "Finished", [f"from {finished[0]} to {finished[-1]}"] if finished else []
    yield "Total cost", totals(done)
    commands = [value for value in sorted(done["command"].unique()) if value]
    more = [f"and {len(commands) - MOST_COMMANDS} more commands"] if len(commands) > MOST_COMMANDS else []
    yield "Commands", commands[:MOST_COMMANDS] + more


def different(runs: pd.DataFrame, keys: list[str]) -> list[tuple[str, ...]]:
    """The different combinations of some columns."""
    rows = runs[keys].dropna().drop_duplicates()
    return sorted(tuple(map(str, row)) for row in rows.itertuples(index=False))


def protocol_words(values: tuple[str, ...]) -> str:
    """A protocol and its budget."""
    name, version, track, budget = values
    return f"{name} version {float(version):.0f}, {track}, {budget}"


def commit_words(commit: str, dirty: str) -> str:
    """A commit, and whether the code had been changed since."""
    return (commit or "not run from a checkout") + (", with uncommitted changes" if dirty == "True" else "")


def totals(done: pd.DataFrame) -> list[str]:
    """Time, views and operations of all runs, together and by method."""
    if done.empty:
        return []
    by_method = [(str(method), runs) for method, runs in done.groupby("method")]
    return [f"{name}: {total_words(runs)}" for name, runs in [("all", done), *by_method]]


def total_words(runs: pd.DataFrame) -> str:
    """Time, views and operations of some runs."""
    seconds, views, operations = (float(runs[key].sum()) for key in ("seconds", "views", "flops"))
    return (
        f"{duration(seconds)}, {scaled(views)} views in pretraining, {scaled(operations)} operations, {len(runs)} runs"
    )
