"""From stored runs to a report: tables, figures and a page in a folder, or tables in a terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from results import latex, markdown, page, papers, refinement, statistics
from results.errors import RequestError
from results.figures import draw, drawings, elements
from results.frame import RESULT_COLUMNS, read
from results.published import COMPARISON_COLUMNS, base, compare, load
from results.store import write_atomically
from results.tables import build

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

    from rich.console import RenderableType

    from results.frame import Frames
    from results.papers import Papers, PaperTable
    from results.refinement import RefinementTable
    from results.tables import Table


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes:
        runs: the runs folder.
        frames: the runs.
        summary: a row per cell, ``results.statistics.SUMMARY_COLUMNS``.
        differences: paired differences to the best method, ``results.statistics.DIFFERENCE_COLUMNS``.
        tables: one per protocol and backbone.
        refinements: one per evaluation that was made after a refinement.
        unplaced: runs that cannot be read, in words.
        papers: published beside measured; None if not asked for.
        files: what was written.
    """

    runs: Path
    frames: Frames
    summary: pd.DataFrame
    differences: pd.DataFrame
    tables: tuple[Table, ...]
    refinements: tuple[RefinementTable, ...]
    unplaced: tuple[str, ...]
    papers: Papers | None
    files: tuple[Path, ...] = ()


def nowhere(dataset: str) -> bool:
    """Every data set is taken to be here."""
    del dataset
    return False


def collect(
    runs: Path,
    *,
    only: Container[str] | None = None,
    published: bool = False,
    absent: Callable[[str], bool] = nowhere,
) -> Report:
    """Read the runs below a folder and compare them.

    Args:
        runs: the runs folder.
        only: names of run folders, if not all shall be looked at.
        published: put published numbers beside the measured ones.
        absent: whether a data set, by its name, is not on this machine; asked of those that no run has used.

    Raises:
        RequestError: there are no runs.
    """
    hint = "make some with bench run, or name their folder with --runs DIR"
    try:
        frames = read(runs, only)
    except FileNotFoundError:
        raise RequestError(f"no runs in {runs}", hint=hint) from None
    except OSError as error:
        raise RequestError(f"cannot read runs in {runs}: {error.strerror}", hint=hint) from error
    if frames.runs.empty:
        raise RequestError(f"no runs in {runs}", hint=hint)
    summary, differences = statistics.summarize(frames.results), statistics.differences(frames.results)
    unreadable = frames.problems[frames.problems["dataset"].isna()]
    return Report(
        runs=runs,
        frames=frames,
        summary=summary,
        differences=differences,
        tables=tuple(build(frames, summary, differences)),
        refinements=tuple(refinement.build(frames, runs)),
        unplaced=tuple(f"{row.run}: {row.status}: {row.reason}" for row in unreadable.itertuples()),
        papers=beside_published(frames, summary, absent) if published else None,
    )


def beside_published(frames: Frames, summary: pd.DataFrame, absent: Callable[[str], bool]) -> Papers:
    """What papers report, beside the runs."""
    comparison = compare(frames, summary, load(), absent)
    return papers.build(comparison, set(frames.runs["protocol"].dropna().map(base)))


def write(
    runs: Path,
    to: Path,
    *,
    published: bool = False,
    absent: Callable[[str], bool] = nowhere,
    every_figure: bool = False,
) -> Report:
    """Write tables, figures and a page; every file appears whole or not at all.

    Args:
        runs: the runs folder.
        to: where the report goes; made if need be, files of an older report are replaced.
        published: put published numbers beside the measured ones.
        absent: see :func:`collect`.
        every_figure: draw figures for every table; else, where there are many, for the largest.

    Raises:
        RequestError: there are no runs, or the folder cannot be written.
    """
    report = collect(runs, published=published, absent=absent)
    try:
        to.mkdir(parents=True, exist_ok=True)
        return replace(report, files=tuple(write_files(report, to, every_figure=every_figure)))
    except OSError as error:
        raise RequestError(
            f"cannot write to {to}: {error.strerror}", hint="name another folder with --to DIR"
        ) from error


def write_files(report: Report, to: Path, *, every_figure: bool) -> Iterator[Path]:
    """Write every file of a report, and name it."""
    wanted = drawings(report.frames, report.tables, report.papers, report.runs, every=every_figure)
    figures = draw(wanted, to / "figures")
    measured = pd.concat([report.frames.results, report.frames.refined])
    yield write_text(to / "results.csv", measured[RESULT_COLUMNS].to_csv(index=False))
    yield write_text(to / "summary.csv", report.summary.to_csv(index=False))
    yield write_text(to / "differences.csv", report.differences.to_csv(index=False))
    if report.papers is None:
        (to / "published.csv").unlink(missing_ok=True)
    else:
        comparison = report.papers.comparison[COMPARISON_COLUMNS]
        yield write_text(to / "published.csv", comparison.to_csv(index=False))
    text = markdown.document(report.tables, report.refinements, report.summary, report.unplaced, report.papers)
    yield write_text(to / "table.md", text)
    yield write_text(to / "table.tex", latex.document(report.tables, report.refinements, report.papers))
    for paths in figures.values():
        yield from paths
    tables: list[Table | PaperTable] = [*report.tables, *(report.papers.tables if report.papers else ())]
    shown = {table.name: elements(table, figures.get(table.name, ())) for table in tables}
    text = page.document(
        frames=report.frames,
        summary=report.summary,
        tables=report.tables,
        refinements=report.refinements,
        unplaced=report.unplaced,
        papers=report.papers,
        figures=shown,
    )
    yield write_text(to / "index.html", text)


def write_text(path: Path, text: str) -> Path:
    """Make a text file appear whole; returns its path."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def terminal(report: Report, width: int) -> list[RenderableType]:
    """The report for a terminal of so many characters, to be printed one after the other by rich."""
    from results.terminal import blocks_of, paper_blocks, refinement_blocks, unplaced_blocks

    blocks = [block for table in report.tables for block in blocks_of(table, width)]
    blocks += refinement_blocks(report.refinements, width)
    blocks += unplaced_blocks(report.unplaced)
    if report.papers is not None:
        blocks += paper_blocks(report.papers, width)
    return blocks


def display(report: Report) -> None:
    """Print a report to the terminal."""
    from rich.console import Console

    console = Console()
    for block in terminal(report, console.width):
        console.print(block)


def show(runs: Path, *, only: Container[str] | None = None, published: bool = False) -> None:
    """Print the tables of runs, see :func:`collect`; writes no report.

    Raises:
        RequestError: there are no runs.
    """
    display(collect(runs, only=only, published=published))
