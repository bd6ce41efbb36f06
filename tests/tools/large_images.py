"""Measures how fast large images are prepared, and how much memory training on them takes.

    python -m tests.tools.large_images speed FOLDER      # FOLDER/train/CLASS/*: photographs to make JPEGs of
    python -m tests.tools.large_images memory FOLDER --sides 64,224 --words "--epochs 0.1"

Prints one line of JSON for each measurement.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torchvision.io import decode_jpeg

from protocols.datasets.prepared import Decoder, decode_content
from protocols.spec.execution import available_cores
from protocols.system.device import processor

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

WIDTH, HEIGHT = 500, 375
"""Of a typical photograph of ImageNet."""


def jpegs(folder: Path, count: int) -> list[bytes]:
    """JPEGs of quality 90, each a mosaic of 48 photographs, so that there is as much detail as a photograph has."""
    found = (path for path in sorted((folder / "train").rglob("*")) if path.is_file())
    paths, made = list(itertools.islice(found, 48 * count)), []
    for number in range(count):
        mosaic = Image.new("RGB", (512, 384))
        for tile in range(48):
            photograph = Image.open(paths[(48 * number + tile) % len(paths)]).convert("RGB").resize((64, 64))
            mosaic.paste(photograph, (64 * (tile % 8), 64 * (tile // 8)))
        content = io.BytesIO()
        mosaic.crop((0, 0, WIDTH, HEIGHT)).save(content, format="JPEG", quality=90)
        made.append(content.getvalue())
    return made


def speed(folder: Path, count: int) -> None:
    """Images a second of wall time, and a second of a core: the latter does not depend on what else is running.

    Beside decoding and resizing on all cores stands what torchvision needs, on one core, to decode alone.
    """
    contents = jpegs(folder, 64)
    for by_torchvision, side in itertools.product((True, False), (224, 256)):

        def decode(number: int, side: int = side, by_torchvision: bool = by_torchvision) -> np.ndarray:
            content = contents[number % len(contents)]
            return decode_content(content, Path(), side, resize=True, by_torchvision=by_torchvision, hint="")

        def decode_all(images: int, side: int = side, decode: Callable[[int], np.ndarray] = decode) -> None:
            deque(Decoder(images, side, decode, lambda _: None)(), maxlen=0)

        print_speed(decode_all, count, contents, "torchvision" if by_torchvision else "Pillow", side)

    def decode_alone(images: int) -> None:
        for number in range(images):
            decode_jpeg(torch.frombuffer(bytearray(contents[number % len(contents)]), dtype=torch.uint8))

    print_speed(decode_alone, count, contents, "torchvision", None)


def print_speed(run: Callable[[int], None], count: int, contents: list[bytes], decoder: str, side: int | None) -> None:
    """Measure how long ``run`` takes for ``count`` images."""
    run(64)  # imports, and fills caches
    wall, cpu = time.perf_counter(), time.process_time()
    run(count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    speeds = {"per_second": round(count / wall), "per_core_second": round(count / cpu)}
    bytes_each = round(sum(map(len, contents)) / len(contents))
    line = {"decoder": decoder, "side": side, "images": count, **speeds, "bytes": bytes_each}
    print(json.dumps({**line, "cores": available_cores(), "processor": processor()}), flush=True)


def memory(folder: Path, sides: list[int], methods: list[str], backbone: str, words: list[str]) -> None:
    """Peak memory of ``bench run``, one method at a time, from data to record."""
    for side, method in itertools.product(sides, methods):
        with tempfile.TemporaryDirectory() as runs:
            grid = ["--methods", method, "--datasets", f"folder:{folder}@{side}", "--backbones", backbone]
            command = [sys.executable, "-m", "bench", "run", *grid, "--seeds", "0", "--jobs", "1"]
            start = time.monotonic()
            folders = ["--runs", runs, "--data", runs]
            process = subprocess.Popen([*command, *folders, *words], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            (record,) = Path(runs).glob("*/record.json")
            cost = json.loads(record.read_text(encoding="utf-8"))["cost"]
        scale = 1 if sys.platform == "darwin" else 1024
        print(
            json.dumps(
                {
                    "side": side,
                    "method": method,
                    "backbone": backbone,
                    "options": words,
                    "status": status,
                    "peak_gib": round(usage.ru_maxrss * scale / 2**30, 2),
                    "pretraining_gib": round(cost["peak_memory"] / 2**30, 2),
                    "views": cost["views"],
                    "cpu_seconds": round(usage.ru_utime + usage.ru_stime),
                    "seconds": round(time.monotonic() - start),
                }
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--sides", default="64,224")
    parser.add_argument("--methods", default="simclr,byol")
    parser.add_argument("--backbone", default="timm:mobilenetv3_small_050")
    parser.add_argument("--words", default="", help="further options of bench run")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    if asked.what == "speed":
        speed(folder, asked.count)
    else:
        sides = [int(side) for side in asked.sides.split(",")]
        memory(folder, sides, asked.methods.split(","), asked.backbone, asked.words.split())


if __name__ == "__main__":
    main()
