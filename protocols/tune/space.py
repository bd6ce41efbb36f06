"""Search spaces: which hyper-parameters of a method are tuned, and between which bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from protocols.spec.labels import SHARED
from protocols.spec.plugins import METHODS
from results.errors import RequestError, nearest
from results.schema import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from protocols.spec.protocol import TomlTable

SPACES = Path(__file__).with_name("spaces.toml")
"""The spaces that come with the project."""

Scale = Literal["log", "linear", "choice"]


@dataclass(frozen=True)
class Dimension:
    """One hyper-parameter of a search space.

    Attributes:
        target: what ``--set`` would change: ``pretrain.KEY``, ``recipes.NAME.KEY``, or an option of the method.
        scale: ``log`` and ``linear`` have a lowest and a highest value, ``choice`` any number of them.
        values: these.
    """

    target: str
    scale: Scale
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if self.scale == "choice":
            if len(self.values) < 2:
                raise ValueError(f"{self.target} has fewer than two choices")
            return
        numbers = [type(value) in (int, float) and math.isfinite(value) for value in self.values]
        if len(self.values) != 2 or not all(numbers) or not self.values[0] < self.values[1]:
            raise ValueError(f"{self.target} needs a lowest and a highest value")
        if self.scale == "log" and self.values[0] <= 0:
            raise ValueError(f"{self.target} is logarithmic and must be above 0")

    def value(self, u: float) -> Any:
        """The value at ``u`` in [0, 1); numbers have three significant digits, between whole bounds they are whole."""
        if self.scale == "choice":
            return self.values[min(int(u * len(self.values)), len(self.values) - 1)]
        low, high = self.values
        whole = type(low) is int and type(high) is int
        top = high + whole  # whole numbers are the parts into which the interval from low to high + 1 is cut
        exact = low * (top / low) ** u if self.scale == "log" else low + u * (top - low)
        if whole:
            return min(math.floor(exact), high)
        return min(max(float(f"{exact:.3g}"), low), high)

    def to_plain(self) -> dict[str, list[Any]]:
        """The dimension as in a file of spaces."""
        return {self.scale: list(self.values)}


def dimension_of(target: str, table: Mapping[str, Any], where: str) -> Dimension:
    """A dimension as it stands in a file: ``{log = [1e-4, 1e-2]}``.

    Raises:
        RequestError: it is none.
    """
    scales = get_args(Scale)
    ((scale, values),) = table.items() if len(table) == 1 else [("", ())]
    if scale not in scales or not isinstance(values, list | tuple):
        raise RequestError(f"{where}: {target} is {table}", hint="write it like {log = [1e-4, 1e-2]}")
    try:
        return Dimension(target, scale, tuple(values))  # type: ignore[arg-type]
    except ValueError as error:
        raise RequestError(f"{where}: {error}") from error


def flatten(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The dimensions of nested tables, with their dotted targets."""
    for key, value in table.items():
        target = f"{path}.{key}" if path else key
        if isinstance(value, dict) and not value.keys() & set(get_args(Scale)):
            yield from flatten(value, target)
        else:
            yield target, value


@dataclass(frozen=True)
class Spaces:
    """The search spaces of a file.

    Attributes:
        tables: ``[tune]``: dimensions that all methods share, and under the name of a method its own. A method's own
            dimension takes the place of a shared one with its target; ``false`` takes it away.
        where: names the file in messages.
    """

    tables: TomlTable
    where: str

    def of(self, method: str) -> list[Dimension]:
        """The space of a method, in the order of the file: what all share, then its own.

        Without an entry of the file, its own is the class attribute ``SPACE`` of the method.

        Raises:
            RequestError: a target does not exist, or something is no dimension.
        """
        entry = METHODS.describe(method)
        shared = {key: value for key, value in self.tables.items() if key in SHARED}
        own_table, where = self.tables.get(method), f"{self.where}: tune.{method}"
        if own_table is None:  # a plugin need not derive from Method
            own_table, where = getattr(METHODS.get(method), "SPACE", {}), f"{method}.SPACE"
        if not isinstance(own_table, dict):
            raise RequestError(f"{where} is no table")
        found = {**dict(flatten(shared)), **dict(flatten(own_table))}
        dimensions = []
        for target, table in found.items():
            if table is False:
                continue
            if not isinstance(table, dict):
                raise RequestError(f"{where}: {target} is {table!r}", hint="write it like {log = [1e-4, 1e-2]}")
            if target.partition(".")[0] not in SHARED and target not in entry.options:
                raise RequestError(f"{where}: {method} has no option {target!r}", hint=nearest(target, entry.options))
            dimensions.append(dimension_of(target, table, where))
        return dimensions


def load_spaces(path: Path | None = None) -> Spaces:
    """Read search spaces; by default those that come with the project.

    Raises:
        RequestError: the file cannot be read, or names a method that does not exist.
    """
    path = path or SPACES
    try:
        values = read_toml(path)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}", hint="name another with --space FILE") from error
    tables = values.get("tune")
    if set(values) != {"tune"} or not isinstance(tables, dict):
        raise RequestError(f"{path} needs one table [tune], and tables [tune.METHOD]")
    for name in tables:
        if name not in SHARED and name not in METHODS:
            raise RequestError(f"{path}: there is no method {name}", hint=nearest(name, [*SHARED, *METHODS.names()]))
    return Spaces(tables, str(path))
