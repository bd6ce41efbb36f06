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
from functools import partial
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
        few = jpegs(folder, 64, detail=detail)
        contents = [few[number % len(few)] for number in range(count)]
        size = round(sum(map(len, few)) / len(few))
        for by_torchvision, side in itertools.product((True, False), (224, 256)):
            program = "bench, torchvision's decoder" if by_torchvision else "bench, Pillow's decoder"
            prepare_all = partial(prepare, contents, side, by_torchvision=by_torchvision)
            print_speed(prepare_all, program=program, side=side, images=count, bytes=size)
        for wanted in (224, 256, None):
            alone = partial(decode_and_resize, contents, wanted)
            print_speed(alone, program="torchvision, one core", side=wanted, images=count, bytes=size)
    with tempfile.TemporaryDirectory() as folder_of_array:
        shape = (count, 224, 3, 224)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        stored = load_or_write(Path(folder_of_array) / "images.npy", shape, lambda: [noise])
        reading = partial(read, HostImages(stored, torch.device("cpu")))
        print_speed(reading, program="bench, reading what is prepared", side=224, images=count, bytes=stored[0].size)


def prepare(contents: list[bytes], side: int, *, by_torchvision: bool) -> None:
    """Decode and resize by bench, on all cores."""

    def decode(number: int) -> np.ndarray:
        return decode_content(contents[number], Path(), side, resize=True, by_torchvision=by_torchvision, hint="")

    deque(Decoder(len(contents), side, decode, lambda _: None)(), maxlen=0)


def decode_and_resize(contents: list[bytes], side: int | None) -> None:
    """Decode by torchvision, on one core, and resize unless there is no ``side``."""
    for content in contents:
        pixels = decode_by_torchvision(content)
        if side:
            functional.center_crop(functional.resize(pixels, [side], antialias=True), [side])


def read(images: HostImages) -> None:
    """Read all images in random order, a batch ahead, as a GPU is fed that cannot hold them."""
    batches = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(256)
    images.prefetch(batches[0])
    for batch, following in itertools.pairwise([*batches, batches[0]]):
        images.prefetch(following)
        images.read(batch)


def print_speed(run: Callable[[], None], **what: Any) -> None:
    """Measure how long ``run`` takes, after it ran once: by then modules are imported and the system gave memory."""
    run()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
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
