"""Labels: a name with changed options in brackets, as tables print them and the command line accepts them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec.protocol import merge
from results.errors import RequestError
from results.names import MONITORING_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.spec.protocol import TomlTable

SHARED = ("pretrain", "recipes")
"""Sections whose keys a label shows without the section's name."""

HELD_OUT = "held_out:"
"""Prefix of the name of a held-out part of a data set; options of a protocol for the data set apply to the part."""


def split_list(text: str) -> list[str]:
    """Split at commas outside of brackets: ``a[b=1,c=2],d`` has two items."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def split_names(text: str, data: Path = Path()) -> list[str]:
    """Split at commas as :func:`split_list`, but not the path of a file or folder that is there.

    Args:
        text: names, Python files and ``folder:PATH``.
        data: folder of the data sets, below which folders are looked up too.
    """
    words, names = split_list(text), list[str]()
    while words:
        count = next((n for n in range(len(words), 1, -1) if is_path(",".join(words[:n]), data)), 1)
        names.append(",".join(words[:count]))
        words = words[count:]
    return names


def is_path(word: str, data: Path) -> bool:
    """Whether a word is a Python file or a folder of images that is there."""
    family, colon, path = word.partition(":")
    if not colon:
        return word.endswith(".py") and Path(word).is_file()
    paths = (Path(path), data / path, Path(path.rpartition("@")[0]), data / path.rpartition("@")[0])
    return family == "folder" and any(folder.name and folder != data and folder.is_dir() for folder in paths)


def parse_label(text: str) -> tuple[str, TomlTable]:
    """Split a label into its name and the changes in brackets, nested like ``--set``.

    Raises:
        RequestError: what stands in the brackets is not ``KEY=VALUE``, or something follows them.
    """
    match = re.fullmatch(r"([^[]+)(?:\[(.*)\])?", text)
    if not match:
        raise RequestError(f"{text!r} {label_fault(text)}", hint="write it like relational[views=4]")
    if in_parentheses := re.fullmatch(r"([\w-]+)\(([\w.]+=[^)]*)\)?", match[1].strip()):
        hint = f"options stand in square brackets: {in_parentheses[1]}[{in_parentheses[2]}]"
        raise RequestError(f"{text!r} is no label", hint=hint)
    changes: TomlTable = {}
    seen = set[str]()
    for change in split_list(match[2] or ""):
        key, equals, value = change.partition("=")
        if not equals:
            raise RequestError(f"{text!r}: {change!r} has no value", hint=f"write {match[1].strip()}[{change}=VALUE]")
        if key.strip() in seen:
            raise RequestError(f"{text!r} says twice what {key.strip()} is", hint="give one value")
        seen.add(key.strip())
        merge(changes, nested(key.strip().split("."), value))
    return match[1].strip(), changes


def label_fault(text: str) -> str:
    """What is wrong with a text that is no name with changes in brackets behind it."""
    if not text.partition("[")[0]:
        return "names nothing before its ["
    return "lacks its ]" if text.count("[") > text.count("]") else "has something after its ]"


def nested(keys: list[str], value: str) -> TomlTable:
    """Nest a value under keys: ``{"a": {"b": 1}}`` for the keys a and b and the text 1."""
    inner: Any = parse_value(value.strip())
    for key in reversed(keys):
        inner = {key: inner}
    table: TomlTable = inner
    return table


def parse_value(text: str) -> Any:
    """Parse a TOML value; text that is not TOML is returned unchanged."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, thousands of brackets
        return text


def label(name: str, base: TomlTable, change: TomlTable) -> str:
    """The name with the values of ``change`` that differ from ``base`` in brackets: ``quick[lr=0.01]``."""
    changed = [f"{key}={format_value(value)}" for key, value in changed_leaves(base, change)]
    return f"{name}[{','.join(changed)}]" if changed else name


def changed_leaves(base: TomlTable, change: TomlTable) -> Iterator[tuple[str, Any]]:
    """The leaves of ``change`` that differ from those of ``base``, by dotted key.

    Sections of :data:`SHARED` need no name, unless the key would be taken for one beside them. What is measured during
    training changes no number, and is left out.
    """
    for key, value in sorted(change.items()):
        below = base.get(key)
        if isinstance(value, dict):
            if key == "pretrain":
                value = {name: leaf for name, leaf in value.items() if name not in MONITORING_KEYS}  # noqa: PLW2901
            for inner, leaf in changed_leaves(below if isinstance(below, dict) else {}, value):
                yield inner if key in SHARED and inner not in base else f"{key}.{inner}", leaf
        elif value != below:
            yield key, value


def format_value(value: Any) -> str:
    """Format a value so that :func:`parse_value` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value >= 1e9:  # FLOPs
        return f"{value!r}" if float(f"{value:g}") != value else f"{value:g}".replace("e+0", "e").replace("e+", "e")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
