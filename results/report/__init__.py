"""From stored runs to a report: files in a folder, or tables in a terminal.

The path of a report: ``data.collect`` reads and compares the runs, ``sections`` turns them into
:class:`~results.report.section.Section`, and one module per format renders these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from results.errors import RequestError
from results.figures import figure_names
from results.figures.draw import DRAWN, draw_all, figure_data
from results.report import csv_files, html, json_file, latex, markdown, parquet_files
from results.report.data import assume_present, collect
from results.report.sections import build_sections
from results.report.sections.provenance import describe_runs
from results.store import require_writable, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from results.report.data import ReportData
    from results.report.section import Section


OPTIONAL_FILES = {
    *("published.csv", "pair.csv", "findings.csv"),
    *(f"{name}.parquet" for name in ("results", "summary", "differences", "published", "pair", "findings")),
}
"""Files of an older report that are removed where this one has none."""

FIGURES = "figures"

FILES = (
    *("index.html", "table.md", "table.tex", "report.json", "results.csv", "summary.csv", "differences.csv"),
    *sorted(OPTIONAL_FILES),
    *(f"{name}.{kind}" for name in ("tuned-*", "*-trials", "*-best-of-n") for kind in ("csv", "parquet")),
)
"""Patterns of the names of a report's files, without its figures."""


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        data: what it shows.
        sections: the same for people.
        files: that were written.
    """

    data: ReportData
    sections: tuple[Section, ...]
    files: tuple[Path, ...]


def write(
    runs: Path | Sequence[Path],
    to: Path,
    *,
    published: bool = False,
    absent: Callable[[str], bool] = assume_present,
    pair: tuple[str, str] | None = None,
    every_figure: bool = False,
    parquet: bool = False,
) -> Report:
    """Write tables, figures and a page; every file appears complete or not at all.

    Args:
        runs: the runs folder, or several; see ``results.analysis.frame.load_runs``.
        to: where the report goes; made if need be, files of an older report are replaced.
        published: compare with published numbers.
        absent: see ``results.report.data.collect``.
        pair: labels of two methods to compare.
        every_figure: draw figures for every table; else, where there are many, for the largest.
        parquet: write the numbers as Parquet files too.

    Raises:
        RequestError: there are no runs, a method of the pair is unknown, the folder cannot be written or has files of
            others that would be replaced, or pyarrow is not installed.
    """
    if parquet:
        parquet_files.require_pyarrow()
    # A plugin may change the working folder.
    runs, to = (runs.absolute() if isinstance(runs, Path) else [one.absolute() for one in runs]), to.absolute()
    data = collect(runs, published=published, absent=absent, pair=pair)
    prepare_folder(to)
    try:
        wanted = figure_data(data.frames, data.tables, data.comparison, every=every_figure, curves=data.tuning_curves)
        data = replace(data, figures=draw_all(wanted, to / FIGURES))
        sections = build_sections(data)
        texts = csv_files.render(sections)
        texts |= {"table.md": markdown.render(sections), "table.tex": latex.render(sections)}
        texts["report.json"] = json_file.render(sections)
        texts["index.html"] = html.render(sections, title="bench report", headline=describe_runs(data.frames))
        contents = {name: text.encode() for name, text in texts.items()}
        contents |= parquet_files.render(sections) if parquet else {}
        for name, content in contents.items():
            write_atomically(to / name, partial(Path.write_bytes, data=content))
        for name in OPTIONAL_FILES - contents.keys():
            (to / name).unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(
            f"cannot write to {to}: {error.strerror}", hint="name another folder with --to DIR"
        ) from error
    figures = [path for drawn in data.figures.values() for figure in drawn for path in figure.files]
    return Report(data, tuple(sections), (*(to / name for name in contents), *figures))


def prepare_folder(to: Path) -> None:
    """Make the folder of a report, and mark it as one.

    Raises:
        RequestError: it cannot be written, or is not marked and has files that a report would replace or remove.
    """
    mark = to / FIGURES / DRAWN
    figures = (f"{FIGURES}/{kind}-*{suffix}" for kind in figure_names() for suffix in (".svg", ".png", ".pdf"))
    found = [path for pattern in (*FILES, *figures) for path in to.glob(pattern)]
    if found and not mark.exists():  # asked last: an equal command marks before it writes
        raise RequestError(
            f"{found[0]} is not of a report, and would be lost", hint="choose another --to DIR, or move the file"
        )
    require_writable(to, "--to")
    require_writable(mark.parent, "--to")
    mark.parent.mkdir(parents=True, exist_ok=True)
    if not mark.exists():
        write_json(mark, {})


def display(sections: Sequence[Section]) -> None:
    """Print sections to the terminal."""
    from rich.console import Console

    from results.report import terminal

    console = Console()
    for block in terminal.render(sections, console.width):
        console.print(block)


def show(runs: Path, *, only: Container[str] | None = None, published: bool = False) -> None:
    """Print the tables of runs without writing a report; arguments as of ``results.report.data.collect``.

    Raises:
        RequestError: there are no runs.
    """
    display(build_sections(collect(runs, only=only, published=published)))
