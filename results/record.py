"""The record of a finished run: every number, what it cost, and where it comes from."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from results.names import stored_field
from results.schema import build, field_names

if TYPE_CHECKING:
    from collections.abc import Mapping

D = TypeVar("D")

SCHEMA = 1
"""Version of the format of a record; readers refuse newer ones."""

JsonDict = dict[str, Any]
"""A JSON object."""

PERCENT = re.compile(r"top\d+|map|precision.*|recall.*|accuracy.*", re.IGNORECASE)
"""Names of metrics that are percentages."""

LARGEST_SEED = 2**63 - 1


def require_numbers(owner: object, *names: str, low: float = 0.0, high: float = math.inf) -> None:
    """Check that attributes are finite numbers in a range, or None.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{name} is {value}")


@dataclass(frozen=True)
class Metric:
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
        possible = -1e-6 <= self.value <= 100 + 1e-6 if PERCENT.fullmatch(self.metric) else math.isfinite(self.value)
        if not possible:
            raise ValueError(f"{self.metric} of {self.label} is {self.value}")
        require_numbers(self, "n", low=1)


@dataclass(frozen=True)
class Picture:
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


@dataclass(frozen=True)
class Health:
    """Whether a representation has collapsed; taken on images of the training split.

    Attributes:
        std: mean over dimensions of the standard deviation of L2-normalised features, times √d; 1 when spread evenly.
        rankme: effective rank of the feature matrix (Garrido et al. 2023), uncentred.
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

    def __post_init__(self) -> None:
        require_numbers(self, "std", "rankme", "alignment")
        require_numbers(self, "n", "dim", low=1)
        require_numbers(self, "uniformity", low=-math.inf)


@dataclass(frozen=True)
class Cost:
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

    def __post_init__(self) -> None:
        require_numbers(self, "views", "steps", "views_per_second", "flops", "peak_memory", "attempts")
        for stage, seconds in self.seconds.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"seconds of {stage} are {seconds}")


@dataclass(frozen=True)
class Record:
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
    history: tuple[JsonDict, ...]
    health: Health
    cost: Cost
    provenance: JsonDict
    pictures: tuple[Picture, ...] = ()

    def to_json(self) -> JsonDict:
        """The record as JSON values."""
        return {"schema": SCHEMA, "status": "done", **asdict(self)}

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
            conform(StoredRun, record.run, "record.run")
        return record

    def __post_init__(self) -> None:
        for epoch in self.history:
            for name, value in epoch.items():
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                    raise ValueError(f"{name} of an epoch is {value!r}")


@dataclass(frozen=True)
class StoredPart:
    """What this package reads of a component in a stored configuration; see ``protocols.spec.run.Component``."""

    name: str
    version: int
    options: JsonDict = field(default_factory=dict)
    label: str = ""
    digest: str = ""


@dataclass(frozen=True)
class StoredBudget:
    """What this package reads of ``pretrain`` in a stored configuration."""

    epochs: float | None = None
    views: int | None = None

    def __post_init__(self) -> None:
        require_numbers(self, "epochs", "views")


@dataclass(frozen=True)
class StoredRun:
    """What this package reads of a stored configuration; see ``protocols.spec.run.Run``."""

    protocol: str
    version: int
    fairness: str
    label: str
    method: JsonDict
    dataset: JsonDict
    backbone: JsonDict
    seed: int
    pretrain: JsonDict
    evaluations: tuple[JsonDict, ...]
    augmentations: JsonDict = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    preset: str = ""
    baseline: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        require_numbers(self, "seed", high=LARGEST_SEED)
        if self.fairness not in ("controlled", "recipe"):
            raise ValueError(f"{stored_field('fairness')} is {self.fairness!r}")
        for name in ("method", "dataset", "backbone"):
            conform(StoredPart, getattr(self, name), name)
        conform(StoredBudget, self.pretrain, "pretrain")
        for part in self.evaluations:
            conform(StoredPart, part, "evaluation")
            for inner in ("dataset", "refinement"):
                if part.get(inner) is not None:
                    conform(StoredPart, part[inner], inner)


def conform(cls: type[D], values: Mapping[str, Any], where: str) -> D:
    """:func:`~results.schema.build` of the keys that a class has; others are of no concern to it."""
    known = field_names(cls)  # type: ignore[arg-type]
    return build(cls, {key: value for key, value in values.items() if key in known}, where)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run.

    Attributes:
        started: when, in UTC.
        commit: of the code; empty outside of a git checkout.
        dirty: whether files differed from the commit.
    """

    started: str
    commit: str = ""
    dirty: bool = False


@dataclass(frozen=True)
class Progress:
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


@dataclass(frozen=True)
class Failure:
    """Why the last attempt of a run failed.

    Attributes:
        reason: one line.
        traceback: of the exception; may be empty.
        time: when, in UTC.
    """

    reason: str
    traceback: str = ""
    time: str = ""
