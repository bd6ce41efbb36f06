"""The record of a finished run: every number, what it cost, and where it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
"""Version of the format of a record; readers refuse newer ones."""

JsonDict = dict[str, Any]
"""A JSON object."""


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


@dataclass(frozen=True)
class Picture:
    """One picture that an evaluation or a refinement made.

    Attributes:
        label: of the evaluation or refinement.
        dataset: name of the data set it shows.
        file: its path within the run's folder.
    """

    label: str
    dataset: str
    file: str


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
        precision: of its matrix products.
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


@dataclass(frozen=True)
class Record:
    """One finished run.

    Attributes:
        run: its resolved configuration, in stored names.
        metrics: what was measured.
        history: of each epoch its number, mean loss and other scalars, learning rate, views and seconds so far.
        health: of the representation.
        cost: of the run.
        provenance: commit, versions, hardware, image backend, command, times.
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
    def from_json(values: JsonDict) -> Record:
        """The record that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: it is not a record of this schema.
        """
        return Record(
            run=values["run"],
            metrics=tuple(Metric(**metric) for metric in values["metrics"]),
            history=tuple(values["history"]),
            health=Health(**values["health"]),
            cost=Cost(**values["cost"]),
            provenance=values["provenance"],
            pictures=tuple(Picture(**picture) for picture in values.get("pictures", ())),
        )
