"""Runs that are interrupted, killed or fail, on real digits."""

import dataclasses
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from protocols.datasets.load import load_dataset
from protocols.features.extraction import extract_dataset
from protocols.pretrain import build, checkpoint
from protocols.pretrain.build import build_job
from protocols.pretrain.checkpoint import TrainingState
from protocols.pretrain.loop import begin_epoch, make_batch, progress_note, train_step
from protocols.pretrain.optimizers import build_optimizer
from protocols.runner import execute
from protocols.spec.budget import Budget
from protocols.spec.execution import ExecutionContext
from protocols.spec.protocol import load
from protocols.spec.resolve import parse_changes, resolve
from protocols.system import device, randomness
from protocols.system.progress import ProgressListener
from results import store
from results.errors import Busy, RunFailed
from tests.tools import forked

SETTINGS = [
    "pretrain.views=4000",
    "pretrain.precision=float32",
    "relational.hidden=32",
    "byol.hidden=32",
    "mocov2.queue=100",
    "graph_nnclr.window=1",
    "graph_nnclr.sampling_temperature=1.0",
    "graph_nnclr.prototypes=32",
    "deepcluster.clusters=20",
]


def run_of(method: str, *settings: str, seed: int = 0):
    changes = parse_changes([s for s in [*SETTINGS, *settings] if s.split(".")[0] in ("pretrain", "knn", method)])
    return resolve(
        load("quick"), method=method, dataset="digits", backbone="conv4", seed=seed, changes=changes, data=Path("data")
    )


def place(folder) -> ExecutionContext:
    return ExecutionContext(folder, folder / "data", "cpu")


def outcome(run, runs):
    """What must not depend on how a run got to its end."""
    record = store.read_run(runs / run.folder()).record
    weights = torch.load(runs / run.folder() / store.BACKBONE, weights_only=True)["backbone"]
    history = [{k: v for k, v in line.items() if k != "seconds"} for line in record["history"]]
    if (kept := runs / run.folder() / store.EXTRA_STATE).exists():
        weights |= torch.load(kept, weights_only=True)
    return {"metrics": record["metrics"], "health": record["health"], "history": history}, weights


def assert_same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(weight, other[1][name]) for name, weight in one[1].items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Outcomes of uninterrupted runs, by method."""
    runs = tmp_path_factory.mktemp("whole")
    known = {}

    def get(method):
        if method not in known:
            execute(run_of(method), place(runs), ProgressListener())
            known[method] = outcome(run_of(method), runs)
        return known[method]

    return get


@pytest.mark.parametrize("method", ["relational", "byol", "supervised", "mocov2", "graph_nnclr", "deepcluster"])
@pytest.mark.parametrize("steps", [1, 10])
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path, whole, stop_after, method, steps):
    """Bit for bit on a CPU: within an epoch, and at its end, which is step 11 of the latter two."""
    run = run_of(method)
    with pytest.raises(KeyboardInterrupt):
        execute(run, place(tmp_path), stop_after(steps))
    assert store.read_run(tmp_path / run.folder()).status == "unfinished"
    record = execute(run, place(tmp_path), ProgressListener())
    assert record.cost.attempts == 2
    assert [sorted(attempt) for attempt in record.provenance["attempts"]] == [["commit", "dirty", "started"]] * 2
    assert_same(outcome(run, tmp_path), whole(method))


def test_what_a_method_keeps_lies_beside_its_encoder(whole):
    _, kept = whole("graph_nnclr")
    assert kept["teacher_neighbours"].shape == kept["student_neighbours"].shape == (1297, 3)
    assert not torch.equal(kept["stem.0.weight"], kept["student.stem.0.weight"])


def test_ln_k_stands_beside_the_loss_over_k_prototypes(whole):
    """See SETTINGS for K; the last epoch's loss is below it."""
    results, _ = whole("graph_nnclr")
    assert {line["log_prototypes"] for line in results["history"]} == {math.log(32)}
    state = TrainingState(history=results["history"], step=1)
    assert f" (ln K {math.log(32):.4f})" in progress_note(state, Budget(images=10, batch=5, views=2, steps=4))
    assert "log_prototypes" not in whole("byol")[0]["history"][0]


def test_progress_names_the_scalars_of_the_method():
    """Means of the epoch on a CPU; those of the last epoch where nothing waits for the device."""
    budget = Budget(images=10, batch=5, views=2, steps=4)
    last = {"epoch": 1, "loss": 0.5, "accuracy": 0.25, "lr": 0.1, "views": 20, "seconds": 1.0, "knn_top1": 61.24}
    assert progress_note(TrainingState(step=3), budget) == "epoch 2/2"
    state = TrainingState(history=[last], step=3)
    assert progress_note(state, budget) == "epoch 2/2, loss 0.5000, kNN 61.2 %, accuracy 0.25"
    state.sums, state.images = {"loss": torch.tensor(2.0), "accuracy": torch.tensor(3.0)}, 4
    assert progress_note(state, budget) == "epoch 2/2, loss 0.5000, kNN 61.2 %, accuracy 0.75"


KILLED = """
import os, signal, sys
from pathlib import Path
from protocols.pretrain import checkpoint
from protocols.system import heartbeat
from protocols.spec.budget import Budget
from protocols.spec.execution import ExecutionContext
from protocols.runner import execute
from protocols.spec.run import Run
from protocols.system.progress import ProgressListener
from results import store
import json

runs, config, moment = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
checkpoint.MIN_INTERVAL_S = 0.0
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)

class Killer(ProgressListener):
    def __init__(self):
        self.steps = 0
    def stopping(self):
        self.steps += 1
        if moment == "pretraining" and self.steps == 8:
            kill()
        return False
    def progress(self, done, note=""):
        if moment == "evaluation" and note == "knn":
            kill()

if moment == "checkpoint":
    def half(content, path):
        Path(path).write_bytes(b"half a checkpoint")
        kill()
    import torch
    save, calls = torch.save, []
    def save_or_die(content, path):
        calls.append(1)
        half(content, path) if len(calls) == 3 else save(content, path)
    torch.save = save_or_die
if moment == "record":
    write = store.write_json
    def write_half(path, value):
        if path.name == store.RECORD:
            store.write_atomically(path, lambda temporary: (temporary.write_text('{"schema": 1, "run"'), kill()))
        write(path, value)
    store.write_json = write_half

execute(Run.from_config(config), ExecutionContext(runs, runs / "data", "cpu"), Killer())
"""


@pytest.mark.parametrize("moment", ["pretraining", "checkpoint", "evaluation", "record"])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, whole, moment):
    run = run_of("byol")
    words = ["", str(tmp_path), json.dumps(run.config()), moment]
    killed = forked.execute(f"import sys; sys.argv = {words}\n{KILLED}", cwd=tmp_path)
    assert killed.returncode == -9, killed.stderr
    folder = tmp_path / run.folder()
    assert store.read_run(folder).status == "unfinished"
    assert (folder / store.CHECKPOINT).exists() == (moment in ("pretraining", "checkpoint"))
    assert (folder / store.BACKBONE).exists() == (moment in ("evaluation", "record"))
    execute(run, place(tmp_path), ProgressListener())
    assert_same(outcome(run, tmp_path), whole("byol"))
    assert not list(folder.rglob(".*"))


def test_float16_scales_the_loss_and_resumes_with_its_scale(tmp_path, stop_after):
    run = run_of("simclr", "pretrain.precision=float16", "pretrain.views=2600", "pretrain.batch=64")
    record = execute(run, place(tmp_path / "whole"), ProgressListener())
    assert record.cost.precision == "float16"
    with pytest.raises(KeyboardInterrupt):
        execute(run, place(tmp_path / "stopped"), stop_after(3))
    saved = torch.load(tmp_path / "stopped" / run.folder() / store.CHECKPOINT, weights_only=True)["progress"]
    assert saved["precision"] == "float16"
    assert saved["scaler"]["scale"] >= 1.0
    execute(run, place(tmp_path / "stopped"), ProgressListener())
    assert_same(outcome(run, tmp_path / "stopped"), outcome(run, tmp_path / "whole"))


def test_a_budget_in_flops_is_kept_by_a_run_that_resumes(tmp_path, stop_after, monkeypatch):
    run = run_of("simclr", "pretrain.flops=1.2e9", "pretrain.batch=32")
    whole = execute(run, place(tmp_path / "whole"), ProgressListener())
    assert whole.cost.flops == pytest.approx(1.2e9, abs=whole.cost.flops / whole.cost.steps)
    with pytest.raises(KeyboardInterrupt):
        execute(run, place(tmp_path / "stopped"), stop_after(3))
    counted = build.count_flops_per_view
    monkeypatch.setattr(build, "count_flops_per_view", lambda *words: 2 * counted(*words))
    record = execute(run, place(tmp_path / "stopped"), ProgressListener())
    assert (record.cost.steps, record.cost.flops) == (whole.cost.steps, whole.cost.flops)
    assert_same(outcome(run, tmp_path / "stopped"), outcome(run, tmp_path / "whole"))


def test_an_update_that_overflows_in_float16_is_left_out(tmp_path):
    run = run_of("simclr", "pretrain.precision=float16", "pretrain.batch=8")
    job = build_job(run, tmp_path, load_dataset("digits", tmp_path), torch.device("cpu"))
    before = [parameter.clone() for parameter in job.method.parameters()]
    optimizer, state = build_optimizer(job.method, job.pretrain), TrainingState(precision=job.precision)
    job.scaler.load_state_dict({**job.scaler.state_dict(), "scale": 2.0**120})
    train_step(job, optimizer, state, torch.arange(8), epoch=0)
    assert all(torch.equal(*pair) for pair in zip(before, job.method.parameters(), strict=True))
    assert job.scaler.get_scale() == 2.0**119
    job.scaler.update(2.0**10)
    train_step(job, optimizer, state, torch.arange(8), epoch=0)
    assert not all(torch.equal(*pair) for pair in zip(before, job.method.parameters(), strict=True))


def test_float16_is_chosen_on_gpus_without_bfloat16_only(monkeypatch):
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda kind: False)
    assert device.choose_precision("auto", torch.device("cuda")) == "float16"
    assert device.choose_precision("auto", torch.device("cpu")) == "float32"
    assert device.choose_precision("bfloat16", torch.device("cuda")) == "bfloat16"
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda kind: True)
    assert device.choose_precision("auto", torch.device("cuda")) == "bfloat16"


def test_deterministic_algorithms_are_asked_for_and_recorded(tmp_path):
    run = run_of("simclr", "pretrain.views=200")
    records = [
        execute(run, dataclasses.replace(place(tmp_path / str(asked)), deterministic=asked), ProgressListener())
        for asked in (True, False)
    ]
    assert [record.provenance["deterministic"] for record in records] == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()
    assert [record.cost.gpu_seconds for record in records] == [None, None], "CPUs have no GPU-hours"


def test_a_resumed_run_keeps_the_precision_it_began_with(tmp_path, whole, stop_after, monkeypatch):
    """Begun on a machine without bfloat16, resumed on one with it: the numbers and the record are those of float32."""
    run = run_of("byol", "pretrain.precision=auto")
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda kind: False)
    with pytest.raises(KeyboardInterrupt):
        execute(run, place(tmp_path), stop_after(10))
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda kind: True)
    record = execute(run, place(tmp_path), ProgressListener())
    assert record.cost.precision == "float32"
    losses = [epoch["loss"] for epoch in record.history]
    assert losses == [epoch["loss"] for epoch in whole("byol")[0]["history"]]


def test_a_finished_run_leaves_what_it_should_and_no_more(tmp_path):
    run = run_of("random")
    execute(run, place(tmp_path), ProgressListener())
    left = {path.name for path in (tmp_path / run.folder()).iterdir()}
    assert left == {store.CONFIG, store.ATTEMPTS, store.BACKBONE, store.EVALUATIONS, store.RECORD}


def test_a_further_evaluation_does_not_train_again(tmp_path):
    run = run_of("byol")
    execute(run, place(tmp_path), ProgressListener())
    more = dataclasses.replace(run, evaluations=(*run.evaluations, *run_of("byol", "knn.k=3").evaluations[1:]))

    class Fail(ProgressListener):
        def stage(self, name, total, done=0):
            assert name != "pretrain"

    record = execute(more, place(tmp_path), Fail())
    assert [metric.label for metric in record.metrics] == ["linear", "knn", "knn[k=3]"]


def test_a_method_that_raises_leaves_its_reason(tmp_path):
    run = run_of("relational", "pretrain.batch=2000")
    with pytest.raises(RunFailed, match="a batch of 2000 is larger than the 1,297 images"):
        execute(run, place(tmp_path), ProgressListener())
    stored = store.read_run(tmp_path / run.folder())
    assert stored.status == "failed"
    assert "larger than" in stored.failure["reason"]
    assert "Traceback" in stored.failure["traceback"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (EOFError(), "EOFError"),
        (type("Odd", (Exception,), {"__str__": None})(), "Odd: its message cannot be shown"),
        (ValueError("one\ntwo"), "ValueError: one two"),
    ],
)
def test_whatever_a_method_raises_fails_its_run_with_one_line(tmp_path, monkeypatch, error, reason):
    def fail(*_, **__):
        raise error

    run = run_of("random")
    monkeypatch.setattr("protocols.runner.pretrained_backbone", fail)
    with pytest.raises(RunFailed) as caught:
        execute(run, place(tmp_path), ProgressListener())
    stored = store.read_run(tmp_path / run.folder())
    assert (stored.status, stored.failure["reason"], str(caught.value)) == ("failed", reason, reason)


def test_what_a_run_changes_of_torch_is_changed_back_for_the_next(tmp_path):
    class Warned(ProgressListener):
        def warn(self, message):
            warnings.append(message)

    warnings = []
    execute(run_of("random"), place(tmp_path / "one"), Warned())
    assert warnings == []
    torch.set_default_dtype(torch.float64)
    try:
        execute(run_of("random"), place(tmp_path / "other"), Warned())
        assert torch.get_default_dtype() is torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert warnings == ["an earlier run changed the default type of torch for the whole process; it is changed back"]
    assert_same(*(outcome(run_of("random"), tmp_path / name) for name in ("one", "other")))


def test_a_loss_that_is_not_a_number_fails_the_run(tmp_path):
    run = run_of("supervised", "pretrain.lr=1e15")
    with pytest.raises(RunFailed, match=r"not a number|became nan|became inf"):
        execute(run, place(tmp_path), ProgressListener())
    assert store.read_run(tmp_path / run.folder()).status == "failed"


def test_a_run_that_failed_is_done_once_it_succeeds(tmp_path):
    run = run_of("random")
    folder = tmp_path / run.folder()
    folder.mkdir(parents=True)
    store.write_json(folder / store.CONFIG, run.config())
    store.write_json(folder / store.FAILURE, {"reason": "power cut", "traceback": "", "time": ""})
    assert store.read_run(folder).status == "failed"
    execute(run, place(tmp_path), ProgressListener())
    assert store.read_run(folder).status == "done"
    assert not (folder / store.FAILURE).exists()


def test_two_processes_do_not_work_on_one_run(tmp_path):
    run = run_of("random")
    folder = tmp_path / run.folder()
    with store.claimed(folder), pytest.raises(Busy, match="by another process"):
        execute(run, place(tmp_path), ProgressListener())


def test_methods_of_a_trial_begin_from_the_same_weights_and_meet_the_same_views(tmp_path):
    digits = load_dataset("digits", tmp_path)
    jobs = [
        build_job(run_of(method, "pretrain.batch=64"), tmp_path, digits, torch.device("cpu"))
        for method in ("relational", "byol")
    ]
    first, second = (job.method.backbone.state_dict() for job in jobs)
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    index = randomness.permutation(1297, 0, "order", 0)[:10]
    of_relational, of_byol = (make_batch(job, index, epoch=0).views for job in jobs)
    assert torch.equal(of_relational[:20], of_byol)


def small_job(tmp_path, method, *settings):
    run = run_of(method, "pretrain.batch=8")
    recipes = {**run.augmentations, "small": dataclasses.replace(run.augmentations["standard"], size=4)}
    recipes |= {"standard2": dataclasses.replace(run.augmentations["standard"], solarize=1.0)} if settings else {}
    digits = load_dataset("digits", tmp_path)
    return build_job(dataclasses.replace(run, augmentations=recipes), tmp_path, digits, torch.device("cpu"))


def test_views_of_a_further_size_come_as_crops(tmp_path):
    job = dataclasses.replace(small_job(tmp_path, "byol"), views=("standard", "small", "standard", "small"))
    batch = make_batch(job, torch.arange(5), epoch=0)
    assert batch.views.shape == (10, 3, 16, 16)
    assert [crops.shape for crops in batch.crops] == [(10, 3, 4, 4)]
    alone = make_batch(dataclasses.replace(job, views=("standard",)), torch.arange(5), epoch=0)
    assert torch.equal(batch.views[:5], alone.views)
    assert alone.crops == ()


def test_a_second_view_may_have_a_recipe_of_its_own(tmp_path):
    job = small_job(tmp_path, "byol", "with standard2")
    assert job.views == ("standard", "standard2")
    assert small_job(tmp_path, "byol").views == ("standard", "standard")


def test_a_view_may_show_another_image_drawn_like_the_images_own(tmp_path):
    job = small_job(tmp_path, "graph_nnclr")
    own = make_batch(job, torch.arange(5), epoch=0).views
    job.method.source_indices = lambda index, views: torch.stack([index, index.flip(0)])
    swapped = make_batch(job, torch.arange(5), epoch=0).views
    same = [torch.equal(one, other) for one, other in zip(own, swapped, strict=True)]
    assert same == [True] * 5 + [False, False, True, False, False]
    job.images.stored = job.images.stored.clone()
    job.images.stored[0] = job.images.stored[4]
    assert torch.equal(make_batch(job, torch.arange(5), epoch=0).views[9], own[9])


def test_an_augmentation_that_the_protocol_lacks_is_refused(tmp_path):
    with pytest.raises(RunFailed, match="dino uses augmentation 'small', added to quick later, without declaring it"):
        execute(run_of("dino", "dino.crops=2"), place(tmp_path), ProgressListener())


def test_before_an_epoch_a_method_gets_frozen_features_of_its_pretraining_split(tmp_path):
    digits = load_dataset("digits", tmp_path)
    job = build_job(run_of("deepcluster"), tmp_path, digits, torch.device("cpu"))
    before = {name: value.clone() for name, value in job.method.backbone.state_dict().items()}
    seen = []
    job.method.before_epoch = lambda epoch, represent: seen.append((epoch, represent()))
    begin_epoch(job, 3)
    [(epoch, features)] = seen
    assert epoch == 3
    assert torch.equal(features, extract_dataset(job.method.backbone, digits, torch.device("cpu"), seed=0).train)
    assert not features.requires_grad
    assert job.method.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in job.method.backbone.state_dict().items())


def test_means_of_an_epoch_hold_no_graph(tmp_path):
    """Else the memory of all steps would be kept until its end."""
    job = small_job(tmp_path, "byol")
    state = TrainingState()
    train_step(job, build_optimizer(job.method, job.pretrain), state, torch.arange(8), epoch=0)
    assert state.sums.keys() == {"loss"}
    assert not state.sums["loss"].requires_grad


def test_what_rotnet_makes_of_a_view_counts_as_views(tmp_path):
    record = execute(run_of("rotnet", "pretrain.views=1280"), place(tmp_path), ProgressListener())
    assert (record.cost.steps, record.cost.views) == (10, 1280)


def test_pace_saves_often_but_not_too_often(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    pace = checkpoint.CheckpointTimer()
    assert not pace.due()
    clock[0] = checkpoint.MIN_INTERVAL_S
    assert pace.due()

    def slow(path, content, owner):
        clock[0] += 3.0

    monkeypatch.setattr(checkpoint, "save", slow)
    pace.save(tmp_path, {}, "")
    clock[0] += 59.0
    assert not pace.due()
    clock[0] += 1.0
    assert pace.due()


def test_running_imports_neither_pandas_nor_matplotlib():
    code = "import sys, protocols.runner; assert not {'pandas', 'matplotlib', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
