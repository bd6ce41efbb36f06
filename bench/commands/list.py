"""``bench list``: what there is to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.echo import echo
from bench.options import RUNS, Plugins, Runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal[
    "methods",
    "datasets",
    "backbones",
    "protocols",
    "evaluations",
    "refinements",
    "augmentations",
    "optimizers",
    "schedules",
    "figures",
    "runs",
]


def listing(
    what: Annotated[Kind, typer.Argument(help="What to list.")] = "methods",
    *,
    options: Annotated[bool, typer.Option("--options", help="With the options of each and their defaults.")] = False,
    runs: Runs = RUNS,
    plugins: Plugins = [],  # noqa: B006 - typer copies it
) -> None:
    """List methods, data sets, protocols, plugins of another kind, or the runs of a folder, in a line each."""
    from protocols.spec.plugins import add_files

    add_files(plugins)
    if what == "runs":
        lines = list(run_lines(runs))
    else:
        lines = list(protocol_lines() if what == "protocols" else plugin_lines(what, options=options))
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        echo(f"{name:{width}}  {text.replace('``', '`')}".rstrip())  # summaries are docstrings


def protocol_lines() -> Iterator[tuple[str, str]]:
    """Name and summary of every protocol; of a broken one, its error."""
    from protocols.spec.protocol import load, names
    from results.errors import RequestError

    for name in names():
        try:
            protocol = load(name)
        except RequestError as error:
            yield name, f"broken: {error.message}"
        else:
            yield name, f"{protocol.summary} ({protocol.fairness})"


def run_lines(runs: Path) -> Iterator[tuple[str, str]]:
    """Name and status of every run of a folder, with its accuracies or the reason why it has none.

    Raises:
        RequestError: there are no runs.
    """
    from results.analysis.frame import load_runs
    from results.errors import RequestError
    from results.store import NO_RUNS_HINT

    frames = load_runs(runs)
    if frames.runs.empty and frames.trials.empty:
        raise RequestError(f"no runs in {runs}", hint=NO_RUNS_HINT)
    found = frames.unrefined[frames.unrefined["metric"] == "top1"]
    scores: dict[str, list[str]] = {}
    for run, evaluation, value in found[["run", "evaluation", "value"]].itertuples(index=False):
        scores.setdefault(run, []).append(f"{evaluation} {value:.2f}")
    for row in frames.runs.sort_values("run").itertuples():
        reason = ", ".join(scores.get(str(row.run), [])) or str(row.reason)
        yield str(row.run), f"{row.status}{f': {reason}' if reason else ''}"


def plugin_lines(what: Kind, *, options: bool) -> Iterator[tuple[str, str]]:
    """Name and summary of every plugin of a kind; of a broken one, its error."""
    from protocols.spec.plugins import REGISTRIES

    for entry in REGISTRIES[what].entries():
        origin = "" if entry.origin == "built in" else f" [{entry.origin}]"
        yield entry.name, f"broken: {entry.error}{origin}" if entry.error else entry.summary + origin
        if options:
            yield from (("", f"  {key} = {value!r}") for key, value in entry.options.items())
