"""Losses as pure functions of embeddings, in float32 whatever the precision around them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

P = ParamSpec("P")


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run a loss outside autocast, on float32 copies of its tensors."""

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        tensors = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        device = next(a.device.type for a in args if isinstance(a, torch.Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*tensors, **kwargs)  # type: ignore[arg-type]

    return wrapped


@full_precision
def nt_xent(z: Tensor, *, temperature: float, log_of_mean: bool = False) -> Tensor:
    """Normalised temperature-scaled cross-entropy between two views (Chen et al. 2020, equation 1).

    Of every embedding, p is the softmax weight of its other view among the 2b - 1 other embeddings of the batch.

    Args:
        z: (2b, d) embeddings, view v of image i in row v·b + i; need not be normalised.
        temperature: divides the cosine similarities; > 0.
        log_of_mean: return -log mean(p), as the code of Patacchiola & Storkey (2020) does, not mean(-log p).

    Returns:
        A scalar.
    """
    half = len(z) // 2
    z = F.normalize(z)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    log_p = logits.log_softmax(dim=1)
    log_positive = torch.cat([log_p.diagonal(half), log_p.diagonal(-half)])
    if log_of_mean:
        return -(log_positive.logsumexp(0) - torch.tensor(float(len(z))).log())
    return -log_positive.mean()


@full_precision
def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of 2 - 2 cos between rows (Grill et al. 2020, equation 2); (n, d) and (n, d) to a scalar.

    The target is a constant: no gradient flows into it.
    """
    return 2.0 - 2.0 * F.cosine_similarity(prediction, target.detach()).mean()


@full_precision
def focal_with_logits(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """Mean binary cross-entropy, weighted towards uncertain answers (Lin et al. 2017, equation 5).

    The weight of an answer is alpha_t · (1 - p_t)^gamma, where p_t is the probability given to the truth and alpha_t is
    ``alpha`` for positives and 1 - ``alpha`` for negatives; the gradient flows through it.

    Args:
        logits: (n,).
        targets: (n,), 0 or 1.
        gamma: ≥ 0; how strongly certain answers are played down.
        alpha: in [0, 1].
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    balance = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return (balance * (1.0 - (-cross_entropy).exp()) ** gamma * cross_entropy).mean()
