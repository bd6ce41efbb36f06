"""Successive halving: rounds, who goes on, and shortened budgets."""

import math

import pytest

from protocols.spec.protocol import Pretrain
from protocols.tune.halving import cost_of, rounds_of, shortened_budget, survivors


def test_so_many_times_fewer_trials_have_a_budget_so_many_times_as_long():
    assert rounds_of(27, 3) == [(27, 9), (9, 3), (3, 1)]
    assert rounds_of(16, 3) == [(16, 3), (5, 1)]
    assert rounds_of(16, 2) == [(16, 8), (8, 4), (4, 2), (2, 1)]
    assert rounds_of(5, 3) == [(5, 1)]
    assert rounds_of(16, None) == [(16, 1)]


def test_every_round_costs_about_the_same():
    assert cost_of(27, 3) == pytest.approx(9)
    assert cost_of(16, 2) == pytest.approx(8)
    assert cost_of(16, None) == 16


def test_the_default_and_the_best_others_go_on():
    assert survivors([1.0, 5.0, 7.0, 6.0, 2.0], 3) == [0, 2, 3]
    assert survivors([9.0, 5.0, 7.0, 6.0, 2.0], 2) == [0, 2]


def test_of_equal_trials_the_first_goes_on_and_failed_ones_do_not():
    assert survivors([math.nan, 5.0, 5.0, 5.0], 3) == [0, 1, 2]
    assert survivors([1.0, math.nan, 5.0, math.nan], 3) == [0, 2]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"views": 1000}, {"views": 333}),
        ({"views": 1}, {"views": 1}),
        ({"epochs": 1.5}, {"epochs": 0.5}),
        ({"flops": 3e15}, {"flops": 1e15}),
    ],
)
def test_the_budget_is_divided_in_its_own_unit(budget, expected):
    assert shortened_budget(Pretrain(**budget), 3) == expected
