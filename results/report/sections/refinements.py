"""Every method without and with refinements, with paired differences.

The main tables hold nothing refined; what is transductive is marked here.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from results.analysis.refinements import compare_refinements, refinement_names, values_by_refinement
from results.analysis.statistics import COLUMN, estimate, without_baselines
from results.analysis.tables import TABLE_KEYS, column_of, records, unique_name
from results.figures.markers import TRANSDUCTIVE_MARK
from results.files import read_bytes
from results.names import direction, display_name
from results.printable import printable
from results.report.section import MISSING, Cell, Column, Figure, Row, Section, Table
from results.report.sections import register_section
from results.report.sections.methods import describe_shared_pretraining
from results.report.sections.runs import runs_anchor
from results.report.text import TIED, format_difference, format_number
from results.store import read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pandas as pd

    from results.report.data import ReportData

UNREFINED = "unrefined"

LARGEST_PICTURE = 2**26
"""Bytes of the largest picture that a page holds."""

TEXT = (
    "Accuracy in percent, mean ± half-width of the 95 % interval over seeds (number of seeds); after a refinement the "
    "mean, and in brackets the paired difference to the same representation without it; the 95 % of its interval hold "
    "for all refinements of the row together."
)
DIFFERENCES = "The row minus the column in points, mean over methods; the 95 % hold for all pairs together."
NOTES = (
    f"{TIED}: the difference cannot be told from 0, or has no interval.",
    f"{TRANSDUCTIVE_MARK}: transductive: features of a test image depend on other test images; not comparable.",
    f"{MISSING}: not measured, or the method does not support it.",
    "Means over methods leave out the baselines, and methods that have only one of the two.",
)


@register_section(position=20)
def refinements(data: ReportData) -> Iterator[Section]:
    """One section, a table for each evaluation that was made after any refinement, and one of their differences."""
    tables, problems = list[Table](), list[str]()
    illustrated: set[tuple[Any, ...]] = set()
    for _, results in data.frames.results.groupby(COLUMN, sort=False):
        if (results["refinement"] == "").all():
            continue
        (first,) = records(results.head(1))
        column = column_of(first)
        title = f"{first['protocol']} · {first['backbone']} · {column.data} · {column.measure}"
        name = unique_name(f"refinement-{title.replace(' · ', '-')}", [table.name for table in tables])
        labels = {
            stored: f"{display_name(stored)} {TRANSDUCTIVE_MARK * transductive}".strip()
            for stored, transductive in refinement_names(results).items()
        }
        shown = tuple(first[key] for key in (*TABLE_KEYS, "dataset", "evaluated_on"))
        figures = (
            () if shown in illustrated else tuple(pictures_of(results, data.frames.folders, name, problems.append))
        )
        illustrated.add(shown)
        tables.append(refinement_table(name, title, results, labels, figures))
        tables += difference_table(name, title, results, {"": UNREFINED, **labels})
    if tables:
        competing = without_baselines(data.frames.results)
        notes = (*NOTES, *describe_shared_pretraining(competing))
        yield Section(
            name="refinement",
            title="After refinement",
            text=TEXT,
            notes=notes,
            tables=tuple(tables),
            problems=tuple(problems),
        )


def refinement_table(
    name: str, title: str, results: pd.DataFrame, labels: Mapping[str, str], figures: tuple[Figure, ...]
) -> Table:
    """One evaluation of every method without and with every refinement, the best without on top.

    Args:
        name: of the table.
        title: of the table.
        results: of the evaluation.
        labels: of the refinements, by their stored names.
        figures: of the table.
    """
    (first,) = records(results.head(1))
    higher_is_better = direction(results["metric"].iloc[0]) > 0
    means = results[results["refinement"] == ""].groupby("method")["value"].mean()
    unrefined = means.sort_values(ascending=not higher_is_better)
    others = [method for method in results["method"].unique() if method not in unrefined.index]
    rows = []
    for method in [*unrefined.index, *others]:
        values = values_by_refinement(results[results["method"] == method])
        differences = compare_refinements(values)
        cells = [unrefined_cell(values[""].dropna()) if "" in values else None]
        for stored in labels:
            if stored not in values:
                cells.append(None)
                continue
            text = format_number(values[stored].mean())
            if (stored, "") in differences:
                text += f" ({format_difference(differences[stored, ''])})"
            cells.append(Cell(text))
        link = runs_anchor(tuple(first[key] for key in TABLE_KEYS), first["dataset"], str(method))
        linked = (None if cell is None else replace(cell, link=link) for cell in cells)
        rows.append(Row((str(method),), tuple(linked)))
    columns = tuple(map(Column, (UNREFINED, *labels.values())))
    return Table(name, ("method",), columns, tuple(rows), title=title, figures=figures)


def unrefined_cell(values: pd.Series[float]) -> Cell:
    """``61.03 ± 0.57 (3)``."""
    found = estimate(values)
    return Cell(format_number(found.mean, found.high - found.mean if found.n > 1 else None), f"({found.n})")


def difference_table(name: str, title: str, results: pd.DataFrame, labels: Mapping[str, str]) -> Iterator[Table]:
    """Differences between any two refinements, mean over methods; nothing where nothing was measured without one.

    Args:
        name: of the table of the accuracies.
        title: of the table of the accuracies.
        results: of the evaluation.
        labels: of the refinements in their order, by their stored names; the first is none.
    """
    values = values_by_refinement(without_baselines(results), by="pretraining")
    known = [stored for stored in labels if stored in values]
    if "" not in known:
        return
    differences = compare_refinements(values)
    rows = []
    for index, stored in enumerate(known[1:], start=1):
        found = [differences.get((stored, other)) for other in known[:index]]
        texts = [format_difference(difference) if difference else MISSING for difference in found]
        rows.append(Row((labels[stored],), tuple(map(Cell, [*texts, *[""] * (len(known) - 1 - index)]))))
    columns = tuple(Column(labels[stored]) for stored in known[:-1])
    title = f"{title}: differences between refinements"
    yield Table(f"{name}-differences", ("minus",), columns, tuple(rows), title=title, caption=DIFFERENCES)


def pictures_of(
    results: pd.DataFrame, folders: Mapping[str, Path], name: str, problem: Callable[[str], object]
) -> Iterator[Figure]:
    """Of the best method's first run, the pictures of the refinement that has most of them; none transductive.

    Args:
        results: of an evaluation.
        folders: of the runs, by their names.
        name: of the table that the pictures belong to.
        problem: called with a line for a picture that cannot be shown.
    """
    inductive = without_baselines(results[(results["refinement"] != "") & ~results["transductive"]])
    if inductive.empty:
        return
    best = (direction(inductive["metric"].iloc[0]) * inductive.groupby("method")["value"].mean()).idxmax()
    run = inductive[inductive["method"] == best].sort_values("seed")["run"].iloc[0]
    by_label: dict[str, list[Path]] = {}
    folder = folders[run]
    for picture in (read_run(folder).record or {}).get("pictures", ()):
        if picture["label"] in set(inductive["refinement"]) and picture["dataset"] == inductive["evaluated_on"].iloc[0]:
            by_label.setdefault(picture["label"], []).append(folder / picture["file"])
    for label, paths in by_label.items():
        if len(paths) == max(map(len, by_label.values())):
            for index, path in enumerate(paths):
                if why := picture_problem(path, folder):
                    problem(printable(f"{path.relative_to(folder.parent)} is not shown: {why}"))
                    continue
                is_map = path.name.endswith("-map.png")
                what = (
                    "test images on the first two principal components of their features"
                    if is_map
                    else "test images, left, and the training images they are connected to, nearest first"
                )
                caption = f"{run}, {display_name(label)}: {what}"
                yield Figure(f"picture-{name}-{index}", path, title=printable(caption), caption=printable(caption))
            return


def picture_problem(path: Path, folder: Path) -> str:
    """Why a picture cannot be shown: it is no whole PNG file, or lies outside of the folder of its run; else empty."""
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return "it lies elsewhere"
        with Image.open(BytesIO(read_bytes(path, LARGEST_PICTURE)), formats=["PNG"]) as image:
            image.verify()
    except OSError as error:
        return error.strerror or "it is damaged"
    except Exception:  # noqa: BLE001 - Pillow raises a dozen kinds for files it cannot read
        return "it is damaged"
    return ""
