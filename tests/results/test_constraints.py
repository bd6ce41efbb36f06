"""Bounds of options: what they refuse, in which words, and where they are shown."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

import bench
from protocols.spec.json_schema import type_schema, type_text
from protocols.spec.plugins import AUGMENTATIONS, EVALUATIONS, REFINEMENTS, typed_options
from results.constraints import Above, AtLeast, AtMost, Below
from results.errors import RequestError
from results.schema import build, convert

FRACTION = Annotated[float, Above(0), AtMost(1)]


@pytest.mark.parametrize(
    ("hint", "value", "complaint"),
    [
        (Annotated[int, AtLeast(1)], 0, "knn.k must be 1 or more, not 0"),
        (Annotated[int, AtLeast(1)], "few", "knn.k is 'few'; it must be a whole number"),
        (Annotated[int, AtLeast(1)] | None, -1, "knn.k must be 1 or more, not -1"),
        (FRACTION, 0, "knn.k must be above 0, not 0"),
        (FRACTION, 1.5, "knn.k must be 1 or less, not 1.5"),
        (Annotated[float, Below(1)], 1, "knn.k must be below 1, not 1"),
        (tuple[FRACTION, ...], [0.5, 2], "knn.k must be 1 or less, not 2"),
        (float, float("nan"), "knn.k is nan; it must be finite"),
        (FRACTION, float("inf"), "knn.k is inf; it must be finite"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_in_one_line(hint, value, complaint):
    with pytest.raises(RequestError) as caught:
        convert(value, hint, "knn.k")
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("hint", "value", "converted"),
    [
        (Annotated[int, AtLeast(1)], 1, 1),
        (Annotated[int, AtLeast(1)] | None, None, None),
        (FRACTION, 1, 1.0),
        (Annotated[Literal["a", "b"], "a mark of something else"], "b", "b"),
    ],
)
def test_a_value_within_its_bounds_is_converted(hint, value, converted):
    assert convert(value, hint, "knn.k") == converted
    assert type(convert(value, hint, "knn.k")) is type(converted)


def test_the_schema_and_the_reference_show_the_bounds():
    assert type_schema(FRACTION) == {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert type_text(type_schema(FRACTION)) == "number, above 0, 1 or less"
    assert type_schema(Annotated[int, AtLeast(2), Below(9)] | None) == {
        "type": "integer",
        "minimum": 2,
        "exclusiveMaximum": 9,
    }


def test_fields_of_dataclasses_may_have_bounds():
    @dataclass(frozen=True)
    class Options:
        radius: Annotated[float, bench.Above(0)] = 3.0

    assert build(Options, {"radius": 1}, "mine") == Options(1.0)
    with pytest.raises(RequestError, match=r"mine.radius must be above 0, not -1"):
        build(Options, {"radius": -1}, "mine")


@pytest.mark.parametrize("registry", [EVALUATIONS, REFINEMENTS, AUGMENTATIONS], ids=lambda registry: registry.kind)
def test_the_defaults_of_built_in_plugins_lie_within_their_bounds(registry):
    for entry in registry.entries():
        if entry.origin == "built in":
            options = {key: value for key, value in entry.options.items() if key not in registry.common}
            typed_options(registry.get(entry.name), options, entry.name)


@pytest.mark.parametrize("registry", [EVALUATIONS, REFINEMENTS, AUGMENTATIONS], ids=lambda registry: registry.kind)
def test_every_number_of_a_built_in_plugin_has_bounds(registry):
    for entry in registry.entries():
        if entry.origin != "built in":
            continue
        for option, default in entry.options.items():
            if type(default) in (int, float):
                with pytest.raises(RequestError, match=rf"{entry.name}\.{option} must be"):
                    typed_options(registry.get(entry.name), {option: type(default)(-1e9)}, entry.name)
