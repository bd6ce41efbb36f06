"""Named plugins, listed without importing them and loaded on first use.

A plugin is a class or function under ``@registry.register("name")``. The registry finds it in three places: the modules
of its own package, the installed entry points of its group, and any file named on the command line. The modules and
files are *read*, not imported: name, version, summary and default options stand in the source as literals, so that
listing plugins and planning a grid take milliseconds even though every plugin imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from methods.source import Entry, entry_of, import_file, read_entries
from results.errors import BrokenPlugin, RequestError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
AnyT = TypeVar("AnyT")


class Registry(Generic[T]):
    """The plugins of one kind.

    Args:
        kind: what one is called in messages, e.g. ``method``.
        package: the package whose modules hold the built-in ones.
        group: the entry-point group that third parties register under.
    """

    def __init__(self, kind: str, *, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._loaded: dict[str, tuple[T, Entry]] = {}
        self._files: dict[str, Entry] = {}

    def register(self, name: str, *, version: int = 1) -> Callable[[AnyT], AnyT]:
        """Decorator: file a class or function under ``name``. Raise ``version`` when its numbers change."""

        def file(plugin: AnyT) -> AnyT:
            module = getattr(plugin, "__module__", "")
            held = self._loaded.get(name)
            if held and held[1].module != module:
                raise BrokenPlugin(
                    f"two {self.kind}s are called {name!r}: in {held[1].module} and in {module}",
                    hint="rename one of them",
                )
            self._loaded[name] = (plugin, entry_of(plugin, name, module, version))  # type: ignore[assignment]
            return plugin

        return file

    @cached_property
    def _built_in(self) -> dict[str, Entry]:
        spec = importlib.util.find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        files = sorted(path for folder in folders or () for path in Path(folder).glob("*.py"))
        return {
            entry.name: entry
            for path in files
            for entry in read_entries(path, module=f"{self.package}.{path.stem}", origin="built in")
        }

    @cached_property
    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        return {point.name: point for point in metadata.entry_points(group=self.group)}

    def names(self) -> list[str]:
        """Every name that can be asked for, sorted."""
        return sorted({*self._built_in, *self._entry_points, *self._files, *self._loaded})

    def describe(self, name: str) -> Entry:
        """What is known of ``name``; loads it only if it comes from an entry point.

        Raises:
            UnknownName: nobody registered it.
            BrokenPlugin: it is an entry point that does not load.
        """
        key = name.partition(":")[0]
        for known in (self._built_in, self._files):
            if key in known:
                return known[key]
        if key not in self._loaded and key not in self._entry_points:
            raise UnknownName(self.kind, name, self.names())
        self.get(key)
        return self._loaded[key][1]

    def entries(self) -> Iterator[Entry]:
        """Describe every plugin; a broken one by its error."""
        for name in self.names():
            try:
                yield self.describe(name)
            except BrokenPlugin as error:
                point = self._entry_points[name]
                yield Entry(name, point.value, origin_of(point), error=error.message)

    def get(self, name: str) -> T:
        """Load the plugin called ``name``; of ``family:argument`` the family.

        Raises:
            UnknownName: nobody registered it.
            BrokenPlugin: it does not load.
        """
        key = name.partition(":")[0]
        if key not in self._loaded:
            self._load(key)
        return self._loaded[key][0]

    def _load(self, name: str) -> None:
        if name not in self.names():
            raise UnknownName(self.kind, name, self.names())
        try:
            self._import(name)
        except RequestError:
            raise
        except Exception as error:  # whatever a plugin raises while it loads is its own, and is named
            raise BrokenPlugin(f"{self.kind} {name!r} does not load: {type(error).__name__}: {error}") from error
        if name not in self._loaded:
            raise BrokenPlugin(f"{self.kind} {name!r} did not register itself under that name")

    def _import(self, name: str) -> None:
        if name in self._built_in:
            importlib.import_module(self._built_in[name].module)
        elif name in self._files:
            import_file(Path(self._files[name].module))
        else:
            self._load_entry_point(self._entry_points[name])

    def _load_entry_point(self, point: metadata.EntryPoint) -> None:
        plugin = point.load()
        if point.name not in self._loaded:
            self.register(point.name)(plugin)
        entry = dataclasses.replace(self._loaded[point.name][1], origin=origin_of(point))
        self._loaded[point.name] = (plugin, entry)

    def add_file(self, path: Path) -> list[str]:
        """Make the plugins of a Python file known, without importing it; returns their names.

        Raises:
            RequestError: no such file, or nothing is registered in it.
            BrokenPlugin: it is not Python, or takes a name that is taken.
        """
        if not path.is_file():
            raise RequestError(f"no such file: {path}")
        try:
            found = list(read_entries(path, module=str(path.resolve()), origin=str(path)))
        except SyntaxError as error:
            raise BrokenPlugin(f"{path}, line {error.lineno}: {error.msg}") from error
        if not found:
            raise RequestError(
                f"{path} registers no {self.kind}",
                hint=f'put @register("name") on its {self.kind}',
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for entry in found:
            if entry.name in self._built_in or entry.name in self._entry_points:
                raise BrokenPlugin(f"{path} registers {entry.name!r}, which exists", hint="choose another name")
            self._files[entry.name] = dataclasses.replace(entry, digest=digest)
        return [entry.name for entry in found]


def origin_of(point: metadata.EntryPoint) -> str:
    """``distribution version`` of an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


if TYPE_CHECKING:
    from methods.base import Method

registry: Registry[type[Method]] = Registry("method", package="methods", group="bench.methods")
register = registry.register
