"""Accuracies that other projects' own code gives on fixed features, for the evaluations that are named after them.

    python tests/tools/other_projects.py PROJECT CHECKOUT

PROJECT is dino, w-mse, solo-learn or relational, CHECKOUT a clone of its repository. The accuracies, five for what
draws random numbers, are written to ``tests/protocols/evaluate/other_projects.csv`` with the commit of the clone; a
test compares the evaluations with them. This file needs only torch, so that it runs in an environment for the
project, without bench, whose folder ``methods`` would hide that of another. solo-learn needs lightning 2.1.2,
hydra-core, omegaconf, timm, einops, scikit-learn, wandb, torchmetrics before 0.12 and setuptools before 80.

What is run is the project's code of classifier, loop, optimizer, schedule and accuracy. What is replaced is what
computes features: images are features already, and the backbone is the identity. Everything is on the CPU, in one
process and in float32.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = Path(__file__).parents[1] / "protocols" / "evaluate" / "other_projects.csv"
COLUMNS = ("evaluation", "project", "commit", "code", "seed", "top1", "top5")
TRAIN, TEST, DIM, CLASSES = 2100, 5000, 32, 12
SEEDS = range(5)

Scores = dict[str, float]


def fixed_features() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features and labels of both splits: overlapping classes, and images of unlike lengths."""
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, DIM, generator=g)

    def split(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(CLASSES, (size,), generator=g)
        x = centres[labels] + 2 * torch.randn(size, DIM, generator=g)
        return x * (0.2 + torch.rand(size, 1, generator=g)), labels

    return *split(TRAIN), *split(TEST)


class Identity(nn.Module):
    """A backbone for images that are features."""

    feature_size = num_features = DIM

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The features."""
        return x


def dino_knn(_seed: int) -> Scores:
    """``knn_classifier`` with the authors' 20 neighbours."""
    import eval_knn

    x, y, test_x, test_y = fixed_features()
    train, test = (nn.functional.normalize(part, dim=1, p=2) for part in (x, test_x))
    top1, top5 = eval_knn.knn_classifier(train, y, test, test_y, 20, 0.07, num_classes=CLASSES)
    return {"top1": top1, "top5": top5}


def dino_linear(seed: int) -> Scores:
    """All of ``eval_linear``, with its defaults but for 1,024 images a step; the accuracy after the last epoch."""
    import eval_linear

    x, y, test_x, test_y = fixed_features()
    splits = {"train": TensorDataset(x, y), "val": TensorDataset(test_x, test_y)}
    backbone = Identity()
    backbone.fc = nn.Linear(DIM, 1)
    with tempfile.TemporaryDirectory() as folder, one_process(folder), without_cuda():
        values = {
            "arch": "resnet18", "num_labels": CLASSES, "batch_size_per_gpu": 1024, "num_workers": 0, "lr": 0.001,
            "epochs": 100, "val_freq": 1, "evaluate": False, "n_last_blocks": 4, "avgpool_patchtokens": False, "gpu": 0,
            "pretrained_weights": "", "checkpoint_key": "teacher", "patch_size": 16, "data_path": "",
            "output_dir": folder,
        }  # fmt: skip
        eval_linear.args = argparse.Namespace(**values)
        torch.manual_seed(seed)
        with (
            mock.patch.dict(eval_linear.torchvision_models.__dict__, resnet18=lambda: backbone),
            mock.patch.object(eval_linear.datasets, "ImageFolder", lambda path, transform: splits[Path(path).name]),
            mock.patch.object(eval_linear.utils, "init_distributed_mode"),
            # otherwise the sums of several processes are made on a GPU
            mock.patch.object(eval_linear.utils, "is_dist_avail_and_initialized", return_value=False),
            mock.patch.object(eval_linear.utils, "load_pretrained_weights"),
            mock.patch.object(eval_linear.nn.parallel, "DistributedDataParallel", Wrapped),
            mock.patch.object(torch.utils.data, "DistributedSampler", seeded_sampler(seed), create=True),
            mock.patch.object(torch.utils.data.distributed, "DistributedSampler", seeded_sampler(seed)),
        ):
            eval_linear.eval_linear(eval_linear.args)
        last = json.loads((Path(folder) / "log.txt").read_text().splitlines()[-1])
    assert last["epoch"] == 99
    return {"top1": last["test_acc1"], "top5": last["test_acc5"]}


class Wrapped(nn.Module):
    """``DistributedDataParallel`` of one process."""

    def __init__(self, module: nn.Module, **_: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The module's output."""
        return self.module(x)


def seeded_sampler(seed: int) -> Callable[..., Any]:
    """torch's sampler with another seed than its default, so that repetitions see different orders."""
    sampler = torch.utils.data.distributed.DistributedSampler
    return lambda dataset: sampler(dataset, seed=1000 * seed)  # it adds the epoch


@contextlib.contextmanager
def one_process(folder: str) -> Iterator[None]:
    """A process group of this process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def without_cuda() -> Iterator[None]:
    """Let code that moves everything to a GPU run on the CPU."""
    stay: Callable[..., Any] = lambda self, *_, **__: self  # noqa: E731
    with (
        mock.patch.object(torch.Tensor, "cuda", stay),
        mock.patch.object(nn.Module, "cuda", stay),
        mock.patch.object(torch.cuda, "synchronize"),
    ):
        yield


def wmse_knn(_seed: int) -> Scores:
    """``eval_knn``."""
    from eval.knn import eval_knn

    x, y, test_x, test_y = fixed_features()
    return {"top1": 100 * eval_knn(x, y, test_x, test_y)}


def relational_linear(seed: int) -> Scores:
    """``linear_evaluation`` and ``test`` of ``StandardModel``, 100 epochs of 128 images a step."""
    from methods.standard import StandardModel

    x, y, test_x, test_y = fixed_features()
    torch.manual_seed(seed)
    model = StandardModel(Identity(), CLASSES)
    loader = DataLoader(TensorDataset(x, y), batch_size=128, shuffle=True)
    for epoch in range(100):
        model.linear_evaluation(epoch, loader)
    return {"top1": model.test(DataLoader(TensorDataset(test_x, test_y), batch_size=128))[1]}


def solo_linear(seed: int, batch: int = 256) -> Scores:
    """``LinearModel`` under its ``Trainer``, with the settings of its scripts for BYOL on ImageNet-100.

    The settings, which have 256 images a step, are completed by solo-learn's own code; the accuracy is that after the
    last epoch.
    """
    from lightning.pytorch import Trainer, seed_everything
    from omegaconf import OmegaConf
    from solo.args.linear import parse_cfg
    from solo.data.classification_dataloader import prepare_dataloaders
    from solo.methods.linear import LinearModel

    x, y, test_x, test_y = fixed_features()
    settings = OmegaConf.load("scripts/linear/imagenet-100/byol.yaml")
    settings.data.format = "image_folder"
    settings.optimizer.batch_size = batch
    settings = parse_cfg(settings)
    settings.data.num_classes = CLASSES
    settings.performance = {"disable_channel_last": True}  # features have no channels
    seed_everything(seed)
    model = LinearModel(Identity(), cfg=settings, loss_func=nn.CrossEntropyLoss())
    loaders = prepare_dataloaders(TensorDataset(x, y), TensorDataset(test_x, test_y), settings.optimizer.batch_size, 0)
    quiet = {
        "enable_checkpointing": False,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(max_epochs=settings.max_epochs, accelerator="cpu", devices=1, **quiet)
    trainer.fit(model, *loaders)
    return {f"top{k}": float(trainer.callback_metrics[f"val_acc{k}"]) for k in (1, 5)}


PROJECTS: dict[str, dict[str, tuple[str, Callable[[int], Scores], int]]] = {
    "dino": {
        "knn-dino": ("eval_knn.py", dino_knn, 1),
        "linear-dino": ("eval_linear.py", dino_linear, len(SEEDS)),
    },
    "w-mse": {"knn-wmse": ("eval/knn.py", wmse_knn, 1)},
    "solo-learn": {
        "linear-solo": ("solo/methods/linear.py", solo_linear, len(SEEDS)),
        "linear-solo[batch=64]": ("solo/methods/linear.py", partial(solo_linear, batch=64), len(SEEDS)),
    },
    "relational": {"linear-relational": ("methods/standard.py", relational_linear, len(SEEDS))},
}
"""For each evaluation the file of the code that is run, the function that runs it, and how often."""


def main() -> None:
    """Run one project's code, and replace its rows in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", choices=PROJECTS)
    parser.add_argument("checkout", type=Path)
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    kept = [row for row in read() if row["project"] != arguments.project]
    sys.path[0] = str(checkout)
    with contextlib.chdir(checkout):
        for evaluation, (code, function, repetitions) in PROJECTS[arguments.project].items():
            for seed in range(repetitions):
                scores = {name: f"{value:.4f}" for name, value in function(seed).items()}
                row = {"evaluation": evaluation, "project": arguments.project, "commit": commit, "code": code}
                kept.append({**row, "seed": str(seed), "top5": "", **scores})
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=lambda row: (row["evaluation"], int(row["seed"]))))


def read() -> list[dict[str, str]]:
    """The rows of the file."""
    if not FILE.exists():
        return []
    with FILE.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
