"""What papers and libraries report: one CSV file per source, a row per published number.

source, table   where it stands; the rows of a table are in its order
row, column     what they are called there
method          label of the method that corresponds to it here; likewise protocol and evaluation, with the changes in
                brackets that would reproduce it; an empty protocol means that no protocol here has its conditions
dataset         what it was pretrained on; ``evaluated_on``, ``backbone`` and ``metric`` as in a record; the metric
                ``top1 over a[b=1]`` is the gain in top1 over the method with that label, or over that backbone, and
                ``top1 over the best other method`` that of a refined method over all others without refinement; an
                empty backbone matches any
epochs          length of pretraining under its protocol, if that is known
value, std      mean and standard deviation in percent (whether over n or n - 1 is not stated), of ``seeds`` runs
conditions      why it can't be compared even with a run of that protocol; empty if it can
secondary       where the number was found if not at its source; a file in which all come from their source lacks it
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from results.errors import DamagedFile
from results.files import read_bytes

PUBLISHED = Path(__file__).parent
NUMBERS = ("value", "std", "seeds", "epochs")
COLUMNS = (
    *("source", "table", "row", "column", "method", "protocol", "evaluation", "dataset", "evaluated_on", "backbone"),
    *("metric", *NUMBERS, "conditions"),
)


def load() -> pd.DataFrame:
    """Every published number, in the order of the tables."""
    rows = pd.concat([read_table(path) for path in sorted(PUBLISHED.glob("*.csv"))], ignore_index=True)
    return rows.assign(secondary=rows["secondary"].fillna(""))


def read_table(path: Path) -> pd.DataFrame:
    """The published numbers of one source.

    Raises:
        DamagedFile: it is no such table.
    """
    try:
        rows = pd.read_csv(BytesIO(read_bytes(path)), keep_default_na=False)
        rows = rows.assign(**{key: pd.to_numeric(rows[key]) for key in NUMBERS})
    except OSError as error:
        raise DamagedFile(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, pd.errors.ParserError) as error:
        raise DamagedFile(f"{path} is damaged: {' '.join(str(error).split())}", hint="install bench again") from error
    missing = [column for column in COLUMNS if column not in rows]
    if missing or not np.isfinite(rows["value"]).all():
        why = f"it has no column {missing[0]!r}" if missing else "a value is missing, or not finite"
        raise DamagedFile(f"{path} is damaged: {why}", hint="install bench again")
    return rows
