import numpy as np
import pytest
import torch
from scipy import stats

from protocols.system.randomness import generator, key, permutation, uniforms


def test_purposes_and_seeds_are_told_apart():
    keys = {
        key(seed, *purpose) for seed in (0, 1, 11) for purpose in [("views", 1), ("views", 11), ("order", 1), ("v",)]
    }
    assert len(keys) == 12


def test_a_number_depends_on_its_row_alone():
    rows = np.array([5, 7, 2**40 + 5, 123456])
    together = uniforms(key(0, "views"), rows, 9)
    for row, numbers in zip(rows, together, strict=True):
        assert np.array_equal(uniforms(key(0, "views"), np.array([row]), 9)[0], numbers)
    assert np.array_equal(uniforms(key(0, "views"), rows, 4), together[:, :4])


def slow_uniform(key: int, row: int, column: int) -> float:
    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    return (mix((mix((row + key) % 2**64) + column * 0x9E3779B97F4A7C15) % 2**64) >> 40) / 2**24


def test_numbers_are_splitmix64():
    numbers = uniforms(key(0, "views", 0), np.array([0, 1, 2**41]), 3)
    for row, counter in zip(numbers, (0, 1, 2**41), strict=True):
        assert row.tolist() == [slow_uniform(key(0, "views", 0), counter, column) for column in range(3)]


def test_first_numbers_never_change():
    """A change here would give every stored run other views: then the versions of all protocols must rise."""
    assert key(0, "views", 0) == 2617697917649418928
    assert uniforms(key(0, "views", 0), np.array([0]), 2)[0].tolist() == pytest.approx([0.0135652, 0.7828467], abs=1e-6)
    assert permutation(6, 0, "order", 0).tolist() == [5, 0, 3, 2, 1, 4]


def test_numbers_are_uniform_and_independent():
    u = uniforms(key(3, "views"), np.arange(20_000), 8)
    assert u.min() >= 0
    assert u.max() < 1
    assert all(stats.kstest(column, "uniform").pvalue > 1e-3 for column in u.T)
    correlation = np.corrcoef(np.concatenate([u[1:], u[:-1]], axis=1).T) - np.eye(16)
    assert np.abs(correlation).max() < 0.03


def test_neighbouring_keys_are_unrelated():
    a, b = (uniforms(k, np.arange(20_000), 1)[:, 0] for k in (key(0, "views", 0), key(0, "views", 1)))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_generators_of_one_purpose_agree():
    a, b = (torch.rand(3, generator=generator(0, "x")) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(3, generator=generator(1, "x")))
