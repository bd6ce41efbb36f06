"""Stored names and those that are shown."""

import re
from pathlib import Path

import pytest

from results.names import (
    OLD_REFINEMENTS,
    STORED_FIELDS,
    STORED_REFINEMENTS,
    baseline_of,
    display_name,
    display_stage,
    stored_field,
    stored_name,
)

PRESETS = Path(__file__).parents[2] / "protocols" / "presets"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("averaged", "neighbour_mean"),
        ("averaged-chosen", "neighbour_mean-chosen"),
        ("isolated[width=128]", "no_edges[width=128]"),
        ("averaged-chosen[beside=True,k=50]", "neighbour_mean-chosen[append_input=True,k=50]"),
        ("transductive-turned", "transductive-from-neighbours"),
        ("transductive-turned[k=3]", "transductive-from-neighbours[k=3]"),
        ("graph-chosen", "graph-chosen"),
        ("transductive", "transductive"),
        ("concatenated[of=beside]", "concatenated[of=beside]"),
        ("", ""),
    ],
)
def test_names_are_translated_both_ways(stored, shown):
    assert display_name(stored) == shown
    assert stored_name(shown) == stored


def test_stored_names_are_understood_where_shown_ones_are_expected():
    assert stored_name("averaged-chosen") == "averaged-chosen"


def test_no_two_stored_names_are_shown_alike():
    assert len(OLD_REFINEMENTS) == len(STORED_REFINEMENTS)
    assert len({*STORED_FIELDS.values()}) == len(STORED_FIELDS)
    assert (stored_field("fairness"), stored_field("lr")) == ("track", "lr")


def test_refinements_of_the_presets_are_shown_under_different_names():
    text = "".join(path.read_text(encoding="utf-8") for path in PRESETS.glob("*.toml"))
    stored = {*re.findall(r"^\[refinements\.(.+)\]$", text, flags=re.MULTILINE)}
    assert stored
    assert len({display_name(name) for name in stored}) == len(stored)
    assert {stored_name(display_name(name)) for name in stored} == stored


@pytest.mark.parametrize(
    ("config", "baseline"),
    [
        ({"method": {"name": "supervised"}}, "upper"),
        ({"method": {"name": "random"}}, "lower"),
        ({"method": {"name": "simclr"}}, ""),
        ({"method": {"name": "mine"}, "baseline": "lower"}, "lower"),
        ({"method": {"name": "random"}, "baseline": ""}, ""),
    ],
)
def test_baselines_are_declared_or_known_by_name(config, baseline):
    assert baseline_of(config) == baseline


@pytest.mark.parametrize(
    ("stage", "shown"),
    [
        ("pretrain", "pretrain"),
        ("averaged", "neighbour_mean"),
        ("averaged[beside=true] at 96 px", "neighbour_mean[append_input=true] at 96 px"),
        ("knn[k=5] after averaged on cifar100", "knn[k=5] after neighbour_mean on cifar100"),
    ],
)
def test_stages_of_costs_are_shown_with_the_present_names(stage, shown):
    assert display_stage(stage) == shown
