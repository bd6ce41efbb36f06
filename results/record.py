"""The record of a finished run: every number, what it cost, and where it comes from."""

from __future__ import annotations

import math
import re
import reprlib
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, to_builtins

from results.names import STORED_FIELDS
from results.schema import build

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
"""Version of the format of a record; readers refuse newer ones."""

JsonDict = dict[str, Any]
"""A JSON object."""

PERCENT = re.compile(r"top\d+|map|precision.*|recall.*|accuracy.*", re.IGNORECASE)
"""Names of metrics that are percentages."""

LARGEST_INTEGER = 2**63 - 1
"""Of a seed, and of every other whole number in a record."""


def is_number(value: float) -> bool:
    """Whether a number is finite; a whole one fits into 64 bits."""
    return abs(value) <= LARGEST_INTEGER if isinstance(value, int) else math.isfinite(value)


def require_numbers(owner: object, *names: str, low: float = 0.0) -> None:
    """Check that attributes are finite, and not below a limit; or None.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not (is_number(value) and low <= value):
            raise ValueError(f"{name} is {reprlib.repr(value)}")


@cache
def is_percentage(metric: str) -> bool:
    """Whether the values of a metric are percentages."""
    return PERCENT.fullmatch(metric) is not None


class Metric(Struct, frozen=True, forbid_unknown_fields=True):
    """One number that an evaluation yields.

    Attributes:
        evaluation: its name.
        label: its name, with the changes to the protocol's options in brackets.
        dataset: name of the data set it was measured on.
        split: of that data set.
        metric: e.g. ``top1``, in percent.
        value: the number.
        n: images it was measured on.
        refinement: stored label of the refinement before the evaluation; empty if there was none.
        transductive: whether the features of a test image depend on other test images.
    """

    evaluation: str
    label: str
    dataset: str
    split: str
    metric: str
    value: float
    n: int
    refinement: str = ""
    transductive: bool = False

    def __post_init__(self) -> None:
        # A percentage may lie above 100 by a rounding error.
        possible = -1e-6 <= self.value <= 100 + 1e-6 if is_percentage(self.metric) else is_number(self.value)
        if not possible:
            raise ValueError(f"{self.metric} of {self.label} is {reprlib.repr(self.value)}")
        if not 1 <= self.n <= LARGEST_INTEGER:
            raise ValueError(f"n of {self.label} is {reprlib.repr(self.n)}")


class Picture(Struct, frozen=True, forbid_unknown_fields=True):
    """One picture that an evaluation or a refinement made.

    Attributes:
        label: of the evaluation or refinement.
        dataset: name of the data set it shows.
        file: its path within the run's folder, a PNG file.
    """

    label: str
    dataset: str
    file: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or path.suffix != ".png":
            raise ValueError(f"{self.file!r} is no PNG file within the run's folder")


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a representation has collapsed; taken on images of the training split.

    Attributes:
        std: mean over dimensions of the standard deviation of L2-normalised features, times √d; 1 when spread evenly.
        rankme: effective rank of the feature matrix (Garrido et al. 2023), uncentred.
        lidar: effective rank of what tells images apart but not their views (Thilak et al. 2023); None in records of
            earlier versions.
        alignment: mean squared distance between two views' normalised features (Wang & Isola 2020); low is invariant.
        uniformity: log mean Gaussian potential of normalised features (same source); lower is more spread.
        n: images it was taken on.
        dim: size of the representation.
        warning: why it counts as collapsed; empty if it does not.
    """

    std: float
    rankme: float
    alignment: float
    uniformity: float
    n: int
    dim: int
    warning: str = ""
    lidar: float | None = None

    def __post_init__(self) -> None:
        require_numbers(self, "std", "rankme", "alignment", *(["lidar"] if self.lidar is not None else []))
        require_numbers(self, "n", "dim", low=1)
        require_numbers(self, "uniformity", low=-math.inf)


class Cost(Struct, frozen=True, forbid_unknown_fields=True):
    """What a run cost, over all its attempts.

    Attributes:
        views: augmented images seen in pretraining.
        steps: optimizer steps.
        seconds: by stage: ``pretrain``, ``features``, and each evaluation by its label.
        views_per_second: views over seconds of pretraining; None without pretraining.
        flops: floating-point operations of pretraining; None without pretraining.
        peak_memory: bytes; of the device's allocator on a GPU, else resident memory of the process.
        device: model of the processor that trained.
        precision: of its matrix products; float32 is without TF32 unless the provenance says so.
        attempts: how often it was started.
        gpu_seconds: of pretraining times its number of GPUs, and of evaluations; None on a CPU.
        energy: joules that the GPUs took during pretraining, other work on them included; None where they are not told.
    """

    views: int
    steps: int
    seconds: dict[str, float]
    views_per_second: float | None
    flops: float | None
    peak_memory: int
    device: str
    precision: str
    attempts: int
    gpu_seconds: float | None = None
    energy: float | None = None

    def __post_init__(self) -> None:
        numbers = ("views", "steps", "views_per_second", "flops", "peak_memory", "attempts", "gpu_seconds", "energy")
        require_numbers(self, *numbers)
        for stage, seconds in self.seconds.items():
            if not (is_number(seconds) and seconds >= 0):
                raise ValueError(f"seconds of {stage} are {seconds}")


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """One finished run.

    Attributes:
        run: its resolved configuration, in stored names.
        metrics: what was measured.
        history: of each epoch its number, mean loss and other scalars, learning rate, views and seconds so far, and
            ``knn_top1`` after every ``knn_every`` epochs.
        health: of the representation.
        cost: of the run.
        provenance: commit, versions, hardware, whether TF32 was on, image backend, command, times.
        pictures: that evaluations made.
    """

    run: JsonDict
    metrics: tuple[Metric, ...]
    history: tuple[dict[str, float], ...]
    health: Health
    cost: Cost
    provenance: JsonDict
    pictures: tuple[Picture, ...] = ()

    def to_json(self) -> JsonDict:
        """The record as JSON values."""
        return {"schema": SCHEMA, "status": "done", **to_builtins(self)}

    @staticmethod
    def from_json(values: JsonDict, checked: Mapping[str, Any] | None = None) -> Record:
        """The record that :meth:`to_json` wrote.

        Args:
            values: the content of the file.
            checked: a configuration that is known to be possible, which the record's own mostly equals.

        Raises:
            RequestError: a value is missing, of another type, or impossible.
        """
        given = {key: value for key, value in values.items() if key not in ("schema", "status")}
        record = build(Record, given, "record")
        if record.run != checked:
            build(StoredRun, record.run, "record.run")
        return record

    def __post_init__(self) -> None:
        if not math.isfinite(sum(map(sum, map(dict.values, self.history)))):  # quicker than to look at each
            wrong = [epoch for epoch in self.history if not all(map(math.isfinite, epoch.values()))]
            raise ValueError(f"an epoch has {wrong[:1]}")
        if not isinstance(packages := self.provenance.get("packages", {}), dict):
            raise ValueError(f"packages of the provenance are {reprlib.repr(packages)}")  # noqa: TRY004 - as every other


class StoredPart(Struct, frozen=True):
    """What this package reads of a component in a stored configuration; see ``protocols.spec.run.Component``."""

    name: str
    version: int
    options: JsonDict = {}
    label: str = ""
    digest: str = ""


class EvaluationPart(StoredPart, frozen=True):
    """What this package reads of an evaluation; without a data set it is on the images that were trained on."""

    dataset: StoredPart | None = None
    refinement: StoredPart | None = None


class StoredBudget(Struct, frozen=True):
    """What this package reads of ``pretrain`` in a stored configuration."""

    epochs: float | None = None
    views: int | None = None
    flops: float | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        require_numbers(self, "epochs", "views", "flops", "lr")
        if self.epochs is None and self.views is None and self.flops is None:
            raise ValueError("it has no budget")


class StoredRun(Struct, frozen=True, rename=STORED_FIELDS):
    """What this package reads of a stored configuration; see ``protocols.spec.run.Run``."""

    protocol: str
    version: int
    fairness: Literal["controlled", "recipe"]
    label: str
    method: StoredPart
    dataset: StoredPart
    backbone: StoredPart
    seed: int
    pretrain: StoredBudget
    evaluations: tuple[EvaluationPart, ...]
    augmentations: JsonDict = {}
    plugins: tuple[str, ...] = ()
    preset: str = ""
    baseline: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        require_numbers(self, "seed")


class Attempt(Struct, frozen=True):
    """One attempt at a run.

    Attributes:
        started: when, in UTC.
        commit: of the code; empty outside of a git checkout.
        dirty: whether files differed from the commit.
    """

    started: str
    commit: str = ""
    dirty: bool = False


class Progress(Struct, frozen=True, forbid_unknown_fields=True):
    """The heartbeat of a run: how far it is.

    Attributes:
        stage: what it does.
        done: units of it that are done.
        total: units of it.
        note: text beside the progress bar.
        time: when it was written, in seconds since 1970.
        per_second: units.
        seconds_left: None if unknown.
    """

    stage: str
    done: float
    total: float
    note: str
    time: float
    per_second: float
    seconds_left: float | None

    def __post_init__(self) -> None:
        require_numbers(self, "done", "total", "time", "per_second", "seconds_left")


class Failure(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the last attempt of a run failed.

    Attributes:
        reason: one line.
        traceback: of the exception; may be empty.
        time: when, in UTC.
    """

    reason: str
    traceback: str = ""
    time: str = ""
