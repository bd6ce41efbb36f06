"""The words around a table: what its numbers are, what its marks mean, and what is not in it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.statistics import ANCHORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from results.tables import Row

TIED, COLLAPSED = "≈", "†"

TRACKS = {
    "controlled": "controlled track: all but the method is shared",
    "recipe": "recipe track: each method with its authors' settings",
}
ANCHOR_WORDS = {"supervised": "supervised training", "random": "random weights"}

PROBLEMS_TITLE = "Not in the table, or to be read with care:"
UNPLACED_TITLE = "Runs that cannot be read"
PAIRED_CAPTION = (
    "Differences to the best method of each column in points, over the seeds both have: mean ± half-width of the 95 % "
    "Student-t interval (seeds). Trials of one seed share initial weights, image order and views. "
    f"{TIED} no difference beyond the noise: the interval includes 0, or there is none."
)

MOST_PROBLEMS = 12
"""Of a table, where there is no room for more."""


def caption(runs: pd.DataFrame, planned: Mapping[str, Sequence[int]]) -> str:
    """What the numbers of a section are and what they were made under."""
    first = runs.iloc[0]
    seeds = sorted({seed for seeds in planned.values() for seed in seeds})
    budgets = "; ".join(sorted(runs["budget"].unique()))
    return (
        "Accuracy in percent: mean ± half-width of the 95 % Student-t interval over seeds (number of seeds). "
        f"Protocol {first['protocol']} version {first['version']:.0f}, {TRACKS.get(first['track'], first['track'])}; "
        f"backbone {first['backbone']}; budget {budgets}; seeds {listed(seeds)}."
    )


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """The meaning of the marks that occur, and what to keep in mind."""
    cells = [cell for row in rows for cell in row.cells if cell is not None]
    if any(cell.best for cell in cells):
        yield "Bold: the highest mean of its column; supervised and random are anchors and do not compete."
    if any(cell.tied for cell in cells):
        yield f"{TIED} cannot be told from the best: the intervals overlap, or one of them is missing."
    if any(cell.half is None for cell in cells):
        yield "No interval can be given from one seed."
    if any(cell.n < cell.planned for cell in cells):
        yield "(2/3): two of the three seeds that were started on that data set."
    if any(cell.collapsed for cell in cells):
        yield f"{COLLAPSED} the representation of at least one trial has collapsed; see below."
    if any(row.method.endswith("}") for row in rows):
        yield "Braces tell apart methods that bear one label but were run with different settings or versions."
    yield from missing_anchors(rows)


def missing_anchors(rows: Sequence[Row]) -> Iterator[str]:
    """Which anchors a table lacks."""
    present = {row.anchor for row in rows}
    for anchor in ANCHORS if rows else ():
        if anchor not in present:
            yield f"The {anchor} anchor has not been measured: --methods {anchor} adds {ANCHOR_WORDS[anchor]}."


def problem_lines(problems: pd.DataFrame | None) -> Iterator[str]:
    """One line for the trials that share method, data set, status and reason."""
    if problems is None:
        return
    for (method, dataset, status, reason), group in problems.groupby(["method", "dataset", "status", "reason"]):
        yield f"{method} on {dataset}, {seeds_word(group['seed'].astype(int))}: {status}: {reason}"


def missing_lines(runs: pd.DataFrame, planned: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """One line for the trials of a method that no run has been started for, though others have been."""
    started = {key: set(seeds.astype(int)) for key, seeds in runs.groupby(["method", "dataset"])["seed"]}
    for method in sorted(runs["method"].unique()):
        for dataset, seeds in planned.items():
            missing = [seed for seed in seeds if seed not in started.get((method, dataset), ())]
            if missing:
                yield f"{method} on {dataset}, {seeds_word(missing)}: missing: no run was started"


def shortened(problems: Sequence[str]) -> list[str]:
    """The first of the problems, and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], *[f"and {more} more, which table.md lists"] * (more > 0)]


def seeds_word(seeds: Iterable[int]) -> str:
    """``seed 0`` or ``seeds 0–2``."""
    ordered = sorted(seeds)
    return f"seed{'s' * (len(ordered) > 1)} {listed(ordered)}"


def listed(numbers: Sequence[int]) -> str:
    """Rising numbers with runs of three or more joined: ``0–4, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    words = [f"{part[0]}–{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts]
    return ", ".join(words)
