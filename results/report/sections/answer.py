"""The answer first: which method is best, whether refinements help, what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from results.analysis.findings import finding_frame
from results.analysis.refinements import compare_refinements, refinement_names, values_by_refinement
from results.analysis.statistics import without_baselines
from results.analysis.tables import TABLE_KEYS, column_of, records
from results.names import direction, display_name
from results.report.section import Section
from results.report.sections import register_section
from results.report.text import count, format_number, join_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from results.analysis.across import AcrossDatasets
    from results.analysis.findings import Finding
    from results.report.data import ReportData

MOST_NAMES = 6
"""Methods that a sentence names before it counts the others."""

MOST_SENTENCES = 8
"""On single columns, or on refinements; findings.csv has all columns."""

MOST_PROBLEMS = 4
"""Problems that are named before the others are counted; each table has its own."""


@register_section(position=0)
def answer(data: ReportData) -> Iterator[Section]:
    """One section of sentences, at the head of every format."""
    yield Section(
        name="answer",
        title="In short",
        lead=(*best_methods(data), *refinement_sentences(data), *failures(data)),
        frames={"findings": finding_frame(data.findings)} if data.findings else {},
    )


def best_methods(data: ReportData) -> Iterator[str]:
    """The best methods: over data sets where there are enough, and in every column."""
    several = len(data.findings) > 1
    columns = []
    for table in data.tables:
        of_table = f"{table.title}: " if several else ""
        yield from (of_table + describe_ranks(found) for found in data.across.get(table.key, ()))
        columns += [of_table + describe_finding(found) for found in data.findings.get(table.key, ())]
    yield from columns[:MOST_SENTENCES]
    if len(columns) > MOST_SENTENCES:
        yield f"{count(len(columns) - MOST_SENTENCES, 'further column')}: findings.csv has a row for each."
    if not columns and any(table.rows for table in data.tables):
        yield "Only baselines have been measured: there is no method to compare yet."
    if not any(table.rows for table in data.tables):
        yield "No run has finished."


def describe_finding(found: Finding) -> str:
    """The best method of a column, and which others can't be told from it."""
    mean = format_number(found.mean, found.half)
    where = f"{found.column.data}, {found.column.measure}"
    framing = [
        f"{word} {format_number(found.baselines[kind])}"
        for kind, word in (("lower", "random weights"), ("upper", "training with labels"))
        if kind in found.baselines
    ]
    baselines = f" ({', '.join(framing)})" if framing else ""
    if not found.others:
        return f"{where}: {found.best} reaches {mean}{baselines}; no other method was measured."
    if len(found.not_compared) == found.others:
        return (
            f"{where}: {found.best} has the best mean, {mean}{baselines}, but it shares fewer than two seeds with "
            f"{name_some(found.not_compared)}: whether they differ can't be told."
        )
    rank = "is best" if not found.not_different else "has the best mean"
    compared = " of those compared" if found.not_compared else ""
    sentence = f"{where}: {found.best} {rank}{compared}, {mean}{baselines}"
    if not found.not_different:
        sentence += f"; it is significantly better than {name_some(found.worse)}."
    elif not found.worse:
        sentence += f", but is not significantly different from {name_some(found.not_different)}."
    else:
        sentence += (
            f", but is not significantly different from {name_some(found.not_different)}; "
            f"it is significantly better than {name_some(found.worse)}."
        )
    if found.not_compared:
        sentence += f" Not compared, for want of two common seeds: {name_some(found.not_compared)}."
    return sentence


def describe_ranks(found: AcrossDatasets) -> str:
    """The best average ranks over data sets, and whether they differ."""
    first = f"Over {len(found.datasets)} data sets, {found.measure}: {found.methods[0]} has the best average rank, "
    first += f"{found.ranks[0]:.1f} of {len(found.methods)}"
    apart = found.ranks - found.ranks[0] > found.critical_difference
    near = [method for method, far in zip(found.methods[1:], apart[1:], strict=True) if not far]
    difference = f"critical difference {found.critical_difference:.1f}"
    if near:
        return f"{first}, but is not significantly different from {name_some(near)} ({difference})."
    return f"{first}, significantly better than all others ({difference})."


def name_some(methods: Sequence[str]) -> str:
    """The first methods by name, and how many others there are."""
    more = len(methods) - MOST_NAMES
    return join_words([*methods[:MOST_NAMES], *[count(more, "other method")] * (more > 0)])


def refinement_sentences(data: ReportData) -> Iterator[str]:
    """Whether refinements help on average over methods, by column; transductive ones aside."""
    refined = without_baselines(data.frames.results)
    sentences = []
    tables = refined.loc[refined["refinement"] != "", TABLE_KEYS].drop_duplicates()
    for _, results in refined.groupby([*TABLE_KEYS, "dataset", "evaluated_on", "evaluation", "metric"], sort=False):
        names = [name for name, transductive in refinement_names(results).items() if not transductive]
        if not names or not (results["refinement"] == "").any():
            continue
        found = compare_refinements(values_by_refinement(results, by="pretraining"))
        known = ((display_name(name), found[name, ""]) for name in names if (name, "") in found)
        differences = {name: one for name, one in known if one.half is not None}
        (first,) = records(results.head(1))
        column, sign = column_of(first), direction(first["metric"])
        helps = [name for name, one in differences.items() if sign * one.mean > 0 and not one.is_noise]
        hurts = [name for name, one in differences.items() if sign * one.mean < 0 and not one.is_noise]
        open_ = [name for name in differences if name not in helps and name not in hurts]
        parts = [
            f"{join_words(chosen)} {words}"
            for chosen, words in (
                (helps, "helps" if len(helps) == 1 else "help"),
                (hurts, "hurts" if len(hurts) == 1 else "hurt"),
                (open_, "can't be told from none"),
            )
            if chosen
        ]
        where = f"{first['protocol']} · {first['backbone']}: " if len(tables) > 1 else ""
        if parts:
            sentences.append(
                f"{where}{column.data}, {column.measure}, refinements on average over methods: {'; '.join(parts)}."
            )
    yield from sentences[:MOST_SENTENCES]


def failures(data: ReportData) -> Iterator[str]:
    """What failed, collapsed, is not finished or cannot be read."""
    runs, problems = data.frames.runs, data.frames.problems
    if conflicts := data.frames.conflicts:
        yield f"{count(len(conflicts), 'number')} of the same run differ{'s' * (len(conflicts) == 1)} between folders."
    if problems.empty:
        if len(runs):
            yield f"{count(len(runs), 'run')} finished; none failed and no representation collapsed."
        return
    for status, words in (
        ("failed", "failed"),
        ("collapsed", "finished with a collapsed representation"),
        ("unfinished", "not finished"),
        ("unreadable", "unreadable"),
    ):
        of_status = problems[problems["status"] == status]
        if of_status.empty:
            continue
        names = [
            str(row["run"]) if pd.isna(row["dataset"]) else f"{row['method']} on {row['dataset']}"
            for _, row in of_status.drop_duplicates(["method", "dataset"]).iterrows()
        ]
        more = len(names) - MOST_PROBLEMS
        words_of = join_words([*names[:MOST_PROBLEMS], *[f"{more} more"] * (more > 0)])
        verb = "" if status in ("failed", "collapsed") else " is" if len(of_status) == 1 else " are"
        yield f"{count(len(of_status), 'run')}{verb} {words}: {words_of}."
