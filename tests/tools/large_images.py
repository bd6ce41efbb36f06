"""Measures how fast large images are prepared and read, and how much memory training on them takes.

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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from protocols.datasets.device_images import HostImages
from protocols.datasets.prepared import Decoder, decode_by_torchvision, decode_content, load_or_write
from protocols.spec.execution import available_cores
from protocols.system.device import processor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

WIDTH, HEIGHT = 500, 375
"""Of a typical photograph of ImageNet."""


def photographs(folder: Path, count: int) -> list[Image.Image]:
    """The first ones of a folder, 64×64 pixels."""
    found = (path for path in sorted((folder / "train").rglob("*")) if path.is_file())
    return [Image.open(path).convert("RGB").resize((64, 64)) for path in itertools.islice(found, count)]


def mosaic(photographs: list[Image.Image]) -> Image.Image:
    """48 photographs side by side: as much detail as a sharp photograph of that size has."""
    whole = Image.new("RGB", (512, 384))
    for number, photograph in enumerate(photographs):
        whole.paste(photograph, (64 * (number % 8), 64 * (number // 8)))
    return whole.crop((0, 0, WIDTH, HEIGHT))


def jpegs(folder: Path, count: int, *, detail: bool) -> list[bytes]:
    """JPEGs of quality 90: each a mosaic of 48 photographs, or without ``detail`` one photograph, enlarged."""
    tiles = photographs(folder, 48 * count)
    made = []
    for number in range(count):
        image = mosaic(tiles[48 * number : 48 * (number + 1)]) if detail else tiles[number].resize((WIDTH, HEIGHT))
        content = io.BytesIO()
        image.save(content, format="JPEG", quality=90)
        made.append(content.getvalue())
    return made


def speed(folder: Path, count: int) -> None:
    """Images a second of wall time, and a second of a core: the latter does not depend on what else is running.

    Beside what bench does on all cores stands what torchvision does on one: decode and resize, and decode alone.
    """
    for detail in (True, False):
        contents = jpegs(folder, 64, detail=detail)
        for by_torchvision, side in itertools.product((True, False), (224, 256)):

            def prepare(content: bytes, side: int = side, by_torchvision: bool = by_torchvision) -> np.ndarray:
                return decode_content(content, Path(), side, resize=True, by_torchvision=by_torchvision, hint="")

            program = "bench, torchvision's decoder" if by_torchvision else "bench, Pillow's decoder"
            print_speed(program, prepare, contents, count, side)
        for side in (224, 256):

            def decode_and_resize(content: bytes, side: int = side) -> Tensor:
                resized = functional.resize(decode_by_torchvision(content), [side], antialias=True)
                cropped: Tensor = functional.center_crop(resized, [side])
                return cropped

            print_speed("torchvision, one core", decode_and_resize, contents, count, side)
        print_speed("torchvision, one core", decode_by_torchvision, contents, count, None)
    print_reading_speed(count, 224)


def print_reading_speed(count: int, side: int) -> None:
    """Measure how long batches of prepared images take in random order, as a GPU is fed that cannot hold them."""
    shape = (count, side, 3, side)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        images = HostImages(load_or_write(path, shape, lambda: [noise]), torch.device("cpu"))
        batches = torch.randperm(count, generator=torch.Generator().manual_seed(0)).split(256)
        for batch in batches:
            images.read(batch)  # from now on the files are in memory
        wall, cpu = time.perf_counter(), time.process_time()
        images.prefetch(batches[0])
        for batch, following in zip(batches, [*batches[1:], batches[0]], strict=True):
            images.prefetch(following)
            images.read(batch)
        what = {"program": "bench, reading what is prepared", "side": side, "images": count, "bytes": side * side * 3}
        print_line(what, wall, cpu)


def print_speed(
    program: str, prepare: Callable[[bytes], Any], contents: list[bytes], count: int, side: int | None
) -> None:
    """Measure how long ``count`` images take, after as many others."""

    def prepare_all(images: int) -> None:
        if program.startswith("bench") and side:
            decoder = Decoder(images, side, lambda number: prepare(contents[number % len(contents)]), lambda _: None)
            deque(decoder(), maxlen=0)
        else:
            for number in range(images):
                prepare(contents[number % len(contents)])

    prepare_all(count)  # imports, and asks the system for memory
    wall, cpu = time.perf_counter(), time.process_time()
    prepare_all(count)
    size = round(sum(map(len, contents)) / len(contents))
    print_line({"program": program, "side": side, "images": count, "bytes": size}, wall, cpu)


def print_line(what: dict[str, Any], wall: float, cpu: float) -> None:
    """Print how many ``images`` a second a program did from then until now, and how many a second of a core."""
    wall, cpu, images = time.perf_counter() - wall, time.process_time() - cpu, what["images"]
    speeds = {"per_second": round(images / wall), "per_core_second": round(images / cpu)}
    print(json.dumps({**what, **speeds, "cores": available_cores(), "processor": processor()}), flush=True)


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
    parser.add_argument("--count", type=int, default=4000)
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
