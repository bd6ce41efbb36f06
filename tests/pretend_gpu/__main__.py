"""``python -m tests.pretend_gpu [METHOD…]``: what a step of each method would cost on a GPU, as a table."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.pretend_gpu.driver import compile_driver, why_not


def main() -> None:
    if reason := why_not():
        sys.exit(reason)
    words = sys.argv[1:]
    settings = [word for word in words if "=" in word]
    flags = {"host_images": "--host-images" in words, "settings": settings}
    from tests.pretend_gpu.steps import pretrained_methods

    named = [word for word in words if "=" not in word and not word.startswith("-")]
    requests = [{"method": method, **flags} for method in named or pretrained_methods()]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.pretend_gpu.steps", json.dumps(requests)]
        done = subprocess.run(command, env=compile_driver(Path(folder)), check=True, stdout=subprocess.PIPE, text=True)
    steps = json.loads(done.stdout.splitlines()[-1])
    kinds = {"blocking": "blocking copy", "unpinned": "unpinned copy", "copies": "copy", "to host": "copy to host"}
    kinds["syncs"] = "sync"
    phases = ("views", "forward", "backward", "update")
    print(f"{'':12}" + "".join(f"{name:>10}" for name in (*kinds, *phases)) + "   MB moved")
    for step in steps:
        events = [sum(times for _, one, _, _, times in step["events"] if one == kind) for kind in kinds.values()]
        kernels = [step["kernels"][phase] for phase in phases]
        moved = "/".join(f"{step['bytes'][phase] / 1e6:.1f}" for phase in phases)
        print(f"{step['method']:12}" + "".join(f"{number:10}" for number in [*events, *kernels]) + f"   {moved}")
    if "--where" in words:
        for step in steps:
            for phase, kind, operation, line, times in step["events"]:
                print(f"{step['method']:12} {times:3} × {kind:14} {operation:20} {phase:9} {line}")


if __name__ == "__main__":
    main()
