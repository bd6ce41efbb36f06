"""``bench gc``: free what no run needs any more."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.echo import echo
from bench.format import file_size
from bench.options import DATA, RUNS, Data, Runs

EXAMPLES = """\b
Examples:
  bench gc
      what weights, checkpoints and prepared images take, and what of it no run needs
  bench gc --delete
      delete that
  bench gc --failed --weights
      also runs that failed, and the weights of finished ones: their numbers stay, further evaluations pretrain again
  bench gc --prepared
      also prepared images of data sets that no run of this runs folder uses; runs of other folders make them again
"""


def gc(
    *,
    runs: Runs = RUNS,
    data: Data = DATA,
    weights: Annotated[bool, typer.Option("--weights", help="Also weights of finished runs.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Also runs that failed.")] = False,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="Also prepared images that no run of this runs folder uses.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed; without it, it is only listed.")] = (
        False
    ),
) -> None:
    """List what no run needs any more, with sizes and reasons; delete it with --delete.

    That is: checkpoints of finished runs, and what killed processes left: unfinished files, and claims, by which a
    process says that it is executing a run. Runs that are running, queued or can be resumed keep everything. Prepared
    images serve all runs folders: those that no run of this one uses are counted, and listed with --prepared.
    """
    from results.store import require_runs_folder
    from slurm.gc import delete as delete_garbage
    from slurm.gc import take_inventory

    require_runs_folder(runs)
    inventory = take_inventory(runs, data, weights=weights, failed=failed, prepared=prepared)
    for one in inventory.garbage:
        echo(f"{file_size(one.size):>8}  {one.kind}  {one.path}  {one.reason}")
    for note in inventory.notes:
        echo(note)
    if inventory.unlisted:
        size = file_size(inventory.unlisted)
        echo(f"no run in {runs} uses {size} of the prepared images; runs elsewhere may; --prepared lists them")
    echo("in all: " + ", ".join(f"{name} {file_size(size)}" for name, size in sorted(inventory.sizes.items())))
    total = f"{len(inventory.garbage)} files or folders, {file_size(sum(one.size for one in inventory.garbage))}"
    if not inventory.garbage:
        echo("nothing to delete")
    elif not delete:
        echo(f"not needed: {total}; --delete deletes them")
    else:
        left = delete_garbage(inventory.garbage, runs)
        for line in left:
            echo(line, err=True)
        echo(f"deleted: {total}" if not left else f"deleted all but {len(left)} of {total}")
        if left:
            raise typer.Exit(1)
