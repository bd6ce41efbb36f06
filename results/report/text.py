"""Numbers as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from results.report.section import MISSING, Cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from results.analysis.refinements import RefinementDifference
    from results.analysis.tables import ResultCell

TIED, COLLAPSED = "≈", "†"
"""Marks of a difference that can't be told from 0, and of a cell with a collapsed run."""


def format_number(mean: float, half: float | None = None, *, signed: bool = False) -> str:
    """``61.03 ± 0.57``, or ``+0.18``."""
    text = f"{mean:+.2f}" if signed else f"{mean:.2f}"
    return text.replace("-", "−") + ("" if half is None else f" ± {half:.2f}")


def format_cell(cell: ResultCell | None, *, signed: bool = False, link: str = "") -> Cell | None:
    """A number with its interval, seeds and marks; ``(2/3)`` where seeds are missing."""
    if cell is None:
        return None
    seeds = f"({cell.n})" if cell.n == cell.planned else f"({cell.n}/{cell.planned})"
    marks = TIED * cell.tied + COLLAPSED * bool(cell.collapsed)
    return Cell(format_number(cell.mean, cell.half, signed=signed), seeds, marks, cell.best, link)


def format_difference(found: RefinementDifference) -> str:
    """``+1.10 ± 0.40``, followed by ≈ where it can't be told from 0."""
    return format_number(found.mean, found.half, signed=True) + f" {TIED}" * found.is_noise


def format_scaled(number: float) -> str:
    """Three digits and a prefix: ``160 k``; a dash for what is not known."""
    if math.isnan(number):
        return MISSING
    power = 0 if number < 1 else min(int(math.log10(number) // 3), 6)
    return f"{number / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}".rstrip()


def format_duration(seconds: float) -> str:
    """In its natural unit: ``12 s``, ``3.4 min``, ``5.6 h``; a dash for what is not known."""
    if math.isnan(seconds):
        return MISSING
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def format_energy(joules: float) -> str:
    """In watt-hours: ``320 Wh``, ``1.2 kWh``; a dash for what is not known."""
    number, _, prefix = format_scaled(joules / 3600).partition(" ")
    return MISSING if math.isnan(joules) else f"{number} {prefix}Wh"


def format_seeds(seeds: Iterable[int]) -> str:
    """``seed 0`` or ``seeds 0–2``."""
    ordered = sorted(seeds)
    return f"seed{'s' * (len(ordered) > 1)} {format_ranges(ordered)}"


def format_ranges(numbers: Iterable[int]) -> str:
    """Rising numbers, three or more consecutive ones as a range: ``0–4, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts)


def count(number: int, noun: str) -> str:
    """``1 run``, ``12 runs``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def join_words(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
