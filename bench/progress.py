"""Progress of runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from bench.format import duration, outcome_line, run_title
from protocols.system.progress import ProgressListener
from results.printable import printable
from slurm.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from protocols.spec.run import Run
    from slurm.monitor import Outcome

LINE_INTERVAL_S = 10.0
"""Seconds between two plain lines about a run."""

MIN_SECONDS = 5.0
"""Seconds of work before the time left is estimated."""

BAR_WIDTH = 20
"""Characters of a bar."""

MOST_OF_EVALUATION = 0.99
"""The part of an evaluation that one of its stages may count as, since others may follow."""

VIEWS_PER_EVALUATION = 5_000
"""Views assumed to take as long as one evaluation, until one has been timed."""

LOADED_SECONDS = 0.2
"""An evaluation that takes less was stored by an earlier attempt, or takes too little to be counted."""


@dataclass
class StageTiming:
    """Time spent in a stage, over all runs so far.

    Attributes:
        seconds: spent in it.
        units: done in that time; the part of one that is done counts too.
    """

    seconds: float = 0.0
    units: float = 0.0

    def add(self, seconds: float, units: float) -> None:
        """Count further units."""
        self.seconds += seconds
        self.units += units

    def seconds_per_unit(self) -> float | None:
        """Mean seconds of a unit; None before the first."""
        return self.seconds / self.units if self.units else None


@dataclass
class RunProgress(ProgressListener):
    """Progress of one run.

    Attributes:
        run: the run.
        display: shows the progress.
        name: of the current stage.
        total: units of the stage.
        done: units of the stage that are done.
        note: the run's own note on its progress.
        started: time at which the run started, in seconds.
        pretrained: the views done and the time of the last report; None before the first.
        evaluated: the same for evaluations; the part of one that is done counts too.
    """

    run: Run
    display: Display
    name: str = "starting"
    total: int = 0
    done: int = 0
    note: str = ""
    started: float = field(default_factory=time.monotonic)
    pretrained: tuple[float, float] | None = None
    evaluated: tuple[float, float] | None = None
    _stage_start: tuple[float, int] | None = None

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Start a stage, or continue it."""
        self.name, self.total, self.done, self.note, self._stage_start = name, total, done, "", None
        if name == "evaluate":  # those of an earlier record are counted too, once it is read
            self.display.evaluations[self.run.folder()] = total

    def progress(self, done: int, note: str = "") -> None:
        """Note the units done, and update the display."""
        self._stage_start = self._stage_start or (time.monotonic(), done)
        self.done, self.note = done, note
        if self.name == "pretrain":
            self._time_pretraining(done)
        elif self.name == "evaluate":
            self._time_evaluation(done)
        elif self.evaluated:  # a stage of the present evaluation
            self._time_evaluation(int(self.evaluated[0]) + min(self.fraction, MOST_OF_EVALUATION))
        self.display.update(self)

    def _time_pretraining(self, done: float) -> None:
        """Time the views since the last report; at the first, those of earlier attempts are only counted."""
        now = self.display.start_clock()
        if self.pretrained:
            before, then = self.pretrained
            self.display.views_timing.add(now - then, done - before)
        else:
            self.display.resumed_views += done
        self.pretrained = done, now

    def _time_evaluation(self, done: float) -> None:
        """Time the evaluations since the last report, each by its index; those that were stored are only counted."""
        now = self.display.start_clock()
        before, then = self.evaluated or (done, now)
        done = max(done, before)  # an evaluation may have several stages
        indices = range(int(before), max(int(before) + 1, math.ceil(done)))
        if done - before >= 1 and now - then < LOADED_SECONDS:
            self.display.resumed_evaluations.update(indices)
        else:
            for index in indices:
                units = min(done, index + 1) - max(before, index)
                part = units / (done - before) if done > before else 1.0
                self.display.evaluation_timings.setdefault(index, StageTiming()).add((now - then) * part, units)
        self.evaluated = done, now

    def seconds_done(self, view: float, evaluations: Sequence[float]) -> float:
        """Work done in the run, in seconds.

        Args:
            view: seconds of a view.
            evaluations: seconds of each evaluation.
        """
        if not self.evaluated:
            return (self.pretrained[0] if self.pretrained else 0) * view
        whole = int(self.evaluated[0])
        part = (self.evaluated[0] - whole) * evaluations[whole] if whole < len(evaluations) else 0.0
        return self.display.views[self.run.folder()] * view + sum(evaluations[:whole]) + part

    @property
    def fraction(self) -> float:
        """Fraction of the stage that is done, in [0, 1]."""
        return self.done / max(self.total, 1)

    def speed(self) -> str:
        """Views per second in this stage; empty outside of pretraining."""
        start, first = self._stage_start or (time.monotonic(), 0)
        seconds = time.monotonic() - start
        return f"{(self.done - first) / seconds:,.0f} views/s" if self.name == "pretrain" and seconds > 0.5 else ""

    def text(self) -> str:
        """Stage, note and speed."""
        return ", ".join(part for part in (self.name, self.note, self.speed()) if part)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.display.print(f"! {run_title(self.run)}: {text}")

    def stopping(self) -> bool:
        """Whether the user asked the command to stop."""
        return self.display.stopped


class Display(Monitor):
    """Progress of a grid of runs; the base of the bars and the plain lines.

    Args:
        console: to print to.
        runs: of the grid.
        views: in the pretraining of each run.

    Attributes:
        views_timing: of pretraining, by which the time left is estimated.
        evaluation_timings: of each evaluation by its index among a run's; the first is the run's health.
        resumed_views: views done by earlier attempts.
        resumed_evaluations: how many evaluations of each index were stored by earlier attempts.
    """

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        self.console = console
        self.stopped = False
        self.views = {run.folder(): float(count) for run, count in zip(runs, views, strict=True)}
        self.evaluations = {run.folder(): 1 + len(run.evaluations) for run in runs}
        self.active: dict[str, RunProgress] = {}
        self.ended: list[str] = []
        self.views_timing = StageTiming()
        self.evaluation_timings: dict[int, StageTiming] = {}
        self.resumed_views = 0.0
        self.resumed_evaluations = Counter[int]()
        self._start: float | None = None

    def start_clock(self) -> float:
        """The time in seconds; the first call is when work begins that the time left is estimated by."""
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        return now

    def on_run_start(self, run: Run) -> ProgressListener:
        """Follow a run that starts."""
        progress = self.active[run.folder()] = RunProgress(run, self)
        return progress

    def on_run_end(self, outcome: Outcome) -> None:
        """Print the outcome of a run."""
        progress = self.active.pop(outcome.run.folder())
        if not outcome.busy:
            self.ended.append(outcome.run.folder())
        self.print(outcome_line(outcome, time.monotonic() - progress.started))
        if outcome.record and outcome.record.health.warning:
            progress.warn(outcome.record.health.warning)

    def unit_seconds(self) -> tuple[float, list[float]]:
        """Seconds of a view and of the evaluation at each index.

        What has not been timed is guessed: an evaluation takes as long as the others on average.
        """
        timed = {
            index: seconds
            for index, timing in self.evaluation_timings.items()
            if (seconds := timing.seconds_per_unit()) is not None
        }
        mean = sum(timed.values()) / len(timed) if timed else None
        view = self.views_timing.seconds_per_unit() or (1.0 if mean is None else mean) / VIEWS_PER_EVALUATION
        guess = VIEWS_PER_EVALUATION * view if mean is None else mean
        return view, [timed.get(index, guess) for index in range(max(self.evaluations.values()))]

    def work(self) -> tuple[float, float]:
        """Work done and total work, in seconds by the timings so far."""
        view, evaluations = self.unit_seconds()
        upto = [0.0, *accumulate(evaluations)]
        total = {folder: count * view + upto[self.evaluations[folder]] for folder, count in self.views.items()}
        active = (min(total[folder], run.seconds_done(view, evaluations)) for folder, run in self.active.items())
        return sum(total[folder] for folder in self.ended) + sum(active), sum(total.values())

    def fraction(self) -> float:
        """Fraction of the total work that is done, in [0, 1]."""
        done, total = self.work()
        return done / total

    def time_left(self) -> str:
        """Estimate of the time left for all runs; empty while there is nothing to tell it by.

        That is in the first seconds of work, and after a resumed pretraining as long as another is to come and none was
        timed. Loading and compiling before the first step is no part of it, so that the first estimates are not too
        long.
        """
        if self._start is None or (self._pretraining_is_left() and not self.views_timing.units):
            return ""
        passed, (done, total) = time.monotonic() - self._start, self.work()
        view, evaluations = self.unit_seconds()
        stored = sum(count * evaluations[index] for index, count in self.resumed_evaluations.items())
        done_here = done - self.resumed_views * view - stored
        if passed < MIN_SECONDS or done_here <= 0:
            return ""
        return f"{duration(passed * (total - done) / done_here)} left"

    def _pretraining_is_left(self) -> bool:
        evaluated = {folder for folder, run in self.active.items() if run.evaluated}
        return any(count and folder not in evaluated.union(self.ended) for folder, count in self.views.items())

    def print(self, line: str) -> None:
        """Print a line."""
        self.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def update(self, progress: RunProgress) -> None:
        """Show the progress of a run."""


class Lines(Display):
    """Plain lines, one every few seconds, for logs and pipes."""

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        super().__init__(console, runs, views)
        self._last_line: dict[str, float] = {}

    def on_run_start(self, run: Run) -> ProgressListener:
        """Print which run starts."""
        self._last_line[run.folder()] = time.monotonic()
        self.print(f"[{len(self.ended) + len(self.active) + 1}/{len(self.views)}] {run_title(run)}")
        return super().on_run_start(run)

    def update(self, progress: RunProgress) -> None:
        """Print the progress of a run, if the last line about it is old enough."""
        folder = progress.run.folder()
        if time.monotonic() - self._last_line[folder] >= LINE_INTERVAL_S:
            self._last_line[folder] = time.monotonic()
            text = "; ".join(part for part in (progress.text(), self.time_left()) if part)
            self.print(f"    {run_title(progress.run)}: {100 * progress.fraction:.0f} % of {text}")


class ShortenedColumn(TextColumn):
    """Text on one line, cut where there is no room for it; columns that cannot wrap keep their width."""

    def render(self, task: Task) -> Text:
        """The text of a bar."""
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class Bars(Display):
    """A bar for the grid and one for each active run; lines about ended runs are printed above them."""

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        super().__init__(console, runs, views)
        self.bars = Progress(
            # Labels and notes are cut where there is no room for both; the lines about ended runs have whole labels.
            ShortenedColumn("{task.description}", markup=False, table_column=Column(max_width=48)),
            BarColumn(bar_width=BAR_WIDTH, table_column=Column(width=BAR_WIDTH)),
            TaskProgressColumn(),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            ShortenedColumn("{task.fields[note]}", style="dim", markup=False, table_column=Column()),
            console=console,
            transient=True,
        )
        self._grid_task = self.bars.add_task("all runs", total=1.0, note="")
        self._tasks: dict[str, TaskID] = {}

    def on_run_start(self, run: Run) -> ProgressListener:
        """Add a bar for the run."""
        self._tasks[run.folder()] = self.bars.add_task(printable(run_title(run)), total=1.0, note="")
        return super().on_run_start(run)

    def on_run_end(self, outcome: Outcome) -> None:
        """Remove the run's bar."""
        self.bars.remove_task(self._tasks.pop(outcome.run.folder()))
        super().on_run_end(outcome)
        self._update_grid_bar()

    def update(self, progress: RunProgress) -> None:
        """Update the run's bar and the grid's."""
        task = self._tasks[progress.run.folder()]
        self.bars.update(task, completed=progress.fraction, note=printable(progress.text()))
        self._update_grid_bar()

    def _update_grid_bar(self) -> None:
        note = f"{len(self.ended)}/{len(self.views)}  {self.time_left()}"
        self.bars.update(self._grid_task, completed=self.fraction(), note=note)


@contextlib.contextmanager
def display_for(runs: Sequence[Run], views: Sequence[int]) -> Iterator[Display]:
    """Show the progress of runs; at the first Ctrl-C runs save their state and stop, the second interrupts at once.

    Args:
        runs: to be executed.
        views: in the pretraining of each run.
    """
    console = Console(stderr=True)
    if console.is_jupyter:  # plain lines: a notebook has no terminal to draw bars in
        console = Console(stderr=True, force_jupyter=False, force_terminal=False)
    if not console.is_terminal:
        with stopping_on_signals(display := Lines(console, runs, views)):
            yield display
        return
    bars = Bars(console, runs, views)
    with stopping_on_signals(bars), bars.bars:
        yield bars


@contextlib.contextmanager
def stopping_on_signals(display: Display) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM only ask runs to stop at their next step; does nothing in a thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def ask_to_stop(number: int, _frame: object) -> None:
        if display.stopped:
            raise KeyboardInterrupt
        display.stopped = True
        display.print(f"! {signal.Signals(number).name}: runs save their state and stop")

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
