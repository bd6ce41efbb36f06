"""``bench report``: tables and figures of the stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.echo import echo
from bench.options import DATA, RUNS, Plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLES = """\b
Examples:
  bench report --published
  bench report --compare simclr byol
  bench report --runs results/measured/quick-shapes --to /tmp/report
  bench report --runs mine/runs,theirs/runs
"""


def report(
    *,
    runs: Annotated[
        list[Path],
        typer.Option(
            "--runs", envvar="BENCH_RUNS", help="Folder of the runs; several, by commas or repeated, are merged."
        ),
    ] = [RUNS],  # noqa: B006 - typer copies it
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            envvar="BENCH_DATA",
            help="Folder of the data sets; with --published, results on those that are not there are marked.",
        ),
    ] = DATA,
    to: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    published: Annotated[
        bool, typer.Option("--published", help="Put published numbers beside the measured ones.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Compare two methods, paired by seed: which is better, or how many seeds would decide.",
        ),
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write the numbers as Parquet files too; needs pyarrow.")
    ] = False,
    plugins: Plugins = [],  # noqa: B006 - typer copies it
) -> None:
    """Print the table, and write tables, figures and a page to a folder; works on a half-finished grid too."""
    from protocols.spec.plugins import add_files, load_files
    from results.report import display, write

    add_files(plugins)
    load_files(plugins)

    made = write(
        split_folders(runs),
        to,
        published=published,
        absent=lambda name: is_absent(name, data),
        pair=compare,
        parquet=parquet,
    )
    display(made.sections)
    echo(f"written to {to}")


def split_folders(paths: Iterable[Path]) -> list[Path]:
    """Folders that are given by commas; a comma may also be part of the name of one that is there."""
    parts = ([path] if path.is_dir() else map(Path, filter(None, str(path).split(","))) for path in paths)
    return list(dict.fromkeys(folder for some in parts for folder in some))


def is_absent(dataset: str, data: Path) -> bool:
    """Whether a data set is unknown or not on this machine."""
    from protocols.spec.plugins import dataset_source
    from results.errors import RequestError

    try:
        return bool(dataset_source(dataset, data).missing())
    except RequestError:
        return True
