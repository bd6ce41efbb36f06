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

from pathlib import Path

import pandas as pd

PUBLISHED = Path(__file__).parent


def load() -> pd.DataFrame:
    """Every published number, in the order of the tables."""
    files = [pd.read_csv(path, keep_default_na=False) for path in sorted(PUBLISHED.glob("*.csv"))]
    rows = pd.concat(files, ignore_index=True)
    numbers = ["value", "std", "seeds", "epochs"]
    return rows.assign(secondary=rows["secondary"].fillna(""), **{key: pd.to_numeric(rows[key]) for key in numbers})
