"""What an option may be beside its type, written into its annotation: ``k: Annotated[int, AtLeast(1)] = 20``.

Values of options are checked before any work starts. The generated reference and the JSON schema of protocol files show
the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Bound:
    """A bound of a number.

    Attributes:
        limit: the bound.
        words: class attribute; the bound in words, with ``{}`` for the limit.
        keyword: class attribute; the keyword of JSON Schema that means the same.
    """

    limit: float
    words: ClassVar[str]
    keyword: ClassVar[str]

    def allows(self, value: float) -> bool:
        """Whether a value keeps to the bound."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.words.format(self.limit)


class AtLeast(Bound):
    """The limit or more."""

    words, keyword = "{} or more", "minimum"

    def allows(self, value: float) -> bool:
        """Whether a value is the limit or more."""
        return value >= self.limit


class Above(Bound):
    """More than the limit."""

    words, keyword = "above {}", "exclusiveMinimum"

    def allows(self, value: float) -> bool:
        """Whether a value is more than the limit."""
        return value > self.limit


class AtMost(Bound):
    """The limit or less."""

    words, keyword = "{} or less", "maximum"

    def allows(self, value: float) -> bool:
        """Whether a value is the limit or less."""
        return value <= self.limit


class Below(Bound):
    """Less than the limit."""

    words, keyword = "below {}", "exclusiveMaximum"

    def allows(self, value: float) -> bool:
        """Whether a value is less than the limit."""
        return value < self.limit


@dataclass(frozen=True)
class AugmentationName:
    """Marks an option of an evaluation that names an augmentation of the protocol.

    Attributes:
        besides: further values, which name none.
    """

    besides: tuple[str, ...] = ()
