"""A contact sheet: test images with their most similar training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from torch import Tensor

    from protocols.datasets.base import Dataset, Split

TILE, MARGIN, TEXT = 64, 8, 14
"""Side of an image, space around it, and height of the text below it, in pixels."""

SAME_CLASS, OTHER_CLASS = "#009e73", "#d55e00"
"""Frame colours of a neighbour of the query's class, and of another class, which also has a filled corner."""

CORNER = 14
"""Side of the filled corner, in pixels."""


def contact_sheet(dataset: Dataset, queries: Tensor, neighbours: Tensor) -> Image.Image:
    """Draw a row per query: its image and its framed neighbours, with the class names below.

    Args:
        dataset: of the images.
        queries: (q,) indices of test images.
        neighbours: (q, k) indices of training images, the most similar first; -1 where there is none.
    """
    rows, columns = neighbours.shape
    width, height = TILE + MARGIN, TILE + TEXT + MARGIN
    canvas = Image.new("RGB", (width * (columns + 1) + 2 * MARGIN, height * rows + MARGIN), "white")
    for row, (query, found) in enumerate(zip(queries.tolist(), neighbours.tolist(), strict=True)):
        top = MARGIN + row * height
        paste(canvas, dataset, dataset.test, query, (MARGIN, top))
        for column, index in enumerate((index for index in found if index >= 0), start=1):
            position = (2 * MARGIN + column * width, top)
            paste(canvas, dataset, dataset.train, index, position)
            frame(canvas, position, same=bool(dataset.train.labels[index] == dataset.test.labels[query]))
    return canvas


def paste(canvas: Image.Image, dataset: Dataset, split: Split, index: int, position: tuple[int, int]) -> None:
    """Draw an image and the name of its class at a position of the sheet."""
    pixels = split.images[index].transpose(0, 2, 1)
    canvas.paste(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST), position)
    name = dataset.classes[split.labels[index]].encode("ascii", "replace").decode()
    ImageDraw.Draw(canvas).text((position[0], position[1] + TILE + 2), name[: TILE // 6], fill="black")


def frame(canvas: Image.Image, position: tuple[int, int], *, same: bool) -> None:
    """Frame a neighbour; fill a corner of one of another class."""
    pen, (left, top), right = ImageDraw.Draw(canvas), position, position[0] + TILE - 1
    pen.rectangle((left, top, right, top + TILE - 1), outline=SAME_CLASS if same else OTHER_CLASS, width=2)
    if not same:
        pen.polygon([(right - CORNER, top), (right, top), (right, top + CORNER)], fill=OTHER_CLASS)
