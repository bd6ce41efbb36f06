"""``bench speed``: views a second on this machine, stage by stage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.options import DATA, DEVICE, Data, Device, Plain, Settings
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.run import Run
    from protocols.speed import Speed

EXAMPLES = """\b
Examples:
  bench speed
      every method of the protocol
  bench speed --methods simclr --datasets cifar10 --set pretrain.batch=256 --against pil
      beside the same training fed image by image by PIL and a DataLoader
  bench speed --methods relational --protocol relational2020 --json > speed.json
"""


def speed(
    *,
    methods: Annotated[str, typer.Option(help="Names, or Python files, by commas.")] = "",
    datasets: Annotated[str, typer.Option(help="Names, by commas.")] = "",
    backbones: Annotated[str, typer.Option(help="Names, by commas; timm:NAME or timm:NAME@small.")] = "",
    protocol: Annotated[str, typer.Option(help="Name, or a TOML file.")] = "quick",
    settings: Settings = [],  # noqa: B006 - typer copies it
    data: Data = DATA,
    device: Device = DEVICE,
    plain: Plain = False,
    against: Annotated[str, typer.Option(help="pil: compare with PIL and a DataLoader with a worker a core.")] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="To spend on each figure.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything measured, and where.")] = False,
) -> None:
    """Measure how fast methods train here: every stage of a step, the share of the machine's peak, the memory."""
    from bench.plan import Request, expand
    from protocols.check import check
    from protocols.labels import words
    from protocols.place import Place
    from protocols.speed import measure

    if against not in ("", "pil"):
        raise RequestError(f"--against {against!r}", hint="there is pil")
    request = Request(
        methods=words(methods),
        datasets=words(datasets),
        backbones=words(backbones),
        seeds=[0],
        protocol=protocol,
        settings=settings,
    )
    runs, place = expand(request, data), Place(Path(), data, device, plain)
    trained = [run for run, budget in zip(runs, check(runs, data), strict=True) if budget.views]
    measured = []
    for run in trained:
        measured.append((run, measure(run, place, seconds=seconds, against=bool(against))))
        if not as_json:
            typer.echo("\n".join(lines(*measured[-1])))
    if as_json:
        typer.echo(json.dumps(document(measured, device), indent=1))


def lines(run: Run, speed: Speed) -> Iterator[str]:
    """What was measured, for people."""
    views = speed.views // speed.batch
    yield f"{run.dataset.label} {run.backbone.label} {run.method.label}: {speed.batch} images × {views} views a step"
    total = sum(speed.stages.values())
    for name, seconds in speed.stages.items():
        yield row(name, seconds, speed.views, f"{100 * seconds / total:3.0f} %")
    yield row("whole step", speed.step, speed.views)
    yield (
        f"  {speed.device}, {speed.precision}: {100 * speed.share_of_peak:.1f} % of the "
        f"{speed.peak / 1e9:,.0f} Gflop/s of a matrix product; {speed.memory / 2**20:,.0f} MiB above the start"
    )
    for name, ratio in speed.ratios.items():
        yield (
            f"  {name} against PIL and DataLoader({speed.workers}): {ratio.times:.1f} × "
            f"({rate(speed.views, min(ratio.ours))} against {rate(speed.views, min(ratio.theirs))} views/s)"
        )
    yield ""


def row(name: str, seconds: float, views: int, share: str = "") -> str:
    """A line of the table of stages."""
    return f"  {name:10} {1000 * seconds:9.2f} ms  {share:5}  {rate(views, seconds):>9} views/s"


def rate(views: int, seconds: float) -> str:
    """Views a second."""
    return f"{views / seconds:,.0f}"


def document(measured: list[tuple[Run, Speed]], device: str) -> dict[str, Any]:
    """What was measured, with where it was, as plain values."""
    from protocols.hardware import choose_device
    from protocols.provenance import provenance

    return {
        "provenance": provenance(choose_device(device)),
        "speeds": [
            {
                "run": run.config(),
                **asdict(speed),
                "views_per_second": speed.views_per_second,
                "share_of_peak": speed.share_of_peak,
                "times": {name: ratio.times for name, ratio in speed.ratios.items()},
            }
            for run, speed in measured
        ],
    }
