"""``python -m tests.mutants``: tries changes of the numeric core against its tests, and writes the table of them."""

from __future__ import annotations

import os

# Before torch and pyarrow are imported, whose allocator would start a thread.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
from tests.mutants.command import main

main()
