"""``bench list``: what there is to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["methods", "datasets", "backbones", "protocols", "evaluations", "refinements"]


def listing(
    what: Annotated[Kind, typer.Argument(help="What to list.")] = "methods",
    *,
    options: Annotated[bool, typer.Option("--options", help="With the options of each and their defaults.")] = False,
) -> None:
    """List methods, data sets, backbones, protocols, evaluations or refinements, in a line each."""
    lines = list(protocol_lines() if what == "protocols" else plugin_lines(what, options=options))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        typer.echo(f"{name:{width}}  {text}".rstrip())


def protocol_lines() -> Iterator[tuple[str, str]]:
    """Name and summary of every protocol."""
    from protocols.spec.protocol import load, names

    for name in names():
        protocol = load(name)
        yield name, f"{protocol.summary} ({protocol.fairness})"


def plugin_lines(what: Kind, *, options: bool) -> Iterator[tuple[str, str]]:
    """Name and summary of every plugin of a kind; of a broken one, its error."""
    from protocols.spec.plugins import REGISTRIES

    for entry in REGISTRIES[what].entries():
        origin = "" if entry.origin == "built in" else f" [{entry.origin}]"
        yield entry.name, f"broken: {entry.error}{origin}" if entry.error else entry.summary + origin
        if options:
            yield from (("", f"  {key} = {value!r}") for key, value in entry.options.items())
