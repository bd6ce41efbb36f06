"""Runs followed in TensorBoard, Weights & Biases or MLflow, which ``--log`` names; their packages are optional.

Every epoch's loss, the method's other scalars, the learning rate and the held-out kNN accuracy where it is measured are
logged against views, and what was measured when the run has finished. A log that breaks costs a warning, never a run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

from protocols.system.progress import ForwardingListener, ProgressListener
from results.errors import RequestError, UnknownName, describe
from results.names import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from protocols.spec.run import Run
    from results.record import Record

Writer: TypeAlias = "tuple[Callable[[Mapping[str, float], int], object], Callable[[], object]]"
"""Writes values by name at a number of views; closes the log."""


def open_tensorboard(run: Run, runs: Path) -> Writer:
    """Event files in the folder ``tensorboard/RUN`` of the runs folder, one TensorBoard run for each run."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(runs / "tensorboard" / run.folder()))
    writer.add_text("configuration", f"`{run.config()}`")

    def write(values: Mapping[str, float], views: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, views)
        writer.flush()

    return write, writer.close


def open_wandb(run: Run, runs: Path) -> Writer:
    """A run of the project ``bench``, or of ``WANDB_PROJECT``; with ``WANDB_MODE=offline`` a folder in the runs folder.

    A run that is resumed continues the one of W&B.
    """
    import wandb

    settings = wandb.Settings(silent=True, console="off", login_timeout=30)
    identity: dict[str, Any] = {"id": run.folder(), "name": run.folder(), "group": run.method.label, "resume": "allow"}
    project = os.environ.get("WANDB_PROJECT", "bench")
    opened = wandb.init(project=project, dir=str(runs), config=run.config(), settings=settings, **identity)
    opened.define_metric("*", step_metric="views")
    return lambda values, views: opened.log({**values, "views": views}), opened.finish


def open_mlflow(run: Run, runs: Path) -> Writer:
    """A run of the experiment ``bench``, or ``MLFLOW_EXPERIMENT_NAME``, in ``mlflow.db`` of the runs folder.

    ``MLFLOW_TRACKING_URI`` names another store. A run that is resumed continues the one of MLflow.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient, MlflowException
    from mlflow.entities import Metric, Param

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs}/mlflow.db")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "bench")
    with contextlib.suppress(MlflowException):  # it exists, or another process makes it
        client.create_experiment(name)
    found = client.get_experiment_by_name(name)
    assert found is not None
    experiment = found.experiment_id
    tag, ended = "bench.run", "KILLED"
    known = client.search_runs([experiment], f"tags.`{tag}` = '{run.folder()}'", max_results=1)
    if known:
        identity = known[0].info.run_id
        client.update_run(identity, status="RUNNING")
    else:
        identity = client.create_run(experiment, run_name=run.folder(), tags={tag: run.folder()}).info.run_id
        config = run.config()
        values = {key: config[key]["label"] for key in ("method", "dataset", "backbone")}
        values |= {"protocol": config["label"], "seed": config["seed"]}
        values |= {f"pretrain.{key}": value for key, value in config["pretrain"].items()}
        values |= {f"method.{key}": value for key, value in config["method"]["options"].items()}
        client.log_batch(identity, params=[Param(key, str(value)) for key, value in values.items()])

    def write(values: Mapping[str, float], views: int) -> None:
        nonlocal ended
        now = round(1000 * time.time())
        # Names may have these signs only; labels have brackets.
        metrics = [Metric(re.sub(r"[^\w./: -]", "_", key), value, now, views) for key, value in values.items()]
        client.log_batch(identity, metrics=metrics)
        ended = "FINISHED" if any(key.startswith("evaluate/") for key in values) else ended

    return write, lambda: client.set_terminated(identity, ended)


LOGS: dict[str, Callable[[Run, Path], Writer]] = {
    "tensorboard": open_tensorboard,
    "wandb": open_wandb,
    "mlflow": open_mlflow,
}
"""By the name that ``--log`` takes, which is also that of the package it needs."""


def parse_logs(words: Sequence[str]) -> tuple[str, ...]:
    """The logs that are asked for.

    Raises:
        UnknownName: there is no such log.
        RequestError: its package is not installed.
    """
    for name in words:
        if name not in LOGS:
            raise UnknownName("log", name, LOGS)
        if importlib.util.find_spec(name) is None:
            raise RequestError(f"--log {name} needs the package {name}", hint=f"pip install 'ssl-bench[{name}]'")
    return tuple(dict.fromkeys(words))


class RunLog(ForwardingListener):
    """Writes the scalars of a run to a log.

    Args:
        listener: that everything is forwarded to.
        write: see ``Writer``.
    """

    def __init__(self, listener: ProgressListener, write: Callable[[Mapping[str, float], int], object]) -> None:
        super().__init__(listener)
        self.write = write
        self.broken = False

    def epoch_end(self, line: Mapping[str, Any]) -> None:
        """Log the means of an epoch."""
        values = {f"pretrain/{name}": value for name, value in line.items() if name != "views"}
        self._write(values, line["views"])
        super().epoch_end(line)

    def run_end(self, record: Record) -> None:
        """Log what was measured."""
        measured = {}
        for metric in record.metrics:
            words = (
                metric.dataset,
                metric.label,
                metric.refinement and f"after {display_name(metric.refinement)}",
                metric.metric,
            )
            measured[f"evaluate/{' '.join(filter(None, words))}"] = metric.value
        self._write(measured, record.cost.views)
        super().run_end(record)

    def _write(self, values: Mapping[str, float], views: int) -> None:
        if self.broken:
            return
        try:
            self.write(values, views)
        except Exception as error:  # noqa: BLE001 - foreign code, whose faults cost no run
            self.broken = True
            self.warn(f"nothing more is logged: {describe(error)}")


def close_log(close: Callable[[], object]) -> None:
    """Close a log; what it cannot write any more is lost."""
    with contextlib.suppress(Exception):
        close()


@contextlib.contextmanager
def logged(run: Run, runs: Path, names: Sequence[str], listener: ProgressListener) -> Iterator[ProgressListener]:
    """A listener that also writes logs, which are closed in the end.

    Args:
        run: that is logged.
        runs: the runs folder.
        names: of the logs, in ``LOGS``.
        listener: that everything is forwarded to.
    """
    with contextlib.ExitStack() as stack:
        for name in names:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    write, close = LOGS[name](run, runs)
            except Exception as error:  # noqa: BLE001 - as above
                listener.warn(f"nothing is logged to {name}: {describe(error)}")
                continue
            stack.callback(close_log, close)
            listener = RunLog(listener, write)
        yield listener
