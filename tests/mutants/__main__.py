"""``python -m tests.mutants``: tries changes of the numeric core against its tests, and writes the table of them."""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before torch is imported
from tests.mutants.command import main

main()
