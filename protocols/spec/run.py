"""A run: method × data set × backbone × protocol × seed, fully resolved, and its identity. Never imports torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from protocols.spec.protocol import Augmentation, Pretrain, TomlTable  # noqa: TC001 - `build` reads them
from results.constraints import AtLeast, AtMost
from results.names import MONITORING_KEYS, stored_field
from results.schema import added, build, is_added_default, to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Component:
    """One named choice of a run, such as its method, its data set or an evaluation.

    Attributes:
        name: stored name: as on the command line, or what it was called in earlier versions.
        version: of the plugin.
        options: all of them, resolved, under stored names.
        label: name, and in brackets what the command line changed of the protocol's options.
        digest: of the content that follows a colon in the name, such as the files of a data set; else empty.
        source: of a plugin that is not built in, the digest of its source and distribution; else empty.
        files: digest of the content of every file that an option names, by option.
    """

    name: str
    version: int
    options: TomlTable = field(default_factory=dict)
    label: str = ""
    digest: str = ""
    source: str = added("")
    files: dict[str, str] = added(default_factory=dict)

    def identity(self) -> TomlTable:
        """The fields that can change a number. A digest of content replaces the path that leads to it."""
        name = self.name.partition(":")[0] if self.digest else self.name
        options = {key: self.files.get(key, value) for key, value in self.options.items()}
        # Earlier versions wrote the source of a method file into `digest`; one alone of the two stands there still.
        both = {"source": self.source} if self.digest and self.source else {}
        return {
            "name": name,
            "version": self.version,
            "options": options,
            "digest": self.digest or self.source,
            **both,
        }


LONGEST_NAME = 200
"""Bytes of the name of a run's folder without its hash; file systems allow 255."""

IMAGE_SIZE = "image_size"
"""Option of every evaluation: the side in pixels that images are resized to before the backbone sees them."""

ImageSize = Annotated[int, AtLeast(1), AtMost(4096)] | None
"""Its type."""

CROP_PCT = "crop_pct"
"""Option of every evaluation: images are resized to ``image_size`` over this, and the centred square is evaluated."""

CropPct = Annotated[float, AtLeast(0.1), AtMost(1)] | None
"""Its type; the name is timm's."""


@dataclass(frozen=True)
class Evaluation(Component):
    """An evaluation of a representation on a data set.

    Attributes:
        dataset: its training split is learnt from, its test split measured on, with its own normalisation.
        refinement: what the representation goes through before; None if nothing.
    """

    dataset: Component = field(kw_only=True)
    refinement: Component | None = field(default=None, kw_only=True)

    @property
    def image_size(self) -> int | None:
        """The side in pixels that images are resized to; None for that of the data set."""
        size: int | None = self.options.get(IMAGE_SIZE)
        return size

    @property
    def crop_pct(self) -> float | None:
        """The part of a resized image's side that is evaluated, its centre; None for the whole image."""
        part: float | None = self.options.get(CROP_PCT)
        return part

    @property
    def own_options(self) -> TomlTable:
        """Its options without those that every evaluation has."""
        return {key: value for key, value in self.options.items() if key not in (IMAGE_SIZE, CROP_PCT)}

    def identity(self) -> TomlTable:
        """The fields that can change a number, given the pretrained weights."""
        refinement = {"refinement": self.refinement.identity()} if self.refinement else {}
        return {**super().identity(), "dataset": self.dataset.identity(), **refinement}


@dataclass(frozen=True)
class Run:
    """Everything that determines a run's numbers, and its labels.

    Attributes:
        protocol: name of the protocol; where that extends another, of the one at the root.
        version: its version.
        fairness: ``controlled`` or ``recipe``, see ``Protocol``.
        label: the protocol's name and what the command line changed of it for every method.
        method: the objective.
        dataset: what it is pretrained on, and by default measured on.
        backbone: the encoder.
        seed: repetition; decides initial weights, image order and views.
        pretrain: optimizer, schedule and budget.
        augmentations: distributions of views, by name.
        evaluations: what is measured of its representation.
        plugins: paths of Python files that register its plugins.
        preset: name of the protocol it was asked for under, which may extend ``protocol``.
        extras: optimizer, schedule and augmentation operations that come from plugins.
        unused: augmentations that do not decide this run's numbers: added to the protocol later, and used by other
            methods only.
        baseline: ``lower``, ``upper`` or ``external`` for a method that is no competitor, else empty; see
            ``results.names.Baseline``.
    """

    protocol: str
    version: int
    fairness: str
    label: str
    method: Component
    dataset: Component
    backbone: Component
    seed: int
    pretrain: Pretrain
    augmentations: dict[str, Augmentation]
    evaluations: tuple[Evaluation, ...]
    plugins: tuple[str, ...] = ()
    preset: str = ""
    extras: tuple[Component, ...] = added(())
    unused: tuple[str, ...] = added(())
    baseline: str = ""

    def fingerprint(self) -> str:
        """SHA-256 of everything that determines the pretrained weights, in hexadecimal.

        Labels and the paths of plugins change no number and are left out. So is the name of a protocol that extends
        another: what it changes is in the rest. So are evaluations: each has an identity of its own, and one
        pretraining serves them all.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return digest_of(
            {
                "protocol": [self.protocol, self.version],
                "method": self.method.identity(),
                "dataset": self.dataset.identity(),
                "backbone": self.backbone.identity(),
                "seed": self.seed,
                "pretrain": identifying(self.pretrain),
                "recipes": {
                    name: identifying(augmentation)
                    for name, augmentation in self.augmentations.items()
                    if name not in self.unused
                },
                **({"extras": [extra.identity() for extra in self.extras]} if self.extras else {}),
            }
        )

    def folder(self) -> str:
        """``<dataset>-<backbone>-<method>-s<seed>-<hash8>``, safe as a file name."""
        words = file_name(self.dataset.name, self.backbone.name, self.method.name, f"s{self.seed}")
        return f"{words}-{self.fingerprint()[:8]}"

    def evaluation_name(self, evaluation: Evaluation) -> str:
        """Label of an evaluation, its refinement if there is one, and its data set where it is not the run's.

        Costs are stored under it, with the stored name of the refinement; messages show its ``display_stage``.
        """
        refinement = f" after {evaluation.refinement.label}" if evaluation.refinement else ""
        return self.with_dataset(f"{evaluation.label}{refinement}", evaluation.dataset)

    def with_dataset(self, label: str, dataset: Component) -> str:
        """A label, and the data set where it differs from the run's: ``linear on cifar100``."""
        return label if dataset.name == self.dataset.name else f"{label} on {dataset.name}"

    def with_evaluations(self, stored: Iterable[Evaluation]) -> Run:
        """The run with further evaluations before its own, which take precedence where names are equal."""
        evaluations = {self.evaluation_name(evaluation): evaluation for evaluation in (*stored, *self.evaluations)}
        return replace(self, evaluations=tuple(evaluations.values()))

    def config(self) -> TomlTable:
        """The run as plain values, for JSON; :meth:`from_config` reads them back."""
        return {**to_plain(self), "fingerprint": self.fingerprint()}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Run:
        """The run that :meth:`config` wrote.

        Raises:
            RequestError: it was written by a version that knew other keys.
        """
        values = {key: value for key, value in config.items() if key != "fingerprint"}
        return build(Run, values, "config")


def file_name(*words: str) -> str:
    """Words joined by hyphens, safe as a file name and at most ``LONGEST_NAME`` bytes long."""
    safe = [re.sub(r"[^\w.@+]+", "_", word) for word in words]
    if len("-".join(safe).encode()) > LONGEST_NAME:
        safe = [shortened(word, LONGEST_NAME // len(safe)) for word in safe]
    return "-".join(safe)


def shortened(word: str, most: int) -> str:
    """At most so many bytes of a word in UTF-8, its beginning and its end."""
    data = word.encode()
    if len(data) <= most:
        return word
    first, last = data[: most // 2 - 1], data[-(most // 2 - 1) :]
    return "..".join(part.decode(errors="ignore") for part in (first, last))


def identifying(settings: Pretrain | Augmentation) -> TomlTable:
    """The values that belong in a hash: all that can change a number, but those of added fields at their default."""
    return {
        stored_field(item.name): to_plain(value)
        for item in fields(settings)
        if item.name not in MONITORING_KEYS and not is_added_default(item, value := getattr(settings, item.name))
    }


def digest_of(value: object) -> str:
    """SHA-256 of canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
