import copy
import json
import tomllib

import pytest
from jsonschema import Draft202012Validator

from protocols.spec import json_schema
from protocols.spec.protocol import PRESETS, from_tables
from results.errors import RequestError

COMPLETE = """
name = "mine"
version = 1
track = "controlled"
summary = "one table of each kind"
[grid]
methods = ["simclr", "mine"]
[pretrain]
views = 1000
optimizer = "mine"
trust = 1
[recipes.standard]
crop = [0.2, 1]
added = true
[recipes.standard.operations.cutout]
[evaluations.linear]
l2 = 0.1
[evaluations.few]
evaluation = "linear"
fraction = 0.1
[evaluations.of-a-plugin]
evaluation = "mine"
anything = 1
[refinements.averaged]
beside = true
[methods.simclr]
temperature = 0.2
pretrain.lr = 1
[methods.mine]
anything = 1
[[when]]
dataset = "stl10"
pretrain.epochs = 3
"""


@pytest.fixture(scope="module")
def schema():
    return json_schema.protocol_schema()


@pytest.fixture(scope="module")
def validator(schema):
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def changed(path, value):
    """The complete protocol with another value at a dotted path."""
    tables = copy.deepcopy(tomllib.loads(COMPLETE))
    inner = tables
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[0][key] if isinstance(inner, list) else inner[key]
    inner = inner[0] if isinstance(inner, list) else inner
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return tables


def test_the_committed_schema_reference_and_table_of_methods_are_current(schema):
    """Otherwise: python -m protocols.spec.json_schema."""
    written = json_schema.SCHEMA.read_text(encoding="utf-8")
    assert json.loads(written) == json.loads(json.dumps(schema))
    assert json_schema.REFERENCE.read_text(encoding="utf-8") == json_schema.reference(schema)
    assert json_schema.METHODS_PAGE.read_text(encoding="utf-8") == json_schema.methods_page()


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_preset_names_the_schema_and_is_valid(path, validator):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#:schema ./protocol.schema.json\n")
    validator.validate(tomllib.loads(text))


def test_a_protocol_with_plugins_and_every_kind_of_table_is_valid(validator):
    validator.validate(tomllib.loads(COMPLETE))
    from_tables(tomllib.loads(COMPLETE), "mine.toml")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pretain", {}),
        ("version", "1"),
        ("version", None),
        ("track", "fair"),
        ("grid.method", ["simclr"]),
        ("grid.seeds", [0.5]),
        ("pretrain.learning_rate", 0.1),
        ("pretrain.trust_coefficient", 0.1),
        ("pretrain.lr", "high"),
        ("pretrain.betas", [0.9]),
        ("pretrain.epochs", 3),
        ("pretrain.views", None),
        ("recipes.standard.flips", 0.5),
        ("recipes.standard.crop", 0.5),
        ("recipes.standard.interpolation", "nearest"),
        ("when.model", "x"),
        ("when.dataset", None),
    ],
)
def test_the_schema_refuses_what_reading_the_file_refuses(path, value, validator):
    tables = changed(path, value)
    assert not validator.is_valid(tables)
    with pytest.raises(RequestError):
        from_tables(tables, "mine.toml")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("evaluations.linear.l3", 0.1),
        ("evaluations.linear.solver", "sgd"),
        ("evaluations.few.fractions", 0.1),
        ("refinements.averaged.append_inputs", True),
        ("methods.simclr.temprature", 0.2),
        ("methods.simclr.loss", "nt_xent"),
        ("methods.simclr.pretrain.learning_rate", 1),
        ("recipes.standard.operations.cutout.sides", 1),
        ("when.pretrain.epoch", 3),
    ],
)
def test_the_schema_refuses_misspelt_options_of_plugins(path, value, validator):
    assert not validator.is_valid(changed(path, value))


def test_every_key_of_a_file_is_described(schema):
    definitions = schema["$defs"]
    tables = [definitions[name] for name in ("grid", "pretrain", "augmentation")]
    for section in ("evaluations", "refinements", "methods"):
        tables += definitions[section]["properties"].values()
    keys = [(name, key) for table in tables for name, key in table["properties"].items()]
    assert not [name for name, key in keys if {"description", "$ref", "const"}.isdisjoint(key)]


@pytest.mark.parametrize(
    ("name", "option"), [("averaged", "beside"), ("neighbour_mean", "append_input"), ("neighbour_mean", "beside")]
)
def test_a_file_may_use_the_present_or_the_stored_name_of_a_refinement(name, option, validator):
    tables = {"name": "mine", "version": 1, "track": "controlled", "summary": "", "pretrain": {"epochs": 1}}
    tables |= {"refinements": {name: {option: True}, f"{name}-far": {"refinement": name, option: True}}}
    tables["when"] = [{"dataset": "stl10", "refinements": {name: {"k": 3}}}]
    validator.validate(tables)
    stored = from_tables(tables, "mine.toml").for_run(dataset="stl10", backbone="conv4", method="simclr")[0]
    assert stored["refinements"] == {
        "averaged": {"beside": True, "k": 3},
        "averaged-far": {"refinement": name, "beside": True},
    }


def test_an_extension_needs_a_name_and_a_summary_only(validator):
    extension = {"name": "mine", "summary": "longer", "extends": "quick", "pretrain": {"epochs": 3}}
    assert validator.is_valid(extension)
    assert not validator.is_valid({**extension, "version": 1})
