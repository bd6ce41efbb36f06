"""``bench show``: configuration, results and provenance of one run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.completion import run_names
from bench.echo import echo
from bench.options import RUNS, Runs
from results.errors import BenchError, RequestError, UnknownName
from results.names import display_name, display_stage
from results.store import CONFIG, NO_RUNS_HINT, require_runs_folder, run_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from results.store import Stored


MOST_MATCHES = 10
"""Runs that an error names."""


def show(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run's folder, or any part of its name that no other has.", autocompletion=run_names
        ),
    ],
    *,
    runs: Runs = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="The record as it is stored.")] = False,
) -> None:
    """Show a run: its configuration, results, training history, cost and provenance, or why it failed."""
    from results.store import read_run

    stored = read_run(find_run(run, runs))
    if as_json:
        echo(json.dumps(require_record(stored), indent=1, sort_keys=True))
        return
    for line in lines(stored):
        echo(line)
    if stored.status == "unreadable":
        raise typer.Exit(1)


def require_record(stored: Stored) -> dict[str, Any]:
    """The record of a run.

    Raises:
        BenchError: it has none that can be read.
    """
    if stored.record is not None:
        return stored.record
    reason, hint = stored.problem, stored.remedy
    if stored.status == "failed" and stored.failure:
        reason, hint = stored.failure["reason"], f"see: bench show {stored.folder.name}"
    elif stored.status == "unfinished":
        hint = "the same command resumes it"
    raise BenchError(f"{stored.folder.name} has no record: {stored.status}{f', {reason}' if reason else ''}", hint=hint)


def find_run(word: str, runs: Path) -> Path:
    """The folder of a run, given by its path, by its name or by any part of its name that no other run has.

    Raises:
        UnknownName: no run matches.
        RequestError: several runs match, or there are none.
    """
    if os.path.lexists(Path(word) / CONFIG):
        return Path(word)
    require_runs_folder(runs)
    names = [folder.name for folder in run_folders(runs)]
    if not names:
        raise RequestError(f"no runs in {runs}", hint=NO_RUNS_HINT)
    found = (
        [name for name in names if name == word]
        or [name for name in names if name.startswith(word) or name.endswith(word)]
        or [name for name in names if word in name]
    )
    if not found or not word:
        raise UnknownName("run", word, names)
    if len(found) > 1:
        some = ", ".join(found[:MOST_MATCHES]) + ", …" * (len(found) > MOST_MATCHES)
        raise RequestError(f"{len(found)} runs match {word!r}", hint=f"choose one: {some}")
    return runs / found[0]


def lines(stored: Stored) -> Iterator[str]:
    """A stored run as readable text."""
    state = "; ".join(part for part in (stored.problem, stored.remedy) if part)
    yield f"{stored.folder.name}: {stored.status}{f': {state}' if state else ''}"
    if stored.config:
        yield from config_lines(stored.config)
    if stored.failure:
        yield f"\nfailed {stored.failure['time']}: {stored.failure['reason']}"
        yield stored.failure["traceback"].rstrip()
    if stored.record:
        yield from record_lines(stored.record)


def config_lines(config: dict[str, Any]) -> Iterator[str]:
    """Protocol, method, data set, backbone and seed of a run."""
    preset = config.get("preset") or config["protocol"]
    requested = f"; requested by {preset}" if preset != config["protocol"] else ""
    yield f"  protocol   {config['label']} (version {config['version']}, {config['track']}){requested}"
    for part in ("method", "dataset", "backbone"):
        options = ", ".join(f"{key}={value}" for key, value in config[part]["options"].items())
        yield f"  {part:10} {config[part]['label']}{f' ({options})' if options else ''}"
    pretrain = ", ".join(f"{key}={value}" for key, value in config["pretrain"].items() if value is not None)
    yield f"  pretrain   {pretrain}"
    yield f"  seed       {config['seed']}"


def record_lines(record: dict[str, Any]) -> Iterator[str]:
    """Results, health, training history, cost and provenance of a record."""
    yield "\nmeasured"
    for m in record["metrics"]:
        name = f"{m['label']} after {display_name(m['refinement'])}" if m.get("refinement") else m["label"]
        yield f"  {name:20} {m['metric']} {m['value']:.2f} on {m['n']:,} {m['split']} images of {m['dataset']}"
    pictures = record.get("pictures", ())
    yield from (f"  {display_name(p['label']):20} shown on {p['dataset']} in {p['file']}" for p in pictures)
    health = record["health"]
    yield f"\nhealth     {health['warning'] or 'no warning'}"
    names = ("std", "rankme", "lidar", "alignment", "uniformity")
    yield "  " + ", ".join(f"{key} {health[key]:.3g}" for key in names if health.get(key) is not None)
    yield from history_lines(record["history"])
    cost = record["cost"]
    yield "\ncost"
    yield f"  {cost['views']:,} views in {cost['steps']:,} steps" + speed(cost)
    yield "  " + ", ".join(f"{display_stage(stage)} {seconds:.1f} s" for stage, seconds in cost["seconds"].items())
    attempts = f"{cost['attempts']} attempt{'' if cost['attempts'] == 1 else 's'}"
    yield f"  {cost['peak_memory'] / 2**20:,.0f} MiB at most, {cost['precision']}, {attempts}"
    if cost.get("gpu_seconds") is not None:
        energy = f", {cost['energy'] / 3.6e6:.3g} kWh in pretraining" if cost.get("energy") is not None else ""
        yield f"  {cost['gpu_seconds'] / 3600:.3g} GPU-hours{energy}"
    yield "\nprovenance"
    for key, value in sorted(record["provenance"].items()):
        yield f"  {key:10} {provenance_text(key, value)}"


def provenance_text(key: str, value: Any) -> str:
    """A value of the provenance, in words; whatever lies in the place of one that is not as it should be."""
    if key == "plugin_sources" and isinstance(value, dict):
        return ", ".join(value)  # the sources themselves are long; --json has them
    if key == "attempts" and isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return "; ".join(attempt_text(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return re.sub(r"\b1 threads\b", "1 thread", str(value)) if key == "device" else str(value)


def attempt_text(attempt: dict[str, Any]) -> str:
    """When an attempt was started, and by which code."""
    commit = str(attempt.get("commit", ""))[:10]
    code = f" by {commit}{' with changes' if attempt.get('dirty') else ''}" if commit else ""
    return f"{attempt.get('started')}{code}"


def speed(cost: dict[str, Any]) -> str:
    """Views per second and floating-point operations of the pretraining; empty if nothing was pretrained."""
    if not cost["views_per_second"]:
        return ""
    return f", {cost['views_per_second']:,.0f} views/s, {cost['flops'] / 1e12:.3g} TFLOP"


def history_lines(history: list[dict[str, Any]], at_most: int = 12) -> Iterator[str]:
    """Losses of at most ``at_most`` evenly spaced epochs, the last one included."""
    if not history:
        return
    yield "\nhistory"
    every = -(-len(history) // at_most)
    for line in history[::-every][::-1]:
        others = ", ".join(f"{k} {v:.4g}" for k, v in line.items() if k not in ("epoch", "views", "seconds", "lr"))
        yield f"  epoch {line['epoch']:>4}  {others}"
