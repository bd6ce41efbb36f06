"""Shapes: pictures drawn by arithmetic, without a download.

What is drawn is the class; how it is drawn is not. A figure or a texture is a function of coordinates: the signed
distance of a point to its edge, negative inside. Distance turns into coverage of a pixel, which smooths the edges.

Everything is float64 and made of operations that IEEE 754 rounds in one way only: + - × ÷ √, comparisons, rounding to
whole numbers; hence no sines. Randomness is the raw output of a counter-based generator, which NumPy promises not to
change. So the images are the same to the byte wherever they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from protocols.datasets.base import Dataset, Source, Split
from protocols.spec.plugins import register_dataset

Array = npt.NDArray[np.float64]
"""Broadcasts to (n, SIDE, 3, SIDE): image, row, channel, column."""

SIDE = 32
UNIT = SIDE / 2
"""Pixels to a unit of length: a picture is the square from -1 to 1."""

BLOCK = 100
"""Images of a class drawn at a time: few enough for the processor's cache. Another number draws other images."""

TRAIN, TEST = 0, 1

CONTRAST = 0.3, 0.6
"""Between what is drawn and its background, in luma, so that it shows in grey as well."""

CHROMA = 0.15
"""Largest distance from grey, in U and in V: pale, lest colour alone tell which image a view was taken from."""

_centres = np.linspace(0.5 / UNIT - 1, 1 - 0.5 / UNIT, SIDE)
X = _centres.reshape(1, 1, 1, SIDE)
Y = _centres.reshape(1, SIDE, 1, 1)

U = np.array([0.0, -0.395, 2.032]).reshape(1, 1, 3, 1)
V = np.array([1.140, -0.581, 0.0]).reshape(1, 1, 3, 1)


class Dice:
    """Random numbers for ``count`` images at a time.

    Args:
        split: ``TRAIN`` or ``TEST``; their streams have nothing in common, nor have those of two classes.
        stream: the class, or any other number.
        count: images.
    """

    def __init__(self, split: int, stream: int, count: int) -> None:
        self.count = count
        self._bits = np.random.Philox(key=[split, stream])

    def between(self, low: float, high: float) -> Array:
        """One number for each image, uniform in [low, high); (n, 1, 1, 1)."""
        uniform = (self._bits.random_raw(self.count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * uniform.reshape(-1, 1, 1, 1)

    def chance(self, probability: float) -> npt.NDArray[np.bool_]:
        """Whether it happens to each image."""
        return self.between(0, 1) < probability

    def direction(self) -> tuple[Array, Array]:
        """A unit vector for each image, in every direction about alike: two bell curves, normalised."""
        x, y = self._bell(), self._bell()
        length = norm(x, y)
        return x / length, y / length

    def _bell(self) -> Array:
        return self.between(-1, 1) + self.between(-1, 1) + self.between(-1, 1)


def norm(x: Array, y: Array) -> Array:
    """Length of a vector."""
    return np.sqrt(x * x + y * y)


def turned(x: Array, y: Array, direction: tuple[Array, Array]) -> tuple[Array, Array]:
    """Coordinates along ``direction`` and across it."""
    cos, sin = direction
    return cos * x + sin * y, cos * y - sin * x


# Figures: about one unit in radius. What they draw from the dice is the class's own variety.


def disk(x: Array, y: Array, dice: Dice) -> Array:
    """A filled circle."""
    del dice
    return norm(x, y) - 0.9


def ring(x: Array, y: Array, dice: Dice) -> Array:
    """A circle, not filled."""
    half = dice.between(0.16, 0.24)
    return np.abs(norm(x, y) - (1 - half)) - half


def triangle(x: Array, y: Array, dice: Dice) -> Array:
    """Three equal sides."""
    del dice
    return np.maximum(0.8660254 * np.abs(x) + 0.5 * y, -y) - 0.55


def square(x: Array, y: Array, dice: Dice) -> Array:
    """Four equal sides."""
    del dice
    return np.maximum(np.abs(x), np.abs(y)) - 0.78


def cross(x: Array, y: Array, dice: Dice) -> Array:
    """Two bars at right angles."""
    x, y = np.abs(x), np.abs(y)
    distance: Array = np.maximum(np.maximum(x, y) - 1, np.minimum(x, y) - dice.between(0.24, 0.32))
    return distance


def star(x: Array, y: Array, dice: Dice) -> Array:
    """Five points; the plane is folded along two of its five axes until one half of one point is left."""
    del dice
    x = np.abs(x)
    for side in (1, -1):
        beyond = np.maximum(0.809017 * side * x - 0.587785 * y, 0)
        x, y = x - 2 * 0.809017 * side * beyond, y + 2 * 0.587785 * beyond
    return 0.936672 * np.abs(x) + 0.350207 * y - 0.385228


# Textures: one unit is one period.


def wave(t: Array) -> Array:
    """A triangle wave between -1/4 and 1/4 with slope ±1 and period 1."""
    return np.abs(t - np.floor(t) - 0.5) - 0.25


def stripes(x: Array, y: Array, dice: Dice) -> Array:
    """Parallel bands."""
    del y
    return wave(x) + dice.between(-0.04, 0.04)


def checks(x: Array, y: Array, dice: Dice) -> Array:
    """A chess board."""
    del dice
    a, b = wave(0.7 * x), wave(0.7 * y)
    return np.maximum(np.minimum(a, b), -np.maximum(a, b)) / 0.7


def dots(x: Array, y: Array, dice: Dice) -> Array:
    """Small disks in rows and columns."""
    return norm(x - np.floor(x) - 0.5, y - np.floor(y) - 0.5) - dice.between(0.24, 0.32)


def zigzag(x: Array, y: Array, dice: Dice) -> Array:
    """Parallel bands, folded at right angles."""
    pace = dice.between(0.5, 0.7)
    return 0.75 * wave(y + 0.96 / pace * wave(pace * x))


Shape = Callable[[Array, Array, Dice], Array]
SINGLE: tuple[Shape, ...] = (disk, ring, triangle, square, cross, star)
REPEATED: tuple[Shape, ...] = (stripes, checks, dots, zigzag)
CLASSES = SINGLE + REPEATED


def coverage(distance: Array) -> Array:
    """How much of each pixel lies inside, for a signed distance in units."""
    return np.clip(0.5 - UNIT * distance, 0, 1)


def paint(picture: Array, cover: Array, colour: Array) -> None:
    """Lay a colour over a picture, in place."""
    picture += cover * (colour - picture)


def tinted(luma: Array, dice: Dice) -> Array:
    """A random colour of the given luma."""
    return luma + U * dice.between(-CHROMA, CHROMA) + V * dice.between(-CHROMA, CHROMA)


def gradient(luma: Array, spread: float, dice: Dice) -> Array:
    """From one colour, darker or as dark, to another across the picture; (n, SIDE, 3, SIDE)."""
    along, _ = turned(X, Y, dice.direction())
    dark, bright = (tinted(luma + dice.between(0, sign * spread), dice) for sign in (-1, 1))
    return dark + (bright - dark) * (along + 1) / 2


def contrasting(luma: Array, dice: Dice) -> Array:
    """Another luma, well above or well below."""
    step = dice.between(*CONTRAST)
    above = (luma + step < 1) & ((luma - step < 0) | dice.chance(0.5))
    return np.clip(luma + np.where(above, step, -step), 0, 1)


def scatter(shape: Shape, picture: Array, luma: Array, dice: Dice) -> None:
    """Draw one to four copies of a figure: one near the middle, or several on the corners of a square."""
    count = np.floor(dice.between(1, 5))
    one, two, more = dice.between(0.45, 0.75), dice.between(0.36, 0.5), dice.between(0.3, 0.4)
    radius = np.select([count == 1, count == 2], [one, two], more)
    distance = dice.between(0.5, 0.62) * (count > 1)
    across, down = (distance * part for part in dice.direction())
    x, y = X - dice.between(-0.2, 0.2), Y - dice.between(-0.2, 0.2)
    luma = contrasting(luma, dice)
    for corner, (right, below) in enumerate(((across, down), (-across, -down), (-down, across), (down, -across))):
        cover = coverage(figure(shape, x - right, y - below, radius, dice))
        paint(picture, cover * (corner < count), tinted(luma, dice))


def figure(shape: Shape, x: Array, y: Array, radius: Array, dice: Dice) -> Array:
    """Signed distance to a figure around the origin, turned, and stretched along one of its axes."""
    size, stretch = radius * dice.between(0.85, 1.1), dice.between(0.88, 1.13)
    x, y = turned(x, y, dice.direction())
    return size * shape(x / size * stretch, y / size / stretch, dice)


def fill(shape: Shape, picture: Array, luma: Array, dice: Dice) -> None:
    """Cover a picture with a texture, slightly bent."""
    x, y = turned(X, Y, dice.direction())
    x, y = x + dice.between(-1, 1), y + dice.between(-1, 1)
    period = dice.between(0.32, 0.6)
    distance = period * shape((x + dice.between(-0.15, 0.15) * y * y) / period, y / period, dice)
    paint(picture, coverage(distance), gradient(contrasting(luma, dice), 0.0, dice))


def clutter(picture: Array, luma: Array, dice: Dice) -> None:
    """Throw in a few rods, from specks to almost half the picture long."""
    for _ in range(4):
        x, y = turned(X - dice.between(-1, 1), Y - dice.between(-1, 1), dice.direction())
        beyond = np.maximum(np.abs(x) - dice.between(0.05, 0.45), 0)
        distance = norm(beyond, y) - dice.between(0.03, 0.06)
        colour = tinted(np.clip(luma + dice.between(-0.35, 0.35), 0, 1), dice)
        paint(picture, coverage(distance) * dice.chance(0.6), colour)


def light(picture: Array, dice: Dice) -> None:
    """Brighten one side of a picture and darken the other, in place."""
    along, _ = turned(X, Y, dice.direction())
    picture *= 1 + dice.between(0, 0.3) * along


def draw(shape: Shape, dice: Dice) -> npt.NDArray[np.uint8]:
    """Images of one class, as many as the dice are for; (n, SIDE, 3, SIDE)."""
    luma = dice.between(0.2, 0.8)
    picture = gradient(luma, 0.12, dice)
    (fill if shape in REPEATED else scatter)(shape, picture, luma, dice)
    clutter(picture, luma, dice)
    light(picture, dice)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def make(split: int, count: int) -> Split:
    """Draw ``count`` images, a multiple of 1,000; every ten in a row show every class once."""
    order = np.random.Philox(key=[split, len(CLASSES)]).random_raw(count).reshape(-1, len(CLASSES))
    labels = order.argsort(axis=1, kind="stable").ravel().astype(np.int64)
    images = np.empty((count, SIDE, 3, SIDE), np.uint8)
    for label, shape in enumerate(CLASSES):
        dice = Dice(split, label, BLOCK)
        blocks = [draw(shape, dice) for _ in range(count // len(CLASSES) // BLOCK)]
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
        """Draw it."""
        return Dataset(
            name=self.name,
            classes=tuple(shape.__name__ for shape in CLASSES),
            mean=(0.4905, 0.4921, 0.4916),
            std=(0.2367, 0.2302, 0.2573),
            train=make(TRAIN, 10_000),
            test=make(TEST, 2_000),
        )
