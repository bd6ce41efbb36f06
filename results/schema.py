"""Converts plain values (TOML, JSON, command line) to frozen dataclasses and back; errors are one line.

Keys of plain values are stored names, see :mod:`results.names`.
"""

from __future__ import annotations

import dataclasses
import math
import types
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from results.constraints import Bound
from results.errors import RequestError, nearest
from results.names import stored_field

if TYPE_CHECKING:
    from collections.abc import Mapping

D = TypeVar("D")


def build(cls: type[D], values: Mapping[str, Any], where: str) -> D:
    """Make a dataclass from a mapping.

    Args:
        cls: the dataclass; nested dataclasses take nested mappings.
        values: field names and values; ints pass for floats and lists for tuples, nothing else is converted.
        where: location of the values, for messages.

    Raises:
        RequestError: an unknown or missing key, a value of the wrong type, or one that ``cls`` itself refuses.
    """
    hints = type_hints(cls)  # type: ignore[arg-type]
    fields = {stored_field(item.name): item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise RequestError(f"{where} has no option {key!r}", hint=nearest(key, fields))
    required = [name for name, f in fields.items() if is_required(f) and name not in values]
    if required:
        raise RequestError(f"{where} lacks {', '.join(required)}")
    made = {
        fields[key].name: convert(value, hints[fields[key].name], f"{where}.{key}") for key, value in values.items()
    }
    try:
        return cls(**made)
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from error


@cache
def type_hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(cls, include_extras=True)


def added(
    default: Any = dataclasses.MISSING, *, default_factory: Any = dataclasses.MISSING, written: bool = False
) -> Any:
    """A dataclass field that was added after runs were recorded: at its default it is left out of hashes.

    It is left out of plain values too, so that the configurations of runs of both versions are equal, unless
    ``written``: those of earlier versions hold it.
    """
    metadata = {"added": True, "written": written}
    return dataclasses.field(default=default, default_factory=default_factory, metadata=metadata)


def is_added_default(item: dataclasses.Field[Any], value: Any) -> bool:
    """Whether an :func:`added` field has its default value."""
    default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
    return bool(item.metadata.get("added")) and value == default


def to_plain(value: Any) -> Any:
    """The plain values that :func:`build` reads: of a dataclass a table under stored names."""
    if dataclasses.is_dataclass(value):
        values = {item: getattr(value, item.name) for item in dataclasses.fields(value)}
        return {
            stored_field(item.name): to_plain(inner)
            for item, inner in values.items()
            if item.metadata.get("written", True) or not is_added_default(item, inner)
        }
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(item) for item in value)
    return value


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def convert(value: Any, hint: Any, where: str) -> Any:
    """Convert ``value`` to the type ``hint``.

    Raises:
        RequestError: it is of another type, out of its bounds, not finite, or not among the choices.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return convert_bounded(value, hint, where)
    if origin in (Union, types.UnionType):
        inner = next(kind for kind in args if kind is not type(None))
        return None if value is None else convert(value, inner, where)
    if isinstance(value, dict | list | tuple):
        return convert_nested(value, hint, where)
    if origin is Literal and value not in args:
        raise RequestError(f"{where} is {value!r}", hint=f"choose {', '.join(map(str, args))}")
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{where} is {value}", hint="it must be finite")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if origin is Literal or hint is Any or type(value) is hint:
        return value
    raise RequestError(f"{where} is {value!r}", hint=f"it must be {kind_of(hint)}")


def convert_bounded(value: Any, hint: Any, where: str) -> Any:
    """:func:`convert` for an ``Annotated`` type, of whose marks the bounds are checked."""
    inner, *marks = get_args(hint)
    converted = convert(value, inner, where)
    for mark in marks:
        if isinstance(mark, Bound) and not mark.allows(converted):
            raise RequestError(f"{where} must be {mark}, not {value}")
    return converted


def convert_nested(value: Any, hint: Any, where: str) -> Any:
    """:func:`convert` for lists and tables."""
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(value, dict) and origin is dict:
        return {key: convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, dict) and dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if isinstance(value, dict) or origin is not tuple:
        if hint is Any:
            return value
        raise RequestError(f"{where} is {value!r}", hint=f"it must be {kind_of(hint)}")
    kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
    if len(kinds) != len(value):
        raise RequestError(f"{where} needs {len(kinds)} values, not {len(value)}")
    return tuple(convert(item, kind, where) for item, kind in zip(value, kinds, strict=True))


def kind_of(hint: Any) -> str:
    """Description of a type."""
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(hint, "a list of values" if get_origin(hint) is tuple else "a table")
