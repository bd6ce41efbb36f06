"""Runs followed in TensorBoard, offline Weights & Biases and MLflow: what their own files say."""

import struct

import pytest

from protocols.runner import execute
from protocols.spec.execution import ExecutionContext
from protocols.spec.grid import Request, expand
from protocols.system import run_log
from protocols.system.progress import ProgressListener
from results.errors import RequestError, UnknownName


class Notes(ProgressListener):
    def __init__(self):
        self.stages, self.notes, self.warnings = [], [], []

    def stage(self, name, total, done=0):
        self.stages.append(name)

    def progress(self, done, note=""):
        self.notes.append(note)

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A run of two epochs, followed in every log that is installed; its folder, record and listener."""
    folder = tmp_path_factory.mktemp("followed")
    settings = ["pretrain.knn_every=1"]
    (run,) = expand(
        Request(["simclr"], ["digits"], seeds=[0], evaluations=["knn"], epochs=2, settings=settings), folder
    )
    logs = tuple(name for name in run_log.LOGS if run_log.importlib.util.find_spec(name))
    listener = Notes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        record = execute(run, ExecutionContext(folder, folder, "cpu", log=logs), listener)
    return folder, run, record, listener


def expected(record):
    """Values by name and views, as both logs must have them."""
    values = {
        (f"pretrain/{name}", line["views"]): pytest.approx(value, rel=1e-6)
        for line in record.history
        for name, value in line.items()
        if name != "views"
    }
    return values | {("evaluate/digits knn top1", record.cost.views): pytest.approx(record.metrics[0].value, rel=1e-6)}


def test_tensorboard_reads_every_scalar(followed):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, run, record, listener = followed
    found = events.EventAccumulator(str(folder / "tensorboard" / run.folder())).Reload()
    scalars = {(name, event.step): event.value for name in found.Tags()["scalars"] for event in found.Scalars(name)}
    wanted = expected(record)
    assert {("pretrain/loss", record.history[0]["views"]), ("pretrain/knn_top1", record.cost.views)} <= set(wanted)
    assert {key: scalars.get(key) for key in wanted} == wanted
    assert "simclr" in str(found.Tensors("configuration/text_summary")[0].tensor_proto.string_val)
    assert listener.warnings == []


def records_of(path):
    """The records of a file of offline W&B: blocks of LevelDB's log format after a header of 7 bytes."""
    content, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_offline_wandb_has_every_scalar(followed):
    pytest.importorskip("wandb", reason="wandb is not installed")
    import json

    from wandb.proto.wandb_internal_pb2 import Record

    folder, _, record, _ = followed
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found, configs = {}, []
    for content in records_of(path):
        (one := Record()).ParseFromString(content)
        if one.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
            found |= {(name, items["views"]): value for name, value in items.items()}
        configs += [item.key for item in one.run.config.update]
    wanted = expected(record)
    assert {key: found.get(key) for key in wanted} == wanted
    assert {"method", "pretrain", "seed"} <= set(configs)


def test_mlflow_has_every_scalar_and_a_run_that_is_resumed_is_the_same_one(followed):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    folder, run, record, listener = followed
    assert listener.warnings == []
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'bench'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (run.folder(), "FINISHED")
    assert found.data.params.items() >= {"method": "simclr", "dataset": "digits", "pretrain.knn_every": "1"}.items()
    wanted = expected(record)
    for (name, views), value in wanted.items():
        assert [m.value for m in client.get_metric_history(found.info.run_id, name) if m.step == views] == [value]
    write, close = run_log.open_mlflow(run, folder)
    write({"evaluate/knn after graph[k=5,x=é] top1": 61.5, "pretrain/loss": float("nan")}, 7)
    close()
    (again,) = client.search_runs([experiment.experiment_id])
    assert again.info.run_id == found.info.run_id
    assert again.data.metrics["evaluate/knn after graph_k_5_x_é_ top1"] == 61.5


def test_a_run_of_mlflow_that_stopped_is_not_finished(followed, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    folder, run, _, _ = followed
    before = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    write, close = run_log.open_mlflow(run, folder)
    (found,) = before.search_runs([before.get_experiment_by_name("bench").experiment_id])
    assert found.info.status == "RUNNING"
    write({"pretrain/loss": 1.0}, 8)
    close()
    assert before.get_run(found.info.run_id).info.status == "KILLED"


def test_progress_says_what_is_done_and_how_it_goes(followed):
    _, _, record, listener = followed
    assert listener.stages[:3] == ["preparing", "compiling", "pretrain"]
    assert listener.notes[0].startswith("epoch 1/2, loss ")
    assert (
        f"epoch 2/2, loss {record.history[1]['loss']:.4f}, kNN {record.history[0]['knn_top1']:.1f} %" in listener.notes
    )


def test_a_broken_log_costs_a_warning_and_no_run(followed, monkeypatch, tmp_path):
    _, run, record, _ = followed
    closed = []

    def fail(values, views):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(run_log.LOGS, "tensorboard", lambda run, runs: (fail, lambda: closed.append(run)))
    monkeypatch.setitem(run_log.LOGS, "wandb", lambda run, runs: 1 / 0)
    listener = Notes()
    with run_log.logged(run, tmp_path, ["tensorboard", "wandb"], listener) as outer:
        outer.epoch_end(record.history[0])
        outer.epoch_end(record.history[1])
        outer.run_end(record)
        outer.progress(1, "on")
    assert closed == [run]
    assert listener.notes == ["on"]
    assert [text.partition(":")[0] for text in listener.warnings] == [
        "nothing is logged to wandb",
        "nothing more is logged",
    ]


def test_unknown_logs_and_missing_packages_are_refused(monkeypatch):
    with pytest.raises(UnknownName, match="tensorboard"):
        run_log.parse_logs(["tensorbord"])
    monkeypatch.setattr(run_log.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--log wandb needs the package wandb.*ssl-bench\[wandb\]"):
        run_log.parse_logs(["wandb"])
