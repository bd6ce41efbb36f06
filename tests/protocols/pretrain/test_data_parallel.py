"""A run that several processes share is the run of one: over gloo, with parts of unequal size."""

from __future__ import annotations

import copy
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from methods.registry import METHODS
from protocols.backbones.small import Conv4
from protocols.datasets.load import load_dataset
from protocols.pretrain import data_parallel, process_group
from protocols.pretrain.build import build_job
from protocols.pretrain.loop import begin_epoch, train_step
from protocols.runner import execute
from protocols.spec.execution import ExecutionContext
from protocols.spec.plugins import add_file
from protocols.spec.protocol import PRESETS, load
from protocols.spec.resolve import parse_changes, resolve
from protocols.speed.measure import EndlessLoop
from protocols.system.progress import ProgressListener
from results import store
from results.errors import RunFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.spec.run import Run

SETTINGS = {
    "barlow": ("hidden=32", "output=32", "scale=0.01"),
    "vicreg": ("hidden=32", "output=32"),
    "byol": ("hidden=32",),
    "mocov2": ("hidden=32", "queue=100"),
    "nnclr": ("hidden=32", "queue=100"),
    "deepcluster": ("clusters=10",),
    "dino": ("prototypes=16", "hidden=16", "crops=2"),
    "adasim": ("prototypes=16", "hidden=16", "window=1"),
    "graph_nnclr": ("prototypes=16", "hidden=16", "window=1"),
    "relational": ("views=3",),
}
STEPS = 3


def run_of(method: str, *settings: str, protocol: str = "quick", plugins: Sequence[str] = ()) -> Run:
    words = [f"{method}.{word}" for word in SETTINGS.get(method, ())]
    shared = ["pretrain.precision=float32", "pretrain.views=3000", "pretrain.batch=13", *settings]
    changes = parse_changes([*words, *shared])
    return resolve(
        load(protocol),
        method=method,
        dataset="digits",
        backbone="conv4",
        seed=0,
        changes=changes,
        data=Path("data"),
        plugins=plugins,
    )


def with_small_crops(folder: Path) -> str:
    """Quick, and a recipe for DINO's crops."""
    path = folder / "crops.toml"
    quick = (PRESETS / "quick.toml").read_text(encoding="utf-8")
    path.write_text(quick + "[recipes.small]\ncrop = [0.1, 0.4]\nsize = 16\n", encoding="utf-8")
    return str(path)


def trainable() -> list[str]:
    return [name for name in METHODS.names() if name != "random"]


def after_some_steps(method: str, protocol: str, folder: Path) -> dict[str, torch.Tensor]:
    """The loss of each step, and the method's state after the last; by SGD, which is smooth in the gradient."""
    run = run_of(method, "pretrain.optimizer=sgd", "pretrain.lr=0.01", "pretrain.warmup=0.0", protocol=protocol)
    loop = EndlessLoop(build_job(run, folder, load_dataset("digits", folder), torch.device("cpu")))
    begin_epoch(loop.job, 0)
    losses, before = [], torch.tensor(0.0)
    for _ in range(STEPS):
        epoch, index = next(loop.batches)
        train_step(loop.job, loop.optimizer, loop.state, index, epoch)
        losses.append(loop.state.sums["loss"] - before)
        before = loop.state.sums["loss"].clone()
    flops = torch.tensor(loop.state.flops or 0.0, dtype=torch.float64)
    return {**loop.job.method.state_dict(), "losses": torch.stack(losses), "flops": flops}


def be_rank(number: int, protocol: str, folder: Path) -> None:
    torch.set_num_threads(1)
    process_group.init_process_group(number, ExecutionContext(folder, folder, "cpu", ranks=2), folder)
    for method in trainable():
        torch.save(after_some_steps(method, protocol, folder), folder / f"{method}-{number}.pt")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> Path:
    """Folder of what two ranks get with every method."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn, protocol = multiprocessing.get_context("spawn"), with_small_crops(folder)
    processes = [spawn.Process(target=be_rank, args=(number, protocol, folder)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return folder


@pytest.mark.parametrize("method", trainable())
def test_two_ranks_get_what_one_process_gets(of_two, tmp_path, method):
    """Losses, weights, memories and running statistics, over some steps."""
    alone = after_some_steps(method, with_small_crops(tmp_path), tmp_path)
    first, second = (torch.load(of_two / f"{method}-{number}.pt") for number in range(2))
    assert first.keys() == second.keys() == alone.keys()
    for flops in (first.pop("flops"), second.pop("flops")):
        assert alone["flops"] <= flops < 2.2 * alone["flops"]  # every rank has the heads to itself
    del alone["flops"]
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: name + text)
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: name + text)


def test_a_shared_backbone_keeps_its_names_and_is_itself_outside_of_steps():
    backbone = Conv4()
    images = torch.randn(4, 3, 32, 32)
    own = copy.deepcopy(backbone)
    data_parallel.make_data_parallel(own)
    assert copy.deepcopy(own).state_dict().keys() == backbone.state_dict().keys()
    torch.testing.assert_close(own(images), backbone(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        own.forward_with_map(images)[1], backbone.forward_with_map(images)[1], rtol=1e-4, atol=1e-5
    )


def test_a_shared_run_may_be_carried_on_by_one_process(tmp_path, stop_after):
    run = run_of("simclr", "pretrain.batch=64")
    with pytest.raises(KeyboardInterrupt):
        execute(run, ExecutionContext(tmp_path / "two", tmp_path, "cpu", ranks=2), stop_after(10))
    assert (tmp_path / "two" / run.folder() / store.CHECKPOINT).exists()
    record = execute(run, ExecutionContext(tmp_path / "two", tmp_path, "cpu"), ProgressListener())
    alone = execute(run, ExecutionContext(tmp_path / "one", tmp_path, "cpu"), ProgressListener())
    for shared_epoch, epoch in zip(record.history, alone.history, strict=True):
        assert shared_epoch["loss"] == pytest.approx(epoch["loss"], rel=1e-2)


FAILS = """
import os, signal, sys
from methods.simclr import SimCLR
from methods import register_method
from protocols.pretrain import process_group

{at_import}

@register_method("mine")
class Mine(SimCLR):
    '''Fails on one rank.'''

    def forward(self, batch):
        if process_group.rank() == {rank}:
            {in_step}
        return super().forward(batch)
"""


ILL = {
    "in a step": (3, 2, "", "raise ValueError('no luck here')", "^rank 2: ValueError: no luck here$"),
    "in rank 0": (3, 0, "", "raise ValueError('no luck here')", "^ValueError: no luck here$"),
    "killed": (2, 1, "", "os.kill(os.getpid(), signal.SIGKILL)", "^rank 1 was killed by SIGKILL$"),
    "killed at the start": (2, 1, "'pytest' in sys.modules or os.abort()", "pass", "^rank 1 was killed by SIGABRT$"),
    "no plugin": (2, 1, "assert 'pytest' in sys.modules, 'not here'", "pass", "^rank 1: BrokenPlugin: .*: not here"),
}
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in ILL if case != "in a step"]


@pytest.mark.parametrize("case", ["in a step", *SLOW])
def test_what_goes_wrong_in_a_rank_is_told_by_its_own_message(tmp_path, case):
    """Not by what the others notice of it, a closed connection or silence."""
    ranks, rank, at_import, in_step, told = ILL[case]
    plugin = tmp_path / "mine.py"
    plugin.write_text(FAILS.format(at_import=at_import, rank=rank, in_step=in_step), encoding="utf-8")
    add_file(plugin)
    run, context = run_of("mine", plugins=[str(plugin)]), ExecutionContext(tmp_path, tmp_path, "cpu", ranks=ranks)
    with pytest.raises(RunFailed, match=told):
        execute(run, context, ProgressListener())
