"""Converts plain values (TOML, JSON, command line) to frozen dataclasses and back; errors are one line.

Keys of plain values are stored names, see :mod:`results.names`.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from results.constraints import Bound
from results.errors import RequestError, nearest
from results.files import read_bytes
from results.names import stored_field

D = TypeVar("D")

SCALARS = frozenset((str, int, float, bool))
"""Types of plain values that hold no others."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; a byte order mark before it is passed over.

    Raises:
        RequestError: it is not TOML, or not in UTF-8.
        OSError: it cannot be read.
    """
    try:
        return tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise RequestError(f"{path} is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8: {error.reason}", hint="save it as UTF-8") from error


def require_table(value: object, where: str) -> None:
    """Check that a plain value is a table.

    Raises:
        RequestError: it is not.
    """
    if not isinstance(value, Mapping):
        raise RequestError(f"{where} is {value!r}", hint="it must be a table")


def build(cls: type[D], values: Mapping[str, Any], where: str) -> D:
    """Make a dataclass, or a structure of ``msgspec``, from a mapping.

    Args:
        cls: the class; nested ones take nested mappings.
        values: field names and values; ints pass for floats and lists for tuples, nothing else is converted.
        where: location of the values, for messages.

    Raises:
        RequestError: an unknown or missing key, a value of the wrong type, or one that ``cls`` itself refuses.
    """
    if issubclass(cls, msgspec.Struct):
        return build_structure(cls, values, where)
    require_table(values, where)
    hints, names, required = type_hints(cls), field_names(cls), required_fields(cls)  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            stored = next((name for name, field in names.items() if field == key), "")
            hint = f"it is called {stored} here" if stored else nearest(key, names)
            raise RequestError(f"{where} has no option {key!r}", hint=hint)
    if missing := [name for name in required if name not in values]:
        raise RequestError(f"{where} lacks {', '.join(missing)}")
    made = {}
    for key, value in values.items():
        hint = hints[names[key]]
        # Most values are of the type they should be, and are neither bounded nor nested.
        is_right = type(value) is hint and hint is not float
        made[names[key]] = value if is_right else convert(value, hint, f"{where}.{key}")
    try:
        return cls(**made)
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from error


def build_structure(cls: type[D], values: Mapping[str, Any], where: str) -> D:
    """:func:`build` for a structure, which is made in a tenth of the time."""
    try:
        return msgspec.convert(values, cls)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise RequestError(f"{where}{path.removesuffix('`')}: {problem[:1].lower()}{problem[1:]}") from error


@cache
def type_hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(cls, include_extras=True)


@cache
def field_names(cls: Any) -> dict[str, str]:
    """Names of a dataclass's fields, by their stored names."""
    return {stored_field(item.name): item.name for item in dataclasses.fields(cls)}


@cache
def required_fields(cls: Any) -> tuple[str, ...]:
    """Stored names of the fields of a dataclass that have no default."""
    return tuple(stored_field(item.name) for item in dataclasses.fields(cls) if is_required(item))


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
    if value is None or type(value) in SCALARS:
        return value
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
        try:
            return float(value)
        except OverflowError:
            raise RequestError(f"{where} is too large", hint="it must be finite") from None
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
        if args[1] is Any and not any(type(item) is float for item in value.values()):
            return dict(value)  # nothing is asked of them
        return {key: convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, dict) and is_built(hint):
        return build(hint, value, where)
    if isinstance(value, dict) or origin is not tuple:
        if hint is Any:
            return value
        raise RequestError(f"{where} is {value!r}", hint=f"it must be {kind_of(hint)}")
    kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
    if len(kinds) != len(value):
        raise RequestError(f"{where} needs {len(kinds)} values, not {len(value)}")
    return tuple(convert(item, kind, where) for item, kind in zip(value, kinds, strict=True))


def is_built(hint: Any) -> bool:
    """Whether a type is one that :func:`build` makes of a table."""
    return dataclasses.is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, msgspec.Struct))


def kind_of(hint: Any) -> str:
    """Description of a type."""
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(hint, "a list of values" if get_origin(hint) is tuple else "a table")
