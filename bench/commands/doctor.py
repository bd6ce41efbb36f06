"""``bench doctor``: check the installation, devices, data sets, plugins and stored runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.echo import echo
from bench.options import DATA, RUNS, Data, Runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def doctor(*, data: Data = DATA, runs: Runs = RUNS) -> None:
    """Check the installation, the devices, the data sets, the plugins and the stored runs."""
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
    from protocols.system.device import describe_machine, device_name, has_bfloat16
    from protocols.system.provenance import commit

    here = commit()
    yield f"bench {__version__} {here['commit'][:10]}{' with changes' if here['dirty'] else ''}"
    facts = describe_machine(torch.device("cpu"))
    yield f"python {facts['python']}, {', '.join(f'{k} {v}' for k, v in facts['packages'].items())}"
    devices = [torch.device("cpu")] + [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    for device in devices:
        precision = "bfloat16" if has_bfloat16(device.type) else "float32"
        yield f"{device}: {device_name(device)}, trains in {precision}"
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
    """Number of runs of each status, and the runs that cannot be read."""
    from collections import Counter

    from results.store import read_runs

    stored = read_runs(runs)
    counts = Counter(run.status for run in stored)
    yield ", ".join(f"{n} {status}" for status, n in counts.items()) or f"none in {runs}"
    yield from (f"unreadable: {run.folder.name}: {run.problem}" for run in stored if run.status == "unreadable")
