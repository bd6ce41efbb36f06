"""LARS, with operations on lists of tensors: a GPU takes some 20 launches a step, however many layers there are."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

EPS = 1e-8
"""Added to the norm that a trust ratio is divided by."""


class LARS(torch.optim.Optimizer):
    """LARS (You, Gitman & Ginsburg 2017, arXiv 1708.03888): SGD with momentum whose steps are scaled layer by layer.

    For weights w with gradient g, the gradient g + weight_decay · w is multiplied by the trust ratio
    trust_coeff · |w| / (|g| + weight_decay · |w|), or 1 if w or g is zero. Groups without weight decay are not scaled.
    The numbers, and the names of a group's entries, are those of timm's ``Lars``.

    Args:
        groups: parameter groups, each with its ``weight_decay``.
        lr: learning rate.
        momentum: of the buffer of scaled gradients; above 0.
        trust_coeff: see above.
        trust_clip: whether the trust ratio is divided by the learning rate and at most 1, as in LARC.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, trust_coeff: float, trust_clip: bool
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "trust_coeff": trust_coeff, "trust_clip": trust_clip, "eps": EPS}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; ``closure``, if given, computes the loss and gradients before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        batches: dict[tuple[float, float], tuple[list[Tensor], list[Tensor]]] = {}
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            updates = [parameter.grad for parameter in parameters]
            if parameters and group["weight_decay"] != 0:
                ratios = trust_ratios(parameters, updates, group)
                updates = list(torch._foreach_add(updates, parameters, alpha=group["weight_decay"]))  # noqa: SLF001
                torch._foreach_mul_(updates, spread(ratios, updates))
            batch = batches.setdefault((group["lr"], group["momentum"]), ([], []))
            batch[0].extend(parameters)
            batch[1].extend(updates)
        for (lr, momentum), (parameters, updates) in batches.items():
            self._step_with_momentum(parameters, updates, lr, momentum)
        return loss

    def _step_with_momentum(self, parameters: list[Tensor], updates: list[Tensor], lr: float, momentum: float) -> None:
        """SGD with momentum; a parameter's first update is its first buffer."""
        known = [index for index, parameter in enumerate(parameters) if "momentum_buffer" in self.state[parameter]]
        if known:
            buffers = [self.state[parameters[index]]["momentum_buffer"] for index in known]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, [updates[index] for index in known])
        for parameter, update in zip(parameters, updates, strict=True):
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = update.clone()
        if parameters:
            torch._foreach_add_(parameters, [self.state[p]["momentum_buffer"] for p in parameters], alpha=-lr)


def trust_ratios(parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> Tensor:
    """The trust ratio of each parameter of a group: (parameters,)."""
    norms = torch.stack(torch._foreach_norm([*parameters, *gradients])).view(2, -1)  # noqa: SLF001
    weight_norms, gradient_norms = norms
    denominators = gradient_norms + weight_norms * group["weight_decay"] + group["eps"]
    ratios: Tensor = (group["trust_coeff"] * weight_norms / denominators).where((norms > 0).all(0), 1.0)
    if group["trust_clip"]:
        ratios = (ratios / group["lr"]).clamp(max=1.0)
    return ratios


def spread(ratios: Tensor, like: list[Tensor]) -> list[Tensor]:
    """One factor for each of some tensors, in the form in which ``torch._foreach_mul_`` is fast.

    On a GPU it takes one launch for all tensors only if the factors have the shapes and strides of what they multiply.
    """
    if ratios.device.type == "cpu":
        return list(ratios.unbind())
    sizes = [tensor.numel() for tensor in like]
    repeats = on_device(tuple(sizes), ratios.device)
    values = ratios.repeat_interleave(repeats, output_size=sum(sizes)).split(sizes)
    return [
        part.as_strided(one.shape, one.stride(), part.storage_offset()) for part, one in zip(values, like, strict=True)
    ]


@functools.lru_cache(maxsize=8)
def on_device(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers as a tensor on a device, copied there once."""
    return torch.tensor(numbers).to(device)
