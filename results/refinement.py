"""What refinements add: every method as it is and after each refinement, with paired differences.

Headline tables know nothing of refinements; theirs stand apart, and what is transductive is marked there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from results.statistics import COLUMN, Estimate, competitors, estimate
from results.store import RECORD, read_json
from results.tables import MISSING, SECTION, Cell, column_of, records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from results.frame import Frames

TITLE = "After refinement"
BETWEEN = "The row minus the column, mean over methods"
CAPTION = (
    "Accuracy in percent, mean ± half-width of the 95 % interval over seeds (number of seeds); after a refinement the "
    "mean, and in brackets the paired difference to the same representation as it is."
)
UNREFINED = "as it is"
LEAKS = "†"
NOTES = (
    "≈: the difference cannot be told from 0, or has no interval.",
    f"{LEAKS}: transductive, test images took part in what became of each other; no fair comparison with the others.",
    f"{MISSING}: not measured, or the method offers nothing for it.",
    "Means over methods leave out anchors, and methods that offer only one of the two; intervals are over seeds.",
)


@dataclass(frozen=True)
class RefinementTable:
    """One evaluation of every method as it is and refined.

    Attributes:
        title: protocol, backbone, data and evaluation.
        header: ``method``, :data:`UNREFINED`, and the refinements.
        lines: a line a method, the best as it is on top.
        between: paired differences in points between any two of the columns, mean over methods that are no anchors; a
            line a refinement, under a header of its own; none where nothing can be compared.
        pictures: of one run, with captions.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    between: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, Path], ...] = ()


def build(frames: Frames, runs: Path) -> list[RefinementTable]:
    """A table for each evaluation that was made after any refinement.

    Args:
        frames: all runs.
        runs: the runs folder, in which the pictures lie.
    """
    trials = pd.concat([frames.results, frames.refined])
    tables: list[RefinementTable] = []
    illustrated: set[tuple[object, ...]] = set()
    for _, cell in trials.groupby(COLUMN, sort=False):
        if cell["refinement"].any():
            place = tuple(cell[[*SECTION, "dataset", "evaluated_on"]].iloc[0])
            tables.append(table_of(cell, () if place in illustrated else pictures_of(cell, runs)))
            illustrated.add(place)
    return tables


def table_of(trials: pd.DataFrame, pictures: tuple[tuple[str, Path], ...]) -> RefinementTable:
    """The table of one evaluation, from the rows of all its trials."""
    (first,) = records(trials.head(1))
    column = column_of(first)
    refinements = refinements_of(trials)
    marked = {name: f"{name} {LEAKS}" if leaks else name for name, leaks in refinements.items()}
    bare = trials[trials["refinement"] == ""].groupby("method")["value"].mean().sort_values(ascending=False)
    others = [method for method in trials["method"].unique() if method not in bare.index]
    return RefinementTable(
        title=f"{first['protocol']} · {first['backbone']} · {column.data} · {column.measure}",
        header=("method", UNREFINED, *marked.values()),
        lines=tuple(
            line_of(method, trials[trials["method"] == method], [*refinements]) for method in [*bare.index, *others]
        ),
        between=tuple(between(trials, {"": UNREFINED, **marked})),
        pictures=pictures,
    )


def refinements_of(trials: pd.DataFrame) -> dict[str, bool]:
    """The refinements, and whether they are transductive; those that are, last."""
    rows = trials[trials["refinement"] != ""].drop_duplicates("refinement")
    ordered = rows.sort_values("transductive", kind="stable")
    return dict(zip(ordered["refinement"], ordered["transductive"], strict=True))


def line_of(method: str, trials: pd.DataFrame, refinements: Sequence[str]) -> tuple[str, ...]:
    """One method: its name, its mean, and its mean and difference after every refinement."""
    by_seed = {str(name): rows.set_index("seed")["value"] for name, rows in trials.groupby("refinement")}
    bare = by_seed.get("", pd.Series(dtype=float))
    texts = [cell_of(estimate(bare)).text if len(bare) else MISSING]
    return method, *texts, *(refined_text(by_seed.get(name), bare) for name in refinements)


def refined_text(values: pd.Series[float] | None, bare: pd.Series[float]) -> str:
    """``62.13 (+1.10 ± 0.40)``."""
    if values is None:
        return MISSING
    mean = f"{values.mean():.2f}"
    shared = (values - bare).dropna()
    return f"{mean} ({difference_of(estimate(shared))})" if len(shared) else mean


def difference_of(found: Estimate) -> str:
    """``+1.10 ± 0.40``, followed by a mark where it may as well be 0."""
    cell = cell_of(found, signed=True)
    return " ".join(filter(None, (cell.number, cell.marks)))


def cell_of(found: Estimate, *, signed: bool = False) -> Cell:
    """An estimate as a cell of a table."""
    half = found.high - found.mean if found.n > 1 else None
    tied = signed and (half is None or abs(found.mean) <= half)
    return Cell(found.mean, half, found.n, found.n, tied=tied, signed=signed)


def between(trials: pd.DataFrame, names: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """A header, and a line for every refinement but the first, which is none: its differences to those before it.

    Args:
        trials: of one evaluation.
        names: what the refinements are called, in their order; that of none is empty.
    """
    some = wide(competitors(trials))
    known = [name for name in names if name in some]
    if "" in known:
        yield "minus", *(names[name] for name in known[:-1])
        for place, name in enumerate(known[1:], start=1):
            found = [mean_difference(some[name] - some[other]) for other in known[:place]]
            cells = [difference_of(one) if one else MISSING for one in found]
            yield names[name], *cells, *[""] * (len(known) - 1 - place)


def wide(trials: pd.DataFrame) -> pd.DataFrame:
    """Values of one evaluation by seed and method, a column per refinement; that of none is called nothing."""
    return trials.pivot_table(index=["seed", "method"], columns="refinement", values="value")


def mean_difference(paired: pd.Series[float]) -> Estimate | None:
    """The mean over methods of paired differences by seed and method; over the seeds that all these methods have."""
    by_seed = paired.dropna().unstack("method").dropna().mean(axis=1)
    return estimate(by_seed) if len(by_seed) else None


def pictures_of(trials: pd.DataFrame, runs: Path) -> tuple[tuple[str, Path], ...]:
    """Of the best method's first run, the pictures of the refinement that has most of them; transductive ones aside."""
    own = competitors(trials[(trials["refinement"] != "") & ~trials["transductive"]])
    if own.empty:
        return ()
    best = own.groupby("method")["value"].mean().idxmax()
    run = own[own["method"] == best].sort_values("seed")["run"].iloc[0]
    found: dict[str, list[tuple[str, Path]]] = {}
    for picture in (read_json(runs / run / RECORD) or {}).get("pictures", ()):
        if picture["label"] in set(own["refinement"]) and picture["dataset"] == own["evaluated_on"].iloc[0]:
            caption = f"{run}, {picture['label']}: {what(picture['file'])}"
            found.setdefault(picture["label"], []).append((caption, runs / run / picture["file"]))
    most = max(map(len, found.values()), default=0)
    return next((tuple(pictures) for pictures in found.values() if len(pictures) == most), ())


def what(file: str) -> str:
    """What a picture shows."""
    if file.endswith("-map.png"):
        return "test images on the first two principal components of their features"
    return "test images, left, beside the training images that they are joined to, nearest first"
