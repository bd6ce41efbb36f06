"""What a person sees while runs are carried out: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.format import duration, ending, title
from protocols.system.progress import ProgressListener
from slurm.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.spec.run import Run
    from slurm.monitor import Outcome

PERIOD = 10.0
"""Seconds between two plain lines about a run."""

EVALUATION = 5_000
"""Views that one evaluation is taken to last as long as, until both have been timed."""


@dataclass
class Pace:
    """How quickly a stage has gone in all runs so far.

    Attributes:
        seconds: spent in it.
        units: done in that time.
    """

    seconds: float = 0.0
    units: int = 0

    def each(self) -> float | None:
        """Seconds a unit; None as long as there is nothing to judge by."""
        return self.seconds / self.units if self.units else None


@dataclass
class View(ProgressListener):
    """One run as it gets on.

    Attributes:
        run: which.
        display: shows it.
        name: of its stage.
        total: units of the stage.
        done: of them.
        note: what the run says of itself.
        reached: of each timed stage, the units done and when.
    """

    run: Run
    display: Display
    name: str = "begins"
    total: int = 0
    done: int = 0
    note: str = ""
    began: float = field(default_factory=time.monotonic)
    reached: dict[str, tuple[int, float]] = field(default_factory=dict)
    _staged: tuple[float, int] | None = None

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Begin a stage, or go on with it."""
        self.name, self.total, self.done, self.note, self._staged = name, total, done, "", None

    def progress(self, done: int, note: str = "") -> None:
        """Get on in it."""
        self._staged = self._staged or (time.monotonic(), done)
        self.done, self.note = done, note
        if self.name in self.display.paces:
            self._time(self.display.paces[self.name], done)
        self.display.moved(self)

    def _time(self, pace: Pace, done: int) -> None:
        """Add what has been done since the last time; the first time, a stage may go on from an earlier attempt."""
        now = time.monotonic()
        if self.name in self.reached:
            before, then = self.reached[self.name]
            pace.units += done - before
            pace.seconds += now - then
        elif self.name == "pretrain":
            self.display.inherited += done
        self.reached[self.name] = done, now

    def worth(self, evaluation: float) -> float:
        """What is done of the run, in views, where an evaluation is worth so many."""
        views, evaluated = (self.reached.get(stage, (0, 0.0))[0] for stage in ("pretrain", "evaluate"))
        pretrained = self.display.views[self.run.folder()] if evaluated else views
        return pretrained + evaluated * evaluation

    @property
    def share(self) -> float:
        """Of the stage that is done, in [0, 1]."""
        return self.done / max(self.total, 1)

    def speed(self) -> str:
        """Views a second in this stage, in words."""
        began, first = self._staged or (time.monotonic(), 0)
        passed = time.monotonic() - began
        return f"{(self.done - first) / passed:,.0f} views/s" if self.name == "pretrain" and passed > 0.5 else ""

    def words(self) -> str:
        """Stage, note and speed."""
        return ", ".join(part for part in (self.name, self.note, self.speed()) if part)

    def warn(self, text: str) -> None:
        """Pass on."""
        self.display.say(f"! {title(self.run)}: {text}")

    def stopping(self) -> bool:
        """Whether the command was asked to stop."""
        return self.display.stopped


class Display(Monitor):
    """What the two ways of showing a grid have in common.

    Args:
        console: to print to.
        runs: of the grid.
        views: of each, in its pretraining.

    Attributes:
        inherited: views that earlier attempts had done.
    """

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        self.console = console
        self.stopped = False
        self.views = {run.folder(): float(count) for run, count in zip(runs, views, strict=True)}
        self.evaluations = {run.folder(): 1 + len(run.evaluations) for run in runs}
        self.active: dict[str, View] = {}
        self.over: list[str] = []
        self.paces = {"pretrain": Pace(), "evaluate": Pace()}
        self.inherited = 0.0
        self._began = time.monotonic()

    def on_run_start(self, run: Run) -> ProgressListener:
        """A run begins."""
        view = self.active[run.folder()] = View(run, self)
        return view

    def on_run_end(self, outcome: Outcome) -> None:
        """A run is over: say how."""
        view = self.active.pop(outcome.run.folder())
        self.over.append(outcome.run.folder())
        self.say(ending(outcome, time.monotonic() - view.began))
        if outcome.record and outcome.record.health.warning:
            view.warn(outcome.record.health.warning)

    def work(self) -> tuple[float, float]:
        """What is done, and all there is to do, in views; an evaluation counts as the views that take as long."""
        view, evaluation = (self.paces[stage].each() for stage in ("pretrain", "evaluate"))
        worth = evaluation / view if view and evaluation else EVALUATION
        whole = {folder: count + self.evaluations[folder] * worth for folder, count in self.views.items()}
        done = sum(whole[folder] for folder in self.over) + sum(one.worth(worth) for one in self.active.values())
        return done, sum(whole.values())

    def share(self) -> float:
        """Of all the work that is done, in [0, 1]."""
        done, whole = self.work()
        return done / whole

    @property
    def ended(self) -> int:
        """Runs that are over."""
        return len(self.over)

    def left(self) -> str:
        """Time left for all, in words; nothing while there is too little to judge by."""
        passed, (done, whole) = time.monotonic() - self._began, self.work()
        own = done - self.inherited
        return f"{duration(passed * (whole - done) / own)} left" if passed > 20 and own > 0.01 * whole else ""

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def moved(self, view: View) -> None:
        """A run got on."""


class Lines(Display):
    """Plain lines, one every few seconds, for logs and pipes."""

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        super().__init__(console, runs, views)
        self._told: dict[str, float] = {}

    def on_run_start(self, run: Run) -> ProgressListener:
        """Say which run begins."""
        self._told[run.folder()] = time.monotonic()
        self.say(f"[{self.ended + len(self.active) + 1}/{len(self.views)}] {title(run)}")
        return super().on_run_start(run)

    def moved(self, view: View) -> None:
        """Say how far it is, now and then."""
        folder = view.run.folder()
        if time.monotonic() - self._told[folder] >= PERIOD:
            self._told[folder] = time.monotonic()
            words = "; ".join(part for part in (view.words(), self.left()) if part)
            self.say(f"    {title(view.run)}: {100 * view.share:.0f} % of {words}")


class Bars(Display):
    """A bar for the grid and one for each run under way; lines of ended runs scroll by above them."""

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        super().__init__(console, runs, views)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
            transient=True,
        )
        self._all = self.bars.add_task("all runs", total=1.0, note="")
        self._tasks: dict[str, TaskID] = {}

    def on_run_start(self, run: Run) -> ProgressListener:
        """Give the run a bar."""
        self._tasks[run.folder()] = self.bars.add_task(title(run), total=1.0, note="")
        return super().on_run_start(run)

    def on_run_end(self, outcome: Outcome) -> None:
        """Take its bar away."""
        self.bars.remove_task(self._tasks.pop(outcome.run.folder()))
        super().on_run_end(outcome)
        self._show_all()

    def moved(self, view: View) -> None:
        """Move its bar and the grid's."""
        self.bars.update(self._tasks[view.run.folder()], completed=view.share, note=view.words())
        self._show_all()

    def _show_all(self) -> None:
        note = f"{self.ended}/{len(self.views)}  {self.left()}"
        self.bars.update(self._all, completed=self.share(), note=note)


@contextlib.contextmanager
def display_for(runs: Sequence[Run], views: Sequence[int]) -> Iterator[Display]:
    """Show how runs get on; the first Ctrl-C lets every run keep its state, the second does not.

    Args:
        runs: about to be carried out.
        views: that the pretraining of each takes.
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

    def ask(number: int, _frame: object) -> None:
        if display.stopped:
            raise KeyboardInterrupt
        display.stopped = True
        display.say(f"! {signal.Signals(number).name}: runs keep their state and stop")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
