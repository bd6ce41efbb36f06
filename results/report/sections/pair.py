"""Two methods that were chosen beforehand: how they differ, in words, and how many seeds would decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from results.analysis.pair import MOST_SEEDS, POWER
from results.analysis.tables import COLUMN_KEYS
from results.report.section import MISSING, Cell, Column, Row, Section, Table
from results.report.sections import register_section
from results.report.text import TIED, count, format_duration, format_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.analysis.pair import PairDifference
    from results.report.data import ReportData

CAPTION = (
    "Means in percent over the seeds that both methods have, and their difference: mean ± half-width of the 95 % "
    "Student-t interval of the differences by seed (seeds). The intervals are those of a pair that was chosen "
    "beforehand, each for itself. To decide: seeds with which "
    f"{POWER:.0%} of repetitions would show a difference as large as the measured one, and how much longer they take."
)
NO_DIFFERENCE = f"{TIED} no difference beyond the noise: the interval includes 0, or there is none."


@register_section(position=5)
def pair(data: ReportData) -> Iterator[Section]:
    """One section if two methods were asked for."""
    if not data.pair:
        return
    first, other = data.pair_methods
    header = (first, other, f"{first} − {other}", "seeds to decide", "more time")
    several = len({found.table for found in data.pair}) > 1
    yield Section(
        name="pair",
        title=f"{first} and {other}",
        lead=(
            *describe_all(data.pair, first, other),
            *(describe(found, first, other, several=several) for found in data.pair),
        ),
        tables=(
            Table(
                "pair",
                ("measured",),
                tuple(map(Column, header)),
                tuple(row_of(found, several=several) for found in data.pair),
                caption=CAPTION,
                notes=(NO_DIFFERENCE,) if any(found.winner == 0 for found in data.pair) else (),
            ),
        ),
        frames={"pair": pair_frame(data.pair, first, other)},
    )


def describe_all(pair: Sequence[PairDifference], first: str, other: str) -> Iterator[str]:
    """In how many columns which method is better; nothing for a single column."""
    if len(pair) < 2:
        return
    wins = [sum(found.winner == side for found in pair) for side in (1, -1, 0)]
    yield (
        f"Of {len(pair)} comparisons {first} is better in {wins[0]}, {other} in {wins[1]}, and {wins[2]} "
        f"{'is' if wins[2] == 1 else 'are'} undecided."
    )


def describe(found: PairDifference, first: str, other: str, *, several: bool) -> str:
    """One comparison in words.

    Args:
        found: the difference.
        first: label of the first method.
        other: label of the other.
        several: whether there are several tables, so that each has to be named.
    """
    where = f"{found.table}: " * several + f"{found.column.data}, {found.column.measure}: "
    measured = f"{first} {format_number(found.first)}, {other} {format_number(found.other)}"
    if found.half is None:
        return f"{where}{measured} with the one seed that both have: no difference can be told from noise by one seed."
    difference = (
        f"{measured}; the difference is {format_number(found.mean, found.half, signed=True)} points, "
        f"paired over {count(found.n, 'seed')}"
    )
    if found.winner:
        return f"{where}{difference}: {first if found.winner > 0 else other} is better, and these seeds decide it."
    largest = abs(found.mean) + found.half
    undecided = f"{where}{difference}: no significant difference, and only one above {largest:.2f} points is excluded."
    if found.seeds is None:
        return f"{undecided} More than {MOST_SEEDS:,} seeds would be needed to show one as small as the measured one."
    if not found.missing:
        return f"{undecided} {found.seeds} seeds would show one as large as the measured one."
    return (
        f"{undecided} {found.seeds} seeds would show one as large as the measured one in {POWER:.0%} of repetitions: "
        f"{count(found.missing, 'more run')}, {format_duration(found.seconds)} run after run at the mean time of those "
        "that are done."
    )


def row_of(found: PairDifference, *, several: bool) -> Row:
    """One comparison as a row."""
    where = f"{found.table}: " * several + f"{found.column.data}, {found.column.measure}"
    mark = "" if found.winner else TIED
    seeds = str(found.seeds) if found.seeds else f"> {MOST_SEEDS:,}" if not found.winner and found.half else MISSING
    return Row(
        (where,),
        (
            Cell(format_number(found.first), is_best=found.winner > 0),
            Cell(format_number(found.other), is_best=found.winner < 0),
            Cell(format_number(found.mean, found.half, signed=True), f"({found.n})", mark),
            Cell(seeds),
            Cell(format_duration(found.seconds) if found.missing else MISSING),
        ),
    )


def pair_frame(pair: Sequence[PairDifference], first: str, other: str) -> pd.DataFrame:
    """The numbers behind the section: a row per comparison."""
    return pd.DataFrame(
        {
            "table": found.table,
            **{key: getattr(found.column, key) for key in COLUMN_KEYS},
            "method": first,
            "reference": other,
            "method_mean": found.first,
            "reference_mean": found.other,
            **{key: getattr(found, key) for key in ("mean", "std", "half", "n", "seeds", "missing", "seconds")},
        }
        for found in pair
    )
