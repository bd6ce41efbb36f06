"""Search spaces: values within their bounds, and those that come with the project."""

import math
import statistics

import pytest

from protocols.spec.plugins import METHODS
from protocols.tune.space import Dimension, load_spaces
from results.errors import RequestError
from results.names import UNTRAINED

GRID = [i / 1000 for i in range(1000)]


def file_with(folder, text):
    path = folder / "spaces.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_logarithmic_dimension_is_even_in_the_logarithm():
    lr = Dimension("pretrain.lr", "log", (1e-4, 1e-2))
    values = [lr.value(u) for u in GRID]
    assert min(values) == 1e-4
    assert max(values) <= 1e-2
    assert statistics.median(values) == pytest.approx(1e-3, rel=0.02)
    assert all(value == float(f"{value:.3g}") for value in values)


def test_a_linear_dimension_is_even():
    values = [Dimension("pretrain.warmup", "linear", (0.0, 0.2)).value(u) for u in GRID]
    assert statistics.fmean(values) == pytest.approx(0.1, abs=1e-3)
    assert 0.0 <= min(values) < max(values) <= 0.2


def test_whole_bounds_give_whole_numbers_both_bounds_included():
    linear = [Dimension("k", "linear", (2, 4)).value(u) for u in GRID]
    assert {value: linear.count(value) for value in (2, 3, 4)} == pytest.approx({2: 333, 3: 333, 4: 333}, abs=2)
    log = [Dimension("clusters", "log", (10, 300)).value(u) for u in GRID]
    assert (min(log), Dimension("clusters", "log", (10, 300)).value(1 - 1e-9)) == (10, 300)
    assert all(type(value) is int for value in (*linear, *log))
    assert statistics.median(log) == pytest.approx(math.sqrt(10 * 301), rel=0.03)


def test_every_choice_comes_equally_often():
    values = [Dimension("crop", "choice", ([0.1, 1.0], [0.2, 1.0])).value(u) for u in GRID]
    assert values.count([0.1, 1.0]) == values.count([0.2, 1.0]) == 500


@pytest.mark.parametrize(
    "method", [name for name in METHODS.names() if METHODS.describe(name).declared["baseline"] not in UNTRAINED]
)
def test_every_method_has_a_space_with_reasons_and_options_that_exist(method):
    spaces = load_spaces()
    targets = {dimension.target: dimension for dimension in spaces.of(method)}
    assert {"pretrain.lr", "pretrain.weight_decay", "pretrain.warmup"} <= set(targets)
    assert method in spaces.tables, f"add [tune.{method}] to protocols/tune/spaces.toml, with the reason for its bounds"
    for target, dimension in targets.items():
        default = METHODS.describe(method).options.get(target)
        if dimension.scale != "choice" and isinstance(default, int | float):
            assert dimension.values[0] <= default <= dimension.values[1], f"the default of {method}.{target} is outside"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[tune.simclr]\ntemprature = {log = [0.1, 1]}",
            "simclr has no option 'temprature'; did you mean temperature?",
        ),
        ("[tune.simclr]\ntemperature = {log = [1, 0.1]}", "temperature needs a lowest and a highest value"),
        ("[tune.simclr]\ntemperature = {log = [0, 1]}", "temperature is logarithmic and must be above 0"),
        ("[tune.simclr]\ntemperature = {log = [nan, 1]}", "temperature needs a lowest and a highest value"),
        ("[tune.simclr]\ntemperature = {choice = [0.1]}", "temperature has fewer than two choices"),
        ("[tune.simclr]\ntemperature = {uniform = [0.1, 1]}", "temperature.uniform is [0.1, 1]; write it like"),
        ("[tune.simclr]\ntemperature = 0.1", "write it like {log = [1e-4, 1e-2]}"),
        ("[tune.simclrr]\ntemperature = {log = [0.1, 1]}", "there is no method simclrr; did you mean simclr?"),
        ("[simclr]\ntemperature = {log = [0.1, 1]}", "needs one table [tune]"),
        ("[tune", "is not TOML"),
    ],
)
def test_what_is_no_space_is_refused_in_one_line(tmp_path, text, complaint):
    with pytest.raises(RequestError) as raised:
        load_spaces(file_with(tmp_path, text)).of("simclr")
    assert complaint in str(raised.value)
    assert "\n" not in complaint


def test_a_method_takes_a_shared_dimension_away_or_has_its_own(tmp_path):
    text = """
        [tune.pretrain]
        lr = {log = [1e-4, 1e-2]}
        warmup = {linear = [0, 0.5]}
        [tune.simclr]
        pretrain.warmup = false
        pretrain.lr = {log = [1e-3, 1e-1]}
    """
    spaces = load_spaces(file_with(tmp_path, text))
    assert [(d.target, d.values) for d in spaces.of("simclr")] == [("pretrain.lr", (1e-3, 1e-1))]
    assert [d.target for d in spaces.of("byol")] == ["pretrain.lr", "pretrain.warmup"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequestError, match="cannot read"):
        load_spaces(tmp_path / "none.toml")
