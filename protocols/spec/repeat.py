"""Somebody's run, planned again from its record alone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.spec.plugins import plugin_file
from protocols.spec.resolve import load_plugins
from protocols.spec.run import Run
from results.errors import DamagedFile, RequestError
from results.files import read_bytes
from results.names import baseline_of
from results.record import SCHEMA, Record
from results.store import RECORD, naming, read_json, require_schema, require_writable, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = "plugin_sources"
"""Key of a record's provenance: the source of each plugin file of the run, by the path that named it."""

FOLDER = "plugins"
"""In a runs folder: the plugin files that came out of records."""


def plugin_sources(run: Run) -> dict[str, dict[str, str]]:
    """What a record stores of the plugin files of a run, in its provenance; nothing of a run without."""
    texts = {path: read_bytes(plugin_file(path)).decode(errors="replace") for path in run.plugins}
    return {SOURCES: texts} if texts else {}


def is_source(value: object) -> bool:
    """Whether a value is a text that can be written to a file."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:  # half a character
        return False


def run_of_record(path: Path, runs: Path, *, allow_code: bool, show: Callable[[str], object]) -> Run:
    """The run that a record is of, to be executed again.

    Args:
        path: of the record, or of the folder of its run.
        runs: the runs folder; plugin files of the record are written below it.
        allow_code: whether plugins that the record brings may be loaded.
        show: called with a line for each plugin file, its path and digest, before anything is written.

    Raises:
        RequestError: it is no record of this version, brings plugins that are not allowed, or does not bring those that
            it was made with.
    """
    file = path / RECORD if path.is_dir() else path
    try:
        content = read_json(file)
        if content is None:
            raise RequestError(f"no record in {path}", hint="name a record.json, or the folder of a finished run")
        with naming(file):
            is_newer = require_schema(content) > SCHEMA
            record = Record.from_json(content)
            run = Run.from_config(record.run)
    except DamagedFile as error:
        raise RequestError(error.message) from error
    if is_newer:
        raise RequestError(f"{file} was written by a newer bench", hint="update bench")
    if run.fingerprint() != record.run.get("fingerprint"):
        raise RequestError(f"{file} was changed: its configuration is not the one that it was measured with")
    run = replace(run, baseline=baseline_of(record.run))  # which records of earlier versions do not name
    if not run.plugins:
        return run
    stored = record.provenance.get(SOURCES)
    texts = stored if isinstance(stored, dict) else {}
    if missing := [name for name in run.plugins if not is_source(texts.get(name))]:
        raise RequestError(
            f"{file} does not have the source of {missing[0]}",
            hint="records of earlier versions do not; get the file, and repeat the command that bench show names",
        )
    digests = {name: hashlib.sha256(texts[name].encode()).hexdigest() for name in run.plugins}
    for name, digest in digests.items():
        show(f"{file} brings the plugin {name}, sha256 {digest}")
    if not allow_code:
        raise RequestError(
            f"{file} brings Python code, which is executed with all that you may do",
            hint="read it (bench show RUN --json), then add --allow-code",
        )
    written = []
    for name, digest in digests.items():
        target = runs / FOLDER / digest[:16] / f"{re.sub(r'[^A-Za-z0-9_]', '_', Path(name).stem)}.py"
        require_writable(target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, partial(Path.write_bytes, data=texts[name].encode()))
        written.append(str(target))
    run = replace(run, plugins=tuple(written))
    load_plugins(run)  # refuses a source that is not the one that the run's identity names
    return run
