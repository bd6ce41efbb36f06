"""A real SLURM for tests that need one."""

import importlib.util
import os
from pathlib import Path

import pytest

from protocols.spec.protocol import load
from protocols.spec.resolve import parse_changes, resolve


@pytest.fixture(scope="session")
def run_of():
    """Makes a small run of a method."""

    def make(method, seed=0, views=2000, plugins=()):
        settings = [f"pretrain.views={views}", "pretrain.precision=float32"]
        return resolve(
            load("quick"),
            method=method,
            dataset="digits",
            backbone="conv4",
            seed=seed,
            changes=parse_changes(settings),
            data=Path("data"),
            plugins=plugins,
        )

    return make


def load_one_node():
    spec = importlib.util.spec_from_file_location("one_node", Path(__file__).with_name("one_node.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cluster():
    """A SLURM of this machine's own, with accounting; stopped afterwards unless it ran before."""
    one_node = load_one_node()
    ran_before = one_node.alive("slurmctld")
    try:
        one_node.up()
    except one_node.Unavailable as error:
        pytest.skip(f"no SLURM here: {error}")
    before = os.environ.get("SLURM_CONF")
    os.environ.update(one_node.ENVIRONMENT)
    yield one_node
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before
    if not ran_before:
        one_node.down()
