import copy

import pytest
import torch
from torch import nn

from methods import METHODS, RunInfo
from methods.graph import RingBuffer
from methods.memory import Queue
from methods.state_names import load_old_names
from protocols.backbones.small import Conv4

INFO = RunInfo(classes=10, images=40, side=16, steps=9, seed=0)
DINO = {"prototypes": 8, "hidden": 16, "bottleneck": 4}
GRAPH = [f"{buffer}.written" for buffer in ("neighbours", "cosines")]
OLD_KEYS = {
    "deepcluster": ({"clusters": 5}, ["weights"]),
    "deepinfomax": ({}, ["local.first.weight", "local.rest.0.bias", "prior.0.weight", "prior.4.bias"]),
    "mocov2": (
        {"queue": 20, "hidden": 16, "output": 8},
        ["queue.rows", "queue.place", "online.0.stem.0.weight", "online.1.0.bias", "target.module.1.0.bias"],
    ),
    "nnclr": ({"queue": 20, "hidden": 16, "output": 8, "bottleneck": 16}, ["queue.rows", "queue.place"]),
    "dino": (DINO, ["thawed"]),
    "adasim": ({**DINO, "topk": 3, "window": 2}, ["thawed", *GRAPH]),
    "graph_nnclr": (
        {**DINO, "topk": 3, "window": 2, "edges": 2},
        ["thawed", *GRAPH, "teacher_edges.written", "student_edges.written"],
    ),
}
"""Of every method whose state has been renamed: small options, and keys that a checkpoint made at 4775236 holds."""

NOW = {
    "rows": "embeddings",
    "place": "pointer",
    "written": "write_counts",
    "thawed": "prototypes_trainable",
    "weights": "cluster_weights",
    "local": "local_discriminator",
    "prior": "prior_discriminator",
    "online": "query_encoder",
    "target": "key_encoder",
}


def renamed(key: str) -> str:
    return ".".join(NOW.get(part, part) for part in key.split("."))


@pytest.mark.parametrize("name", OLD_KEYS)
def test_checkpoints_of_earlier_versions_load(name):
    options, old_keys = OLD_KEYS[name]
    kind = METHODS.get(name)
    method = kind(Conv4(), kind.Options(**options), INFO)
    expected = {key: torch.full_like(value, 1) for key, value in method.state_dict().items()}
    saved = dict(expected)
    for key in old_keys:
        saved[key] = saved.pop(renamed(key))
    given = dict(saved)
    method.load_state_dict(saved)
    assert saved == given
    state = method.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (Queue(3, 2), "place", "pointer"),
        (Queue(3, 2), "rows", "embeddings"),
        (RingBuffer(3, 2, 2, -1), "written", "write_counts"),
    ],
)
def test_old_names_load_into_a_module_by_itself_and_into_its_copy(module, old, new):
    for one in (module, copy.deepcopy(module)):
        state = {key: torch.ones_like(value) for key, value in one.state_dict().items()}
        state[old] = state.pop(new)
        one.load_state_dict(state)
        assert (getattr(one, new) == 1).all()


def test_a_renamed_submodule_takes_all_below_it():
    model = nn.Sequential()
    model.add_module("new", nn.Sequential(nn.Linear(2, 2)))
    model.add_module("newer", nn.Linear(2, 2))
    load_old_names(model, {"old": "new"})
    state = {key.replace("new.", "old."): torch.ones_like(value) for key, value in model.state_dict().items()}
    model.load_state_dict(state)
    assert all((value == 1).all() for value in model.parameters())


def test_a_missing_name_is_still_missed():
    with pytest.raises(RuntimeError, match="pointer"):
        Queue(3, 2).load_state_dict({"rows": torch.ones(3, 2)})
