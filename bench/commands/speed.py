"""``bench speed``: views per second on this machine, by stage."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.echo import echo, print_progress
from bench.options import (
    DATA,
    DEVICE,
    PROTOCOL,
    Backbones,
    Data,
    Datasets,
    Device,
    Methods,
    Plugins,
    Protocol,
    Reference,
    Settings,
)
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.spec.run import Run
    from protocols.speed.measure import Speed

EXAMPLES = """\b
Examples:
  bench speed
      every method of the protocol
  bench speed --methods simclr --datasets cifar10 --set pretrain.batch=256 --against pil
      compare with the same training fed by PIL and a DataLoader, image by image
  bench speed --methods relational --protocol relational2020 --json > speed.json
"""


def speed(
    *,
    methods: Methods = None,
    datasets: Datasets = None,
    backbones: Backbones = None,
    protocol: Protocol = PROTOCOL,
    settings: Settings = [],  # noqa: B006 - typer copies it
    plugins: Plugins = [],  # noqa: B006 - typer copies it
    data: Data = DATA,
    device: Device = DEVICE,
    reference: Reference = False,
    against: Annotated[str, typer.Option(help="pil: compare with PIL and a DataLoader with one worker per core.")] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds to measure each number for.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="All measurements and the machine, as JSON.")] = False,
) -> None:
    """Measure how fast methods train on this machine: each stage of a step, the fraction of peak, the memory."""
    from protocols.check.preflight import check
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import expand, parse_request
    from protocols.speed.measure import measure

    if against not in ("", "pil"):
        raise RequestError(f"--against {against!r}", hint="there is pil")
    request = parse_request(
        methods=methods,
        datasets=datasets,
        backbones=backbones,
        protocol=protocol,
        settings=settings,
        plugins=plugins,
        data=data,
    )
    runs: dict[str, Run] = {}  # speed does not depend on the seed
    for run in expand(request, data, print_progress):
        runs.setdefault(replace(run, seed=0).folder(), run)
    context = ExecutionContext(Path(), data, device, reference)
    trained = [run for run, budget in zip(runs.values(), check([*runs.values()], data), strict=True) if budget.views]
    if not trained:
        raise RequestError("none of the methods is trained, so that there is no speed", hint="name one that is")
    measured = []
    for run in trained:
        measured.append((run, measure(run, context, seconds=seconds, against=bool(against))))
        if not as_json:
            echo("\n".join(lines(*measured[-1])))
    if as_json:
        echo(json.dumps(document(measured, device), indent=1))


def lines(run: Run, speed: Speed) -> Iterator[str]:
    """The measurements of a run as readable text."""
    views = speed.views // speed.batch
    yield f"{run.dataset.label} {run.backbone.label} {run.method.label}: {speed.batch} images × {views} views a step"
    total = sum(speed.stages.values())
    for name, seconds in speed.stages.items():
        yield row(name, seconds, speed.views, f"{100 * seconds / total:3.0f} %")
    yield row("whole step", speed.step, speed.views)
    yield (
        f"  {speed.device}, {speed.precision}: {100 * speed.fraction_of_peak:.1f} % of the "
        f"{speed.peak / 1e9:,.0f} Gflop/s of a matrix product; {speed.memory / 2**20:,.0f} MiB above the start"
    )
    if speed.without_graph is not None:
        reason = f" no CUDA graph: {speed.without_graph}" if speed.without_graph else " a CUDA graph"
        yield f"  forward and backward pass of the whole step:{reason}"
    for name, ratio in speed.ratios.items():
        seconds, baseline_seconds = ratio.median_round
        yield (
            f"  {name} against PIL and DataLoader({speed.workers}): {ratio.speedup:.1f} × "
            f"({rate(speed.views, seconds)} against {rate(speed.views, baseline_seconds)} views/s)"
        )
    yield ""


def row(name: str, seconds: float, views: int, percent: str = "") -> str:
    """A line of the table of stages."""
    return f"  {name:10} {1000 * seconds:9.2f} ms  {percent:5}  {rate(views, seconds):>9} views/s"


def rate(views: int, seconds: float) -> str:
    """Views per second, formatted."""
    return f"{views / seconds:,.0f}"


def document(measured: list[tuple[Run, Speed]], device: str) -> dict[str, Any]:
    """All measurements with their provenance, for JSON."""
    from protocols.system.device import choose_device
    from protocols.system.provenance import provenance

    return {
        "provenance": provenance(choose_device(device)),
        "speeds": [
            {
                "run": run.config(),
                **asdict(speed),
                "ratios": {
                    name: {"ours": ratio.seconds, "theirs": ratio.baseline_seconds}
                    for name, ratio in speed.ratios.items()
                },
                "views_per_second": speed.views_per_second,
                "share_of_peak": speed.fraction_of_peak,
                "times": {name: ratio.speedup for name, ratio in speed.ratios.items()},
            }
            for run, speed in measured
        ],
    }
