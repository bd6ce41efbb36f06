"""The main tables: every method under one protocol with one backbone, with differences, costs and single seeds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from results.analysis.frame import LEARNING, first_seeds
from results.analysis.tables import COLUMN_KEYS, by_table, column_of, records
from results.figures.data import CURVE_SEEDS
from results.names import BASELINES, UNTRAINED
from results.report.section import Cell, Column, Detail, Row, Section, Table, text_table
from results.report.sections import register_section
from results.report.sections.answer import MOST_SENTENCES, describe_finding
from results.report.sections.runs import method_anchor, runs_anchor
from results.report.text import (
    COLLAPSED,
    TIED,
    format_cell,
    format_duration,
    format_energy,
    format_number,
    format_ranges,
    format_scaled,
    format_seeds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from results.analysis.across import AcrossDatasets
    from results.analysis.sensitivity import Sensitivity
    from results.analysis.tables import ResultRow, ResultTable
    from results.report.data import ReportData

FAIRNESS = {
    "controlled": "controlled (one set of conditions for all methods)",
    "recipe": "recipe (each method with its authors' settings)",
}
BASELINE_WORDS = {"upper": "training with labels", "lower": "random weights"}

DIFFERENCES = (
    "Differences to the best method of each column in points, over the seeds that both have: mean ± half-width of the "
    "interval (seeds). The 95 % hold for all pairs of methods of a column together."
)
NO_DIFFERENCE = f"{TIED} no difference beyond the noise: the interval includes 0, or there is none."
BEST = (
    "Bold: no other method of the column is better beyond the noise; compared over the seeds that both have, corrected "
    "for the number of methods. Baselines do not compete: random weights, weights trained elsewhere, training with "
    "labels."
)
ACROSS = (
    "Average rank of the mean over seeds, 1 for the best; bold: not significantly worse than the best (Nemenyi's test "
    "at 5 %). Interquartile mean of all runs in percent, with the 95 % interval of the bootstrap over seeds within "
    "each data set. Baselines are left out; methods that are one pretraining count once."
)
EQUAL_COMPUTE = 1.1
"""Methods whose pretraining differs by a lower factor in floating-point operations are at equal compute."""

NO_FIGURES = "Figures are drawn for the largest tables only; this one has none."
COSTS = (
    "Cost of a run, mean over seeds: augmented images seen, time of pretraining and of the whole run, speed of "
    "pretraining, its FLOPs (floating-point operations), peak memory."
)
COST_HEADER = ("method", "data", "views", "pretraining", "whole run", "views/s", "FLOPs", "memory", "device")
GPU_COSTS = (
    " GPU-hours are those of pretraining, times its number of GPUs, and of evaluations. Energy is what the GPUs took "
    "during pretraining."
)
LEARNING_HEADER = ("method", "data", "seed", "epochs", "loss, first epoch", "last", "views", "time", "run")


@register_section(position=10)
def methods(data: ReportData) -> Iterator[Section]:
    """One section per protocol and backbone."""
    summary, results = by_table(data.unrefined_summary), by_table(data.frames.unrefined)
    runs, problems = by_table(data.frames.runs), by_table(data.frames.problems)
    trials = {column.label: column.count for column in data.frames.tuning.columns.values()}
    for table in data.tables:
        tables = []
        if table.rows:
            order = [row.method for row in table.rows]
            caption, below = (
                caption_of(table, runs[table.key]),
                tuple(notes_of(table, runs[table.key], results[table.key], trials=trials.get(table.key[0]))),
            )
            tables.append(method_table(table.name, table, table.rows, caption=caption, notes=below))
            if table.differences:
                name = f"{table.name}-differences"
                tied = any(cell.tied for row in table.differences for cell in row.cells if cell)
                below = (NO_DIFFERENCE,) if tied else ()
                tables.append(method_table(name, table, table.differences, caption=DIFFERENCES, notes=below))
            tables += across_table(table, data.across.get(table.key, ()))
            tables += [
                cost_table(table.name, summary[table.key], order),
                seeds_table(table, results[table.key]),
                learning_table(table.name, runs[table.key]),
            ]
        message = " ".join(map(describe_finding, data.findings.get(table.key, [])[:MOST_SENTENCES]))
        figures = data.figures_of(table.name, table.title, [row.method for row in table.rows], message)
        yield Section(
            name=f"table-{table.name}",
            title=table.title,
            text="" if table.rows else caption_of(table, runs[table.key]),
            tables=tuple(tables),
            problems=(*problem_lines(problems.get(table.key)), *missing_lines(runs[table.key], table)),
            figures=figures,
            remark="" if figures or not table.rows else NO_FIGURES,
        )


def caption_of(table: ResultTable, runs: pd.DataFrame) -> str:
    """What the numbers of a table are and what they were made under."""
    protocol, version, fairness, backbone = table.key
    seeds = sorted({seed for seeds in table.planned.values() for seed in seeds})
    budgets = "; ".join(sorted(runs["budget"].unique()))
    return (
        "Accuracy in percent: mean ± half-width of the 95 % Student-t interval over seeds (number of seeds). "
        f"Protocol {protocol} version {version:.0f}; fairness {FAIRNESS.get(fairness, fairness)}; "
        f"backbone {backbone}; budget {budgets}; seeds {format_ranges(seeds)}."
    )


def notes_of(
    table: ResultTable, runs: pd.DataFrame, results: pd.DataFrame, *, trials: str | None = None
) -> Iterator[str]:
    """The meaning of the marks that occur, and what to consider.

    Args:
        table: with rows.
        runs: of the table.
        results: of the table, without refinement.
        trials: of each method, if the table is of a tuned protocol.
    """
    cells = [cell for row in table.rows for cell in row.cells if cell is not None]
    if any(cell.best for cell in cells):
        yield BEST
    if any(cell.half is None for cell in cells):
        yield "No interval can be given from one seed, and nothing with one seed is compared."
    if any(cell.n < cell.planned for cell in cells):
        yield "(2/3): two of the three seeds that were started on that data set."
    if any(cell.collapsed for cell in cells):
        yield f"{COLLAPSED} the representation of at least one run has collapsed; see below."
    if any(row.method.endswith("}") for row in table.rows):
        yield "Braces tell apart methods with the same label that were run with different settings or versions."
    if table.sensitivity is not None and table.sensitivity.methods:
        yield describe_sensitivity(table.sensitivity)
    yield from describe_settings(table, runs, trials)
    yield from describe_compute(runs)
    yield from describe_shared_pretraining(results)
    if external := [row.method for row in table.rows if row.baseline == "external"]:
        yield (
            f"{', '.join(external)}: pretrained elsewhere, on images and with a budget that are not known; one "
            "repetition whatever the number of seeds, beside the methods and not compared with them."
        )
    present = {row.baseline for row in table.rows}
    for method, baseline in BASELINES.items():
        # Random weights have nothing to tune: they stand in the table of the default settings.
        if baseline not in present and not (trials is not None and baseline == "lower"):
            added = BASELINE_WORDS[baseline]
            yield f"The {method} baseline has not been measured: --methods {method} adds {added}."


def describe_sensitivity(found: Sensitivity) -> str:
    """What the seeds of a table can tell, and what more would take, as a sentence."""
    if not found.now:
        return (
            f"Nothing here can be told from noise: that takes two seeds at least. {found.seeds} seeds of everything "
            f"take {format_duration(found.seconds)} more, run after run."
        )
    now, then = format_points(found.now), format_points(found.then)
    more = f"and take {format_duration(found.seconds)} more, run after run."
    if found.methods == 1:
        return f"The mean of the one method is known to ± {now} points; {found.seeds} seeds would give ± {then} {more}"
    return f"Differences under about {now} points are noise here; {found.seeds} seeds would show {then} {more}"


def format_points(halves: Sequence[float]) -> str:
    """``2.1``, or ``2.1 to 3.4`` where columns differ."""
    low, high = f"{min(halves):.1f}", f"{max(halves):.1f}"
    return low if low == high else f"{low} to {high}"


def describe_settings(table: ResultTable, runs: pd.DataFrame, trials: str | None) -> Iterator[str]:
    """One sentence on where the methods' settings are from; see :func:`notes_of`."""
    if trials is not None:
        yield f"Every trained method has the best of {trials} settings, chosen on held-out training images; see below."
    elif table.key[2] == "controlled":
        yield from describe_learning_rates(runs)


def describe_learning_rates(runs: pd.DataFrame) -> Iterator[str]:
    """One sentence where trained methods are ranked that share a learning rate, or whose protocol sets it."""
    trained = runs[~runs["baseline"].isin(UNTRAINED) & runs["lr"].notna()]
    if trained.loc[trained["baseline"] == "", "method"].nunique() < 2:
        return
    rates = trained.groupby("lr")["method"].unique().sort_values(key=lambda methods: -methods.map(len), kind="stable")
    (common, _), *others = rates.items()
    but = "; ".join(f"{', '.join(sorted(methods))} {rate:g}" for rate, methods in others)
    yield (
        f"Learning rate {common:g} for all trained methods{f' but: {but}' if but else ''}. "
        "The order may be another where each has the rate that suits it."
    )


def describe_compute(runs: pd.DataFrame) -> Iterator[str]:
    """One sentence where the pretraining of methods that are compared differs in its floating-point operations."""
    competing = runs[(runs["baseline"] == "") & (runs["flops"] > 0)]
    ratios = {}
    for dataset, of_dataset in competing.groupby("dataset"):
        means = of_dataset.groupby("method")["flops"].mean()
        (low, cheapest), *_, (high, dearest) = (
            sorted((float(flops), str(method)) for method, flops in means.items()) * 2
        )
        ratios[high / low] = f"{dataset}: {dearest} {format_scaled(high)}, {cheapest} {format_scaled(low)}"
    largest = max(ratios, default=1.0)
    if largest >= EQUAL_COMPUTE:
        yield (
            f"Not equal compute: the FLOPs of pretraining differ by a factor of up to {largest:.2g} "
            f"({ratios[largest]}). With --flops they are the same."
        )


def describe_shared_pretraining(results: pd.DataFrame) -> Iterator[str]:
    """One sentence for methods whose rows agree because their pretraining is the same."""
    names = results.drop_duplicates(["pretraining", "method"]).groupby("pretraining", sort=False)["method"]
    for _, methods in names:
        if len(methods) > 1:
            yield (
                f"{' and '.join(sorted(methods))} are one pretraining, so that their rows agree: the same losses and "
                "unrefined results with every seed. In comparisons and means over methods they count once."
            )


def method_table(
    name: str, table: ResultTable, rows: Sequence[ResultRow], *, caption: str, notes: tuple[str, ...]
) -> Table:
    """The numbers of a table of results, or its differences."""
    signed = rows is table.differences
    return Table(
        name=name,
        names=("method",),
        columns=tuple(Column(column.measure, group=column.data) for column in table.columns),
        rows=tuple(
            Row(
                (row.method,),
                tuple(
                    format_cell(cell, signed=signed, link=runs_anchor(table.key, column.dataset, row.method))
                    for cell, column in zip(row.cells, table.columns, strict=True)
                ),
                row.baseline,
                anchor="" if signed else method_anchor(table.key, row.method),
            )
            for row in rows
        ),
        caption=caption,
        notes=notes,
    )


def across_table(table: ResultTable, found: Sequence[AcrossDatasets]) -> Iterator[Table]:
    """Average ranks and interquartile means over data sets, by evaluation; nothing where there are few."""
    if not found:
        return
    columns: list[Column] = []
    by_method: dict[str, list[Cell | None]] = {method: [] for one in found for method in one.methods}
    for one in found:
        columns += [Column("average rank", group=one.measure), Column("interquartile mean", group=one.measure)]
        halves = zip(one.methods, one.ranks, one.iqm, one.low, one.high, strict=True)
        cells = {
            method: (Cell(f"{rank:.2f}", is_best=bool(rank - one.ranks[0] <= one.critical_difference)), iqm_cell(*iqm))
            for method, rank, *iqm in halves
        }
        for method in by_method:
            by_method[method] += cells.get(method, (None, None))
    datasets = dict.fromkeys(dataset for one in found for dataset in one.datasets)
    yield Table(
        name=f"{table.name}-ranks",
        names=("method",),
        columns=tuple(columns),
        rows=tuple(Row((method,), tuple(cells)) for method, cells in by_method.items()),
        title="Over data sets",
        caption=f"{ACROSS} Data sets: {', '.join(datasets)}.",
        notes=tuple(map(describe_test, found)),
    )


def iqm_cell(mean: float, low: float, high: float) -> Cell | None:
    """``61.20 [58.10, 64.00]``, without the interval where there is none."""
    if math.isnan(mean):
        return None
    return Cell(format_number(mean), "" if math.isnan(low) else f"[{low:.2f}, {high:.2f}]")


def describe_test(found: AcrossDatasets) -> str:
    """Whether the methods differ at all, from which difference on two do, and which are missing."""
    p = "< 0.001" if found.p < 0.001 else f"= {found.p:.3f}"
    text = (
        f"{found.measure}: Friedman's test that all are equal: p {p}; two average ranks differ if they lie more than "
        f"{found.critical_difference:.2f} apart."
    )
    return text + (f" Not measured on all data sets: {', '.join(found.left_out)}." if found.left_out else "")


def cost_table(name: str, summary: pd.DataFrame, methods: Sequence[str]) -> Table:
    """What every method cost on every data set."""
    once = summary.drop_duplicates(["method", "dataset"])
    on_gpu = bool(once["gpu_seconds"].notna().any())
    order = {method: index for index, method in enumerate(methods)}
    lines = [
        (
            row["method"],
            row["dataset"],
            format_scaled(row["views"]),
            format_duration(row["pretrain_seconds"]),
            format_duration(row["seconds"]),
            format_scaled(row["views_per_second"]),
            format_scaled(row["flops"]),
            f"{row['peak_memory'] / 2**20:.0f} MiB",
            *([format_scaled(row["gpu_seconds"] / 3600), format_energy(row["energy"])] if on_gpu else []),
            f"{row['device']}, {row['precision']}",
        )
        for row in records(once.assign(order=once["method"].map(order)).sort_values(["dataset", "order"]))
    ]
    header = (*COST_HEADER[:-1], "GPU-hours", "energy", COST_HEADER[-1]) if on_gpu else COST_HEADER
    words, caption = (1, len(header) - 1), COSTS + GPU_COSTS if on_gpu else COSTS
    return text_table(f"{name}-cost", header, lines, words=words, title="Cost", caption=caption, detail=Detail.MORE)


def seeds_table(table: ResultTable, results: pd.DataFrame) -> Table:
    """The value of every seed."""
    values: dict[object, list[str]] = {}
    for row in records(results[["method", *COLUMN_KEYS, "seed", "value"]].sort_values("seed")):
        values.setdefault((row["method"], column_of(row)), []).append(f"{row['seed']}: {row['value']:.2f}")
    rows = tuple(
        Row((row.method,), (Cell(f"{column.data} {column.measure}"), Cell(", ".join(values[row.method, column]))))
        for row in table.rows
        for column in table.columns
        if (row.method, column) in values
    )
    columns = (Column("measured on", is_number=False), Column("seed: value", is_number=False))
    caption, name = "Accuracy in percent of every seed.", f"{table.name}-seeds"
    return Table(name, ("method",), columns, rows, title="Single seeds", caption=caption, detail=Detail.ALL)


def learning_table(name: str, runs: pd.DataFrame) -> Table:
    """Loss of the first and the last epoch of the runs whose learning curves are drawn."""
    trained = first_seeds(runs[runs["epochs"] > 0], CURVE_SEEDS)
    lines = [
        (
            row["method"],
            row["dataset"],
            f"{row['seed']:.0f}",
            f"{row['epochs']:.0f}",
            f"{row['first_loss']:.4g}",
            f"{row['last_loss']:.4g}",
            format_scaled(row["views"]),
            format_duration(row["pretrain_seconds"]),
            row["run"],
        )
        for row in records(trained[["method", "dataset", "seed", *LEARNING, "views", "pretrain_seconds", "run"]])
    ]
    return text_table(
        f"{name}-learning",
        LEARNING_HEADER,
        lines,
        words=(1, len(LEARNING_HEADER) - 1),
        title="Learning",
        caption=f"Mean loss of the first and the last epoch, {CURVE_SEEDS} seeds at most.",
        detail=Detail.ALL,
    )


def problem_lines(problems: pd.DataFrame | None) -> Iterator[str]:
    """One line for the runs that share method, data set, status and reason."""
    if problems is None:
        return
    for (method, dataset, status, reason), group in problems.groupby(["method", "dataset", "status", "reason"]):
        yield f"{method} on {dataset}, {format_seeds(group['seed'].astype(int))}: {status}: {reason}"


def missing_lines(runs: pd.DataFrame, table: ResultTable) -> Iterator[str]:
    """One line for the seeds of a method that no run was started with, though other methods were."""
    started = {key: set(seeds.astype(int)) for key, seeds in runs.groupby(["method", "dataset"])["seed"]}
    for method in sorted(runs.loc[runs["baseline"] != "external", "method"].unique()):  # these are one repetition
        for dataset, seeds in table.planned.items():
            missing = [seed for seed in seeds if seed not in started.get((method, dataset), ())]
            if missing:
                yield f"{method} on {dataset}, {format_seeds(missing)}: missing: no run was started"
