"""The library: what the commands do, as functions for notebooks and scripts; same options, same errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from methods.base import Backbone
    from results.analysis.frame import Frames
    from results.report import Report


def run(
    methods: str | Iterable[str] = (),
    datasets: str | Iterable[str] = (),
    *,
    backbones: str | Iterable[str] = (),
    protocol: str | Path = "quick",
    seeds: str | Iterable[int] = (),
    evaluations: str | Iterable[str] = (),
    refine: str | Iterable[str] = (),
    evaluate_on: str | Iterable[str] = (),
    epochs: float | None = None,
    views: int | None = None,
    settings: Iterable[str] = (),
    plugins: Iterable[str | Path] = (),
    runs: str | Path = "runs",
    data: str | Path = "data",
    device: str = "auto",
    jobs: int | None = 1,
    force: bool = False,
) -> Frames:
    """Execute the runs of a grid that are not done yet, as ``bench run`` does; the protocol decides what is left open.

    Args:
        methods: names, labels or Python files; a list, or separated by commas.
        datasets: names.
        backbones: names.
        protocol: name, or path of a TOML file.
        seeds: numbers, or ``0-4``.
        evaluations: names or labels.
        refine: refinements after which evaluations are repeated.
        evaluate_on: data sets to evaluate on; by default the one that is pretrained on.
        epochs: budget in passes over the data set.
        views: budget in augmented images.
        settings: ``TARGET.KEY=VALUE``, as for ``--set``.
        plugins: Python files that register plugins of any kind. What was registered in this process needs no file, but
            runs in this process only: leave ``jobs`` at 1.
        runs: folder of the runs.
        data: folder of the data sets.
        device: ``auto`` or a torch device.
        jobs: runs at a time; more than one run in worker processes; None for as many as this machine allows.
        force: start again what is done.

    Returns:
        The runs of the grid as tidy DataFrames, see :func:`load_runs`.

    Raises:
        RequestError: the request is wrong; nothing was started.
        KeyboardInterrupt: interrupted; the same call resumes.
    """
    from bench.commands.run import execute_runs
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Request, expand, parse_seeds, plan
    from results.analysis.frame import load_runs as read_frames

    request = Request(
        methods=as_list(methods),
        datasets=as_list(datasets),
        backbones=as_list(backbones),
        seeds=parse_seeds(seeds) if isinstance(seeds, str) else [int(seed) for seed in seeds],
        protocol=str(protocol),
        evaluations=as_list(evaluations),
        refinements=as_list(refine),
        evaluate_on=as_list(evaluate_on),
        epochs=epochs,
        views=views,
        settings=list(settings),
        plugins=[str(file) for file in plugins],
    )
    context = ExecutionContext(Path(runs), Path(data), device)
    planned = plan(expand(request, context.data), context.runs, force=force)
    if planned.todo:
        execute_runs(planned.todo, context, jobs, 1, force=force)
    return read_frames(context.runs, only=[one.folder() for one in (*planned.done, *planned.todo)])


def as_list(words: str | Iterable[str]) -> list[str]:
    """Names given as a list, or separated by commas."""
    from protocols.spec.labels import split_list

    return split_list(words) if isinstance(words, str) else [str(word) for word in words]


def load_runs(path: str | Path) -> Frames:
    """The runs below a folder as tidy DataFrames: ``runs``, ``results``, ``history``, ``costs``, ``problems``.

    ``results`` has one row per number: run, method, data set, seed, evaluation, refinement, metric, value, …

    Raises:
        RequestError: there is no such folder, or no run in it.
    """
    from results.analysis.frame import load_runs as read_frames

    return read_frames(Path(path))


def load_backbone(run: str | Path, *, runs: str | Path = "runs", device: str = "cpu") -> Backbone:
    """The pretrained backbone of a run, in evaluation mode.

    Args:
        run: its folder, or the beginning or end of the folder's name.
        runs: the folder of the runs, where ``run`` is not a path.
        device: that the module is moved to.

    Returns:
        A module from images (n, 3, side, side), normalised as in training, to representations (n, ``dim``).

    Raises:
        RequestError: there is no such run, or it has no pretrained weights.
    """
    import torch

    from bench.commands.show import find_run
    from protocols.backbones.build import new_backbone
    from protocols.pretrain import checkpoint
    from protocols.spec.resolve import load_plugins
    from protocols.spec.run import Run
    from results.store import BACKBONE, CONFIG, read_json

    folder = find_run(str(run), Path(runs))
    config: dict[str, Any] | None = read_json(folder / CONFIG)
    saved = checkpoint.load(folder / BACKBONE, torch.device(device))
    if config is None or saved is None:
        raise RequestError(
            f"{folder} has no pretrained weights", hint="the run is not finished, or only its record was copied"
        )
    planned = Run.from_config(config)
    load_plugins(planned)
    backbone = new_backbone(planned).to(device)
    backbone.load_state_dict(saved["backbone"])
    return backbone.eval()


def report(
    runs: str | Path = "runs", to: str | Path = "report", *, published: bool = False, show: bool = False
) -> Report:
    """Write tables, figures and a page of the runs below a folder, as ``bench report`` does.

    Args:
        runs: the folder of the runs.
        to: folder of the report.
        published: put published numbers beside the measured ones.
        show: print the tables too.

    Returns:
        The content of the report, and the files that were written.

    Raises:
        RequestError: there are no runs, or the folder cannot be written.
    """
    from results.report import display, write

    made = write(Path(runs), Path(to), published=published)
    if show:
        display(made.sections)
    return made
