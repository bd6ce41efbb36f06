"""What a person sees while runs are carried out: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from protocols.watch import Watch
from slurm.launch import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.budget import Budget
    from protocols.run import Run
    from slurm.launch import Outcome

PERIOD = 10.0
"""Seconds between two plain lines."""

EVALUATION = 10_000
"""Views that evaluating a run counts as, when the time left is estimated."""


class Schedule:
    """How much of a grid is done, and how long the rest will take.

    Args:
        views: of each run, in the order they are carried out.
    """

    def __init__(self, views: Sequence[int]) -> None:
        self.weights = [count + EVALUATION for count in views]
        self.ended = 0
        self.fraction = 0.0
        self._began = time.monotonic()

    def done(self) -> float:
        """Fraction of the work that is done, in [0, 1]."""
        current = self.weights[self.ended] * self.fraction if self.ended < len(self.weights) else 0.0
        return (sum(self.weights[: self.ended]) + current) / sum(self.weights)

    def left(self) -> str:
        """Time left, in words; nothing while there is too little to judge by."""
        passed, done = time.monotonic() - self._began, self.done()
        return f"{duration(passed * (1 - done) / done)} left" if passed > 3 and done > 0.01 else ""


def duration(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def title(run: Run) -> str:
    """A run in a few words."""
    return f"{run.dataset.label} {run.backbone.label} {run.method.label} seed {run.seed}"


def ending(outcome: Outcome, seconds: float) -> str:
    """How a run ended, in a line."""
    if outcome.record is None:
        return f"✗ {title(outcome.run)}: failed: {outcome.reason}"
    scores = ", ".join(f"{m.label} {m.value:.1f}" for m in outcome.record.metrics if m.metric == "top1")
    return f"✓ {title(outcome.run)}: {scores} ({duration(seconds)})"


class Lines(Monitor, Watch):
    """Plain lines, one every few seconds, for logs and pipes.

    Args:
        console: to print to.
        schedule: of the grid.
    """

    def __init__(self, console: Console, schedule: Schedule) -> None:
        self.console = console
        self.schedule = schedule
        self.stopped = False
        self._stage, self._total, self._first = "", 0, 0
        self._began = self._printed = self._staged = time.monotonic()

    def begins(self, run: Run) -> Watch:
        """Say which run begins."""
        self._began = time.monotonic()
        self._say(f"[{self.schedule.ended + 1}/{len(self.schedule.weights)}] {title(run)}")
        return self

    def ends(self, outcome: Outcome) -> None:
        """Say how it ended."""
        self.schedule.ended += 1
        self.schedule.fraction = 0.0
        self._say(ending(outcome, time.monotonic() - self._began))
        if outcome.record and outcome.record.health.warning:
            self.warn(f"{title(outcome.run)}: {outcome.record.health.warning}")

    def stage(self, name: str, total: int) -> None:
        """Begin a stage."""
        self._stage, self._total, self._first, self._staged = name, total, -1, time.monotonic()

    def progress(self, done: int, note: str = "") -> None:
        """Print a line now and then."""
        if self._first < 0:
            self._first = done
        if self._stage == "pretrain":
            self.schedule.fraction = 0.95 * done / max(self._total, 1)
        if time.monotonic() - self._printed >= PERIOD:
            self._say(f"    {self._stage} {100 * done / max(self._total, 1):.0f} %, {note}{self._speed(done)}")

    def _speed(self, done: int) -> str:
        passed = time.monotonic() - self._staged
        speed = f", {(done - self._first) / passed:,.0f} views/s" if self._stage == "pretrain" and passed > 0 else ""
        left = self.schedule.left()
        return speed + (f"; {left}" if left else "")

    def _say(self, line: str) -> None:
        self._printed = time.monotonic()
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._say(f"! {text}")

    def stopping(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.stopped


class Bars(Lines):
    """Two bars: this run and the whole grid; lines of ended runs scroll by above them."""

    def __init__(self, console: Console, schedule: Schedule) -> None:
        super().__init__(console, schedule)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        self._all = self.bars.add_task("all runs", total=1.0, note="")
        self._one = self.bars.add_task("", total=1.0, note="", visible=False)

    def begins(self, run: Run) -> Watch:
        """Give the run a fresh bar."""
        self._began = time.monotonic()
        self.bars.reset(self._one, description=title(run), note="", visible=True)
        return self

    def progress(self, done: int, note: str = "") -> None:
        """Move the bars, a few times a second at most."""
        if self._first < 0:
            self._first = done
        if self._stage == "pretrain":
            self.schedule.fraction = 0.95 * done / max(self._total, 1)
        if time.monotonic() - self._printed >= 0.2:
            self._printed = time.monotonic()
            share = done / max(self._total, 1)
            text = f"{self._stage}, {note}{self._speed(done).partition(';')[0]}"
            self.bars.update(self._one, completed=share, note=text)
            count = f"{self.schedule.ended}/{len(self.schedule.weights)}"
            self.bars.update(self._all, completed=self.schedule.done(), note=f"{count}  {self.schedule.left()}")


@contextlib.contextmanager
def monitor_for(runs: Sequence[Run], budgets: Sequence[Budget]) -> Iterator[Monitor]:
    """Show how runs get on; the first Ctrl-C lets the current step end, the second does not.

    Args:
        runs: about to be carried out.
        budgets: of their pretraining.
    """
    del runs
    console = Console(stderr=True)
    schedule = Schedule([budget.total_views if budget.views else 0 for budget in budgets])
    monitor = Bars(console, schedule) if console.is_terminal else Lines(console, schedule)
    with stopping_at_interrupt(monitor):
        if isinstance(monitor, Bars):
            with monitor.bars:
                yield monitor
        else:
            yield monitor


@contextlib.contextmanager
def stopping_at_interrupt(monitor: Lines) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM only ask the run to stop at its next step."""

    def ask(number: int, _frame: object) -> None:
        if monitor.stopped:
            raise KeyboardInterrupt
        monitor.stopped = True
        monitor.warn(f"{signal.Signals(number).name}: saving the state")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
