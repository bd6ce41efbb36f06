"""What a job asks of a cluster: from a profile file and the command line."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec.schema import build
from results.errors import RequestError, nearest
from slurm.units import TIMES, memory, minutes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from protocols.spec.run import Run

Table = dict[str, Any]

SHIPPED = Path(__file__).parent / "profiles"

OURS = ("array", "output", "error", "open-mode", "signal")
"""Options of sbatch that belong to the submission itself."""

PARTS = ("methods", "datasets", "backbones")
"""Tables of a profile that change it for the runs they name."""

TIMED = ("time", "minutes_per_job")


@dataclass(frozen=True)
class Profile:
    """What a job asks for, and how runs share jobs.

    Attributes:
        time: limit of a job, see ``slurm.units.minutes``.
        partition: or several, by commas; by default the cluster's choice, as for all below.
        gpus: of a job.
        cpus: of a job.
        mem: of a job, e.g. ``8G``.
        account: who pays.
        qos: quality of service.
        constraint: features of the node.
        max_parallel: jobs at a time, at most.
        array: submit job arrays; else every job on its own.
        runs_per_job: runs in a job.
        minutes_per_job: put as many runs in a job as take about so long, by an estimate, in place of ``runs_per_job``.
        per_gpu: runs at a time on each GPU of a job.
        setup: shell commands before the work begins, such as ``module load cuda``.
        sbatch: any other options of sbatch, by their long names; ``true`` for those without a value.
    """

    time: str = ""
    partition: str = ""
    gpus: int = 0
    cpus: int = 1
    mem: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    max_parallel: int = 0
    array: bool = True
    runs_per_job: int = 1
    minutes_per_job: str = ""
    per_gpu: int = 1
    setup: tuple[str, ...] = ()
    sbatch: Table = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.time:
            raise RequestError("no time limit: a job needs one", hint="add --time 2h, or time to the profile")
        minutes(self.time)
        if self.mem:
            memory(self.mem)
        if self.minutes_per_job:
            minutes(self.minutes_per_job)
        for name, least in (("gpus", 0), ("cpus", 1), ("max_parallel", 0), ("runs_per_job", 1), ("per_gpu", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"{name} must be {least} or more, not {getattr(self, name)}")
        for name in self.sbatch:
            if name in OURS:
                raise RequestError(f"sbatch option {name!r} cannot be changed: bench sets it itself")

    @property
    def limit(self) -> int:
        """The time limit in minutes."""
        return minutes(self.time)

    @property
    def notice(self) -> int:
        """Seconds before the limit at which a job is asked to leave; SLURM may ask up to a minute earlier."""
        return max(30, min(120, self.limit * 6))


def read(name: str) -> Table:
    """The tables of a profile: a TOML file, or the name of one that is shipped.

    Raises:
        RequestError: there is no such file, or it is not TOML.
    """
    shipped = sorted(path.stem for path in SHIPPED.glob("*.toml"))
    path = SHIPPED / f"{name}.toml" if name in shipped else Path(name)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = f"give a TOML file, or one of {', '.join(shipped)}"
        raise RequestError(f"cannot read profile {name}: {error.strerror}", hint=hint) from error
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{name} is not TOML: {error}") from error


def extras(words: Iterable[str]) -> Table:
    """The options of ``--sbatch NAME=VALUE``, or ``NAME`` alone."""
    pairs = (word.lstrip("-").partition("=") for word in words)
    return {name: value if equals else True for name, equals, value in pairs}


class Profiles:
    """The profile of each run: the file's, what the file changes for the run's parts, and the command line's on top.

    Args:
        table: of the file.
        given: on the command line.

    Raises:
        RequestError: a key or a value is wrong.
    """

    def __init__(self, table: Table, given: Mapping[str, Any]) -> None:
        self._changes = {part: table.get(part, {}) for part in PARTS}
        self._base = {key: value for key, value in table.items() if key not in PARTS}
        self._given = {key: value for key, value in given.items() if value is not None}
        self._known: dict[tuple[str, ...], Profile] = {}
        self._require_keys(self._base)
        for part, names in self._changes.items():
            for name, change in names.items():
                if not isinstance(change, dict):
                    raise RequestError(f"{part}.{name} in a profile must be a table", hint=f"write [{part}.{name}]")
                self._require_keys(change)
        self._profile(())

    @staticmethod
    def _require_keys(table: Table) -> None:
        known = [field.name for field in dataclasses.fields(Profile)]
        for key, value in table.items():
            if key not in known:
                raise RequestError(f"a profile has no key {key!r}", hint=valid_keys(key, known))
            if key in TIMED and not isinstance(value, str | int):
                raise RequestError(f"{key} = {value} in a profile", hint=f"put it in quotes, and {TIMES}")

    def _profile(self, changes: tuple[Table, ...]) -> Profile:
        values: Table = {}
        for table in (self._base, *changes, self._given):
            values |= table | {"sbatch": values.get("sbatch", {}) | table.get("sbatch", {})}
        return build(Profile, values | {key: str(values[key]) for key in TIMED if key in values}, "profile")

    def of(self, run: Run) -> Profile:
        """What a job of this run asks for."""
        names = (run.method.name, run.dataset.name, run.backbone.name)
        if names not in self._known:
            tables = zip(PARTS, names, strict=True)
            self._known[names] = self._profile(tuple(self._changes[part].get(name, {}) for part, name in tables))
        return self._known[names]


def valid_keys(key: str, known: list[str]) -> str:
    """A hint for a misspelt key: the nearest, and all."""
    close = nearest(key, known)
    return close if close.startswith("there are") else f"{close} there are: {', '.join(sorted(known))}"
