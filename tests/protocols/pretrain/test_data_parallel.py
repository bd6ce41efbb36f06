"""A run that several processes share is the run of one: over gloo, with parts of unequal size."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import distributed, nn

from methods.heads import mlp
from methods.registry import METHODS
from protocols.backbones.small import Conv4
from protocols.backbones.timm_models import timm
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
from results.names import UNTRAINED
from tests.tools import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    "tico": ("hidden=32", "output=16"),
    "mmcr": ("hidden=32", "output=16"),
    "ressl": ("hidden=32", "queue=100"),
    "mocov3": ("hidden=32",),
    "swav": ("prototypes=16", "hidden=16", "output=8", "crops=2", "queue=13", "queue_start=0.0", "freeze=0.0"),
    "lejepa": ("hidden=32", "output=16", "crops=2", "directions=16"),
    "mae": ("width=16", "depth=1", "heads=2"),
    "ijepa": ("width=16", "depth=1", "heads=2"),
    "ibot": ("prototypes=16", "hidden=16", "crops=2"),
    "wmse": ("hidden=32", "output=2", "sub_batch=12", "eps=0.5"),
}
STEPS = 2


def run_of(method: str, *settings: str, protocol: str = "quick", plugins: Sequence[str] = ()) -> Run:
    words = [f"{method}.{word}" for word in SETTINGS.get(method, ())]
    shared = ["pretrain.precision=float32", "pretrain.views=3000", "pretrain.batch=13", *settings]
    changes = parse_changes([*words, *shared])
    return resolve(
        load(protocol),
        method=method,
        dataset="digits",
        backbone="timm:test_vit@patch=4" if METHODS.get(method).uses_tokens else "conv4",
        seed=0,
        changes=changes,
        data=Path("data"),
        plugins=plugins,
    )


def with_small_crops(folder: Path) -> str:
    """Quick, with small crops for all methods."""
    path = folder / "crops.toml"
    quick = (PRESETS / "quick.toml").read_text(encoding="utf-8")
    path.write_text(quick.replace("added = true\n", ""), encoding="utf-8")
    return str(path)


def trainable() -> list[str]:
    return [name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED]


def after_some_steps(method: str, protocol: str, folder: Path) -> dict[str, torch.Tensor]:
    """The loss of each step, and the method's state after the last; by SGD, which is smooth in the gradient."""
    run = run_of(method, "pretrain.optimizer=sgd", "pretrain.lr=0.01", "pretrain.warmup=0.0", protocol=protocol)
    loop = EndlessLoop(build_job(run, folder, load_dataset("digits", folder), torch.device("cpu"), reference=True))
    begin_epoch(loop.job, 0)
    losses, before = [], torch.tensor(0.0)
    for _ in range(STEPS):
        epoch, index = next(loop.batches)
        train_step(loop.job, loop.optimizer, loop.state, index, epoch)
        losses.append(loop.state.sums["loss"] - before)
        before = loop.state.sums["loss"].clone()
    flops = torch.tensor(loop.state.flops or 0.0, dtype=torch.float64)
    return {**loop.job.method.state_dict(), "losses": torch.stack(losses), "flops": flops}


def be_rank(number: int, ranks: int, protocol: str, folder: Path) -> None:
    """One of several ranks; of four, each computes its part even of small heads, and of batches smaller than four."""
    torch.set_num_threads(1)
    process_group.init_process_group(number, ExecutionContext(folder, folder, "cpu", ranks=ranks), folder)
    if ranks == 4:
        data_parallel.FLOPS_PER_BYTE = 0
    for method in trainable():
        torch.save(after_some_steps(method, protocol, folder), folder / f"{method}-{number}.pt")
    checks = {"views": blocks_of_views(), "gathered": gathered_rows(number), "tokens": tokens_of_ranks()}
    torch.save(checks, folder / f"checks-{number}.pt")


def blocks_of_views() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Operations on views of which each rank has some, by name: this rank's rows of the result, and what they are."""
    every = torch.arange(6 * 5 * 3 * 4 * 4.0).view(30, 3, 4, 4)
    own = every.unflatten(0, (6, 5))[:, process_group.local_slice(5)].flatten(0, 1)
    operations = {
        "first blocks": lambda views: views[:10],
        "last blocks": lambda views: views[-10:],
        "part of a block": lambda views: views[3:7],
        "every second row": lambda views: views[::2],
        "chunk": lambda views: views.chunk(3)[1],
        "split": lambda views: views.split([5, 25])[1],
        "turns": lambda views: torch.cat([views.rot90(turns, (2, 3)) for turns in range(4)]),
        "order": lambda views: views.flip(0),
        "mirror": lambda views: views.flip(3),
        "channels last": lambda views: views.contiguous(memory_format=torch.channels_last),
        "half": lambda views: views.half(),
        "sum": lambda views: (2 * views + 1)[:5],
        "mixed": lambda views: torch.cat([views[:5], views[:5].mean(0, keepdim=True).expand(5, 3, 4, 4)]),
    }
    results = {}
    for name, operation in operations.items():
        views = operation(data_parallel.local_views(own, 6, 5))
        with data_parallel.shared_batch(5):
            kind = isinstance(views, data_parallel.LocalViews)
            aligned = name not in {"part of a block", "every second row"}
            mine, whole = (data_parallel.local_images(some) if aligned else some for some in (views, operation(every)))
            results[name] = (mine + 0, whole + 0, kind)
    return results


def gathered_rows(number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of every type and number that ranks have gathered, and what they are."""
    results = []
    for dtype, rows in ((torch.float32, 8), (torch.bfloat16, 5), (torch.int64, 2), (torch.float64, 1)):
        every = torch.arange(3 * rows * 2).view(3 * rows, 2).to(dtype)
        own = every.unflatten(0, (3, rows))[:, process_group.local_slice(rows)].flatten(0, 1)
        results.append((data_parallel.gather_rows(own, 3, rows), every))
    return results


def tokens_of_ranks() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens of some patches and their gradients, as ranks compute them together, and as each does alone."""
    torch.manual_seed(0)
    vit, images, mask_token = timm("timm:test_vit@patch=4", 16), torch.rand(10, 3, 16, 16), torch.rand(64)
    keep, mask = torch.rand(10, 16).argsort(1)[:, :7], torch.rand(10, 16) < 0.5
    results = []
    for parallel in (True, False):
        network, token = copy.deepcopy(vit), mask_token.clone().requires_grad_()
        if parallel:
            data_parallel.make_backbone_parallel(network)
        with data_parallel.shared_batch(5 if parallel else 0):
            tokens = network.tokens(images, keep, mask=mask, mask_token=token)
            tokens.square().sum().backward()
        gradients = [token.grad, network.model.pos_embed.grad]
        if parallel:  # as DistributedDataParallel averages them
            gradients = [data_parallel.all_reduce_sum(gradient) / process_group.world_size() for gradient in gradients]
        results.append([tokens.detach(), *gradients])
    return list(zip(*results, strict=True))


@pytest.fixture(scope="module", params=[2, 4])
def of_ranks(request, tmp_path_factory) -> tuple[int, Path]:
    """A number of ranks, and the folder of what they get with every method."""
    folder = tmp_path_factory.mktemp("ranks")
    arguments = (request.param, with_small_crops(folder), folder)
    processes = [forked.processes.Process(target=be_rank, args=(n, *arguments)) for n in range(request.param)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return request.param, folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Callable[[str], dict[str, torch.Tensor]]:
    """What one process gets with a method; computed once."""
    folder = tmp_path_factory.mktemp("alone")
    return functools.cache(lambda method: after_some_steps(method, with_small_crops(folder), folder))


@pytest.mark.parametrize("method", trainable())
def test_ranks_get_what_one_process_gets(of_ranks, alone, method):
    """Losses, weights, memories and running statistics, over some steps, on every rank."""
    ranks, folder = of_ranks
    expected = dict(alone(method))
    flops = expected.pop("flops")
    for number in range(ranks):
        found = torch.load(folder / f"{method}-{number}.pt")
        assert flops <= found.pop("flops") < 1.1 * ranks * flops  # small heads are computed by every rank
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            where = f"rank {number}, {name}: "
            torch.testing.assert_close(
                found[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, where=where: where + text
            )


def test_ranks_have_the_same_weights_bit_by_bit(of_ranks):
    ranks, folder = of_ranks
    for method in trainable():
        first, *others = (torch.load(folder / f"{method}-{number}.pt") for number in range(ranks))
        for other in others:
            assert all(torch.equal(value, other[name]) for name, value in first.items())


def test_of_the_views_of_other_ranks_nothing_is_in_memory(of_ranks):
    """Whole blocks stay this rank's rows; whatever else is done with views gives its rows the right values."""
    ranks, folder = of_ranks
    for number in range(ranks):
        for name, (found, expected, local) in torch.load(folder / f"checks-{number}.pt")["views"].items():
            whole_blocks = name not in {"part of a block", "every second row", "order", "sum", "mixed"}
            assert local == whole_blocks, name
            if whole_blocks or name == "sum":
                torch.testing.assert_close(found, expected, msg=lambda text, name=name: name + text)


def test_rows_are_gathered_in_their_order(of_ranks):
    ranks, folder = of_ranks
    for number in range(ranks):
        for found, expected in torch.load(folder / f"checks-{number}.pt")["gathered"]:
            assert torch.equal(found, expected)


def test_tokens_and_their_gradients_are_those_of_one_process(of_ranks):
    ranks, folder = of_ranks
    for number in range(ranks):
        for found, expected in torch.load(folder / f"checks-{number}.pt")["tokens"]:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_shared_backbone_keeps_its_names_and_is_itself_outside_of_steps():
    backbone = Conv4()
    images = torch.randn(4, 3, 32, 32)
    own = copy.deepcopy(backbone)
    data_parallel.make_backbone_parallel(own)
    assert copy.deepcopy(own).state_dict().keys() == backbone.state_dict().keys()
    torch.testing.assert_close(own(images), backbone(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        own.forward_with_map(images)[1], backbone.forward_with_map(images)[1], rtol=1e-4, atol=1e-5
    )


@pytest.mark.new_interpreters
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


@pytest.mark.parametrize(("backend", "kind"), [("nccl", nn.SyncBatchNorm), ("gloo", data_parallel.SyncBatchNorm)])
def test_batch_norms_over_gpus_are_those_of_torch(monkeypatch, backend, kind):
    """With the same parameters and buffers; on one process both are BatchNorm."""
    torch.manual_seed(0)
    head = mlp(4, 8, 2)
    expected, norm = head.state_dict(), head[1]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: backend)
    data_parallel.replace_batch_norms(head)
    monkeypatch.undo()
    assert type(head[1]) is kind
    assert head[1].weight is norm.weight
    assert head[1].running_var is norm.running_var
    assert head.state_dict().keys() == expected.keys()
    head.eval()
    norm.eval()
    x = torch.randn(3, 8)
    assert torch.equal(head[1](x), norm(x))


@pytest.mark.parametrize(
    ("sizes", "divided"),
    [((2048, 8192, 8192, 8192), True), ((2048, 2048, 128), False), ((512, 512, 128), False), ((64, 8192, 8192), True)],
)
def test_large_heads_are_divided(sizes, divided):
    """Barlow Twins' projector, and not SimCLR's."""
    with torch.device("meta"):
        assert data_parallel.is_worth_dividing(mlp(*sizes)) == divided
