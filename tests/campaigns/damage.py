"""Damage to every kind of file that is read, and what every command that reads it does then.

A trial is a file, a damage and a command. The command must not end in a traceback, hang, or show a number that the
undamaged folder does not have; other runs must stay as they are. The file is named in what the command prints or
writes, or was made again, or the numbers are those without damage.

    python -m tests.campaigns.damage [--only WORD] [--seed 0] [--folder DIR]

Trials that are done are found in DIR/trials.jsonl, and not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pickle
import random
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.spec.execution import ExecutionContext
from results import store
from slurm.submission import SubmittedArray, new_submission
from tests.campaigns import forks
from tests.tools import damages
from tests.tools.photos import make_photos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

COMMON = ["--datasets", "digits", "--seeds", "0", "--evaluations", "knn", "--jobs", "1"]
COMMON += ["--set", "pretrain.precision=float32"]
PAIR = ["run", "--methods", "random,graph_nnclr", "--views", "512", "--refine", "neighbour_mean", *COMMON]
ALONE = ["run", "--methods", "simclr", "--views", "2048", *COMMON]
FAILED = ["run", "--methods", "byol", "--views", "512", *COMMON]
PHOTOS = ["run", "--methods", "random", "--datasets", "folder:photos@16", *COMMON[2:]]
PLUGIN = ["run", "--methods", "random", *COMMON[:4], "--evaluations", "./plugin.py", "--jobs", "1"]
PROTOCOL = ["run", "--methods", "random", "--protocol", "protocol.toml", *COMMON]
SUBMIT = ["submit", *[word for word in ALONE[1:] if word not in ("--jobs", "1")], "--dry-run"]
TIMED = [*SUBMIT, "--time", "1h"]

PLUGIN_TEXT = '''"""A plugin."""
from bench import Features, register_evaluation


@register_evaluation("count")
def count(features: Features) -> dict[str, float]:
    """Number of classes."""
    return {"classes": float(features.classes)}
'''


# Damages: each takes the path of a file, and a generator of random numbers.


def cut(path: Path, rng: random.Random) -> None:
    size = path.stat().st_size
    os.truncate(path, rng.randrange(1, size) if size > 1 else 0)


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flips(path: Path, rng: random.Random) -> None:
    for _ in range(40):
        flip(path, rng)


def noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def text(name: str, content: bytes) -> Callable[[Path, random.Random], None]:
    def write(path: Path, _: random.Random) -> None:
        path.write_bytes(content)

    write.__name__ = name
    return write


def a_full_folder(path: Path, _: random.Random) -> None:
    store.remove(path)
    path.mkdir()
    (path / "file").write_text("here")


def not_readable(path: Path, _: random.Random) -> None:
    path.chmod(0)


class Payload:
    """Says, when it is unpickled, that a file's code was executed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("EXECUTED",)


def code(path: Path, _: random.Random) -> None:
    path.write_bytes(pickle.dumps(Payload()))


def code_in_archive(path: Path, _: random.Random) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(), 2))
        archive.writestr("archive/version", "3")


def not_random(damage: Callable[[Path], None]) -> Callable[[Path, random.Random], None]:
    """A damage that draws nothing."""

    def apply(path: Path, _: random.Random) -> None:
        damage(path)

    apply.__name__ = damage.__name__
    return apply


def changed(*keys: str | int, value: Any) -> Callable[[Path, random.Random], None]:
    """See ``damages.set_value``."""
    return not_random(damages.set_value(*keys, value=value))


def without(*keys: str | int) -> Callable[[Path, random.Random], None]:
    """See ``damages.without``."""
    return not_random(damages.without(*keys))


def of(other: str) -> Callable[[Path, random.Random], None]:
    """Replaces a file by another one, named by a pattern below the working folder."""

    def swap(path: Path, _: random.Random) -> None:
        source = next(found for found in sorted(root_of(path).glob(other)) if found.read_bytes() != path.read_bytes())
        shutil.copy(source, path)

    swap.__name__ = f"that of {other.split('*')[1]}"
    return swap


def root_of(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.name == "work")


WRITTEN_OVER = [cut, not_random(damages.empty), flip, flips, not_random(damages.zeros), noise]
LINKS = map(not_random, (damages.a_broken_link, damages.a_link_loop, damages.a_device, damages.a_pipe))
IN_ITS_PLACE = [not_random(damages.a_folder), a_full_folder, *LINKS, not_readable, not_random(damages.huge)]
TEXTS = [
    text("null", b"null"),
    text("list", b"[1, null]"),
    text("object", b"{}"),
    text("number", b"5"),
    text("string", b'"x"'),
    text("NaN", b'{"value": NaN}'),
    text("too deep", b"[" * 100_000),
    text("too deep objects", b'{"a":' * 100_000),
    text("not UTF-8", b'{"a": "\xff\xfe"}'),
    text("UTF-16", '{"a": 1}'.encode("utf-16")),
    text("long number", b'{"a": ' + b"9" * 10_000 + b"}"),
    text("surrogate", b'{"a": "\\ud800"}'),
    text("null bytes", b"\0\0\0\0"),
]
JSON = [*WRITTEN_OVER, *IN_ITS_PLACE, *TEXTS]
BINARY = [*WRITTEN_OVER, *[flip] * 6, *IN_ITS_PLACE, text("text", b"hello"), code, code_in_archive]
SOURCE = [*[damage for damage in WRITTEN_OVER if damage is not flip], *IN_ITS_PLACE, *TEXTS]

LONGEST_S = 300.0
"""Seconds after which a command counts as hanging; other work on the machine may take nearly all of it."""

NAN, INFINITE = float("nan"), float("inf")
IMPOSSIBLE_RECORD = [
    *(changed("metrics", 0, "value", value=v) for v in (NAN, INFINITE, "99", None, -5, 250.0, True, 10**400)),
    *(changed("metrics", 0, "n", value=value) for value in (0, -1, 1.5, "x")),
    *(changed("metrics", 0, key, value=value) for key, value in (("label", None), ("metric", {}), ("dataset", 5))),
    *(changed("metrics", value=value) for value in ({}, 5, [1], None)),
    *(changed("schema", value=value) for value in (2, 99, "1", None)),
    *(changed("history", value=value) for value in ([{"loss": "x"}], "abc", [5], [{"loss": NAN}], {})),
    *(changed("cost", key, value=value) for key, value in (("seconds", []), ("views", "many"), ("views", -1))),
    *(changed("cost", key, value=value) for key, value in (("device", None), ("peak_memory", INFINITE), ("steps", {}))),
    changed("cost", "seconds", "pretrain", value=-1),
    *(changed("health", key, value=value) for key, value in (("warning", None), ("std", "x"), ("rankme", NAN))),
    *(changed("run", "seed", value=value) for value in (7, "x", None, 1e99, -1)),
    *(changed("run", "method", key, value=value) for key, value in (("label", 5), ("name", "random"), ("options", 3))),
    *(changed(key, value=None) for key in ("run", "cost", "health", "provenance")),
    *(
        changed("provenance", key, value=value)
        for key, value in (("attempts", None), ("packages", 5), ("command", ["x"]))
    ),
    changed("status", value="failed"),
    *(
        changed("pictures", value=value)
        for value in (5, [{"label": "l", "dataset": "d", "file": "../../../etc/passwd"}])
    ),
    *(without(key) for key in ("run", "cost", "health", "metrics", "history", "schema", "provenance")),
]
IMPOSSIBLE_CONFIG = [
    *(changed("seed", value=value) for value in ("x", None, 1e99, -1, 10**30, NAN)),
    *(changed("label", value=value) for value in (None, [])),
    *(changed("method", value=value) for value in (None, {"name": 3}, {}, [])),
    *(changed("pretrain", value=value) for value in (None, {"epochs": "x"}, {}, [])),
    *(changed("pretrain", key, value=value) for key, value in (("epochs", NAN), ("views", -5), ("lr", "x"))),
    *(changed(key, value=None) for key in ("version", "evaluations", "dataset", "track", "plugins", "fingerprint")),
    changed("backbone", "label", value="x/../../y"),
    changed("plugins", value=["/etc/passwd"]),
    changed("evaluations", value=[5]),
    *(without(key) for key in ("pretrain", "evaluations", "method", "seed")),
]
IMPOSSIBLE_HEARTBEAT = [
    *(changed("done", value=value) for value in (NAN, INFINITE, "x", None, -5, {})),
    *(changed("seconds_left", value=value) for value in (INFINITE, -60, "soon", 1e300)),
    *(changed(key, value=value) for key, value in (("total", 0), ("time", 1e300), ("note", 5), ("stage", None))),
    changed("note", value="\x1b[2J"),
    without("stage"),
]
IMPOSSIBLE_SUBMISSION = [
    *(changed("created", value=value) for value in ("yesterday", 5, None, "2026-01-01")),
    *(changed("tasks", value=value) for value in ([["../../../etc"]], [], 5, [[5]], [[]])),
    *(changed("arrays", 0, "job", value=value) for value in ("1; reboot", 5, None, "x" * 10_000)),
    *(changed("arrays", 0, key, value=value) for key, value in (("size", 10**9), ("first", -1), ("mem", "lots"))),
    changed("newer", value=1),
    without("arrays"),
    without("ranks"),
]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the kind.
        file: pattern of its path below the working folder; the first that matches is damaged.
        damages: done to it.
        commands: that read it.
        arrange: called with the working folder before the damage.
        alone: whether what it says concerns this run alone.
        env: further variables of the environment.
        before: called in the fork before the command.
    """

    name: str
    file: str
    damages: Sequence[Callable[[Path, random.Random], None]]
    commands: Sequence[Sequence[str]]
    arrange: Callable[[Path], object] = lambda folder: None
    env: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None


def unfinished(folder: Path) -> None:
    """Remove the record of the run with everything, so that it is made from what is stored beside it."""
    next(folder.glob("runs/*graph_nnclr*/record.json")).unlink()


def running(folder: Path) -> None:
    """Let this process seem to execute the interrupted run."""
    run = next(folder.glob("runs/*simclr*"))
    store.take_claim(run / store.CLAIM)
    shutil.copy(folder / "heartbeat.json", run / store.HEARTBEAT)


def abandoned(folder: Path) -> None:
    """Let a process that is gone have executed the interrupted run, an hour ago."""
    running(folder)
    claim = next(folder.glob("runs/*simclr*/claim.json"))
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "pid": 2**22 + 5, "started": "1"}))


def submitted(folder: Path) -> None:
    """Let the interrupted run have been submitted to a SLURM that knows its job."""
    runs = folder / "runs"
    names = [path.name for path in runs.glob("*simclr*")]
    context = ExecutionContext(runs, folder / "data")
    one = new_submission(
        context,
        submission_id="20260101-000000-abcd",
        command="bench submit",
        code="",
        root="/",
        tasks=[names],
        arrays=[SubmittedArray(0, 1, 60, job="123")],
    )
    one.folder.mkdir(parents=True)
    one.save()
    for name, answer in (("squeue", "123|RUNNING|None"), ("sacct", ""), ("scancel", ""), ("sbatch", ""), ("srun", "")):
        command = folder / "commands" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\necho '{answer}'\n")
        command.chmod(0o755)


def check_every_array() -> None:
    from protocols.datasets import prepared

    prepared.ALWAYS_CHECKED = 0


def published_beside() -> None:
    from results import published

    published.PUBLISHED = Path("published").absolute()


def presets_beside() -> None:
    from protocols.spec import protocol

    protocol.PRESETS = Path("presets").absolute()


LOOK = [["report"], ["status"], ["status", "--json"], ["show", "digits-conv4-graph_nnclr"], ["doctor"]]
KINDS = [
    Kind("record", "runs/*graph_nnclr*/record.json", [*JSON, of("runs/*random*/record.json")], [*LOOK, PAIR]),
    Kind("impossible record", "runs/*graph_nnclr*/record.json", IMPOSSIBLE_RECORD, [*LOOK[:4], PAIR]),
    Kind("config", "runs/*graph_nnclr*/config.json", [*JSON, of("runs/*random*/config.json")], [*LOOK, PAIR]),
    Kind("impossible config", "runs/*graph_nnclr*/config.json", IMPOSSIBLE_CONFIG, [*LOOK[:4], PAIR]),
    Kind("failure", "runs/*byol*/failure.json", JSON, [["report"], ["status"], ["show", "digits-conv4-byol"], FAILED]),
    Kind(
        "heartbeat of a running run",
        "runs/*simclr*/heartbeat.json",
        JSON + IMPOSSIBLE_HEARTBEAT,
        [["status"], ["status", "--json"]],
        running,
    ),
    Kind("heartbeat of a killed run", "runs/*simclr*/heartbeat.json", JSON, [["status"], ALONE], abandoned),
    Kind("claim", "runs/*simclr*/claim.json", JSON, [["status"], ["report"], ALONE], abandoned),
    Kind("attempts", "runs/*simclr*/attempts.jsonl", JSON, [["status"], ["show", "digits-conv4-simclr"], ALONE]),
    Kind("index", "runs/.index.json", JSON, [["report"], ["status"], PAIR]),
    Kind(
        "evaluation",
        "runs/*graph_nnclr*/evaluations/knn-digits-????????.json",
        [
            *JSON,
            changed("seconds", value=NAN),
            changed("metrics", value=[]),
            changed("metrics", 0, "value", value=250),
            of("runs/*random*/evaluations/knn*.json"),
        ],
        [PAIR],
        unfinished,
    ),
    Kind(
        "evaluation after a refinement",
        "runs/*graph_nnclr*/evaluations/knn-digits-averaged*.json",
        JSON,
        [PAIR],
        unfinished,
    ),
    Kind(
        "health",
        "runs/*graph_nnclr*/evaluations/health*.json",
        [*JSON, of("runs/*random*/evaluations/health*.json")],
        [PAIR],
        unfinished,
    ),
    Kind(
        "refinement",
        "runs/*graph_nnclr*/evaluations/averaged*.json",
        [*JSON, changed("pictures", value=["/etc/passwd"])],
        [PAIR],
        unfinished,
    ),
    Kind(
        "picture", "runs/*graph_nnclr*/evaluations/*map.png", BINARY, [["report"], ["show", "digits-conv4-graph_nnclr"]]
    ),
    Kind("checkpoint", "runs/*simclr*/checkpoint.pt", [*BINARY, of("runs/*random*/backbone.pt")], [["status"], ALONE]),
    Kind("weights", "runs/*graph_nnclr*/backbone.pt", [*BINARY, of("runs/*random*/backbone.pt")], [PAIR], unfinished),
    Kind(
        "extra state", "runs/*graph_nnclr*/keepsakes.pt", [*BINARY, of("runs/*random*/backbone.pt")], [PAIR], unfinished
    ),
    Kind(
        "prepared images",
        "data/prepared/*16px*.npy",
        [*BINARY, of("data/*prepared/*.npy")],
        [["data", "folder:photos@16"], PHOTOS],
    ),
    Kind(
        "stamp of prepared images",
        "data/prepared/*16px*.checked",
        JSON,
        [["data", "folder:photos@16"]],
        before=check_every_array,
    ),
    Kind("image", "photos/train/a/0.png", BINARY, [["data", "folder:photos@16"], PHOTOS]),
    Kind(
        "submission",
        "runs/.submissions/*/submission.json",
        JSON + IMPOSSIBLE_SUBMISSION,
        [["status"], ["status", "--json"], ["cancel"], TIMED, ["report"]],
        submitted,
        {"PATH": f"commands:{os.environ['PATH']}"},
    ),
    Kind(
        "protocol",
        "protocol.toml",
        SOURCE,
        [[*PROTOCOL, "--dry-run"], PROTOCOL, [*TIMED, "--protocol", "protocol.toml"]],
    ),
    Kind("base of a protocol", "base.toml", SOURCE, [[*PROTOCOL, "--dry-run"]]),
    Kind("preset", "presets/quick.toml", SOURCE, [["list", "protocols"], ["report"], ALONE], before=presets_beside),
    Kind("profile", "profile.toml", SOURCE, [[*SUBMIT, "--profile", "profile.toml"]]),
    Kind(
        "plugin",
        "plugin.py",
        SOURCE,
        [
            ["list", "evaluations", "--plugins", "plugin.py"],
            [*PLUGIN, "--dry-run"],
            PLUGIN,
            ["report", "--plugins", "plugin.py"],
        ],
    ),
    Kind(
        "published numbers",
        "published/simclr_cifar10.csv",
        SOURCE,
        [["report", "--published"], ["report"]],
        before=published_beside,
    ),
]


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        status: its exit status.
        said: what it printed, and the tables that it wrote.
        numbers: that are shown or stored afterwards, by the run they belong to.
        file: content of the damaged file afterwards; None if it is no file.
    """

    status: int
    said: str
    numbers: dict[str, list[str]]
    file: bytes | None = None


def make_base(folder: Path) -> None:
    """Make what is damaged: done, interrupted and failed runs, images, protocols, profiles, plugins."""
    folder.mkdir(parents=True)
    make_photos(folder / "photos", train=24, test=12, side=20)
    (folder / "plugin.py").write_text(PLUGIN_TEXT)
    (folder / "base.toml").write_text('name = "base"\nextends = "quick"\n')
    (folder / "protocol.toml").write_text('name = "own"\nextends = "base.toml"\n[pretrain]\nviews = 512\n')
    (folder / "profile.toml").write_text('time = "1h"\n')
    shutil.copytree(Path("results/published"), folder / "published")
    shutil.copytree(Path("protocols/presets"), folder / "presets")
    log = folder / "log"
    for words in (PAIR, FAILED):
        assert forks.bench(words, folder, log).wait(LONGEST_S) == 0, log.read_text()
    assert forks.bench(["data", "folder:photos@16"], folder, log, before=check_every_array).wait(LONGEST_S) == 0, (
        log.read_text()
    )
    forks.bench(ALONE, folder, log, before=stop_after_two_checkpoints).wait(LONGEST_S)
    interrupted = next(folder.glob("runs/*simclr*"))
    assert (interrupted / store.CHECKPOINT).exists(), log.read_text()
    shutil.copy(interrupted / store.HEARTBEAT, folder / "heartbeat.json")
    (interrupted / store.CLAIM).unlink()
    failed = next(folder.glob("runs/*byol*"))
    for name in (store.RECORD, store.BACKBONE, store.EXTRA_STATE):
        store.remove(failed / name)
    shutil.rmtree(failed / store.EVALUATIONS)
    store.write_failure(failed, "it was ill", "where it happened")
    assert forks.bench(["report"], folder, log).wait(LONGEST_S) == 0, log.read_text()
    shutil.rmtree(folder / "report")
    log.unlink()


def stop_after_two_checkpoints() -> None:
    from protocols.pretrain.checkpoint import CheckpointTimer

    saved, save = [], CheckpointTimer.save

    def save_and_stop(self: CheckpointTimer, *arguments: Any) -> None:
        save(self, *arguments)
        saved.append(1)
        if len(saved) == 2:
            os.kill(os.getpid(), 9)

    CheckpointTimer.due = lambda self: True  # type: ignore[method-assign]
    CheckpointTimer.save = save_and_stop  # type: ignore[method-assign]


def perform(kind: Kind, command: Sequence[str], base: Path, work: Path, damage: Callable[[Path], object]) -> Outcome:
    """Do a command in a copy of the base, after a damage to a file of the kind."""
    discard(work)
    shutil.copytree(base, work, symlinks=True)
    kind.arrange(work)
    path = min(work.glob(kind.file))
    damage(path)
    status = forks.bench(command, work, work / "log", env=kind.env, before=kind.before).wait(LONGEST_S)
    said = (work / "log").read_text(errors="replace").replace("\n ", " ")
    for name in ("table.md", "index.html"):
        if (work / "report" / name).is_file():
            said += (work / "report" / name).read_text()
    regular = path.is_file() and path.stat().st_size < 2**30
    return Outcome(status, said, numbers(command, work), path.read_bytes() if regular else None)


def discard(work: Path) -> None:
    for path in work.rglob("*"):
        if not path.is_symlink() and path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(work, ignore_errors=True)


def numbers(command: Sequence[str], work: Path) -> dict[str, list[str]]:
    """The numbers that a command shows or leaves, by run: rows of tables, states of runs, contents of records."""
    found: dict[str, list[str]] = {}
    if command[0] == "report" and (work / "report" / "results.csv").is_file():
        for row in csv.DictReader((work / "report" / "results.csv").open(encoding="utf-8")):
            found.setdefault(row["run"], []).append(json.dumps(row, sort_keys=True))
    elif list(command) == ["status", "--json"]:
        try:
            overview = json.loads((work / "log").read_text()[(work / "log").read_text().index("{") :])
            found = {run["run"]: [run["state"]] for run in overview["runs"]}
        except ValueError:
            found = {}
    elif command[0] == "show":
        said = (work / "log").read_text(errors="replace")
        found["shown"] = re.findall(r"^  \S.* \S+ -?[\d.]+ on [\d,]+ .*$", said, re.MULTILINE)
    elif command[0] == "run":
        for path in sorted(work.glob("runs/*/record.json")):
            try:
                record = json.loads(path.read_text())
                epochs = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
                cost = {key: record["cost"][key] for key in ("views", "steps", "flops", "precision")}
                measured = [record["metrics"], epochs, record["health"], cost]
                found[path.parent.name] = [json.dumps(measured, sort_keys=True)]
            except (ValueError, OSError, KeyError, TypeError, RecursionError):
                continue
    elif command[0] in ("data", "list"):
        found["said"] = [line for line in (work / "log").read_text(errors="replace").splitlines() if "warn" not in line]
    return found


def judge(  # noqa: C901, PLR0911, PLR0912 - one question after the other
    kind: Kind, before: Outcome, damaged: bytes | None, after: Outcome, word: str
) -> str:
    """What is said of a trial: what went wrong, or how the damage was dealt with.

    Args:
        kind: of file.
        before: the command without damage.
        damaged: content of the file after the damage.
        after: the command with it.
        word: name of the file, which has to be told.
    """
    if after.status == forks.HUNG:
        return "HANG"
    if after.status < 0:
        return "KILLED"
    if after.status == forks.UNCAUGHT or "Traceback (most recent" in after.said:
        return "TRACEBACK"
    if "EXECUTED" in after.said:
        return "EXECUTED"
    own = word_of_run(kind)
    if own is None:
        if after.status == 0 and after.numbers != before.numbers and word not in after.said:
            return "WRONG NUMBERS"
    else:
        for run, rows in after.numbers.items():
            known = before.numbers.get(run, [])
            if own in run or run == "shown":
                allowed = {*known, "failed", "unreadable", "unfinished"}
                if after.status == 0 and isinstance(known, list) and not set(rows) <= allowed:
                    return "WRONG NUMBERS"
            elif rows != known:
                return "OTHER RUN CHANGED"
        if missing := [run for run in before.numbers if run not in after.numbers and own not in run and run != "shown"]:
            return f"OTHER RUN LOST {missing}"
    if after.numbers == before.numbers and after.status == before.status and after.file != damaged:
        return "made again" if word not in after.said else "named and made again"
    if word in after.said:
        return "named"
    if after.numbers == before.numbers and after.status == before.status:
        return "not needed"
    return "SILENT"


def word_of_run(kind: Kind) -> str | None:
    """What the names of the folders hold whose runs the kind of file belongs to; None if to no run alone."""
    found = re.match(r"runs/\*(\w+)\*/", kind.file)
    return found[1] if found else None


@dataclass(frozen=True)
class Trial:
    kind: Kind
    damage: Callable[[Path, random.Random], None]
    number: int
    command: Sequence[str]

    @property
    def name(self) -> str:
        return f"{self.kind.name} | {self.damage.__name__} {self.number} | {' '.join(self.command)[:200]}"


def trials(only: str = "") -> Iterator[Trial]:
    """Every trial whose name contains a word."""
    for kind in KINDS:
        seen = Counter[str]()
        for damage in kind.damages:
            seen[damage.__name__] += 1
            for command in kind.commands:
                trial = Trial(kind, damage, seen[damage.__name__], command)
                if only in trial.name:
                    yield trial


class Campaign:
    """Trials in a folder.

    Args:
        folder: of the campaign; the base and the results of trials are kept in it.
        seed: of the damages that are random.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        self.base, self.work = folder / "base" / "work", folder / "work"
        self.references: dict[str, Outcome] = {}
        if not self.base.exists():
            shutil.rmtree(folder / "making", ignore_errors=True)
            make_base(folder / "making" / "work")
            (folder / "making").rename(folder / "base")

    def attempt(self, trial: Trial) -> tuple[str, Outcome]:
        """The verdict on a trial, and what the command did."""
        kind, key = trial.kind, f"{trial.kind.name} {trial.command}"
        if key not in self.references:
            self.references[key] = perform(kind, trial.command, self.base, self.work, lambda path: None)
        rng, damaged = random.Random(f"{self.seed} {trial.name}"), []

        def damage(path: Path) -> None:
            trial.damage(path, rng)
            regular = path.is_file() and path.stat().st_size < 2**30
            damaged.append(path.read_bytes() if regular else None)

        after = perform(kind, trial.command, self.base, self.work, damage)
        word = max(re.split(r"[*?]+", Path(kind.file).name), key=len)
        verdict = judge(kind, self.references[key], damaged[0], after, word)
        return verdict, after


def main() -> None:
    """The campaign, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="trials whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, help="how many, at random; all by default")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-damage")
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--again", action="store_true", help="repeat trials that went wrong")
    given = parser.parse_args()
    os.nice(given.nice)
    campaign = Campaign(given.folder.absolute(), given.seed)
    log, done = given.folder / "trials.jsonl", {}
    if log.exists():
        done = {line["trial"]: line["verdict"] for line in map(json.loads, log.read_text().splitlines())}
    chosen = list(trials(given.only))
    random.Random(given.seed).shuffle(chosen)
    for trial in chosen[: given.trials]:
        name = f"{given.seed} {trial.name}"
        if name in done and not (given.again and done[name].split()[0].isupper()):
            continue
        verdict, after = campaign.attempt(trial)
        done[name] = verdict
        with log.open("a") as file:
            file.write(json.dumps({"trial": name, "verdict": verdict}) + "\n")
        if verdict.split()[0].isupper():
            print(f"{verdict}: {trial.name}\n    status {after.status}: {after.said[:4000].strip()[-700:]}", flush=True)
    print(table(done))


def table(done: dict[str, str]) -> str:
    """Trials by kind of file and verdict, as a Markdown table."""
    counts: dict[str, Counter[str]] = {}
    for name, verdict in done.items():
        kind = name.partition(" | ")[0].partition(" ")[2]
        counts.setdefault(kind, Counter())[" ".join(verdict.split()[:2]) if verdict[0].isupper() else verdict] += 1
    columns = sorted({verdict for row in counts.values() for verdict in row})
    lines = [["file", "trials", *columns], ["---", *["--:"] * (1 + len(columns))]]
    for kind, row in counts.items():
        lines.append([kind, str(row.total()), *(str(row[column]) for column in columns)])
    every = sum(counts.values(), Counter[str]())
    lines.append(["all", str(every.total()), *(str(every[column]) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
