"""Everything that the sections of a report are built from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.analysis import statistics
from results.analysis.across import compare_across
from results.analysis.findings import find_findings
from results.analysis.frame import load_runs
from results.analysis.labels import name_defaults
from results.analysis.pair import compare_pair
from results.analysis.published_tables import compare_with_published
from results.analysis.tables import by_table, result_tables
from results.analysis.tuning import trial_table, tuning_curves
from results.errors import RequestError
from results.printable import printable
from results.report.section import Figure
from results.store import NO_RUNS_HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    import pandas as pd

    from results.analysis.across import AcrossDatasets
    from results.analysis.findings import Finding
    from results.analysis.frame import Frames
    from results.analysis.multiple_comparisons import AllPairs
    from results.analysis.pair import PairDifference
    from results.analysis.published_tables import Comparison
    from results.analysis.tables import ResultTable
    from results.figures.draw import DrawnFigure


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        frames: the runs.
        summary: a row per cell and refinement, ``results.analysis.statistics.SUMMARY_COLUMNS`` and ``best``, whether no
            other method is better beyond the noise.
        differences: to the best method, ``results.analysis.statistics.DIFFERENCE_COLUMNS``.
        comparisons: of all methods, by the key of a column.
        tables: one per protocol and backbone.
        comparison: with published numbers; None if not asked for.
        trials: of every search for hyper-parameters, by its name; ``results.analysis.tuning.TRIAL_COLUMNS``.
        findings: what each column says, by the key of a table.
        across: methods over the data sets of a table, by its key; nothing of tables with few data sets.
        pair: how two methods differ that were asked for, by column.
        pair_methods: their labels.
        figures: by name of a table; empty until they are drawn.
    """

    frames: Frames
    summary: pd.DataFrame
    differences: pd.DataFrame
    comparisons: Mapping[tuple[Any, ...], AllPairs]
    tables: tuple[ResultTable, ...]
    comparison: Comparison | None
    trials: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    findings: Mapping[tuple[Any, ...], list[Finding]] = field(default_factory=dict)
    across: Mapping[tuple[Any, ...], list[AcrossDatasets]] = field(default_factory=dict)
    pair: tuple[PairDifference, ...] = ()
    pair_methods: tuple[str, str] = ("", "")
    figures: Mapping[str, Sequence[DrawnFigure]] = field(default_factory=dict)

    @property
    def unrefined_summary(self) -> pd.DataFrame:
        """The rows of ``summary`` without a refinement."""
        return self.summary[self.summary["refinement"] == ""]

    @cached_property
    def tuning_curves(self) -> dict[str, pd.DataFrame]:
        """Expected best of n trials in every search, by its name; see ``results.analysis.tuning.tuning_curves``."""
        searches = self.frames.tuning.searches
        return {name: tuning_curves(name, searches[name], trials) for name, trials in self.trials.items()}

    def figures_of(self, name: str, title: str, methods: Sequence[str], message: str = "") -> tuple[Figure, ...]:
        """The figures that were drawn of a table.

        Args:
            name: of the table.
            title: of the table.
            methods: labels of its rows, from the top.
            message: what its numbers say, for those who cannot see the figures.
        """
        return tuple(
            Figure(
                name=f"{drawn.kind}-{name}",
                path=drawn.page,
                title=f"{drawn.kind.capitalize()}: {title}",
                caption=drawn.caption,
                description=" ".join(
                    filter(None, (drawn.caption, message, f"Methods from the top: {', '.join(methods)}."))
                ),
            )
            for drawn in self.figures.get(name, ())
        )


def assume_present(dataset: str) -> bool:
    """Say of every data set that it is not absent."""
    del dataset
    return False


def collect(
    runs: Path | Sequence[Path],
    *,
    only: Container[str] | None = None,
    published: bool = False,
    absent: Callable[[str], bool] = assume_present,
    pair: tuple[str, str] | None = None,
) -> ReportData:
    """Read the runs below folders and compare them.

    Args:
        runs: the runs folder, or several.
        only: names of run folders, if not all shall be read.
        published: compare with published numbers.
        absent: whether a data set, by its name, is not on this machine; asked of those that no run has used.
        pair: labels of two methods to compare.

    Raises:
        RequestError: there are no runs, or none of the two methods.
    """
    stored = printable_frames(load_runs(runs, only))
    frames = name_defaults(stored)
    if frames.runs.empty and frames.trials.empty:
        where = runs if isinstance(runs, Path) else ", ".join(map(str, runs))
        raise RequestError(f"no runs in {where}", hint=NO_RUNS_HINT)
    summary, comparisons = statistics.summarize(frames.results), statistics.compare_methods(frames.unrefined)
    summary = summary.assign(best=statistics.mark_best(summary, comparisons))
    differences = statistics.differences_to_best(frames.unrefined, comparisons)
    unrefined = summary[summary["refinement"] == ""]
    comparison = None
    if published:
        by_stored_label = unrefined if frames is stored else statistics.summarize(stored.unrefined)
        comparison = compare_with_published(stored, by_stored_label, absent)
    return ReportData(
        frames=frames,
        summary=summary,
        differences=differences,
        comparisons=comparisons,
        tables=tuple(result_tables(frames, unrefined, differences, comparisons)),
        comparison=comparison,
        trials={name: trial_table(search, frames) for name, search in frames.tuning.searches.items()},
        pair=compare_pair(stored, *pair) if pair else (),
        pair_methods=pair or ("", ""),
        findings=find_findings(frames, unrefined, comparisons),
        across={key: found for key, rows in by_table(frames.unrefined).items() if (found := compare_across(rows))},
    )


def printable_frames(frames: Frames) -> Frames:
    """Runs in whose texts control characters are written out, so that no format of a report has to."""
    runs, results, trials = map(printable_texts, (frames.runs, frames.results, frames.trials))
    folders = {printable(name): folder for name, folder in frames.folders.items()}
    conflicts = tuple(map(printable, frames.conflicts))
    return replace(frames, folders=folders, runs=runs, results=results, trials=trials, conflicts=conflicts)


def printable_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with the same numbers, and texts without control characters."""
    changed = {}
    for name in frame.select_dtypes(exclude="number").columns:
        texts = (text for text in frame[name].unique() if isinstance(text, str))
        written = {text: printable(text) for text in texts if not text.isprintable()}
        if written:
            changed[name] = frame[name].map(lambda text, written=written: written.get(text, text))
    return frame.assign(**changed)
