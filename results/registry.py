"""Named plugins: listed without importing them, loaded on first use.

A plugin is a class or function under a decorator such as ``@register_method("simclr")``. A registry finds it in three
places: the modules of its own package, the installed entry points of its group, and Python files that a user names.
Modules and files are *read*, not imported: name, version, summary, declarations and default options stand in the source
as literals. Listing plugins and planning a grid therefore take milliseconds, although every plugin imports torch.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from results.errors import BrokenPlugin, RequestError, UnknownName, describe
from results.files import read_bytes, require_file

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

T = TypeVar("T")
AnyT = TypeVar("AnyT")

NAME = re.compile(r"[\w-]+")
"""Of a plugin: what can be typed between commas, before a colon or bracket, and before the dot of ``--set``."""

RESERVED = ("pretrain", "recipes")
"""Targets of ``--set`` that are not plugins."""


@dataclass(frozen=True)
class Entry:
    """Description of a plugin, read without loading it.

    Attributes:
        name: the name users type.
        kind: ``method``, ``dataset``, ``evaluation``, …
        module: dotted module name, or the path of a file.
        origin: where it comes from, for people: ``built in``, a distribution and its version, or a file.
        version: raised by hand when the same options begin to give other numbers.
        summary: first line of its docstring.
        options: option names and their defaults.
        files: options that name a file (annotated ``Path``), whose content decides the numbers, and the words that each
            takes beside a path (``Path | Literal["timm"]``).
        added: options that were added after runs were recorded: at their default they are left out of identities.
        members: positional parameters of a function, or what the body of a class defines.
        declared: what its decorator or class declares, such as ``takes`` of an evaluation or ``baseline`` of a method.
        source: digest of the source of a plugin that is not built in; empty for a built-in one, which has a version.
        error: why it cannot be loaded; empty if nothing is known against it.
    """

    name: str
    kind: str
    module: str
    origin: str
    version: int = 1
    summary: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    declared: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    error: str = ""


class Registry(Generic[T]):
    """The plugins of one kind.

    Args:
        kind: what one is called, e.g. ``method``; its decorator is ``register_method``.
        package: the package whose modules hold the built-in ones.
        group: the entry-point group that third parties register under.
        declares: keyword arguments of the decorator beside ``version``, with their defaults.
        attributes: class attributes that can be read without importing the class, with their defaults.
        common: options that every plugin of the kind has, with their defaults; the plugin itself does not receive them.
        aliases: names of earlier versions, and what they are called now.
        check: called with every entry, whether it was read from source or registered; raises ``BrokenPlugin`` for a
            plugin that cannot work.
    """

    def __init__(
        self,
        kind: str,
        *,
        package: str,
        group: str,
        declares: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
        common: Mapping[str, Any] | None = None,
        aliases: Mapping[str, str] | None = None,
        check: Callable[[Entry], None] | None = None,
    ) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self.declares = dict(declares or {})
        self.attributes = dict(attributes or {})
        self.common = dict(common or {})
        self.aliases = dict(aliases or {})
        self._check = check
        self._loaded: dict[str, tuple[T, Entry]] = {}
        self._files: dict[str, Entry] = {}

    def register(
        self, name: str, *, version: int = 1, added: tuple[str, ...] = (), **declared: Any
    ) -> Callable[[AnyT], AnyT]:
        """Decorator: register a class or function under ``name``.

        Args:
            name: letters, digits, - and _.
            version: raise it when the same options begin to give other numbers.
            added: options that are newer than runs which users have: at their default they leave these runs valid.
            declared: what the kind declares.

        Raises:
            BrokenPlugin: another module registered the name, the kind declares no such thing, or it cannot work.
        """

        def decorate(plugin: AnyT) -> AnyT:
            module = getattr(plugin, "__module__", "")
            held = self._loaded.get(name)
            if held and held[1].module != module:
                raise BrokenPlugin(
                    f"two {self.kind}s are called {name!r}: in {held[1].module} and in {module}",
                    hint="rename one of them",
                )
            built_in = module.startswith(f"{self.package}.")
            attributes = {key: getattr(plugin, key, default) for key, default in self.attributes.items()}
            entry = Entry(
                name=name,
                kind=self.kind,
                module=module,
                origin=module,
                version=version,
                summary=(inspect.getdoc(plugin) or "").partition("\n")[0],
                options=default_options(plugin),
                files=dict(file_options(plugin)),
                added=added,
                members=tuple(members_of(plugin)),
                declared={**attributes, **declared},
                source="" if built_in else source_digest(plugin),
            )
            if not built_in and (point := self._entry_points.get(name)):
                # The distribution is part of its identity, even where another plugin of its module is loaded first.
                source = hashlib.sha256(f"{origin_of(point)} {entry.source}".encode()).hexdigest()[:12]
                entry = dataclasses.replace(entry, origin=origin_of(point), source=source)
            self._loaded[name] = plugin, self.checked(entry)  # type: ignore[assignment]
            return plugin

        return decorate

    def checked(self, entry: Entry) -> Entry:
        """The entry, with the defaults of what it does not declare.

        Raises:
            BrokenPlugin: it cannot be typed or chosen, declares what its kind does not have, or cannot work.
        """
        where = f"{self.kind} {entry.name!r}" + (f" in {entry.origin}" if entry.origin != "built in" else "")
        if not NAME.fullmatch(entry.name) or entry.name in RESERVED:
            raise BrokenPlugin(
                f"{where} cannot be typed under that name",
                hint="a name has letters, digits, - and _" + ", and is not reserved" * (entry.name in RESERVED),
            )
        if type(entry.version) is not int or entry.version < 1:
            raise BrokenPlugin(f"{where} has the version {entry.version!r}", hint="versions are 1, 2, …")
        for key in entry.added:
            if key not in entry.options:
                raise BrokenPlugin(f"{where} has no option {key!r}", hint="name an option after added=")
        for key in entry.declared:
            if key not in self.declares and key not in self.attributes:
                known = ", ".join(["version", "added", *self.declares])
                raise BrokenPlugin(f"{where} declares {key!r}", hint=f"register_{self.kind} takes {known}")
        for key in self.common:
            if key in entry.options:
                raise BrokenPlugin(f"{where} has an option {key!r}, as every {self.kind} has", hint="rename it")
        entry = dataclasses.replace(
            entry,
            options={**entry.options, **self.common},
            added=(*entry.added, *self.common),
            declared={**self.declares, **self.attributes, **entry.declared},
        )
        if self._check:
            self._check(entry)
        return entry

    @cached_property
    def _built_in(self) -> dict[str, Entry]:
        spec = importlib.util.find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        paths = sorted(path for folder in folders or () for path in Path(folder).glob("*.py"))
        # To parse a file takes milliseconds, and most of a folder register nothing of this kind.
        decorator = f"register_{self.kind}".encode()
        entries = (
            read_entry(found, self, module=f"{self.package}.{path.stem}", origin="built in")
            for path in paths
            if decorator in read_bytes(path)
            for found in read_registrations(path)
            if found.kind == self.kind
        )
        return {entry.name: entry for entry in entries}

    @cached_property
    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        return {point.name: point for point in metadata.entry_points(group=self.group)}

    def key(self, name: str) -> str:
        """The registered name behind a typed one: an alias replaced, what follows a colon removed."""
        family = name.partition(":")[0]
        return self.aliases.get(family, family)

    def names(self) -> list[str]:
        """Every registered name, sorted."""
        return sorted({*self._built_in, *self._entry_points, *self._files, *self._loaded})

    def is_local(self, name: str) -> bool:
        """Whether a plugin was registered in this process only, as in a cell of a notebook: others cannot load it."""
        key = self.key(name)
        return key in self._loaded and not any(
            key in known for known in (self._built_in, self._files, self._entry_points)
        )

    def __contains__(self, name: str) -> bool:
        """Whether a typed name is registered."""
        return self.key(name) in self.names()

    def describe(self, name: str) -> Entry:
        """Describe a plugin; loads it only if it comes from an entry point.

        Raises:
            UnknownName: it is not registered.
            BrokenPlugin: it is an entry point that does not load.
        """
        key = self.key(name)
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
                yield Entry(name, self.kind, point.value, origin_of(point), error=error.message)

    def get(self, name: str) -> T:
        """Load the plugin called ``name``; of ``family:argument`` the family.

        Raises:
            UnknownName: it is not registered.
            BrokenPlugin: it does not load.
        """
        key = self.key(name)
        if key not in self._loaded:
            self._load(key)
        return self._loaded[key][0]

    def _load(self, name: str) -> None:
        if name not in self.names():
            raise UnknownName(self.kind, name, self.names())
        try:
            if name in self._built_in:
                importlib.import_module(self._built_in[name].module)
            elif name in self._files:
                import_file(Path(self._files[name].module))
            else:
                self._load_entry_point(self._entry_points[name])
        except RequestError:
            raise
        except (Exception, SystemExit) as error:  # whatever a plugin raises while it loads is its own, and is named
            raise BrokenPlugin(f"{self.kind} {name!r} does not load: {describe(error)}") from error
        if name not in self._loaded:
            raise BrokenPlugin(f"{self.kind} {name!r} did not register itself under that name")

    def _load_entry_point(self, point: metadata.EntryPoint) -> None:
        plugin = point.load()
        if point.name not in self._loaded:
            self.register(point.name)(plugin)

    def add(self, entry: Entry) -> None:
        """Add a plugin of a file, without importing the file.

        Raises:
            BrokenPlugin: its name is taken.
        """
        held = self._files.get(entry.name)
        taken = entry.name in self._built_in or entry.name in self._entry_points or entry.name in self.aliases
        if taken or (held and held.module != entry.module and held.source != entry.source):
            raise BrokenPlugin(
                f"{entry.origin} registers {self.kind} {entry.name!r}, which exists", hint="choose another name"
            )
        if held is None or held.source != entry.source:
            self._loaded.pop(entry.name, None)
            self._files[entry.name] = entry

    def load_files(self, paths: Container[str]) -> None:
        """Load every plugin that some files, by their resolved paths, register.

        Raises:
            BrokenPlugin: one does not load.
        """
        for name, entry in self._files.items():
            if entry.module in paths:
                self.get(name)


def origin_of(point: metadata.EntryPoint) -> str:
    """``distribution version`` of an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


@dataclass(frozen=True)
class Registration:
    """A decorated class or function in a source file.

    Attributes:
        kind: after ``register_`` in the decorator's name; empty for a bare ``register``.
        node: the class or function.
        call: the decorator.
        path: of the file.
    """

    kind: str
    node: ast.ClassDef | ast.FunctionDef
    call: ast.Call
    path: Path

    @property
    def names_a_plugin(self) -> bool:
        """Whether the decorator's first argument is a text."""
        return bool(self.call.args) and isinstance(getattr(self.call.args[0], "value", None), str)


def read_registrations(path: Path) -> Iterator[Registration]:
    """Find the ``@register…("name")`` of a source file without importing it.

    Raises:
        SyntaxError: it is not Python, or declares an unknown encoding.
        ValueError: it is in another encoding than it declares, or has a null byte.
    """
    for node in ast.parse(importlib.util.decode_source(read_bytes(path))).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call):
                    called = call.func
                    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                    if name == "register" or name.startswith("register_"):
                        yield Registration(name.partition("_")[2], node, call, path)


def read_entry(found: Registration, registry: Registry[Any], *, module: str, origin: str, source: str = "") -> Entry:
    """Describe a plugin from its source.

    Raises:
        BrokenPlugin: a name, version, declaration or default in it is not a literal, or nothing of that name is
            declared.
    """
    node, call, where = found.node, found.call, f"{found.path}, line {found.node.lineno}"
    try:
        keywords = {word.arg or "": ast.literal_eval(word.value) for word in call.keywords}
        name = ast.literal_eval(call.args[0]) if call.args else keywords.pop("name", None)
        attributes = dict(read_assignments(node.body, registry.attributes)) if isinstance(node, ast.ClassDef) else {}
        options, files = dict[str, Any](), dict[str, tuple[str, ...]]()
        for option, annotation, default in option_nodes(node):
            if default is None:
                raise BrokenPlugin(f"{where}: option {option!r} has no default", hint="give it one")
            options[option] = ast.literal_eval(default)
            if annotation is not None and "Path" in ast.unparse(annotation):
                files[option] = words_in(annotation)
    except ValueError as error:
        raise BrokenPlugin(f"{where}: name, version, declarations and defaults must be literals") from error
    if not isinstance(name, str):
        raise BrokenPlugin(f"{where}: {registry.kind} without a name", hint=f'write @register_{registry.kind}("name")')
    entry = Entry(
        name=name,
        kind=registry.kind,
        module=module,
        origin=origin,
        version=keywords.pop("version", 1),
        summary=(ast.get_docstring(node) or "").partition("\n")[0],
        options=options,
        files=files,
        added=tuple(keywords.pop("added", ())),
        members=tuple(member_names(node)),
        declared={**attributes, **keywords},
        source=source,
    )
    return registry.checked(entry)


def read_assignments(body: list[ast.stmt], names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The literal values of some class attributes."""
    for line in body:
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and target.id in names and line.value is not None:  # type: ignore[attr-defined]
                yield target.id, ast.literal_eval(line.value)  # type: ignore[attr-defined]


def option_nodes(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """Name, annotation and default of every option: see :func:`default_options`."""
    if isinstance(node, ast.FunctionDef):
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            yield argument.arg, argument.annotation, default
        return
    for inner in node.body:
        if isinstance(inner, ast.ClassDef) and inner.name == "Options":
            for line in inner.body:
                if not isinstance(line, ast.AnnAssign) or "ClassVar" in ast.unparse(line.annotation):
                    continue
                if isinstance(line.target, ast.Name):
                    yield line.target.id, line.annotation, line.value


def member_names(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """See ``Entry.members``."""
    if isinstance(node, ast.FunctionDef):
        yield from (argument.arg for argument in (*node.args.posonlyargs, *node.args.args))
        return
    for line in node.body:
        if isinstance(line, ast.FunctionDef | ast.ClassDef):
            yield line.name
        elif isinstance(line, ast.Assign):
            yield from (target.id for target in line.targets if isinstance(target, ast.Name))
        elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield line.target.id


def members_of(plugin: Any) -> list[str]:
    """See ``Entry.members``."""
    if inspect.isclass(plugin):
        return [name for name in vars(plugin) if not name.startswith("__")]
    parameters = inspect.signature(plugin).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def default_options(plugin: Any) -> dict[str, Any]:
    """Option names and defaults: the fields of a class's ``Options``, the keyword-only parameters of a function.

    Raises:
        BrokenPlugin: one has no default.
    """
    if inspect.isclass(plugin):
        options = getattr(plugin, "Options", None)
        return dataclasses.asdict(options()) if options else {}
    parameters = [p for p in inspect.signature(plugin).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for parameter in parameters:
        if parameter.default is parameter.empty:
            raise BrokenPlugin(f"{plugin.__name__}: option {parameter.name!r} has no default", hint="give it one")
    return {p.name: p.default for p in parameters}


def words_in(annotation: ast.expr) -> tuple[str, ...]:
    """The texts in an annotation: the words that an option takes beside a path."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):  # the whole annotation is quoted
        annotation = ast.parse(annotation.value, mode="eval").body
    constants = (node.value for node in ast.walk(annotation) if isinstance(node, ast.Constant))
    return tuple(value for value in constants if isinstance(value, str))


def file_options(plugin: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The options of a loaded plugin that are annotated as a ``Path``, as in ``Entry.files``."""
    if inspect.isclass(plugin):
        options = getattr(plugin, "Options", None)
        annotations = {item.name: item.type for item in dataclasses.fields(options)} if options else {}
    else:
        annotations = {p.name: p.annotation for p in inspect.signature(plugin).parameters.values()}
    for name in default_options(plugin):
        text = str(annotations[name])
        if "Path" in text:
            yield name, words_in(ast.parse(text, mode="eval").body) if isinstance(annotations[name], str) else ()


def source_digest(plugin: Any) -> str:
    """Digest of the code that a plugin is defined in; called while it is registered.

    That is the file of its module; in a notebook the whole cell, as it may hold functions that the plugin calls; where
    no source is left, as of ``python -c``, the compiled code.
    """
    with contextlib.suppress(OSError, TypeError):
        file = inspect.getsourcefile(plugin)
        if file and Path(file).is_file():
            return digest_of_file(Path(file))
    frame = inspect.currentframe()
    while frame and frame.f_globals.get("__name__") != getattr(plugin, "__module__", None):
        frame = frame.f_back
    if frame is None:
        return ""
    text = "".join(linecache.getlines(frame.f_code.co_filename)) or describe_code(frame.f_code)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe_code(code: CodeType) -> str:
    """Instructions, names and constants of compiled code and the functions in it; the same in every process."""
    constants = (
        describe_code(value)
        if isinstance(value, CodeType)
        else repr(sorted(value, key=repr) if isinstance(value, frozenset) else value)
        for value in code.co_consts
    )
    return " ".join([code.co_code.hex(), *code.co_names, *constants])


def digest_of_file(path: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a file."""
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def import_file(path: Path) -> None:
    """Import a Python file under a module name of its own."""
    name = f"plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BrokenPlugin(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
