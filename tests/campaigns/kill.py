"""Kills of commands, their workers and their parents, at random moments and at named places.

After every kill the same command is given again, until it ends. It has to end with the numbers of an undisturbed run,
bit for bit, to train no step again that a checkpoint holds, and to leave no claim and no temporary file.

    python -m tests.campaigns.kill [--trials 200] [--seed 0] [--folder DIR]

Trials that are done are found in DIR/trials.jsonl, and not repeated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns import forks
from tests.tools.photos import make_photos

WORDS = ["run", "--methods", "simclr,graph_nnclr", "--datasets", "folder:photos@16", "--seeds", "0", "--views", "320"]
WORDS += ["--evaluations", "knn", "--refine", "neighbour_mean", "--set", "pretrain.batch=16"]
WORDS += ["--set", "pretrain.precision=float32", "--set", "graph_nnclr.prototypes=16"]

PLACES = [
    *("config.json", "claim.json", "attempts.jsonl", "heartbeat.json", "checkpoint.pt", "backbone.pt", "keepsakes.pt"),
    *("health", "knn", "averaged", ".drawn", "map.png", "table.md", "record.json", ".npy", ".index.json"),
    *("results.csv", "index.html"),
]
"""Parts of the names of files, of which one is being written when the kill comes."""

STAGES = ("torn", "written", "renamed")
"""Half of the temporary file is written; all of it is; it has its name."""


@dataclass(frozen=True)
class Trial:
    """One command that is killed.

    Attributes:
        number: of the trial.
        jobs: of the command.
        victim: ``command`` with all its processes, its ``parent`` alone, or a ``worker``.
        place: part of a file's name; empty for a random moment.
        stage: of writing that file.
    """

    number: int
    jobs: int
    victim: str
    place: str = ""
    stage: str = ""

    @property
    def name(self) -> str:
        return f"{self.number} jobs={self.jobs} {self.victim} {self.place or 'random moment'} {self.stage}".strip()


def trials(count: int) -> list[Trial]:
    """Named places first, in one process and in workers; the others are random moments."""
    named = [(place, stage) for place in PLACES for stage in STAGES]
    found = [Trial(n, 1, "command", *pair) for n, pair in enumerate(named)]
    victims = [(1, "command"), (2, "command"), (2, "worker"), (2, "parent")]
    found += [Trial(n, *victims[n % 4]) for n in range(len(found), count)]
    return found[:count]


def prepare(trial: Trial | None, trace: Path) -> None:
    """In the fork that becomes the command: checkpoints are frequent, workers are forks, steps and saves are traced.

    Args:
        trial: whose kill is at a named place; None for none.
        trace: file with a line per step and checkpoint of every run.
    """
    from protocols.pretrain import checkpoint, loop
    from protocols.spec import execution

    execution.processes = multiprocessing.get_context("fork")
    saved_at = [0.0]

    def note(job: Any, what: str, step: int) -> None:
        with trace.open("a") as file:
            file.write(f"{job.checkpoint.parent.name} {what} {step}\n")

    step, save = loop.train_step, checkpoint.CheckpointTimer.save

    def traced_step(job: Any, optimizer: Any, state: Any, *others: Any, **named: Any) -> None:
        note(job, "step", state.step)
        step(job, optimizer, state, *others, **named)

    def traced_save(self: Any, path: Path, content: Any, owner: str) -> None:
        save(self, path, content, owner)
        saved_at[0] = time.monotonic()
        with trace.open("a") as file:
            file.write(f"{path.parent.name} saved {content['progress']['step']}\n")

    loop.train_step = traced_step
    checkpoint.CheckpointTimer.save = traced_save  # type: ignore[method-assign]
    checkpoint.CheckpointTimer.due = lambda self: time.monotonic() - saved_at[0] > 0.03  # type: ignore[method-assign]
    if trial is not None and trial.place:
        kill_at(trial.place, trial.stage)


def kill_at(place: str, stage: str) -> None:
    """Let this process kill itself when it gives a file its name."""
    replace, link = Path.replace, os.link

    def die(temporary: str | Path, rename: Any) -> None:
        if stage == "torn":
            os.truncate(temporary, Path(temporary).stat().st_size // 2)
        if stage == "renamed":
            rename()
        os.kill(os.getpid(), signal.SIGKILL)

    def replace_or_die(self: Path, target: Any) -> Path:
        if place in Path(target).name:
            die(self, lambda: replace(self, target))
        return replace(self, target)

    def link_or_die(source: Any, target: Any, **others: Any) -> None:
        if place in Path(target).name:
            die(source, lambda: link(source, target))
        link(source, target, **others)

    Path.replace = replace_or_die  # type: ignore[method-assign]
    os.link = link_or_die


def numbers(folder: Path) -> dict[str, Any]:
    """What the records of two equal commands share: every measured number, loss, health and count."""
    found = {}
    for path in sorted(folder.glob("runs/*/record.json")):
        record = json.loads(path.read_text())
        epochs = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in record["history"]]
        cost = {key: record["cost"][key] for key in ("views", "steps", "flops", "precision")}
        found[path.parent.name] = [record["metrics"], epochs, record["health"], cost]
    return found


def left_over(folder: Path) -> list[str]:
    """Files that should not be there once all is done."""
    temporary = re.compile(r"\.[0-9a-f]{8}\.\d+\.[0-9a-f]{8}$")
    names = ("claim.json", "heartbeat.json", "checkpoint.pt", "failure.json")
    every = (path for path in folder.rglob("*") if path.name in names or temporary.search(path.name))
    return [str(path.relative_to(folder)) for path in every]


def repeated_steps(trace: Path, before: int) -> list[str]:
    """Steps that were trained again after the kill although a checkpoint held them.

    Args:
        trace: see :func:`prepare`.
        before: lines of it that were written before the kill.
    """
    lines = (
        [line.split() for line in trace.read_text().splitlines() if len(line.split()) == 3] if trace.exists() else []
    )
    saved: dict[str, int] = {}
    for run, what, step in lines[:before]:
        if what == "saved":
            saved[run] = int(step)
    again = [(run, int(step)) for run, what, step in lines[before:] if what == "step"]
    return [f"{run} {step}" for run, step in again if step < saved.get(run, 0)]


class Campaign:
    """Trials in a folder, and what the command ends with undisturbed."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        folder.mkdir(parents=True, exist_ok=True)
        base = folder / "base"
        shutil.rmtree(base, ignore_errors=True)
        make_photos(base / "photos", train=50, test=20, side=16)
        start = time.monotonic()
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        undisturbed = Path(shutil.copytree(base, folder / "undisturbed"))
        status = self.start(undisturbed, 1).wait()
        assert status == 0, (undisturbed / "log").read_text()
        self.seconds = time.monotonic() - start
        self.expected = numbers(undisturbed)
        assert len(self.expected) == 2
        assert not left_over(undisturbed), left_over(undisturbed)
        shutil.rmtree(undisturbed)

    def start(self, work: Path, jobs: int, trial: Trial | None = None) -> forks.Fork:
        """Start the command, which is killed at the trial's place."""
        before = lambda: prepare(trial, work / "trace")  # noqa: E731
        return forks.bench([*WORDS, "--jobs", str(jobs)], work, work / "log", before=before)

    def attempt(self, trial: Trial) -> str:  # noqa: PLR0911 - one question after the other
        """What is wrong after the kill; empty if nothing is."""
        rng, work = random.Random(f"{self.seed} {trial.name}"), self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.folder / "base", work)
        command = self.start(work, trial.jobs, trial)
        alive: list[int] = []
        at_place = bool(trial.place)
        killed = command.wait() == -signal.SIGKILL if at_place else self.kill_at_random(command, trial, rng, alive)
        if not killed and trial.victim != "worker":
            return "" if not trial.place else f"NOT KILLED: nothing is written to {trial.place}"
        if alive and not ended(alive, 30.0):
            return "ORPHANS: workers outlive their parent"
        before = len((work / "trace").read_text().splitlines()) if (work / "trace").exists() else 0
        for _ in range(3):
            command = self.start(work, trial.jobs)
            if (status := command.wait(240)) == 0:
                break
        if status != 0:
            return f"STATUS {status}: {command.text()[-600:]}"
        if numbers(work) != self.expected:
            return "NUMBERS DIFFER"
        if again := repeated_steps(work / "trace", before):
            return f"LOST WORK: {again[:3]}"
        if files := left_over(work):
            return f"LEFT OVER: {files}"
        return ""

    def kill_at_random(self, command: forks.Fork, trial: Trial, rng: random.Random, alive: list[int]) -> bool:
        """Kill the victim after a random time; whether it came before the end.

        Args:
            command: to be killed.
            trial: says what of it.
            rng: chooses the moment.
            alive: gets the processes that are left to end by themselves.
        """
        time.sleep(rng.uniform(0.0, self.seconds))
        if command.poll() is not None:
            return False
        workers = children(command.pid)
        if trial.victim == "worker":
            if workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
            command.wait(240)
            return bool(workers)
        if trial.victim == "parent":
            os.kill(command.pid, signal.SIGKILL)
            alive += workers
            return command.wait() == -signal.SIGKILL
        command.kill()
        return True


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pids: list[int], timeout: float) -> bool:
    """Whether processes end in time."""
    end = time.monotonic() + timeout
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    """The campaign, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="trials whose name contains this")
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-kill")
    given = parser.parse_args()
    os.nice(given.nice)
    campaign = Campaign(given.folder.absolute(), given.seed)
    print(f"undisturbed: {campaign.seconds:.1f} s", flush=True)
    log, done = given.folder / "trials.jsonl", {}
    if log.exists():
        done = {line["trial"]: line["problem"] for line in map(json.loads, log.read_text().splitlines())}
    for trial in trials(given.trials):
        name = f"{given.seed} {trial.name}"
        if given.only not in name or done.get(name) == "":
            continue
        done[name] = campaign.attempt(trial)
        with log.open("a") as file:
            file.write(json.dumps({"trial": name, "problem": done[name]}) + "\n")
        if done[name]:
            print(f"{name}: {done[name]}", flush=True)
    print(table(done))


def table(done: dict[str, str]) -> str:
    """Trials by victim and moment, as a Markdown table."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for name, problem in done.items():
        words = name.split()
        key = f"{words[3]}, {words[2]}", "random moment" if "random moment" in name else "named place"
        counts.setdefault(key, Counter())[problem.partition(":")[0] or "equal"] += 1
    columns = sorted({problem for row in counts.values() for problem in row})
    lines = [["killed", "at", "trials", *columns], ["---", "---", *["--:"] * (1 + len(columns))]]
    lines += [[*key, str(row.total()), *(str(row[column]) for column in columns)] for key, row in counts.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
