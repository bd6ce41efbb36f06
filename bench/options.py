"""Options that several commands share, declared once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bench.completion import plugin_names, protocol_names
from bench.echo import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protocols.spec.execution import ExecutionContext
    from protocols.spec.grid import Request

Methods = Annotated[
    str | None,
    typer.Option(help="Names, labels or Python files, by commas.", autocompletion=plugin_names("methods")),
]
Datasets = Annotated[
    str | None, typer.Option(help="Names or Python files, by commas.", autocompletion=plugin_names("datasets"))
]
Backbones = Annotated[
    str | None,
    typer.Option(
        help="Names or Python files, by commas; timm:NAME[@small] or timm:VIT@patch=4.",
        autocompletion=plugin_names("backbones"),
    ),
]
Protocol = Annotated[str, typer.Option(help="Name, or a TOML file.", autocompletion=protocol_names)]
Runs = Annotated[Path, typer.Option("--runs", envvar="BENCH_RUNS", help="Folder of the runs.")]
Data = Annotated[Path, typer.Option("--data", envvar="BENCH_DATA", help="Folder of the data sets.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Reference = Annotated[
    bool, typer.Option("--reference", help="Train with reference operations: slower, equal to rounding.")
]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="TARGET.KEY=VALUE", help="Change one option; may be repeated.")
]


def split_values(values: list[str]) -> list[str]:
    """The values of an option that takes several, by commas or repeated."""
    from protocols.spec.labels import split_names

    for value in values:
        if not split_names(value):
            raise typer.BadParameter("it is empty; name something, or leave it out")
    return [name for value in values for name in split_names(value)]


Plugins = Annotated[
    list[str],
    typer.Option(
        "--plugins",
        metavar="FILE",
        callback=split_values,
        help="Python files that register plugins of any kind, by commas or repeated.",
    ),
]

SpaceFile = Annotated[
    Path | None, typer.Option("--space", metavar="FILE", help="TOML file of search spaces; by default bench's own.")
]

PROTOCOL = "quick"
DEVICE = "auto"
RUNS = Path("runs")
DATA = Path("data")


def whole_number(text: str) -> int:
    """A whole number, ``2000000`` or ``2e6``."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if float(text).is_integer():
            return int(float(text))
    raise typer.BadParameter(f"{text[:40]!r} is not a whole number; write 2000000 or 2e6")


@dataclass(frozen=True)
class GridOptions:
    """The options that choose a grid of runs and say where it is executed: those of ``run`` and ``submit``."""

    methods: Methods = None
    datasets: Datasets = None
    backbones: Backbones = None
    protocol: Protocol = PROTOCOL
    seeds: Annotated[str | None, typer.Option(help="Seeds: 0,1,2 or 0-9.")] = None
    evaluations: Annotated[
        str | None,
        typer.Option(help="Names, labels or Python files, by commas.", autocompletion=plugin_names("evaluations")),
    ] = None
    refine: Annotated[
        str | None,
        typer.Option(
            help="Refinements after which evaluations are repeated: names, labels or Python files.",
            autocompletion=plugin_names("refinements"),
        ),
    ] = None
    evaluate_on: Annotated[
        str | None,
        typer.Option(
            help="Data sets to evaluate on, by commas; by default the one that is pretrained on.",
            autocompletion=plugin_names("datasets"),
        ),
    ] = None
    epochs: Annotated[float | None, typer.Option(help="Budget in passes over the data set.")] = None
    views: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="Budget in augmented images, such as 160000 or 2e6."),
    ] = None
    flops: Annotated[
        float | None, typer.Option(help="Budget in floating-point operations of whole training steps, such as 1e15.")
    ] = None
    settings: Settings = field(default_factory=list)
    plugins: Plugins = field(default_factory=list)
    data: Data = DATA
    runs: Runs = RUNS
    device: Device = DEVICE
    reference: Reference = False
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="On CUDA, kernels that give the same again bit for bit: slower, and a run that needs another fails.",
        ),
    ] = False
    ranks: Annotated[
        int,
        typer.Option(
            min=1, help="Processes that share each run's pretraining, each with its own GPU or its part of the cores."
        ),
    ] = 1
    log: Annotated[
        list[str],
        typer.Option(
            metavar="tensorboard|wandb|mlflow",
            callback=split_values,
            help="Follow the runs in TensorBoard, Weights & Biases or MLflow; several by commas or repeated.",
        ),
    ] = field(default_factory=list)
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of runs to execute.")] = None
    force: Annotated[bool, typer.Option("--force", help="Repeat runs that are done.")] = False

    def __post_init__(self) -> None:
        """Make the folders absolute: code of a plugin may change the working folder."""
        for name in ("data", "runs"):
            object.__setattr__(self, name, getattr(self, name).absolute())

    def request(self) -> Request:
        """The request that the options make.

        Raises:
            RequestError: the seeds are not whole numbers, or an option is empty.
        """
        from protocols.spec.grid import parse_request
        from protocols.spec.labels import split_list

        print_renamed_refinements(split_list(self.refine or ""))
        return parse_request(
            methods=self.methods,
            datasets=self.datasets,
            backbones=self.backbones,
            seeds=self.seeds,
            protocol=self.protocol,
            evaluations=self.evaluations,
            refine=self.refine,
            evaluate_on=self.evaluate_on,
            epochs=self.epochs,
            views=self.views,
            flops=self.flops,
            settings=self.settings,
            plugins=self.plugins,
            data=self.data,
        )

    def context(self) -> ExecutionContext:
        """The context that runs are executed in.

        Raises:
            RequestError: there is no such log, or its package is missing.
        """
        from protocols.spec.execution import ExecutionContext
        from protocols.system.run_log import parse_logs

        return ExecutionContext(
            self.runs,
            self.data,
            self.device,
            self.reference,
            self.ranks,
            deterministic=self.deterministic,
            log=parse_logs(self.log),
        )


def print_renamed_refinements(refinements: Iterable[str]) -> None:
    """Print a line for each refinement that is given by a name of an earlier version."""
    from protocols.spec.labels import parse_label
    from results.names import OLD_LABELS, OLD_REFINEMENTS

    renamed = {**OLD_REFINEMENTS, **OLD_LABELS}
    for name in dict.fromkeys(parse_label(word)[0] for word in refinements):
        if name in renamed:
            echo(f"bench: the refinement {name} is called {renamed[name]} now", err=True)


def with_grid_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: give a command the options of :class:`GridOptions` before its own, as one argument ``grid``."""
    hints = get_type_hints(GridOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            item.name, inspect.Parameter.KEYWORD_ONLY, default=default_of(item), annotation=hints[item.name]
        )
        for item in dataclasses.fields(GridOptions)
    ]
    command_hints = get_type_hints(command, include_extras=True)
    command_parameters = [
        parameter.replace(annotation=command_hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "grid"
    ]

    @functools.wraps(command)
    def call(**values: Any) -> None:
        chosen = {item.name: values.pop(item.name) for item in dataclasses.fields(GridOptions)}
        command(GridOptions(**chosen), **values)

    call.__signature__ = inspect.Signature([*shared, *command_parameters])  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *command_parameters)}
    del call.__wrapped__
    return call


def default_of(item: dataclasses.Field[Any]) -> Any:
    """The default of a dataclass field."""
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
