"""Loss, RankMe and LiDAR as judges of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from results.analysis.label_free import CRITERIA, FEWEST, rank_without_labels
from results.report.section import MISSING, Cell, Column, Row, Section, Table
from results.report.sections import register_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from results.analysis.label_free import Agreement
    from results.report.data import ReportData

NAMES = {"last_loss": "lowest loss", "rankme": "highest RankMe", "lidar": "highest LiDAR"}

TEXT = (
    "Kendall's τ between the order of the methods by a number that needs no labels and their order by accuracy, both "
    "means over seeds: 1 for the same order, 0 for none, −1 for the reverse; in brackets the p-value of no relation, "
    "not corrected for the number of cells. Loss is that of the last epoch, which methods do not define alike."
)
NOTES = (
    f"Baselines are left out, and what fewer than {FEWEST} methods have.",
    f"{MISSING}: not measured, or the same for all methods. Runs of earlier versions have no LiDAR.",
)


@register_section(position=35)
def label_free(data: ReportData) -> Iterator[Section]:
    """One section with a row for every column that has enough methods."""
    rows = [
        Row(
            (ranking.protocol, ranking.backbone, ranking.column.data, ranking.column.measure),
            (
                Cell(str(max(agreement.methods for agreement in ranking.by_criterion.values()))),
                *(agreement_cell(ranking.by_criterion.get(criterion)) for criterion in CRITERIA),
            ),
        )
        for ranking in rank_without_labels(data.frames.unrefined, data.frames.runs)
    ]
    if rows:
        columns = (Column("methods"), *(Column(NAMES[criterion]) for criterion in CRITERIA))
        table = Table("label-free", ("protocol", "backbone", "data set", "evaluation"), columns, tuple(rows))
        yield Section(
            name="label-free", title="Choosing a method without labels", text=TEXT, notes=NOTES, tables=(table,)
        )


def agreement_cell(agreement: Agreement | None) -> Cell | None:
    """``0.67 (p 0.02)``; None where there is no correlation."""
    if agreement is None or agreement.tau is None:
        return None
    return Cell(f"{agreement.tau:.2f}".replace("-", "−"), f"(p {agreement.p:.2g})")
