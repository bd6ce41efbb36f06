"""The resources that a job requests: from a profile file and the command line."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.errors import RequestError, nearest
from results.printable import printable
from results.schema import build, read_toml
from slurm.units import DURATION_HINT, parse_memory, parse_minutes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from protocols.spec.run import Run

TomlTable = dict[str, Any]

PROFILES_FOLDER = Path(__file__).parent / "profiles"
"""The profiles that can be given by name."""

RESERVED_SBATCH_OPTIONS = {
    **dict.fromkeys(("array", "output", "error", "open-mode", "signal", "job-name", "dependency", "wrap"), ""),
    "time": "--time",
    "time-min": "--time",
    "partition": "--partition",
    "gpus": "--gpus",
    "gpus-per-node": "--gpus",
    "cpus-per-task": "--cpus",
    "mem": "--mem",
    "account": "--account",
    "qos": "--qos",
    "constraint": "--constraint",
    "nodes": "--nodes",
    "ntasks": "--ranks",
    "ntasks-per-node": "--ranks",
}
"""Options of sbatch that bench sets itself, and the option of bench that decides them, if one does."""

SHORT_SBATCH_OPTIONS = {
    "a": "array",
    "o": "output",
    "e": "error",
    "J": "job-name",
    "d": "dependency",
    "t": "time",
    "p": "partition",
    "G": "gpus",
    "c": "cpus-per-task",
    "A": "account",
    "q": "qos",
    "C": "constraint",
    "N": "nodes",
    "n": "ntasks",
}

OVERRIDE_TABLES = ("methods", "datasets", "backbones")
"""Tables of a profile whose entries change it for the runs of one method, data set or backbone."""

GPUS_HINT = "write --gpus 2, or --gpus a100:2 for two of a type"

DURATION_KEYS = ("time", "minutes_per_job")


@dataclass(frozen=True)
class Profile:
    """The resources that a job requests, and how runs share jobs.

    Attributes:
        time: time limit of a job; for its forms see ``slurm.units.parse_minutes``.
        partition: one or several, separated by commas. Here and below, empty or 0 leaves the choice to the cluster.
        nodes: of a job. With several, all ranks of a job share each of its runs, one run after the other.
        gpus: GPUs of a job on each node; ``"a100:2"`` for two of a type.
        gpu_type: their type, as the cluster names it; ``gpus`` may hold it.
        cpus: CPUs of a job on each node.
        mem: memory of a job on each node, such as ``8G``.
        account: account that is charged.
        qos: quality of service.
        constraint: features that a node must have.
        max_parallel: maximum number of jobs at a time; 0 for no limit.
        array: submit job arrays; otherwise every job is submitted separately.
        runs_per_job: runs in a job.
        minutes_per_job: in place of ``runs_per_job``: put as many runs in a job as take this long, by an estimate.
        per_gpu: runs at a time on each GPU of a job.
        setup: shell commands that are executed first, such as ``module load cuda``.
        sbatch: other options of sbatch, by their long names; the value is ``true`` for options without one.
    """

    time: str = ""
    partition: str = ""
    nodes: int = 1
    gpus: int = 0
    gpu_type: str = ""
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
    sbatch: TomlTable = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.time:
            raise RequestError("no time limit: a job needs one", hint="add --time 2h, or time to the profile")
        parse_minutes(self.time)
        if self.mem:
            parse_memory(self.mem)
        if self.minutes_per_job:
            parse_minutes(self.minutes_per_job)
        for name, least in (
            ("nodes", 1),
            ("gpus", 0),
            ("cpus", 1),
            ("max_parallel", 0),
            ("runs_per_job", 1),
            ("per_gpu", 1),
        ):
            if getattr(self, name) < least:
                raise RequestError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if self.gpu_type and (not re.fullmatch(r"[\w.-]+", self.gpu_type) or not self.gpus):
            raise RequestError(f"gpu_type is {self.gpu_type!r}, of {self.gpus} GPUs", hint=GPUS_HINT)
        for key, value in self.texts():
            if not value.isprintable():
                raise RequestError(f"{key} in a profile has control characters: {printable(value)}")
        for name in self.sbatch:
            check_sbatch_option(name)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Keys and texts that stand in the head of the script, each in a line of its own."""
        yield from (
            (key, getattr(self, key)) for key in ("partition", "gpu_type", "mem", "account", "qos", "constraint")
        )
        yield from ((f"sbatch.{key}", str(value)) for key, value in self.sbatch.items())

    @property
    def time_limit_minutes(self) -> int:
        """The time limit of a job, in minutes."""
        return parse_minutes(self.time)

    def ranks(self, wanted: int) -> int:
        """The ranks of each run: those wanted; on several nodes, if none are, one for each GPU, or one on each node."""
        return self.nodes * max(1, self.gpus) if self.nodes > 1 and wanted == 1 else wanted

    @property
    def stop_signal_lead_s(self) -> int:
        """Seconds before the time limit at which a job receives the stop signal; SLURM may be a minute early."""
        return max(30, min(120, self.time_limit_minutes * 6))


def read_profile(name: str) -> TomlTable:
    """Read a profile: a TOML file, or one from ``slurm/profiles`` by its name.

    Raises:
        RequestError: the file does not exist or is not TOML.
    """
    shipped = sorted(path.stem for path in PROFILES_FOLDER.glob("*.toml"))
    path = PROFILES_FOLDER / f"{name}.toml" if name in shipped else Path(name)
    try:
        return read_toml(path)
    except OSError as error:
        hint = f"give a TOML file, or one of {', '.join(shipped)}"
        raise RequestError(f"cannot read profile {name}: {error.strerror}", hint=hint) from error


def check_sbatch_option(name: str) -> None:
    """Check that an option of sbatch, however it is spelt, is none of those that bench sets itself.

    sbatch accepts the beginning of a long name too.

    Raises:
        RequestError: it is one, or it is no long name.
    """
    written = SHORT_SBATCH_OPTIONS.get(name.strip("-"), name.strip("-").replace("_", "-").lower())
    if not re.fullmatch(r"[a-z][a-z0-9-]+", written):
        raise RequestError(f"{name!r} is no option of sbatch", hint="write its long name: --sbatch nice=100")
    for known, instead in RESERVED_SBATCH_OPTIONS.items():
        if known.startswith(written):
            hint = f"use {instead}" if instead else ""
            raise RequestError(f"sbatch option {name!r} cannot be changed: bench sets it itself", hint=hint)


def split_gpus(text: str) -> TomlTable:
    """Number and type of GPUs, written ``2`` or ``a100:2``.

    Raises:
        RequestError: it is neither.
    """
    kind, _, number = text.strip().rpartition(":")
    if not re.fullmatch(r"[0-9]{1,6}", number) or (":" in text and not (kind and int(number))):
        raise RequestError(f"--gpus {text!r} is no number of GPUs", hint=GPUS_HINT)
    return {"gpus": int(number), "gpu_type": kind}


def parse_sbatch_options(options: Iterable[str]) -> TomlTable:
    """Parse the values of ``--sbatch``: ``NAME=VALUE``, or ``NAME`` alone."""
    pairs = (option.lstrip("-").partition("=") for option in options)
    return {name: value if equals else True for name, equals, value in pairs}


class Profiles:
    """The profile of each run.

    The values of the file are changed by its tables for the run's method, data set and backbone, and then by the
    options of the command line.

    Args:
        table: content of the profile file.
        options: options of the command line; None for those not given.

    Raises:
        RequestError: a key or a value is wrong.
    """

    def __init__(self, table: TomlTable, options: Mapping[str, Any]) -> None:
        self._overrides = {name: table.get(name, {}) for name in OVERRIDE_TABLES}
        self._base = {key: value for key, value in table.items() if key not in OVERRIDE_TABLES}
        self._options = {key: value for key, value in options.items() if value is not None}
        self._cache: dict[tuple[str, ...], Profile] = {}
        self._check_keys(self._base)
        for part, tables in self._overrides.items():
            for name, override in tables.items():
                if not isinstance(override, dict):
                    raise RequestError(f"{part}.{name} in a profile must be a table", hint=f"write [{part}.{name}]")
                self._check_keys(override)
        self._build(())

    @staticmethod
    def _check_keys(table: TomlTable) -> None:
        known = [field.name for field in dataclasses.fields(Profile)]
        for key, value in table.items():
            if key not in known:
                hint, all_keys = nearest(key, known), f"there are: {', '.join(sorted(known))}"
                raise RequestError(
                    f"a profile has no key {key!r}", hint=hint if hint == all_keys else f"{hint} {all_keys}"
                )
            if key in DURATION_KEYS and not isinstance(value, str | int):
                raise RequestError(f"{key} = {value} in a profile", hint=f"put it in quotes, and {DURATION_HINT}")

    def _build(self, overrides: tuple[TomlTable, ...]) -> Profile:
        values: TomlTable = {}
        for table in (self._base, *overrides, self._options):
            values |= table | {"sbatch": values.get("sbatch", {}) | table.get("sbatch", {})}
            if isinstance(table.get("gpus"), str):
                values |= split_gpus(table["gpus"])
        return build(Profile, values | {key: str(values[key]) for key in DURATION_KEYS if key in values}, "profile")

    def for_run(self, run: Run) -> Profile:
        """The profile of a run."""
        names = (run.method.name, run.dataset.name, run.backbone.name)
        if names not in self._cache:
            pairs = zip(OVERRIDE_TABLES, names, strict=True)
            self._cache[names] = self._build(tuple(self._overrides[part].get(name, {}) for part, name in pairs))
        return self._cache[names]

    def require_ranks(self, runs: Iterable[Run], ranks: int) -> None:
        """Check that every job has a GPU for each rank, if it has any, and as many ranks on each node.

        Raises:
            RequestError: a job has not.
        """
        for profile in {repr(one): one for one in map(self.for_run, runs)}.values():
            number = profile.ranks(ranks)
            if number % profile.nodes:
                nodes = f"{profile.nodes} nodes"
                raise RequestError(f"--ranks {number} cannot be divided between {nodes}", hint="or leave --ranks out")
            each = number // profile.nodes
            if 0 < profile.gpus < each:
                where = "per job" if profile.nodes == 1 else "per node"
                raise RequestError(f"--ranks {number} needs {each} GPUs {where}", hint=f"add --gpus {each}")
