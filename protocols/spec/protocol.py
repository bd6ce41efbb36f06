"""A protocol: everything that is held fixed so that a comparison is fair. One TOML file each.

A file has these tables; ``--set`` changes values from ``[pretrain]`` to ``[methods.NAME]``::

    name, version, track, summary
    [grid]               what ``bench run --protocol NAME`` compares by default; [[grid]] for several
    [pretrain]           budget, batch, optimizer
    [recipes.NAME]       an augmentation; [recipes.NAME2] is that of the second view of that name, if it differs
    [evaluations.LABEL]  options of an evaluation, which ``evaluation`` names; by default the label is its name
    [refinements.LABEL]  options of a refinement, after which every evaluation of frozen features is repeated
    [methods.NAME]       options of a method; under ``pretrain`` what it changes of [pretrain]
    [[when]]             the same tables, for one dataset, backbone or method only

A file with ``extends`` instead of ``version`` and ``track`` is another protocol with changes, as ``--set`` would make
them. What it changes is part of a run's labels and identity, its own name is not. Protocols that extend the same one
and pretrain equally therefore share their runs.
"""

from __future__ import annotations

import copy
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from results.constraints import AtLeast, AtMost
from results.errors import RequestError, UnknownName, nearest
from results.names import OLD_REFINEMENTS, stored_field, stored_name, stored_options
from results.record import LARGEST_INTEGER
from results.registry import RESERVED
from results.schema import added, build, read_toml, require_table

LABEL = re.compile(r"[^\[\],\s]+")
"""Of an evaluation or a refinement: what can be typed between commas and before a bracket."""

PRESETS = Path(__file__).parents[1] / "presets"

TomlTable = dict[str, Any]

BUDGETS = ("epochs", "views", "flops")
"""Keys of ``[pretrain]`` that say how long it is."""

LARGEST_NUMBER = 1e15
"""Of any setting of a training; beyond it, counts of steps and images would be no exact floating-point numbers."""

LARGEST_FLOPS = 1e24
"""Of a budget; what LARGEST_NUMBER is to steps and images, for networks of a billion operations per image."""


@dataclass(frozen=True)
class Pretrain:
    """How every method is trained.

    Attributes:
        epochs: budget in passes over the pretraining split; this, ``views`` or ``flops``.
        views: budget in augmented images seen, whatever number of them a method takes of an image.
        batch: images a step; the last batch of an epoch may be smaller.
        optimizer: name of a registered one. ``lars`` leaves biases and norms out of adaptation and weight decay,
            ``adamw`` out of weight decay.
        lr: peak learning rate.
        momentum: of ``sgd`` and ``lars``.
        weight_decay: L2 penalty; decoupled for ``adamw``.
        final_weight_decay: its value at the end, along half a cosine; by default it is constant.
        trust_coefficient: of ``lars``: the step of a layer at a learning rate of 1, as a fraction of its weights' norm.
            ``trust`` in TOML.
        clip_trust_ratio: of ``lars``: whether that fraction is at most the learning rate. ``clip_trust`` in TOML.
        max_grad_norm: largest norm of the gradient of one parameter tensor; none for no limit. ``clip`` in TOML.
        schedule: name of a registered one, of the learning rate after the warm-up.
        milestones: fractions of the budget at which the schedule ``step`` multiplies by ``step_factor``.
        warmup: fraction of the budget over which the learning rate rises from 0.
        precision: ``auto`` takes bfloat16 where the hardware computes it faster, float16 on GPUs that have only that,
            else float32; fixed when a run begins. In float16 the loss is scaled. TF32 is off in all of them.
        betas: of ``adam`` and ``adamw``.
        step_factor: of the schedule ``step``.
        optimizer_options: further options of an optimizer that has some.
        schedule_options: further options of a schedule that has some.
        knn_every: epochs after which the kNN accuracy on held-out training images is added to the history of a record,
            again and again; none for never. It changes no number.
        flops: budget in floating-point operations of training steps: forward and backward of all networks on all views
            and crops. Those of a step are counted when a run begins, and fix its number of steps.
    """

    epochs: float | None = None
    views: int | None = None
    batch: int = 128
    optimizer: str = "adam"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    final_weight_decay: float | None = added(None, written=True)
    trust_coefficient: float = added(0.001, written=True)
    clip_trust_ratio: bool = added(False, written=True)
    max_grad_norm: float | None = added(None, written=True)
    schedule: str = "constant"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup: float = 0.0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    betas: tuple[float, float] = added((0.9, 0.999))
    step_factor: float = added(0.1)
    optimizer_options: TomlTable = added(default_factory=dict)
    schedule_options: TomlTable = added(default_factory=dict)
    knn_every: Annotated[int, AtLeast(1)] | None = added(None)
    flops: float | None = added(None)

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in BUDGETS) != 1:
            raise ValueError("give one budget, in epochs, views or flops")
        for name in (*BUDGETS, "batch", "lr", "trust_coefficient", "max_grad_norm", "step_factor"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{stored_field(name)} must be above 0, not {value}")
            largest = LARGEST_FLOPS if name == "flops" else LARGEST_NUMBER
            if value is not None and value > largest:
                raise ValueError(f"{stored_field(name)} must be {largest:.0e} or less")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {self.betas}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a fraction of the budget, not {self.warmup}")


@dataclass(frozen=True)
class Augmentation:
    """The distribution that a view of an image is drawn from.

    Operations are applied in this order, with torchvision's meaning and distributions.

    Attributes:
        size: side of the view in pixels; by default the data set's.
        crop: area range of a random resized crop, as fractions of the image; none leaves it out.
        ratio: its aspect ratio range, log-uniform.
        interpolation: its resampling filter.
        antialias: whether the filter widens where it shrinks.
        pad: random crop at full side out of the image with zeros around it, as a fraction of the side.
        flip: probability of a horizontal flip.
        jitter: probability of the colour jitter, its four operations in random order.
        brightness: factor in [1 - b, 1 + b].
        contrast: factor in [1 - c, 1 + c].
        saturation: factor in [1 - s, 1 + s].
        hue: shift in [-h, h], of a full turn; ≤ 0.5.
        grayscale: probability.
        blur: probability of a Gaussian blur.
        sigma: its standard deviation range in pixels.
        solarize: probability of inverting what is brighter than one half.
        operations: registered augmentation operations applied at the end, in this order, with their options.
    """

    size: int | None = None
    crop: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    pad: float = 0.0
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    operations: dict[str, TomlTable] = added(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grayscale", "blur", "solarize"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, not {getattr(self, name)}")
        for name, what in (("crop", "area fractions"), ("ratio", "aspect ratios"), ("sigma", "pixels")):
            limits = getattr(self, name)
            if limits is not None and not 0 < limits[0] <= limits[1]:
                raise ValueError(f"{name} is a range of {what}, not {limits}")
        for name in ("pad", "brightness", "contrast", "saturation"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be above 0, not {self.size}")
        if self.crop is not None and self.pad:
            raise ValueError("crop and pad exclude each other")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue must lie in [0, 0.5], not {self.hue}")


@dataclass(frozen=True)
class Grid:
    """What is compared when the command line does not say.

    Attributes:
        methods: labels.
        datasets: to pretrain on.
        backbones: names.
        seeds: of the runs.
        evaluations: labels; by default all of the protocol.
        refinements: labels; by default all of the protocol.
        evaluate_on: data sets that every run is measured on; by default the one it is pretrained on.
    """

    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ("conv4",)
    seeds: tuple[Annotated[int, AtLeast(0), AtMost(LARGEST_INTEGER)], ...] = (0, 1, 2)
    evaluations: tuple[str, ...] = ()
    refinements: tuple[str, ...] = ()
    evaluate_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tuned:
    """Where the settings of a tuned protocol come from; ``bench tune`` writes it.

    Attributes:
        search: name of the search, a file in the folder ``tuning`` of the runs folder.
        protocol: label of the protocol that was tuned.
        dataset: whose held-out training images decided.
        backbone: that was trained.
        evaluation: label of the evaluation whose top-1 accuracy decided.
        trials: of each method, or of the one that had most.
        seeds: of the trials; the tuned runs have others.
        methods: that were tuned; a table has no others but untrained ones.
        halving: factor of successive halving; none if every trial had the whole budget.
        fewest: trials of the method that had fewest, if methods had different numbers of them for equal compute.
    """

    search: str
    protocol: str
    dataset: str
    backbone: str
    evaluation: str
    trials: int
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    halving: int | None = added(None)
    fewest: int | None = added(None)


@dataclass(frozen=True)
class Protocol:
    """A protocol as read from its file.

    Attributes:
        name: of the protocol; part of a run's identity, unless it extends another.
        version: bumped by hand when the file comes to mean something else.
        fairness: ``controlled`` gives all methods one set of conditions, but for what ``methods`` says of one;
            ``recipe`` gives each its authors' settings. ``track`` in TOML.
        summary: one line.
        tables: ``pretrain``, ``recipes``, ``evaluations``, ``refinements`` and ``methods``, as in the file.
        when: conditions and the tables they change.
        grids: defaults of the command line; what is compared is all that any of them says.
        base: the protocol it extends.
        added: augmentations with ``added = true`` in the file, later than the protocol's first runs. They are part of
            the identity of those methods only that declare to use them (``augmentations``).
        tuned: where its settings come from, if a search has chosen them.
    """

    name: str
    version: int
    fairness: Literal["controlled", "recipe"]
    summary: str
    tables: TomlTable
    when: tuple[tuple[TomlTable, TomlTable], ...] = ()
    grids: tuple[Grid, ...] = (Grid(),)
    base: Protocol | None = None
    added: tuple[str, ...] = ()
    tuned: Tuned | None = None

    @property
    def root(self) -> Protocol:
        """The protocol at the end of the chain of ``extends``; itself if it extends none."""
        return self if self.base is None else self.base.root

    def labels(self) -> list[str]:
        """Labels of all evaluations and refinements of any run."""
        tables = [self.tables, *(change for _, change in self.when)]
        labels = (label for table in tables for kind in MEASURED for label in table.get(kind, {}))
        return list(dict.fromkeys([*(self.base.labels() if self.base else ()), *labels]))

    def for_run(self, **run: str) -> tuple[TomlTable, TomlTable]:
        """The tables for one ``dataset``, ``backbone`` and ``method``.

        Returns:
            The tables of the root, and what the protocols that extend it change of them, nested like ``--set``. An
            evaluation or refinement that the root does not have is not a change, and is in the tables.
        """
        merged = copy.deepcopy(self.tables)
        for condition, change in self.when:
            if all(run[key] == value for key, value in condition.items()):
                merge(merged, change)
        if self.base is None:
            return merged, {}
        tables, changes = self.base.for_run(**run)
        for kind in MEASURED:
            known, given = tables[kind], merged.pop(kind)
            tables[kind] = {**known, **{label: options for label, options in given.items() if label not in known}}
            merged |= {label: options for label, options in given.items() if label in known}
        merge(changes, {**merged, **merged.pop("methods")})
        return tables, changes


CONDITIONS = ("dataset", "backbone", "method")
MEASURED = ("evaluations", "refinements")
SECTIONS = ("pretrain", "recipes", *MEASURED, "methods")


def merge(into: TomlTable, change: TomlTable) -> None:
    """Merge ``change`` into ``into``, recursively and in place; of ``pretrain``, a budget replaces any other."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            if key == "pretrain" and not value.keys().isdisjoint(BUDGETS):
                for budget in BUDGETS:
                    into[key].pop(budget, None)
            merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def names() -> list[str]:
    """The protocols that come with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load(name: str, *, extending: tuple[Path, ...] = ()) -> Protocol:
    """Read a protocol by name, or by the path of a TOML file.

    Args:
        name: or path.
        extending: files that extend it, the nearest last.

    Raises:
        UnknownName: it is not a known name.
        RequestError: the file is missing or not TOML, or says something a protocol does not have.
    """
    folder = extending[-1].parent if extending else Path()
    path = folder / name if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not os.path.lexists(path) and name.endswith(".toml"):
        hint = f"the protocol of bench is {path.stem}" if path.stem in names() else "check the path of the file"
        raise RequestError(f"there is no file {path}", hint=hint)
    if not os.path.lexists(path):
        raise UnknownName("protocol", name, names())
    try:
        values = read_toml(path)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    if path.resolve() in extending:
        raise RequestError(f"{path.name} extends itself", hint="name another protocol after extends")
    base = values.pop("extends", "")
    return from_tables(values, path.name, load(str(base), extending=(*extending, path.resolve())) if base else None)


def from_tables(values: TomlTable, where: str, base: Protocol | None = None) -> Protocol:
    """Make a protocol of a parsed file.

    Args:
        values: what it says, save ``extends``.
        where: names the file in messages.
        base: what it extends.

    Raises:
        RequestError: a key is unknown, missing or of the wrong type.
    """
    known = ("name", "version", "track", "summary", "grid", "when", "tuned", *SECTIONS)
    for key in values:
        if key not in known:
            raise RequestError(f"{where} has no table {key!r}", hint=nearest(key, known))
        if base and key in ("version", "track"):
            raise RequestError(f"{where} extends {base.name}, and so has its {key}", hint="leave it out")
    tables = {section: values.pop(section, {}) for section in SECTIONS}
    require_tables(tables, where)
    tables["refinements"] = stored_refinements(tables["refinements"])
    items = values.pop("when", [])
    if not isinstance(items, list):
        raise RequestError(f"{where}: when is {items!r}", hint="write [[when]]")
    when = tuple(split_condition(item, where) for item in items)
    added = [name for name, augmentation in tables["recipes"].items() if augmentation.pop("added", False)]
    given = {**values, "tables": tables, "when": when, "added": added}
    if base:
        given |= {"version": base.version, "track": base.fairness, "base": base, "grids": base.grids}
        given["added"] = [*base.added, *added]
    if grid := given.pop("grid", None):
        given["grids"] = [
            build(Grid, table, f"{where}: grid") for table in (grid if isinstance(grid, list) else [grid])
        ]
    protocol = build(Protocol, given, where)
    if base is None:
        build(Pretrain, tables["pretrain"], f"{where}: pretrain")
        for name, augmentation in tables["recipes"].items():
            build(Augmentation, augmentation, f"{where}: recipes.{name}")
    return protocol


def split_condition(item: TomlTable, where: str) -> tuple[TomlTable, TomlTable]:
    """The condition and the tables of one ``[[when]]``."""
    require_table(item, f"{where}: when")
    condition = {key: value for key, value in item.items() if key in CONDITIONS}
    change = {key: value for key, value in item.items() if key not in CONDITIONS}
    unknown = sorted(set(change) - set(SECTIONS))
    if not condition or unknown:
        raise RequestError(
            f"{where}: a [[when]] {'has unknown ' + unknown[0] if unknown else 'has no condition'}",
            hint=f"it needs one of {', '.join(CONDITIONS)}, and tables of {', '.join(SECTIONS)}",
        )
    for key, value in condition.items():
        if not isinstance(value, str):
            raise RequestError(f"{where}: when.{key} is {value!r}", hint="it must be a text")
    require_tables(change, f"{where}: when")
    if "refinements" in change:
        change["refinements"] = stored_refinements(change["refinements"])
    return condition, change


def require_tables(tables: TomlTable, where: str) -> None:
    """Check that the sections of a protocol, and what they hold, are tables, and that labels can be typed.

    Raises:
        RequestError: one is not.
    """
    for section, table in tables.items():
        require_table(table, f"{where}: {section}")
        for name, inner in {} if section == "pretrain" else table.items():
            require_table(inner, f"{where}: {section}.{name}")
            require_table(inner.get("pretrain", {}), f"{where}: {section}.{name}.pretrain")
            kind = section.removesuffix("s")
            if section in MEASURED and not isinstance(inner.get(kind, ""), str):
                raise RequestError(f"{where}: {section}.{name}.{kind} is {inner[kind]!r}", hint="it must be a name")
            if section in MEASURED and (name in RESERVED or not LABEL.fullmatch(name)):
                raise RequestError(f"{where}: {section}.{name!r} is no label", hint="use letters, digits, - and _")


def stored_refinements(tables: TomlTable) -> TomlTable:
    """The refinements of a file under stored names, whether it uses these or the present ones.

    Raises:
        RequestError: one, or an option of one, is there under both names.
    """
    stored: TomlTable = {}
    for label, options in tables.items():
        name = options.get("refinement", label.partition("-")[0])
        key, renamed = stored_name(label), stored_options(OLD_REFINEMENTS.get(name, name), options)
        if key in stored or len(renamed) < len(options):
            raise RequestError(f"refinements.{label} says something twice", hint="an earlier name and a present one")
        stored[key] = renamed
    return stored
