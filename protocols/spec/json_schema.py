"""A JSON schema of protocol files, for editors, the reference of their keys, and the table of methods, for people.

All are made from the dataclasses and plugins that read the files, their types, defaults and docstrings::

    python -m protocols.spec.json_schema

writes ``protocols/presets/protocol.schema.json``, ``protocols/presets/README.md`` and ``methods/README.md``. An editor
with a TOML language server then completes and checks a protocol whose first line is ``#:schema`` and the path of the
schema.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import textwrap
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from protocols.spec.plugins import (
    AUGMENTATIONS,
    EVALUATIONS,
    METHODS,
    OPTIMIZERS,
    REFINEMENTS,
    SCHEDULES,
    option_types,
)
from protocols.spec.protocol import (
    BUDGETS,
    CONDITIONS,
    MEASURED,
    PRESETS,
    SECTIONS,
    Augmentation,
    Grid,
    Pretrain,
    Protocol,
    load,
)
from protocols.spec.protocol import names as protocol_names
from protocols.spec.run import CROP_PCT, IMAGE_SIZE, CropPct, ImageSize
from results.constraints import Bound
from results.names import (
    STORED_FIELDS,
    STORED_LABELS,
    STORED_OPTIONS,
    STORED_REFINEMENTS,
    stored_field,
    stored_name,
    stored_options,
)
from results.schema import field_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from results.registry import Registry

SCHEMA = PRESETS / "protocol.schema.json"
REFERENCE = PRESETS / "README.md"
METHODS_PAGE = PRESETS.parents[1] / "methods" / "README.md"

Json = dict[str, Any]

SECTION_DESCRIPTIONS = {
    "extends": "Name or path of the protocol that this one changes; instead of `version` and `track`.",
    "grid": "What `bench run --protocol NAME` compares where the command line does not say; `[[grid]]` for several.",
    "pretrain": "Budget, batch size and optimizer of every method.",
    "recipes": "Augmentations, by the names that methods ask for. `[recipes.NAME2]` is that of the second view of that "
    "name, if it differs.",
    "evaluations": "What is measured, by label. The label is the name of an evaluation, or `evaluation` says which.",
    "refinements": "Refinements, by label, after each of which frozen features are evaluated again. The label "
    "is the name of a refinement, or `refinement` says which.",
    "methods": "Options of methods, by name; under `pretrain` what a method changes of `[pretrain]`.",
    "when": "The same tables for some runs only: those of one `dataset`, `backbone` or `method`.",
}


def type_schema(hint: Any) -> Json:
    """The JSON schema of values of a type. TOML has no null: an optional key may be left out."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return {
            **type_schema(args[0]),
            **{bound.keyword: bound.limit for bound in args[1:] if isinstance(bound, Bound)},
        }
    if origin in (Union, types.UnionType):
        return type_schema(next(kind for kind in args if kind is not type(None)))
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        length = {} if args[-1] is Ellipsis else {"minItems": len(args), "maxItems": len(args)}
        return {"type": "array", "items": type_schema(args[0]), **length}
    if origin is dict:
        return {"type": "object", "additionalProperties": type_schema(args[1])}
    names = {int: "integer", float: "number", bool: "boolean", str: "string", Path: "string"}
    return {"type": names[hint]} if hint in names else {}


def described_items(doc: str | None) -> dict[str, str]:
    """The descriptions under ``Attributes:`` or ``Args:`` of a docstring, by name."""
    _, _, section = re.sub(r"\nArgs:\n", "\nAttributes:\n", inspect.cleandoc(doc or "")).partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if match := re.match(r"    (\w+): +(.*)", line):
            name = match[1]
            found[name] = match[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    # The stored name of a key is its name here.
    return {name: re.sub(r" `\w+` in TOML\.$", "", as_markdown(text)) for name, text in found.items()}


def as_markdown(text: str) -> str:
    """Text of a docstring, with the code in it marked as Markdown does."""
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text).replace("``", "`")


def summary(plugin: Any) -> str:
    """The first line of a docstring."""
    return as_markdown((inspect.getdoc(plugin) or "").partition("\n")[0])


def key_schema(hint: Any, default: Any, description: str) -> Json:
    """The schema of one key, with its default where it has one."""
    stored_default = (
        list(default) if isinstance(default, tuple) else str(default) if isinstance(default, Path) else default
    )
    return {
        **type_schema(hint),
        **({} if default is None or default is dataclasses.MISSING else {"default": stored_default}),
        **({"description": description} if description else {}),
    }


def table_schema(properties: Mapping[str, Json], description: str = "") -> Json:
    """A table with these keys and no others."""
    words = {"description": description} if description else {}
    return {"type": "object", **words, "properties": dict(properties), "additionalProperties": False}


def dataclass_keys(cls: type) -> dict[str, Json]:
    """The keys that a dataclass reads, under their stored names."""
    hints, described = get_type_hints(cls, include_extras=True), dict[str, str]()
    for parent in reversed(cls.__mro__):
        described |= described_items(parent.__doc__)
    return {
        stored_field(item.name): key_schema(
            hints[item.name],
            item.default if item.default_factory is dataclasses.MISSING else item.default_factory(),
            described.get(item.name, ""),
        )
        for item in dataclasses.fields(cls)
    }


def function_keys(function: Any) -> dict[str, Json]:
    """The options of a plugin that is a function: its keyword-only parameters."""
    parameters, described = inspect.signature(function).parameters, described_items(function.__doc__)
    return {
        name: key_schema(hint, parameters[name].default, described.get(name, ""))
        for name, hint in option_types(function, function.__name__).items()
    }


def method_keys(method: Any) -> dict[str, Json]:
    """The options of a method. What its ``Options`` do not describe, those of the methods that it derives from do."""
    keys = dataclass_keys(method.Options)
    for parent in method.__mro__[1:]:
        if hasattr(parent, "Options"):
            described = described_items(parent.Options.__doc__)
            for name, key in keys.items():
                if "description" not in key and name in described:
                    key["description"] = described[name]
    return {**keys, "pretrain": {"$ref": "#/$defs/pretrain"}}


def built_in(registry: Registry[Any]) -> list[str]:
    """The plugins that come with the project; a schema is the same whatever else is installed."""
    return [entry.name for entry in registry.entries() if entry.origin == "built in"]


def measured_schema(registry: Registry[Any], tables: Mapping[str, Json]) -> Json:
    """Evaluations or refinements by label.

    Args:
        registry: of their kind.
        tables: the keys of every built-in one, by its name.
    """
    kind = registry.kind
    properties_by_name = {name: {**table["properties"], kind: {"const": name}} for name, table in tables.items()}
    chosen = [
        {
            "if": {"properties": {kind: {"const": name}}, "required": [kind]},
            "then": table_schema(properties),
        }
        for name, properties in properties_by_name.items()
    ]
    return {
        "type": "object",
        "description": SECTION_DESCRIPTIONS[f"{kind}s"],
        "properties": {name: {**table, "properties": properties_by_name[name]} for name, table in tables.items()},
        "additionalProperties": {"type": "object", "properties": {kind: {"type": "string"}}, "allOf": chosen},
    }


def refinement_tables() -> dict[str, Json]:
    """The keys of every built-in refinement, under its present and its stored name; files may hold either.

    Options of ``graph`` mean the same in its variants, which do not describe them again.
    """
    tables, described = {}, described_items(REFINEMENTS.get("graph").__doc__)
    for name in built_in(REFINEMENTS):
        function = REFINEMENTS.get(name)
        keys = function_keys(function)
        for key in keys.keys() & described.keys():
            keys[key].setdefault("description", described[key])
        for key, stored in zip(list(keys), stored_options(name, keys), strict=True):
            if stored != key:
                keys[stored] = {**keys[key], "deprecated": True}
        tables[name] = table_schema(keys, summary(function))
        if (stored := stored_name(name)) != name:
            tables[stored] = {**tables[name], "deprecated": True}
    return tables


def protocol_schema() -> Json:
    """The JSON schema of a protocol file."""
    pretrain, augmentation = dataclass_keys(Pretrain), dataclass_keys(Augmentation)
    pretrain["optimizer"]["examples"] = built_in(OPTIMIZERS)
    pretrain["schedule"]["examples"] = built_in(SCHEDULES)
    operations = {name: table_schema(function_keys(AUGMENTATIONS.get(name))) for name in built_in(AUGMENTATIONS)}
    augmentation["operations"]["properties"] = operations
    augmentation["added"] = {
        "type": "boolean",
        "default": False,
        "description": "Set it on an augmentation that joins a protocol with stored runs: it is then part of the "
        "identity of those runs only whose method declares to use it.",
    }
    image_size = key_schema(
        ImageSize, None, "side in pixels that images are resized to; by default that of the data set."
    )
    crop_pct = key_schema(
        CropPct,
        None,
        "images are resized to image_size divided by this, and their centred square of image_size is evaluated, 0.875 "
        "by custom for ImageNet; by default the whole image is.",
    )
    common = {IMAGE_SIZE: image_size, CROP_PCT: crop_pct}
    evaluations = {
        name: table_schema({**function_keys(function), **common}, summary(function))
        for name, function in ((name, EVALUATIONS.get(name)) for name in built_in(EVALUATIONS))
    }
    methods = {
        name: table_schema(method_keys(method), summary(method))
        for name, method in ((name, METHODS.get(name)) for name in built_in(METHODS))
    }
    sections = {name: {"$ref": f"#/$defs/{name}"} for name in SECTIONS}
    condition = {"type": "string", "description": "The runs that the tables are for."}
    protocol_keys = dataclass_keys(Protocol)
    root = {key: protocol_keys[key] for key in ("name", "version", "track", "summary")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A protocol of bench",
        "type": "object",
        "properties": {
            **root,
            "extends": {"type": "string", "description": SECTION_DESCRIPTIONS["extends"]},
            "grid": {
                "description": SECTION_DESCRIPTIONS["grid"],
                "anyOf": [{"$ref": "#/$defs/grid"}, {"type": "array", "items": {"$ref": "#/$defs/grid"}}],
            },
            **sections,
            "when": {
                "type": "array",
                "description": SECTION_DESCRIPTIONS["when"],
                "items": {
                    **table_schema({**dict.fromkeys(CONDITIONS, condition), **sections}),
                    "anyOf": [{"required": [key]} for key in CONDITIONS],
                },
            },
        },
        "additionalProperties": False,
        "required": ["name", "summary"],
        "if": {"required": ["extends"]},
        "then": {"not": {"anyOf": [{"required": ["version"]}, {"required": ["track"]}]}},
        "else": {
            "required": ["version", "track", "pretrain"],
            "properties": {"pretrain": {"oneOf": [{"required": [name]} for name in BUDGETS]}},
        },
        "$defs": {
            "grid": table_schema(dataclass_keys(Grid), SECTION_DESCRIPTIONS["grid"]),
            "pretrain": table_schema(pretrain, SECTION_DESCRIPTIONS["pretrain"]),
            "augmentation": table_schema(augmentation, summary(Augmentation)),
            "recipes": {
                "type": "object",
                "description": SECTION_DESCRIPTIONS["recipes"],
                "additionalProperties": {"$ref": "#/$defs/augmentation"},
            },
            "evaluations": measured_schema(EVALUATIONS, evaluations),
            "refinements": measured_schema(REFINEMENTS, refinement_tables()),
            "methods": {
                "type": "object",
                "description": SECTION_DESCRIPTIONS["methods"],
                "properties": methods,
                "additionalProperties": {"type": "object"},
            },
        },
    }


def type_text(key: Json) -> str:
    """The type of a key in words."""
    if "enum" in key:
        return ", ".join(f"`{json.dumps(value)}`" for value in key["enum"])
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "string": "text"}
    if key.get("type") == "array":
        count = f"{key['minItems']} " if "minItems" in key else ""
        return f"list of {count}{words[key['items']['type']]}s"
    bounds = [str(bound(key[bound.keyword])) for bound in Bound.__subclasses__() if bound.keyword in key]
    return ", ".join([words.get(key.get("type", ""), "table" if key.get("type") == "object" else "any"), *bounds])


def key_table(properties: Mapping[str, Json]) -> Iterator[str]:
    """The lines of a Markdown table of keys."""
    yield from ("| key | value | default | meaning |", "| --- | --- | --- | --- |")
    for name, key in properties.items():
        if not {"$ref", "const", "deprecated"}.isdisjoint(key):
            continue
        default = f"`{json.dumps(key['default'])}`" if "default" in key else ""
        cells = (f"`{name}`", type_text(key), default, key.get("description", ""))
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def plugin_tables(tables: Mapping[str, Json]) -> Iterator[str]:
    """A heading, a sentence and the keys of every plugin of a kind."""
    for name, table in tables.items():
        if "deprecated" in table:
            continue
        yield from ("", f"### `{name}`", "", table["description"])
        if len(lines := list(key_table(table["properties"]))) > 2:
            yield from ("", *lines)


def reference(schema: Json) -> str:
    """The keys of a protocol file as Markdown."""
    definitions = schema["$defs"]
    return "\n".join([*reference_lines(schema["properties"], definitions), ""])


def reference_lines(properties: Json, definitions: Json) -> Iterator[str]:
    """The lines of :func:`reference`."""
    yield from (
        "# The keys of a protocol",
        "",
        *wrap_lines(
            "A protocol is a TOML file: everything that is held fixed so that a comparison is fair. The files beside "
            "this page come with the project; yours is named by its path, `--protocol mine.toml`. `--set` changes a "
            "setting for one command: `--set pretrain.lr=0.01`, `--set recipes.standard.hue=0.2`, and, without the "
            "name of their section, `--set simclr.temperature=0.2` and `--set knn.k=5`."
        ),
        "",
        *wrap_lines(
            "Names in files never change. Some keys therefore have another name in the code and the tables of a "
            "report. Of refinements and their options a file may hold either name."
        ),
        "",
        *names_table(),
        "",
        *wrap_lines(
            '`track = "recipe"` gives each method the settings of its authors. It has nothing to do with '
            "`[recipes.NAME]`, which is an augmentation."
        ),
        "",
        *wrap_lines(
            "This page and `protocol.schema.json` are made from the code by `python -m protocols.spec.json_schema`. "
            "An editor with a TOML language server completes and checks a file whose first line is "
            "`#:schema ./protocol.schema.json`, or the path from where the file lies."
        ),
        "",
        "## At the top",
        "",
        *key_table({key: properties[key] for key in ("name", "version", "track", "summary", "extends")}),
    )
    for name in ("grid", "pretrain"):
        yield from ("", f"## `[{name}]`", "", *wrap_lines(SECTION_DESCRIPTIONS[name]), "")
        yield from key_table(definitions[name]["properties"])
    yield from ("", "## `[recipes.NAME]`", "", *wrap_lines(SECTION_DESCRIPTIONS["recipes"]), "")
    yield from key_table(definitions["augmentation"]["properties"])
    operations = definitions["augmentation"]["properties"]["operations"]["properties"]
    names = ", ".join(f"`{name}`" for name in operations)
    yield from (
        "",
        *wrap_lines(f"Operations that come with the project: {names}; `bench list augmentations --options`."),
    )
    for section in MEASURED:
        yield from ("", f"## `[{section}.LABEL]`", "", *wrap_lines(SECTION_DESCRIPTIONS[section]))
        yield from plugin_tables(definitions[section]["properties"])
    yield from ("", "## `[methods.NAME]`", "", *wrap_lines(SECTION_DESCRIPTIONS["methods"]))
    yield from plugin_tables(definitions["methods"]["properties"])
    yield from ("", "## `[[when]]`", "", *wrap_lines(SECTION_DESCRIPTIONS["when"]))


def names_table() -> Iterator[str]:
    """A Markdown table of the names in files that are other ones in the code and in reports."""
    keys = {*field_names(Pretrain), *field_names(Protocol), "recipes"}
    rows = [(f"`{stored}`", name) for name, stored in STORED_FIELDS.items() if stored in keys]
    refinements = {**STORED_REFINEMENTS, **STORED_LABELS}
    rows += [(f"refinement `{stored}`", name) for name, stored in refinements.items()]
    options = {stored: name for table in STORED_OPTIONS.values() for name, stored in table.items()}
    rows += [(f"`{stored}` of refinements", name) for stored, name in options.items()]
    yield from ("| in a file | in the code and in reports |", "| --- | --- |")
    yield from (f"| {stored} | `{name}` |" for stored, name in rows)


def methods_page() -> str:
    """The table of the methods that come with the project, as Markdown."""
    lines = [
        "# Methods",
        "",
        *wrap_lines(
            "One file each. Views are those of a method's defaults, by the names of augmentations; a protocol may set "
            "others, and [its keys](../protocols/presets/README.md) have the options of every method. A protocol runs "
            "methods that it does not name, too: with their defaults. Baselines frame a table and do not compete. "
            "This page is made from the code by `python -m protocols.spec.json_schema`."
        ),
        "",
        "| method | what it learns by | views of an image | set in protocols | paper |",
        "| --- | --- | --- | --- | --- |",
    ]
    protocols = {name: load(name) for name in protocol_names()}
    for name in built_in(METHODS):
        method = METHODS.get(name)
        _, _, idea = as_markdown((sys.modules[method.__module__].__doc__ or "").partition("\n")[0]).partition(": ")
        set_in = [one for one, protocol in protocols.items() if name in protocol.tables["methods"]]
        words = " (uses labels)" * method.uses_labels + " (needs a backbone with tokens)" * method.uses_tokens
        cells = (f"[`{name}`]({method.__module__.rpartition('.')[2]}.py)", idea.removesuffix(".") + words)
        views = Counter(method.views(method.Options()))
        counted = " + ".join(f"{count} {augmentation}" for augmentation, count in views.items()) or "none"
        lines.append(f"| {' | '.join((*cells, counted, ', '.join(set_in), summary(method).removesuffix('.')))} |")
    return "\n".join([*lines, ""])


def wrap_lines(text: str) -> Iterable[str]:
    """A paragraph in lines of the width of the other documents."""
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def write() -> None:
    """Write the schema and the reference beside the protocols that come with the project, and the table of methods."""
    schema = protocol_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    REFERENCE.write_text(reference(schema), encoding="utf-8")
    METHODS_PAGE.write_text(methods_page(), encoding="utf-8")


if __name__ == "__main__":
    write()
