"""Labels for readers: where methods differ in an option, each label names its value, that of the default too.

A stored label says what the command line changed, so that beside ``simclr[temperature=0.1]`` the default is ``simclr``.
Runs are known by stored labels; these are for tables and figures.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from results.analysis.tables import TABLE_KEYS
from results.printable import printable
from results.store import read_run

if TYPE_CHECKING:
    import pandas as pd

    from results.analysis.frame import Frames

CHANGE = re.compile(r"([\w.]+)=((?:\[[^]]*\]|[^,[\]])*)")
"""One change of a label: key and value, which may be a list."""


def name_defaults(frames: Frames) -> Frames:
    """Frames whose labels name every option in which the methods of one name differ in a table.

    ``stored_labels`` of the result says what each new label stands for. A label stays where the value is not known.
    """
    runs = frames.runs.dropna(subset=["method", "method_name"])
    renamed: dict[tuple[Any, ...], dict[str, str]] = {}
    for key, of_name in runs.groupby([*TABLE_KEYS, "method_name"], sort=False):
        *table, name = key
        changes = {
            str(label): dict(CHANGE.findall(str(label)[len(str(name)) :]))
            for label in of_name["method"].unique()
            if label == name or re.fullmatch(rf"{re.escape(str(name))}\[.*\]", str(label))
        }
        varied = sorted({option for one in changes.values() for option in one})
        if not varied or len(changes) < 2:
            continue
        for label, changed in changes.items():
            first = of_name.loc[of_name["method"] == label, "run"].iloc[0]
            known = stored_values(read_run(frames.folders[first]).config or {}, varied) | changed
            text = ",".join(f"{option}={known[option]}" for option in varied if option in known)
            if text and f"{name}[{text}]" != label:
                renamed.setdefault(tuple(table), {})[label] = f"{name}[{text}]"
    if not renamed:
        return frames
    stored = {new: label for labels in renamed.values() for label, new in labels.items()}
    results = rename(frames.results, renamed, "method", "pretraining")
    return replace(frames, runs=rename(frames.runs, renamed, "method"), results=results, stored_labels=stored)


def stored_values(config: dict[str, Any], keys: list[str]) -> dict[str, str]:
    """The values of options of a method, or of the protocol where the method has none of this name, as labels do.

    The budget is no option of a method.
    """
    found = {}
    pretrain = {
        key: value for key, value in config.get("pretrain", {}).items() if key not in ("epochs", "views", "flops")
    }
    for key in keys:
        for section in (config.get("method", {}).get("options", {}), pretrain, config):
            value: Any = section
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None and not isinstance(value, dict):
                whole = isinstance(value, float) and value.is_integer()
                text = str(value).lower() if isinstance(value, bool) else str(int(value) if whole else value)
                found[key] = printable(text)
                break
    return found


def rename(frame: pd.DataFrame, renamed: dict[tuple[Any, ...], dict[str, str]], *columns: str) -> pd.DataFrame:
    """A frame with other labels in some columns, by table."""
    tables = list(frame[TABLE_KEYS].itertuples(index=False, name=None))
    changed = {
        column: [renamed.get(key, {}).get(label, label) for key, label in zip(tables, frame[column], strict=True)]
        for column in columns
    }
    return frame.assign(**changed)
