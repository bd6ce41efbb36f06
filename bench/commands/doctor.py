"""``bench doctor``: check the installation, devices, data sets, plugins and stored runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from bench.echo import echo
from bench.format import duration
from bench.options import DATA, RUNS, Data, Methods, Plugins, Runs
from results.errors import RequestError
from results.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocols.check.machine import Check, CheckResult

EXAMPLES = """\b
Examples:
  bench doctor
      what is installed, and what is stored
  bench doctor --check
      whether this machine computes what it should: every method, on every device
  bench doctor --check --methods simclr,./mine.py --device cuda
      two methods, one of them in a file, on one device
"""

COLOURS = {"ok": "green", "wrong": "bold red", "slow": "yellow", "no": "dim", "skipped": "dim"}


def doctor(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compute on every device, and compare with reference operations on the CPU: a few minutes.",
        ),
    ] = False,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies it
    device: Annotated[str, typer.Option(help="Device to check; by default all of this machine.")] = "",
    data: Data = DATA,
    runs: Runs = RUNS,
) -> None:
    """Check the installation, the devices, the data sets, the plugins and the stored runs."""
    if check:
        from protocols.check.machine import plan_checks
        from protocols.spec.labels import split_names

        chosen = split_names(methods or "", data)
        raise typer.Exit(check_machine(plan_checks(chosen, plugins, data, device)))
    if methods is not None or plugins or device:
        raise RequestError("--methods, --plugins and --device say what --check checks", hint="add --check")
    for title, lines in (
        ("software and machine", machine_lines()),
        ("data sets", data_lines(data)),
        ("plugins", plugin_lines()),
        ("runs", run_lines(runs)),
    ):
        echo(title)
        for line in lines:
            echo(f"  {line}")


def machine_lines() -> Iterator[str]:
    """Versions, devices, and the training precision on each."""
    import torch

    from bench import __version__
    from protocols.system.compiled import compilation_works
    from protocols.system.device import choose_precision, describe_machine, device_name
    from protocols.system.provenance import commit

    here = commit()
    yield f"bench {__version__} {here['commit'][:10]}{' with changes' if here['dirty'] else ''}"
    facts = describe_machine(torch.device("cpu"))
    yield f"python {facts['python']}, {', '.join(f'{k} {v}' for k, v in facts['packages'].items())}"
    devices = [torch.device("cpu")] + [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    for device in devices:
        yield f"{device}: {device_name(device)}, trains in {choose_precision('auto', device)}"
    yield f"compiled kernels: {'work' if compilation_works() else 'do not work; training on the CPU is much slower'}"


def data_lines(data: Path) -> Iterator[str]:
    """Which data sets are on this machine."""
    from protocols.spec.plugins import DATASETS, dataset_source

    working = [entry.name for entry in DATASETS.entries() if not entry.error]
    for name in working:
        if not DATASETS.get(name).argument:
            missing = dataset_source(name, data).missing()
            yield f"{name}: {f'missing: {missing}' if missing else 'found'}"


def plugin_lines() -> Iterator[str]:
    """Plugins from installed packages that do not load, and how many of every kind there are."""
    from protocols.spec.plugins import REGISTRIES

    entries = [entry for registry in REGISTRIES.values() for entry in registry.entries()]
    broken = [entry for entry in entries if entry.error]
    yield from (f"broken: {entry.name} [{entry.origin}]: {entry.error}" for entry in broken)
    if not broken:
        yield f"{len(entries)}, none broken"


def run_lines(runs: Path) -> Iterator[str]:
    """Number of runs of each status, the runs that cannot be read, and damaged lists of attempts."""
    from collections import Counter

    from results.store import read_attempts, read_runs

    stored = read_runs(runs)
    counts = Counter(run.status for run in stored)
    yield ", ".join(f"{n} {status}" for status, n in counts.items()) or f"none in {runs}"
    yield from (f"unreadable: {run.folder.name}: {run.problem}" for run in stored if run.status == "unreadable")
    damaged = list[str]()
    for run in stored:
        read_attempts(run.folder, damaged.append)
    yield from damaged


def check_machine(checks: list[Check]) -> int:
    """Make checks and print a table of them; returns the exit status."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from protocols.system.device import prepare_process

    prepare_process()
    results = [*make_checks(checks)]
    table = Table(box=None, pad_edge=False)
    for name in ("check", "device", "outcome", "figure"):
        table.add_column(name, overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for result in results:
        words = [Text(printable(word)) for word in (result.name, result.device, result.outcome, result.figure)]
        words[2].stylize(COLOURS[result.outcome])
        table.add_row(*words, f"{result.seconds:.1f} s")
    Console().print(table)
    wrong = sum(result.outcome == "wrong" for result in results)
    seconds = sum(result.seconds for result in results)
    echo(f"{len(results)} checks in {duration(seconds)}: {f'{wrong} wrong' if wrong else 'nothing wrong'}")
    return 1 if wrong else 0


def make_checks(checks: list[Check]) -> Iterator[CheckResult]:
    """Make checks one after the other, with their progress and the time left on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from protocols.check.machine import make

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", style="dim", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    bar = bars.add_task("", total=sum(check.weight for check in checks), left="")
    start, done = time.monotonic(), 0.0
    with bars:
        for number, check in enumerate(checks, start=1):
            name = printable(f"{check.name} on {check.device}")
            left = (sum(one.weight for one in checks) - done) * (time.monotonic() - start) / done if done else 0.0
            note = f"{duration(left)} left" if left else ""
            bars.update(bar, description=f"{number}/{len(checks)}  {name}", completed=done, left=note)
            if not bars.console.is_terminal:
                echo(f"[{number}/{len(checks)}] {name}{f'; {note}' if note else ''}", err=True)
            yield make(check)
            done += check.weight
