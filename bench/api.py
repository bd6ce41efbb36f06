"""The library: what the commands do, as functions for notebooks and scripts; same options, same errors."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.options import DATA, DEVICE, PROTOCOL, RUNS, print_renamed_refinements
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from methods.base import Backbone
    from protocols.spec.run import Run
    from results.analysis.frame import Frames
    from results.report import Report


Words: TypeAlias = "str | Path | Iterable[str | Path]"
"""Names, labels or paths: a list, or separated by commas."""


def run(
    methods: Words = (),
    datasets: Words = (),
    *,
    backbones: Words = (),
    protocol: str | Path = PROTOCOL,
    seeds: str | int | Iterable[int] = (),
    evaluations: Words = (),
    refine: Words = (),
    evaluate_on: Words = (),
    epochs: float | None = None,
    views: int | None = None,
    flops: float | None = None,
    settings: str | Iterable[str] = (),
    plugins: Words = (),
    runs: str | Path | None = None,
    data: str | Path | None = None,
    device: str = DEVICE,
    reference: bool = False,
    deterministic: bool = False,
    ranks: int = 1,
    log: Words = (),
    jobs: int | None = 1,
    per_gpu: int = 1,
    limit: int | None = None,
    force: bool = False,
) -> Frames:
    """Execute the runs of a grid that are not done yet, as ``bench run`` does; the protocol decides what is left open.

    Args:
        methods: names, labels or Python files; a list, or separated by commas.
        datasets: names or Python files, as above.
        backbones: names or Python files, as above.
        protocol: name, or path of a TOML file.
        seeds: a number, several, or text such as ``0-4``.
        evaluations: names, labels or Python files.
        refine: refinements after which evaluations are repeated: names, labels or Python files.
        evaluate_on: data sets to evaluate on; by default the one that is pretrained on.
        epochs: budget in passes over the data set.
        views: budget in augmented images.
        flops: budget in floating-point operations of whole training steps.
        settings: ``TARGET.KEY=VALUE``, as for ``--set``.
        plugins: Python files that register plugins of any kind. What was registered in this process needs no file, but
            is executed in this process only: leave ``jobs`` and ``ranks`` at 1.
        runs: folder of the runs; by default that of the variable ``BENCH_RUNS``, else ``runs``.
        data: folder of the data sets; by default that of ``BENCH_DATA``, else ``data``.
        device: ``auto`` or a torch device.
        reference: train by reference operations: slower, the same to rounding.
        deterministic: on CUDA, use kernels only that give the same again bit for bit: slower; a run that needs another
            one fails.
        ranks: processes that share each run's pretraining.
        log: any of ``tensorboard``, ``wandb`` and ``mlflow``, to follow the runs in.
        jobs: runs at a time; more than one in processes of their own; None for as many as this machine allows.
        per_gpu: runs at a time on each GPU, unless ``jobs`` is given.
        limit: execute at most so many runs.
        force: start again what is done.

    Returns:
        The runs of the grid as tidy DataFrames, see :func:`load_runs`. A run that fails does not stop the others, and
        is a row of ``problems``.

    Raises:
        RequestError: the request is wrong; nothing was started.
        KeyboardInterrupt: interrupted; the same call resumes.
    """
    from bench.echo import print_progress
    from bench.execution import execute_runs
    from protocols.datasets.load import clear_caches
    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Request, expand, parse_seeds, plan
    from protocols.system.run_log import parse_logs
    from protocols.tune.outcome import store_tuned_runs
    from results.analysis.frame import load_runs as read_frames

    for name, number in {"ranks": ranks, "jobs": jobs, "per_gpu": per_gpu, "limit": limit}.items():
        if number is not None and number < 1:
            raise RequestError(f"{name} is {number}", hint="it must be 1 or more")
    clear_caches()
    data = folder_or_default(data, "BENCH_DATA", DATA)
    refinements = as_list(refine)
    print_renamed_refinements(refinements)
    request = Request(
        methods=as_list(methods),
        datasets=as_list(datasets, data),
        backbones=as_list(backbones),
        seeds=parse_seeds(str(seeds) if isinstance(seeds, str | int) else ",".join(map(str, seeds))),
        protocol=str(protocol),
        evaluations=as_list(evaluations),
        refinements=refinements,
        evaluate_on=as_list(evaluate_on, data),
        epochs=epochs,
        views=views,
        flops=flops,
        settings=[settings] if isinstance(settings, str) else list(settings),
        plugins=as_list(plugins),
    )
    context = ExecutionContext(
        folder_or_default(runs, "BENCH_RUNS", RUNS),
        data,
        device,
        reference,
        ranks,
        deterministic=deterministic,
        log=parse_logs(as_list(log)),
    )
    asked = expand(request, context.data, print_progress)
    planned = plan(asked, context.runs, context.data, force=force)
    todo = planned.todo[:limit]
    if todo and (jobs != 1 or ranks > 1):
        refuse_local_plugins(todo)
    store = partial(store_tuned_runs, request, asked, context.runs)
    execute_runs(todo, context, jobs, per_gpu, force=force, on_start=store)
    return read_frames(context.runs, only=[one.folder() for one in (*planned.done, *planned.todo)])


def as_list(words: Words, data: Path = Path()) -> list[str]:
    """Words given as a list, or separated by commas; a path that is there may have commas, as on the command line.

    Args:
        words: as given.
        data: folder of the data sets, below which folders are looked up too.
    """
    from protocols.spec.labels import split_names

    if isinstance(words, str):
        return split_names(words, data)
    return [str(words)] if isinstance(words, Path) else [str(word) for word in words]


def folder_or_default(folder: str | Path | None, variable: str, default: Path) -> Path:
    """A folder that is given, else that of an environment variable, else the default; as on the command line.

    It is absolute: code of a plugin may change the working folder.
    """
    return Path(folder or os.environ.get(variable) or default).absolute()


def refuse_local_plugins(runs: Iterable[Run]) -> None:
    """Do nothing if worker processes can load every plugin of these runs.

    Raises:
        RequestError: one was registered in this process only.
    """
    from protocols.spec.resolve import EXTRAS, plugins_of

    for run in runs:
        extras = ((registry, extra) for extra in run.extras for registry in EXTRAS)
        for registry, component in (*plugins_of(run), *extras):
            if registry.is_local(component.name):
                raise RequestError(
                    f"the {registry.kind} {component.name} was registered in this process; others cannot load it",
                    hint="leave jobs and ranks at 1, or put it into a file and name that with plugins",
                )


def load_runs(path: str | Path | Sequence[str | Path]) -> Frames:
    """The runs below a folder, or several merged, as tidy DataFrames.

    These are ``runs``, ``results``, ``history``, ``costs``, ``problems``.

    ``results`` has a row per number: run, method, data set, seed, evaluation, refinement, metric, value (percent), …;
    those measured after a refinement are ``refined``, the others ``unrefined``. ``problems`` are the runs that failed,
    collapsed or are not finished, with the reason. ``conflicts`` says which run has different numbers in two folders.

    Raises:
        RequestError: there is no such folder, or it is itself a run. One without runs gives empty DataFrames.
    """
    from results.analysis.frame import load_runs as read_frames

    return read_frames([Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path])


def load_backbone(run: str | Path, *, runs: str | Path | None = None, device: str = "cpu") -> Backbone:
    """The pretrained backbone of a run, in evaluation mode.

    Args:
        run: its folder, or any part of the folder's name that no other has.
        runs: the folder of the runs, where ``run`` is not a path; its default is that of :func:`run`.
        device: where it is put.

    Returns:
        A module from images (n, 3, side, side), normalised as in training, to representations (n, ``dim``).

    Raises:
        RequestError: there is no such run, or it has no pretrained weights.
    """
    return read_backbone(str(run), folder_or_default(runs, "BENCH_RUNS", RUNS), device)[2]


def read_backbone(run: str, runs: Path, device: str = "cpu") -> tuple[Path, dict[str, Any], Backbone]:
    """A run's folder, the content of its file of weights, and its backbone with them; see :func:`load_backbone`."""
    import torch

    from bench.commands.show import find_run
    from protocols.backbones.build import new_backbone
    from protocols.pretrain import checkpoint
    from protocols.spec.resolve import load_plugins
    from protocols.spec.run import Run
    from results.store import BACKBONE, CONFIG, read_json

    folder = find_run(run, runs)
    config: dict[str, Any] | None = read_json(folder / CONFIG)
    planned = Run.from_config(config) if config else None
    saved = checkpoint.load(folder / BACKBONE, torch.device(device), planned.fingerprint()) if planned else None
    if planned is None or saved is None:
        raise RequestError(
            f"{folder} has no pretrained weights", hint="the run is not finished, or only its record was copied"
        )
    load_plugins(planned)
    with torch.random.fork_rng(devices=[]):  # its initial weights, soon replaced, are drawn from the caller's generator
        backbone = new_backbone(planned, saved.get("side", 0)).to(device)  # none was stored before a backbone took one
    backbone.load_state_dict(saved["backbone"])
    return folder, saved, backbone.eval()


def export(
    run: str | Path,
    to: str | Path,
    *,
    runs: str | Path | None = None,
    data: str | Path | None = None,
    onnx: bool = False,
) -> list[Path]:
    """Write the backbone of a finished run for code without bench, as ``bench export`` does.

    Args:
        run: its folder, or any part of the folder's name that no other has.
        to: folder to write to; it must not exist, or be empty.
        runs: the folder of the runs, where ``run`` is not a path; its default is that of :func:`run`.
        data: folder of the data sets, read for the normalisation of runs of earlier versions only.
        onnx: write an ONNX file too.

    Returns:
        The files: weights as safetensors, the card as JSON and Markdown, and the code that loads them.

    Raises:
        RequestError: there is no such run, it is not finished, or the folder cannot be written.
    """
    from protocols.backbones.export import write_export
    from protocols.datasets.load import load_dataset
    from results.names import display_name
    from results.store import read_run

    folder, saved, backbone = read_backbone(str(run), folder_or_default(runs, "BENCH_RUNS", RUNS))
    record = read_run(folder).record
    if record is None:
        raise RequestError(f"{folder} is not finished", hint="execute it first; then it says what it measured")
    config = record["run"]
    if "statistics" not in saved:
        dataset = load_dataset(config["dataset"]["name"], folder_or_default(data, "BENCH_DATA", DATA))
        saved |= {"statistics": (dataset.mean, dataset.std), "side": dataset.side}
    mean, std = saved["statistics"]
    card = {
        "method": config["method"]["label"],
        "options": config["method"]["options"],
        "external": config.get("baseline") == "external",
        "weights": config["method"]["options"].get("weights", ""),
        "dataset": config["dataset"]["name"],
        "backbone": config["backbone"]["name"],
        "protocol": config["label"],
        "protocol_version": config["version"],
        "seed": config["seed"],
        "views": record["cost"]["views"],
        "run": folder.name,
        "fingerprint": config["fingerprint"],
        "provenance": record["provenance"],
        "accuracies": [
            {
                "evaluation": " after ".join(filter(None, (one["label"], display_name(one.get("refinement", ""))))),
                **{key: one[key] for key in ("dataset", "metric", "value", "n")},
            }
            for one in record["metrics"]
        ],
        "normalisation": {"mean": list(mean), "std": list(std)},
        "image_side": saved["side"],
        "dim": backbone.dim,
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
    }
    return write_export(backbone, Path(to), card, onnx=onnx)


def report(
    runs: str | Path | Sequence[str | Path] | None = None,
    to: str | Path = "report",
    *,
    published: bool = False,
    compare: tuple[str, str] | None = None,
    parquet: bool = False,
    data: str | Path | None = None,
    show: bool = False,
    plugins: Words = (),
) -> Report:
    """Write tables, figures and a page of the runs below a folder, as ``bench report`` does.

    Args:
        runs: the folder of the runs, or several; its default is that of :func:`run`.
        to: folder of the report.
        published: put published numbers beside the measured ones.
        compare: labels of two methods to compare, paired by seed.
        parquet: write the numbers as Parquet files too; needs pyarrow.
        data: folder of the data sets; published numbers of one that is not there are said to lack it.
        show: print the tables too.
        plugins: Python files that register figures; a list, or separated by commas.

    Returns:
        The content of the report, and the files that were written.

    Raises:
        RequestError: there are no runs, or the folder cannot be written.
    """
    from bench.commands.report import is_absent
    from protocols.spec.plugins import add_files, load_files
    from results.report import display, write

    files = as_list(plugins)
    add_files(files)
    load_files(files)
    data = folder_or_default(data, "BENCH_DATA", DATA)
    if runs is None or isinstance(runs, str | Path):
        runs = [folder_or_default(runs, "BENCH_RUNS", RUNS)]
    made = write(
        [Path(folder) for folder in runs],
        Path(to),
        published=published,
        absent=lambda name: is_absent(name, data),
        pair=compare,
        parquet=parquet,
    )
    if show:
        display(made.sections)
    return made
