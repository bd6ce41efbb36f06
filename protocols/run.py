"""A run: method × data set × backbone × protocol × seed, fully resolved, and its identity. Never imports torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from protocols.parse import build
from protocols.protocol import Pretrain, Recipe, Table  # noqa: TC001 - `build` reads them

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Part:
    """One named choice of a run: its method, data set, backbone or an evaluation.

    Attributes:
        name: as on the command line.
        version: of the plugin.
        options: all of them, resolved.
        label: for people: the name, and what the command line changed of the protocol's options.
        digest: of the source of a plugin named by path, or of the files of a data set named by path; else empty.
    """

    name: str
    version: int
    options: Table = field(default_factory=dict)
    label: str = ""
    digest: str = ""

    def identity(self) -> Table:
        """What of it can change a number; where there is a digest of the content, what follows a colon can not."""
        name = self.name.partition(":")[0] if self.digest else self.name
        return {"name": name, "version": self.version, "options": self.options, "digest": self.digest}


@dataclass(frozen=True)
class Evaluation(Part):
    """What is measured of a representation, and on which data set.

    Attributes:
        dataset: its training split is learnt from, its test split measured on, with its own normalisation.
        refinement: what the representation goes through before; None if nothing.
    """

    dataset: Part = field(kw_only=True)
    refinement: Part | None = field(default=None, kw_only=True)

    def identity(self) -> Table:
        """What of it can change a number, given the pretrained weights."""
        refinement = {"refinement": self.refinement.identity()} if self.refinement else {}
        return {**super().identity(), "dataset": self.dataset.identity(), **refinement}


@dataclass(frozen=True)
class Run:
    """Everything that decides a run's numbers, and some words about it.

    Attributes:
        protocol: name of the protocol; where that extends another, of the one at the root.
        version: its version.
        track: its track.
        label: the protocol's name and what the command line changed of it for every method.
        method: the objective.
        dataset: what it is pretrained on, and by default measured on.
        backbone: the encoder.
        seed: the trial.
        pretrain: how it is trained.
        recipes: how views are made, by name.
        evaluations: what is measured of its representation.
        plugins: Python files that register parts of it.
        preset: name of the protocol it was asked for under, which may extend ``protocol``.
    """

    protocol: str
    version: int
    track: str
    label: str
    method: Part
    dataset: Part
    backbone: Part
    seed: int
    pretrain: Pretrain
    recipes: dict[str, Recipe]
    evaluations: tuple[Evaluation, ...]
    plugins: tuple[str, ...] = ()
    preset: str = ""

    def fingerprint(self) -> str:
        """SHA-256 of all that decides the pretrained weights, in hexadecimal.

        Labels, tracks and the paths of plugins can change no number and are left out. So is the name of a protocol that
        extends another: what it changes is seen in the rest. So are the evaluations: each is known by its own identity,
        and one pretraining serves them all.
        """
        return digest_of(
            {
                "protocol": [self.protocol, self.version],
                "method": self.method.identity(),
                "dataset": self.dataset.identity(),
                "backbone": self.backbone.identity(),
                "seed": self.seed,
                "pretrain": identifying(self.pretrain),
                "recipes": {name: identifying(recipe) for name, recipe in self.recipes.items()},
            }
        )

    def folder(self) -> str:
        """``<dataset>-<backbone>-<method>-s<seed>-<hash8>``, safe as a file name."""
        parts = [self.dataset.name, self.backbone.name, self.method.name, f"s{self.seed}"]
        return "-".join([re.sub(r"[^\w.@+]+", "_", p) for p in parts] + [self.fingerprint()[:8]])

    def name_of(self, evaluation: Evaluation) -> str:
        """An evaluation in words: its label, its refinement if there is one, its data set where it is not the run's."""
        refinement = f" after {evaluation.refinement.label}" if evaluation.refinement else ""
        return self.located(f"{evaluation.label}{refinement}", evaluation.dataset)

    def located(self, words: str, dataset: Part) -> str:
        """Words, and a data set where it is not the run's own."""
        return words if dataset.name == self.dataset.name else f"{words} on {dataset.name}"

    def together_with(self, stored: Iterable[Evaluation]) -> Run:
        """The run with further evaluations before its own; of two of one name, its own stays."""
        evaluations = {self.name_of(evaluation): evaluation for evaluation in (*stored, *self.evaluations)}
        return replace(self, evaluations=tuple(evaluations.values()))

    def config(self) -> Table:
        """The run as plain values, for JSON; :meth:`from_config` reads them back."""
        return {**asdict(self), "fingerprint": self.fingerprint()}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Run:
        """The run that :meth:`config` wrote.

        Raises:
            RequestError: it was written by a version that knew other keys.
        """
        values = {key: value for key, value in config.items() if key != "fingerprint"}
        return build(Run, values, "config")


def identifying(settings: Pretrain | Recipe) -> Table:
    """The values that belong in a hash: all but those of added fields at their default."""
    values = asdict(settings)
    late = {item.name: item.default for item in fields(settings) if item.metadata.get("added")}
    return {name: value for name, value in values.items() if name not in late or value != late[name]}


def digest_of(value: object) -> str:
    """SHA-256 of canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
