"""What a person sees while runs are carried out: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.words import duration, ending, title
from protocols.watch import Watch
from slurm.launch import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocols.budget import Budget
    from protocols.run import Run
    from slurm.launch import Outcome

PERIOD = 10.0
"""Seconds between two plain lines about a run."""

EVALUATION = 10_000
"""Views that evaluating a run counts as, when the time left is estimated."""


@dataclass
class View(Watch):
    """One run as it gets on.

    Attributes:
        run: which.
        weight: its share of the whole work, in views.
        display: shows it.
        name: of its stage.
        total: units of the stage.
        done: of them.
        note: what the run says of itself.
        fraction: of the run, in [0, 1].
    """

    run: Run
    weight: float
    display: Display
    name: str = "begins"
    total: int = 0
    done: int = 0
    note: str = ""
    fraction: float = 0.0
    began: float = field(default_factory=time.monotonic)
    _staged: tuple[float, int] | None = None

    def stage(self, name: str, total: int) -> None:
        """Begin a stage."""
        self.name, self.total, self.done, self.note, self._staged = name, total, 0, "", None
        self.display.moved(self)

    def progress(self, done: int, note: str = "") -> None:
        """Get on in it."""
        self._staged = self._staged or (time.monotonic(), done)
        self.done, self.note = done, note
        if self.name == "pretrain":
            self.fraction = self.weight / (self.weight + EVALUATION) * self.share
        self.display.moved(self)

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
    """

    def __init__(self, console: Console, runs: Sequence[Run], views: Sequence[int]) -> None:
        self.console = console
        self.stopped = False
        self.views = {run.folder(): float(count) for run, count in zip(runs, views, strict=True)}
        self.active: dict[str, View] = {}
        self.ended = 0
        self._work = sum(self.views.values()) + EVALUATION * len(runs)
        self._finished = 0.0
        self._began = time.monotonic()

    def begins(self, run: Run) -> Watch:
        """A run begins."""
        view = self.active[run.folder()] = View(run, self.views[run.folder()], self)
        return view

    def ends(self, outcome: Outcome) -> None:
        """A run is over: say how."""
        view = self.active.pop(outcome.run.folder())
        self.ended += 1
        self._finished += view.weight + EVALUATION
        self.say(ending(outcome, time.monotonic() - view.began))
        if outcome.record and outcome.record.health.warning:
            view.warn(outcome.record.health.warning)

    def share(self) -> float:
        """Of all the work that is done, in [0, 1]."""
        under_way = sum((view.weight + EVALUATION) * view.fraction for view in self.active.values())
        return (self._finished + under_way) / self._work

    def left(self) -> str:
        """Time left for all, in words; nothing while there is too little to judge by."""
        passed, done = time.monotonic() - self._began, self.share()
        return f"{duration(passed * (1 - done) / done)} left" if passed > 20 and done > 0.01 else ""

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

    def begins(self, run: Run) -> Watch:
        """Say which run begins."""
        self._told[run.folder()] = time.monotonic()
        self.say(f"[{self.ended + len(self.active) + 1}/{len(self.views)}] {title(run)}")
        return super().begins(run)

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

    def begins(self, run: Run) -> Watch:
        """Give the run a bar."""
        self._tasks[run.folder()] = self.bars.add_task(title(run), total=1.0, note="")
        return super().begins(run)

    def ends(self, outcome: Outcome) -> None:
        """Take its bar away."""
        self.bars.remove_task(self._tasks.pop(outcome.run.folder()))
        super().ends(outcome)
        self._show_all()

    def moved(self, view: View) -> None:
        """Move its bar and the grid's."""
        self.bars.update(self._tasks[view.run.folder()], completed=view.share, note=view.words())
        self._show_all()

    def _show_all(self) -> None:
        note = f"{self.ended}/{len(self.views)}  {self.left()}"
        self.bars.update(self._all, completed=self.share(), note=note)


@contextlib.contextmanager
def display_for(runs: Sequence[Run], budgets: Sequence[Budget]) -> Iterator[Display]:
    """Show how runs get on; the first Ctrl-C lets every run keep its state, the second does not.

    Args:
        runs: about to be carried out.
        budgets: of their pretraining.
    """
    console = Console(stderr=True)
    views = [budget.total_views if budget.views else 0 for budget in budgets]
    if not console.is_terminal:
        with stopping_on_signals(display := Lines(console, runs, views)):
            yield display
        return
    bars = Bars(console, runs, views)
    with stopping_on_signals(bars), bars.bars:
        yield bars


@contextlib.contextmanager
def stopping_on_signals(display: Display) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM only ask runs to stop at their next step."""

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
            signal.signal(number, handler)
