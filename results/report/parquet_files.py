"""The numbers behind sections as Parquet files, for programs: the same frames as the CSV files, with their types."""

from __future__ import annotations

import importlib.util
from io import BytesIO
from typing import TYPE_CHECKING

from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.report.section import Section


def require_pyarrow() -> None:
    """Do nothing if pandas can write Parquet.

    Raises:
        RequestError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise RequestError("Parquet files need the package pyarrow", hint="pip install 'ssl-bench[parquet]'")


def render(sections: Iterable[Section]) -> dict[str, bytes]:
    """The content of every Parquet file, by its name."""
    contents = {}
    for section in sections:
        for name, frame in section.frames.items():
            frame.to_parquet(buffer := BytesIO(), engine="pyarrow", index=False)
            contents[f"{name}.parquet"] = buffer.getvalue()
    return contents
