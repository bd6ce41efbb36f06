"""Finds a foreign module that hides one of this project's packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGES = ("methods", "protocols", "results", "slurm")


def shadowed_package() -> str:
    """What hides one of our packages, in one line; empty if nothing does."""
    here = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is not None and found != here / name / "__init__.py":
            return f"{found} hides the package {name!r} of bench; rename it, or run from another folder"
    return ""
