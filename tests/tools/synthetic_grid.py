"""Runs of many methods on many data sets with known differences: ``python -m tests.tools.synthetic_grid FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from results.store import CONFIG, RECORD, write_json
from tests.results.conftest import config_of, record_of

METHODS = (
    *("simclr", "byol", "barlow", "vicreg", "dino", "mocov2", "mocov3", "simsiam", "nnclr", "swav", "deepcluster"),
    *("relational", "rotnet", "mae", "ijepa", "wmse", "adasim", "graph_nnclr", "deepinfomax", "supcon", "lejepa"),
    *("simclr[temperature=0.5]", "simclr[temperature=0.1]", "byol[momentum=0.99]", "barlow[scale=0.1]", "msn", "ibot"),
    *("relational[views=4]", "supervised", "random"),
)
"""Labels from the best to the worst of those that compete, then the baselines."""

DATASETS = (
    *(
        "cifar10",
        "cifar100",
        "stl10",
        "svhn",
        "tiny_imagenet",
        "shapes",
        "digits",
        "slim_imagenet64",
        "dtd",
        "flowers102",
    ),
)
STEP = 0.8
"""Points between neighbouring methods."""


def write_grid(
    folder: Path,
    methods: tuple[str, ...] = METHODS,
    datasets: tuple[str, ...] = DATASETS,
    seeds: int = 5,
    *,
    noise: float = 0.7,
) -> None:
    """Write finished runs to a runs folder.

    Args:
        folder: of the runs.
        methods: labels; each is ``STEP`` points below the one before.
        datasets: names; each is 3 points harder than the one before.
        seeds: of each.
        noise: standard deviation over seeds, in points.
    """
    random = np.random.default_rng(0)
    for level, label in enumerate(methods):
        name = label.partition("[")[0]
        for hardness, dataset in enumerate(datasets):
            base = {"supervised": 92.0, "random": 45.0}.get(name, 85 - STEP * level) - 3 * hardness
            for seed in range(seeds):
                config = config_of(method=name, method_label=label, dataset=dataset, seed=seed)
                linear, knn = base + noise * random.standard_normal(2)
                values = {"linear": float(linear), "knn": float(knn) - 5}
                record = record_of(config, values, seconds=20.0 + 10 * level, loss=1.0 + level)
                path = folder / f"{dataset}-conv4-{name}-s{seed}-{config['fingerprint'][:8]}"
                path.mkdir(parents=True)
                write_json(path / CONFIG, config)
                write_json(path / RECORD, record.to_json())


if __name__ == "__main__":
    write_grid(Path(sys.argv[1]))
