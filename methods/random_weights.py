"""The lower baseline: a backbone that is not trained."""

from __future__ import annotations

from typing import Any

from methods.base import Method
from methods.registry import register_method


@register_method("random")
class RandomWeights(Method):
    """Random weights: the freshly initialised backbone, evaluated without training.

    Its BatchNorm layers keep their initial running statistics and change nothing, as in Patacchiola & Storkey (2020).
    """

    baseline = "lower"

    @classmethod
    def views(cls, options: Any) -> tuple[str, ...]:  # noqa: ARG003
        """No views, so no pretraining."""
        return ()
