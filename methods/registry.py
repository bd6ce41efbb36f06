"""The registry of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from results.errors import BrokenPlugin
from results.names import OLD_HOOKS, Baseline
from results.registry import Registry

if TYPE_CHECKING:
    from methods.base import Method
    from results.registry import Entry


def check_method(entry: Entry) -> None:
    """Do nothing if a method defines no hook under its name of an earlier version, and is a baseline that there is.

    Raises:
        BrokenPlugin: it does, or is not.
    """
    if entry.declared["baseline"] not in get_args(Baseline):
        raise BrokenPlugin(
            f"method {entry.name!r} in {entry.origin} is the baseline {entry.declared['baseline']!r}",
            hint=f"choose {', '.join(filter(None, get_args(Baseline)))}, or leave it out",
        )
    for old, new in OLD_HOOKS.items():
        if old in entry.members:
            raise BrokenPlugin(
                f"method {entry.name!r} in {entry.origin} defines {old}, which is now called {new}",
                hint=f"rename it to {new}",
            )


METHODS: Registry[type[Method]] = Registry(
    "method",
    package="methods",
    group="bench.methods",
    attributes={"baseline": "", "augmentations": (), "label_option": ""},
    check=check_method,
)
register_method = METHODS.register
register = register_method  # its name in earlier versions, which plugin files import
