"""A contact sheet: test images, each beside the training images that are most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.datasets.base import Dataset, Split

TILE, MARGIN, TEXT = 64, 8, 14
"""Side of a picture, space around it, and height of the words below it, in pixels."""

SAME, OTHER = "#009e73", "#d55e00"
"""Of the frame of a neighbour of the same class, and of another's, which has a corner filled as well."""

CORNER = 14
"""Of the filled corner, in pixels."""


@dataclass(frozen=True)
class Shown:
    """What an evaluation measured, and a contact sheet of it.

    Attributes:
        metrics: as of any evaluation.
        queries: (q,) places of test images.
        neighbours: (q, k) places of training images, the most similar first.
    """

    metrics: dict[str, float]
    queries: Tensor
    neighbours: Tensor


def draw(dataset: Dataset, queries: Tensor, neighbours: Tensor) -> Image.Image:
    """A row for every query: its picture, then its neighbours, framed; below each the name of its class."""
    rows, columns = neighbours.shape
    width, height = TILE + MARGIN, TILE + TEXT + MARGIN
    sheet = Image.new("RGB", (width * (columns + 1) + 2 * MARGIN, height * rows + MARGIN), "white")
    for row, (query, found) in enumerate(zip(queries.tolist(), neighbours.tolist(), strict=True)):
        top = MARGIN + row * height
        paste(sheet, dataset, dataset.test, query, (MARGIN, top))
        for column, place in enumerate(found, start=1):
            at = (2 * MARGIN + column * width, top)
            paste(sheet, dataset, dataset.train, place, at)
            mark(sheet, at, same=bool(dataset.train.labels[place] == dataset.test.labels[query]))
    return sheet


def paste(sheet: Image.Image, dataset: Dataset, split: Split, place: int, at: tuple[int, int]) -> None:
    """Put one image and the name of its class at a place of the sheet."""
    pixels = split.images[place].transpose(0, 2, 1)
    sheet.paste(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST), at)
    name = dataset.classes[split.labels[place]].encode("ascii", "replace").decode()
    ImageDraw.Draw(sheet).text((at[0], at[1] + TILE + 2), name[: TILE // 6], fill="black")


def mark(sheet: Image.Image, at: tuple[int, int], *, same: bool) -> None:
    """Frame a neighbour; fill a corner of one of another class."""
    pen, (left, top), right = ImageDraw.Draw(sheet), at, at[0] + TILE - 1
    pen.rectangle((left, top, right, top + TILE - 1), outline=SAME if same else OTHER, width=2)
    if not same:
        pen.polygon([(right - CORNER, top), (right, top), (right, top + CORNER)], fill=OTHER)
