"""Shapes: synthetic images of figures and textures, without a download.

The class is the figure or texture; everything else is a nuisance. A figure or texture is a signed distance function of
the coordinates, negative inside. The distance is converted to the coverage of a pixel, which smooths the edges.

Everything is float64 and uses only operations that IEEE 754 rounds exactly: + - × ÷ √, comparisons, rounding to whole
numbers; hence no sines. Random numbers are the raw output of a counter-based generator, which NumPy promises not to
change. So the images are equal to the byte on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from protocols.datasets.base import Dataset, Source, Split
from protocols.spec.plugins import register_dataset

Array = npt.NDArray[np.float64]
"""Broadcastable to (n, SIDE, 3, SIDE): image, row, channel, column."""

SIDE = 32
UNIT = SIDE / 2
"""Pixels per unit of length: an image is the square from -1 to 1."""

IMAGES_PER_BLOCK = 100
"""Images of a class drawn at a time, few enough for the processor's cache. Another value gives other images."""

TRAIN, TEST = 0, 1

CONTRAST = 0.3, 0.6
"""Range of the difference in luma between figure and background, so that figures are visible in grey."""

CHROMA = 0.15
"""Largest distance from grey in U and V: pale, so that colour alone does not identify the image of a view."""

_centres = np.linspace(0.5 / UNIT - 1, 1 - 0.5 / UNIT, SIDE)
X = _centres.reshape(1, 1, 1, SIDE)
Y = _centres.reshape(1, SIDE, 1, 1)

U = np.array([0.0, -0.395, 2.032]).reshape(1, 1, 3, 1)
V = np.array([1.140, -0.581, 0.0]).reshape(1, 1, 3, 1)


class Random:
    """Random numbers for ``count`` images at a time.

    Args:
        split: ``TRAIN`` or ``TEST``; streams of different splits or classes are independent.
        stream: the class, or any other number.
        count: number of images.
    """

    def __init__(self, split: int, stream: int, count: int) -> None:
        self.count = count
        self._bits = np.random.Philox(key=[split, stream])

    def uniform(self, low: float, high: float) -> Array:
        """One number for each image, uniform in [low, high); (n, 1, 1, 1)."""
        uniform = (self._bits.random_raw(self.count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * uniform.reshape(-1, 1, 1, 1)

    def bernoulli(self, probability: float) -> npt.NDArray[np.bool_]:
        """True with a probability, for each image; (n, 1, 1, 1)."""
        return self.uniform(0, 1) < probability

    def unit_vector(self) -> tuple[Array, Array]:
        """A unit vector for each image, its direction about uniform: two approximately normal numbers, normalised."""
        x, y = self._bell_curve(), self._bell_curve()
        length = vector_length(x, y)
        return x / length, y / length

    def _bell_curve(self) -> Array:
        return self.uniform(-1, 1) + self.uniform(-1, 1) + self.uniform(-1, 1)


def vector_length(x: Array, y: Array) -> Array:
    """Length of a vector (x, y)."""
    return np.sqrt(x * x + y * y)


def rotate(x: Array, y: Array, unit_vector: tuple[Array, Array]) -> tuple[Array, Array]:
    """Coordinates along ``unit_vector`` and across it."""
    cos, sin = unit_vector
    return cos * x + sin * y, cos * y - sin * x


# Figures: about one unit in radius. Random numbers give the variation within a class.


def disk(x: Array, y: Array, rng: Random) -> Array:
    """A filled circle."""
    del rng
    return vector_length(x, y) - 0.9


def ring(x: Array, y: Array, rng: Random) -> Array:
    """A ring."""
    half = rng.uniform(0.16, 0.24)
    return np.abs(vector_length(x, y) - (1 - half)) - half


def triangle(x: Array, y: Array, rng: Random) -> Array:
    """An equilateral triangle."""
    del rng
    return np.maximum(0.8660254 * np.abs(x) + 0.5 * y, -y) - 0.55


def square(x: Array, y: Array, rng: Random) -> Array:
    """A square."""
    del rng
    return np.maximum(np.abs(x), np.abs(y)) - 0.78


def cross(x: Array, y: Array, rng: Random) -> Array:
    """Two bars at right angles."""
    x, y = np.abs(x), np.abs(y)
    distance: Array = np.maximum(np.maximum(x, y) - 1, np.minimum(x, y) - rng.uniform(0.24, 0.32))
    return distance


def star(x: Array, y: Array, rng: Random) -> Array:
    """A star with five points; the plane is folded along two of its five axes of symmetry to half of one point."""
    del rng
    x = np.abs(x)
    for side in (1, -1):
        beyond = np.maximum(0.809017 * side * x - 0.587785 * y, 0)
        x, y = x - 2 * 0.809017 * side * beyond, y + 2 * 0.587785 * beyond
    return 0.936672 * np.abs(x) + 0.350207 * y - 0.385228


# Textures: the period is one unit.


def triangle_wave(t: Array) -> Array:
    """A triangle wave between -1/4 and 1/4 with slope ±1 and period 1."""
    return np.abs(t - np.floor(t) - 0.5) - 0.25


def stripes(x: Array, y: Array, rng: Random) -> Array:
    """Parallel bands."""
    del y
    return triangle_wave(x) + rng.uniform(-0.04, 0.04)


def checks(x: Array, y: Array, rng: Random) -> Array:
    """A checkerboard."""
    del rng
    a, b = triangle_wave(0.7 * x), triangle_wave(0.7 * y)
    return np.maximum(np.minimum(a, b), -np.maximum(a, b)) / 0.7


def dots(x: Array, y: Array, rng: Random) -> Array:
    """Small disks on a square grid."""
    return vector_length(x - np.floor(x) - 0.5, y - np.floor(y) - 0.5) - rng.uniform(0.24, 0.32)


def zigzag(x: Array, y: Array, rng: Random) -> Array:
    """Parallel bands, folded at right angles."""
    pace = rng.uniform(0.5, 0.7)
    return 0.75 * triangle_wave(y + 0.96 / pace * triangle_wave(pace * x))


Shape = Callable[[Array, Array, Random], Array]
FIGURES: tuple[Shape, ...] = (disk, ring, triangle, square, cross, star)
TEXTURES: tuple[Shape, ...] = (stripes, checks, dots, zigzag)
CLASSES = FIGURES + TEXTURES


def coverage(distance: Array) -> Array:
    """Fraction of each pixel that lies inside, from a signed distance in units."""
    return np.clip(0.5 - UNIT * distance, 0, 1)


def paint(images: Array, cover: Array, colour: Array) -> None:
    """Blend a colour over images, in place; ``cover`` is its opacity."""
    images += cover * (colour - images)


def random_colour(luma: Array, rng: Random) -> Array:
    """A random colour of the given luma."""
    return luma + U * rng.uniform(-CHROMA, CHROMA) + V * rng.uniform(-CHROMA, CHROMA)


def colour_gradient(luma: Array, luma_range: float, rng: Random) -> Array:
    """A linear gradient between two colours at most ``luma_range`` darker or brighter; (n, SIDE, 3, SIDE)."""
    along, _ = rotate(X, Y, rng.unit_vector())
    dark, bright = (random_colour(luma + rng.uniform(0, sign * luma_range), rng) for sign in (-1, 1))
    return dark + (bright - dark) * (along + 1) / 2


def contrasting_luma(luma: Array, rng: Random) -> Array:
    """A luma that differs from the given one by ``CONTRAST``."""
    step = rng.uniform(*CONTRAST)
    above = (luma + step < 1) & ((luma - step < 0) | rng.bernoulli(0.5))
    return np.clip(luma + np.where(above, step, -step), 0, 1)


def draw_figures(shape: Shape, images: Array, luma: Array, rng: Random) -> None:
    """Draw one to four copies of a figure: one near the centre, or several on the corners of a square."""
    count = np.floor(rng.uniform(1, 5))
    one, two, more = rng.uniform(0.45, 0.75), rng.uniform(0.36, 0.5), rng.uniform(0.3, 0.4)
    radius = np.select([count == 1, count == 2], [one, two], more)
    distance = rng.uniform(0.5, 0.62) * (count > 1)
    across, down = (distance * part for part in rng.unit_vector())
    x, y = X - rng.uniform(-0.2, 0.2), Y - rng.uniform(-0.2, 0.2)
    luma = contrasting_luma(luma, rng)
    for corner, (right, below) in enumerate(((across, down), (-across, -down), (-down, across), (down, -across))):
        cover = coverage(figure_distance(shape, x - right, y - below, radius, rng))
        paint(images, cover * (corner < count), random_colour(luma, rng))


def figure_distance(shape: Shape, x: Array, y: Array, radius: Array, rng: Random) -> Array:
    """Signed distance to a figure around the origin, rotated and stretched along one of its axes."""
    size, stretch = radius * rng.uniform(0.85, 1.1), rng.uniform(0.88, 1.13)
    x, y = rotate(x, y, rng.unit_vector())
    return size * shape(x / size * stretch, y / size / stretch, rng)


def draw_texture(shape: Shape, images: Array, luma: Array, rng: Random) -> None:
    """Cover images with a slightly bent texture, in place."""
    x, y = rotate(X, Y, rng.unit_vector())
    x, y = x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)
    period = rng.uniform(0.32, 0.6)
    distance = period * shape((x + rng.uniform(-0.15, 0.15) * y * y) / period, y / period, rng)
    paint(images, coverage(distance), colour_gradient(contrasting_luma(luma, rng), 0.0, rng))


def draw_clutter(images: Array, luma: Array, rng: Random) -> None:
    """Draw up to four short bars of random length and colour, in place."""
    for _ in range(4):
        x, y = rotate(X - rng.uniform(-1, 1), Y - rng.uniform(-1, 1), rng.unit_vector())
        beyond = np.maximum(np.abs(x) - rng.uniform(0.05, 0.45), 0)
        distance = vector_length(beyond, y) - rng.uniform(0.03, 0.06)
        colour = random_colour(np.clip(luma + rng.uniform(-0.35, 0.35), 0, 1), rng)
        paint(images, coverage(distance) * rng.bernoulli(0.6), colour)


def apply_lighting(images: Array, rng: Random) -> None:
    """Brighten one side of the images and darken the other, in place."""
    along, _ = rotate(X, Y, rng.unit_vector())
    images *= 1 + rng.uniform(0, 0.3) * along


def draw_images(shape: Shape, rng: Random) -> npt.NDArray[np.uint8]:
    """Draw images of one class, as many as ``rng`` is for; (n, SIDE, 3, SIDE)."""
    luma = rng.uniform(0.2, 0.8)
    images = colour_gradient(luma, 0.12, rng)
    (draw_texture if shape in TEXTURES else draw_figures)(shape, images, luma, rng)
    draw_clutter(images, luma, rng)
    apply_lighting(images, rng)
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def make_split(split: int, count: int) -> Split:
    """Draw ``count`` images, a multiple of 1,000; every ten in a row show every class once."""
    order = np.random.Philox(key=[split, len(CLASSES)]).random_raw(count).reshape(-1, len(CLASSES))
    labels = order.argsort(axis=1, kind="stable").ravel().astype(np.int64)
    images = np.empty((count, SIDE, 3, SIDE), np.uint8)
    for label, shape in enumerate(CLASSES):
        rng = Random(split, label, IMAGES_PER_BLOCK)
        blocks = [draw_images(shape, rng) for _ in range(count // len(CLASSES) // IMAGES_PER_BLOCK)]
        images[labels == label] = np.concatenate(blocks)
    return Split(images, labels)


@register_dataset("shapes", version=1)
class Shapes(Source):
    """Figures and textures, 10,000 + 2,000 of 32×32, 10 classes; drawn in seconds, no download.

    Six classes are figures, one to four copies to an image, and four are textures. Number, place, size, rotation and
    stretch, colours, contrast, background, lighting and clutter are nuisances, drawn alike for all figures and alike
    for all textures. Normalisation measured on the train split.
    """

    def load(self) -> Dataset:
        """Draw all images."""
        return Dataset(
            name=self.name,
            classes=tuple(shape.__name__ for shape in CLASSES),
            mean=(0.4905, 0.4921, 0.4916),
            std=(0.2367, 0.2302, 0.2573),
            train=make_split(TRAIN, 10_000),
            test=make_split(TEST, 2_000),
        )
