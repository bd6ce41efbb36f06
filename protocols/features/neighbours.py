"""Exact nearest neighbours by cosine similarity, in bounded memory.

The result for a query is a function of that query and the bank alone, bit for bit: not of the other queries, their
order, or the split of a matrix product. A fast search in floating point only proposes candidates. They are ranked in
fixed point, where sums are exact in any order; a query whose candidates cannot be proven to contain its neighbours is
searched again with higher precision.

The largest intended case: ImageNet's 1,281,167 images × 768 dimensions against themselves, on one GPU, in half
precision::

    bank        1,281,167 × 768 × 4 B = 3.9 GB in float32, and 2.0 GB for its copy in half precision
    search      2**28 similarities × 2 B = 0.5 GB at a time: 209 queries, in 6,130 blocks
    candidates  2**25 components × 8 B = 0.3 GB at a time, which would hold 305 queries of 15 + 128 candidates
    result      1,281,167 × 15 neighbours × (4 + 4) B = 0.15 GB
    arithmetic  2 × 1,281,167² × 768 = 2.5e15 operations, 5 s at 500 Tflop/s; 3.3 TB of similarities are written
                once and read once or twice to select from them, 2 s at 4.8 TB/s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from methods.memory import topk
from protocols.system.device import float64_device

if TYPE_CHECKING:
    from torch import Tensor

SIMILARITIES_PER_BLOCK = {"cpu": 2**25, "cuda": 2**28}
"""Similarities held at a time, by kind of device."""

COMPONENTS_PER_BLOCK = 2**25
"""Components of candidates held at a time."""

EXTRA_CANDIDATES = {torch.float16: 128, torch.float32: 8}
"""Candidates beyond the neighbours asked for, by the precision of the search."""

EXACT_SIMILARITIES_PER_BLOCK = 2**23
"""Similarities in fixed point held and sorted at a time."""

ONE = 2.0**26
"""The number 1 in fixed point: products of unit vectors sum up to whole numbers below 2**53, exact in float64."""


@dataclass(frozen=True)
class Neighbours:
    """Nearest neighbours in a bank, most similar first; ties are ordered by their row in the bank.

    Attributes:
        similarity: (n, k) cosines, float32.
        index: (n, k) rows of the bank, int32.
    """

    similarity: Tensor
    index: Tensor


def nearest(queries: Tensor, bank: Tensor, k: int, *, precision: torch.dtype = torch.float32) -> Neighbours:
    """The rows of a bank that are most similar to each query.

    Args:
        queries: (n, d).
        bank: (m, d), on the same device.
        k: number of neighbours; the whole bank if it is smaller.
        precision: of the search for candidates, float32 or float16; changes its speed, not the result.
    """
    device = float64_device(bank.device)
    found = search(unit(queries).to(device), unit(bank).to(device), min(k, len(bank)), precision)
    return Neighbours(found.similarity.to(bank.device), found.index.to(bank.device))


def nearest_others(features: Tensor, k: int, *, precision: torch.dtype = torch.float32) -> Neighbours:
    """The rows of (n, d) that are most similar to each row, without itself; all others if there are fewer than k."""
    units = unit(features).to(float64_device(features.device))
    found = search(units, units, min(k + 1, len(units)), precision)
    itself = found.index == torch.arange(len(units), device=units.device)[:, None]
    others = itself.byte().argsort(dim=1, stable=True)[:, :-1]
    return Neighbours(*(some.gather(1, others).to(features.device) for some in (found.similarity, found.index)))


def unit(features: Tensor) -> Tensor:
    """Rows of length 1, float32. Squares are summed component by component: no row's bits depend on another row."""
    rows = features.to(float64_device(features.device))
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for component in rows.unbind(1):
        squares += component.double().square()
    return (rows / squares.sqrt().clamp(min=1e-12)[:, None]).float().to(features.device)


def search(queries: Tensor, bank: Tensor, k: int, precision: torch.dtype) -> Neighbours:
    """:func:`nearest` for unit vectors."""
    copy, candidates = bank.to(precision), k + EXTRA_CANDIDATES[precision]
    rows = min(
        SIMILARITIES_PER_BLOCK.get(bank.device.type, 2**25) // len(bank),
        COMPONENTS_PER_BLOCK // (candidates * bank.shape[1]),
    )
    return concatenate([search_block(block, bank, copy, k) for block in queries.split(max(1, rows))])


def concatenate(blocks: list[Neighbours]) -> Neighbours:
    """Concatenate the neighbours of blocks of queries."""
    return Neighbours(torch.cat([block.similarity for block in blocks]), torch.cat([block.index for block in blocks]))


def search_block(queries: Tensor, bank: Tensor, copy: Tensor, k: int) -> Neighbours:
    """Search with a copy of the bank in lower precision; uncertain queries are searched again in a higher one."""
    candidates = min(k + EXTRA_CANDIDATES[copy.dtype], len(bank))
    values, proposed = topk(queries.to(copy.dtype) @ copy.T, candidates)
    found = rank_candidates(queries, bank, proposed, k)
    if candidates == len(bank):
        return found
    last = values[:, -1].float() + error_bound(copy)
    uncertain = (found.similarity[:, -1] <= last).nonzero().flatten()
    if len(uncertain):
        search_again = search if copy.dtype == torch.float16 else search_exactly
        better = search_again(queries[uncertain], bank, k, torch.float32)
        found.similarity[uncertain], found.index[uncertain] = better.similarity, better.index
    return found


def error_bound(copy: Tensor) -> float:
    """Bound of the error of a cosine computed from ``copy``: rounding of components, of the result, and of d sums."""
    return 4 * torch.finfo(copy.dtype).eps + copy.shape[1] * torch.finfo(torch.float32).eps


def rank_candidates(queries: Tensor, bank: Tensor, candidates: Tensor, k: int) -> Neighbours:
    """The k most similar of each query's candidates, (n, c) rows of the bank."""
    candidates = candidates.sort(dim=1).values
    exact = torch.einsum("nd,ncd->nc", to_fixed_point(queries), to_fixed_point(bank[candidates]))
    return top_k_exact(exact, candidates, k)


def search_exactly(queries: Tensor, bank: Tensor, k: int, _: torch.dtype) -> Neighbours:
    """:func:`search` in fixed point from the start; slow."""
    all_rows = torch.arange(len(bank), device=bank.device)[None]
    blocks = []
    for block in queries.split(max(1, EXACT_SIMILARITIES_PER_BLOCK // len(bank))):
        exact = [
            to_fixed_point(block) @ to_fixed_point(part).T
            for part in bank.split(max(1, COMPONENTS_PER_BLOCK // bank.shape[1]))
        ]
        blocks.append(top_k_exact(torch.cat(exact, dim=1), all_rows.expand(len(block), -1), k))
    return concatenate(blocks)


def top_k_exact(exact: Tensor, index: Tensor, k: int) -> Neighbours:
    """The k largest of (n, c) similarities in fixed point; ``index`` holds their rows of the bank, ascending."""
    order = exact.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return Neighbours((exact.gather(1, order) / ONE**2).float(), index.gather(1, order).int())


def to_fixed_point(units: Tensor) -> Tensor:
    """Unit vectors in fixed point: whole numbers stored as float64."""
    return (units.double() * ONE).round()
