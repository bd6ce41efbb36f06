"""Forward and backward passes as CUDA graphs: one launch for the host, where operations are hundreds.

A graph does again, with other numbers in the same memory, what the GPU was asked to do for one batch. What the host
does in between is not repeated. So a graph is right for a method whose passes depend on the batch, on weights and
buffers, and on random numbers drawn on the GPU; a method that draws on the host, or that counts in an attribute, has to
be computed operation by operation. Which of both a method is, is measured: the first passes of every epoch are computed
both ways.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from protocols.system.compiled import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from methods.base import Batch, Method

    Compute = Callable[[Batch], dict[str, Tensor]]

log = logging.getLogger(__name__)

CHECKED_BATCHES = 2
"""Batches of an epoch that are computed both ways."""

MAX_CAPTURES = 2
"""Graphs that are captured in an epoch, since attributes of the method have changed."""

TOLERANCE = 0.01
"""Largest difference of a graph's scalar, gradient or buffer, as a fraction of its norm."""

SHARE_OF_ALL = 0.01
"""Of the norm of all gradients together, and of all buffers, that the norm of each is taken to be larger by."""

PLAIN = (bool, int, float, str, type(None))
"""Types of attributes that are compared by their value."""

ATTRIBUTES_OF_TORCH = frozenset(vars(nn.Module()))


class GraphedPasses:
    """Computes passes by a CUDA graph, if one computes what the operations do.

    Args:
        method: that is trained.

    Attributes:
        reason: why passes are computed operation by operation; empty if they are not.
    """

    def __init__(self, method: Method) -> None:
        self.reason = ""
        self._method = method
        self._graph: CapturedPasses | None = None
        self._to_check = CHECKED_BATCHES
        self._captures = 0

    def begin_epoch(self) -> None:
        """Check the graph again: a method may do something else in every epoch."""
        self._to_check, self._captures = CHECKED_BATCHES, 0

    def __call__(self, batch: Batch, compute: Compute) -> dict[str, Tensor]:
        """Both passes of a batch.

        Args:
            batch: of any size; smaller ones than most are computed operation by operation.
            compute: computes both passes operation by operation: leaves gradients in the parameters, which had none,
                and returns scalars without gradients.
        """
        graph = self._graph
        if graph is not None and (graph.images < len(batch.index) or not graph.is_of(self._method)):
            self._graph = graph = None
        if self.reason or (graph is not None and not graph.fits(batch)):
            return compute(batch)
        if graph is None or self._to_check > 0:
            return self._checked(batch, compute)
        return graph.replay(batch)

    def _checked(self, batch: Batch, compute: Compute) -> dict[str, Tensor]:
        """Both passes by operations and by a graph, captured if there is none; the graph's if they are equal."""
        method, before = self._method, PassState(self._method, batch.views.device)
        expected, reason = self._by_operations(batch, compute, before)
        if not reason and not expected.is_finite():
            return expected.scalars  # as where float16 overflows at first: nothing can be compared
        while not reason:
            is_new = self._graph is None
            if is_new and self._captures >= MAX_CAPTURES:
                reason = "what its passes may depend on changes from step to step"
                break
            try:
                if self._graph is None:
                    before.restore()
                    self._graph = CapturedPasses(method, compute, batch)
                    self._captures, self._to_check = self._captures + 1, CHECKED_BATCHES
                before.restore()
                scalars = self._graph.replay(batch)
                if expected.equals(Outcome(method, scalars)):
                    self._to_check -= 1
                    return scalars
            except RuntimeError as error:
                reason = f"they cannot be captured ({reason_of(error)})"
            else:
                reason = "a graph computes something else" if is_new else ""
            self._graph = None
        self.reason, self._graph = reason, None
        log.info(
            "%s: passes are computed operation by operation, without a CUDA graph: %s", type(method).__name__, reason
        )
        expected.restore()
        return expected.scalars

    def _by_operations(self, batch: Batch, compute: Compute, before: PassState) -> tuple[Outcome, str]:
        """Both passes, operation by operation, and why they cannot be a graph; empty if they may."""
        method, host_before = self._method, host_state(self._method)
        reason = ""
        try:
            with refuse_to_wait():
                outcome = Outcome(method, compute(batch))
        except RuntimeError as error:
            reason = f"they wait for the GPU, or need more memory ({reason_of(error)})"
        if reason:  # outside of the handler, which keeps the memory of the pass that failed
            self._graph = None
            torch.cuda.empty_cache()
            before.restore()
            return Outcome(method, compute(batch)), reason
        if host_state(method) != host_before:
            reason = "its forward pass changes attributes"
        elif before.host_has_drawn():
            reason = "it draws random numbers on the host"
        return outcome, reason


@contextlib.contextmanager
def refuse_to_wait() -> Iterator[None]:
    """Meanwhile, an operation that makes the host wait for the GPU raises an error, as it would in a graph.

    In a graph it would leave torch's allocator in a state that cannot be repaired.
    """
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


class CapturedPasses:
    """The graph of both passes.

    Args:
        method: that is trained; its parameters have no gradients.
        compute: as in :class:`GraphedPasses`.
        batch: the shapes of all batches to come.

    Attributes:
        images: in a batch.
    """

    def __init__(self, method: Method, compute: Compute, batch: Batch) -> None:
        self.images = len(batch.index)
        self._batch = dataclasses.replace(
            batch,
            views=batch.views.clone(),
            index=batch.index.clone(),
            labels=None if batch.labels is None else batch.labels.clone(),
            crops=tuple(crops.clone() for crops in batch.crops),
        )
        before = {(module, name): value for module, name, value in kept_attributes(method)}
        device = batch.views.device
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(self._graph, stream=torch.cuda.Stream(device)):
            self._scalars = compute(self._batch)
        self._gradients = [(parameter, parameter.grad) for parameter in method.parameters()]
        self._attributes = [
            (module, name, value)
            for module, name, value in kept_attributes(method)
            if before.get((module, name)) is not value
        ]
        self._host_state = host_state(method)
        self._tensors = [*method.parameters(), *method.buffers()]

    def fits(self, batch: Batch) -> bool:
        """Whether a batch has the shapes of the one that was captured."""
        return [one.shape for one in tensors_of(batch)] == [one.shape for one in tensors_of(self._batch)]

    def is_of(self, method: Method) -> bool:
        """Whether parameters and buffers are the tensors, and attributes have the values, of when it was captured."""
        now = [*method.parameters(), *method.buffers()]
        same = len(now) == len(self._tensors) and all(map(operator.is_, now, self._tensors))
        return same and host_state(method) == self._host_state

    def replay(self, batch: Batch) -> dict[str, Tensor]:
        """Both passes of a batch. The scalars are overwritten by the next replay."""
        for static, given in zip(tensors_of(self._batch), tensors_of(batch), strict=True):
            static.copy_(given)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        for module, name, value in self._attributes:
            setattr(module, name, value)
        return self._scalars


class PassState:
    """What passes change beside gradients: buffers, such as BatchNorm's, and random generators.

    Args:
        method: that is trained.
        device: of its tensors.
    """

    def __init__(self, method: Method, device: torch.device) -> None:
        self._method, self._device = method, device
        self._buffers = [buffer.clone() for buffer in method.buffers()]
        self._random = torch.get_rng_state(), torch.cuda.get_rng_state(device)

    def host_has_drawn(self) -> bool:
        """Whether random numbers were drawn on the host since."""
        return not torch.equal(torch.get_rng_state(), self._random[0])

    def restore(self) -> None:
        """Set buffers and generators back, and remove gradients."""
        for buffer, before in zip(self._method.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        torch.set_rng_state(self._random[0])
        torch.cuda.set_rng_state(self._random[1], self._device)
        for parameter in self._method.parameters():
            parameter.grad = None


class Outcome:
    """What the passes of a batch left: scalars, gradients, buffers and attributes.

    Args:
        method: that is trained.
        scalars: of the passes.
    """

    def __init__(self, method: Method, scalars: dict[str, Tensor]) -> None:
        self.scalars = scalars
        self._gradients = [(parameter, parameter.grad) for parameter in method.parameters()]
        self._buffers = [(buffer, buffer.clone()) for buffer in method.buffers()]
        self._attributes = kept_attributes(method)

    def is_finite(self) -> bool:
        """Whether all scalars and gradients are finite."""
        scalars, gradients, _ = self._tensors()
        return bool(torch.stack([one.isfinite().all() for one in (*scalars, *gradients)]).all())

    def equals(self, other: Outcome) -> bool:
        """Whether both are equal to rounding."""
        return all(are_close(*both) for both in zip(self._tensors(), other._tensors(), strict=True))

    def _tensors(self) -> list[list[Tensor]]:
        """Scalars, gradients and buffers."""
        gradients = [gradient for _, gradient in self._gradients if gradient is not None]
        return [[*self.scalars.values()], gradients, [value for _, value in self._buffers]]

    def restore(self) -> None:
        """Leave this, whatever was computed since."""
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        for buffer, value in self._buffers:
            buffer.copy_(value)
        for module, name, value in self._attributes:
            setattr(module, name, value)


def are_close(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """Whether tensors are equal: integers exactly, others each up to :data:`TOLERANCE` of its norm.

    To that a share of the norm of all is added, for gradients that are nothing but rounding, as of a bias before
    BatchNorm.
    """
    if [(one.shape, one.dtype) for one in expected] != [(one.shape, one.dtype) for one in found]:
        return False
    pairs = [*zip(expected, found, strict=True)]
    if any(not torch.equal(one, other) for one, other in pairs if not one.is_floating_point()):
        return False
    floats = [(one.float(), other.float()) for one, other in pairs if one.is_floating_point()]
    if not floats:
        return True
    norms = torch.stack([one.norm() for one, _ in floats])
    differences = torch.stack([(one - other).norm() for one, other in floats])
    return bool((differences <= TOLERANCE * (norms + SHARE_OF_ALL * norms.norm())).all())


def tensors_of(batch: Batch) -> list[Tensor]:
    """All tensors of a batch."""
    return [batch.views, batch.index, *([] if batch.labels is None else [batch.labels]), *batch.crops]


def modules_with_code(method: Method) -> list[nn.Module]:
    """The method and those of its modules that are not from a library."""
    libraries = ("torch", "timm", "torchvision")
    return [module for module in method.modules() if type(module).__module__.partition(".")[0] not in libraries]


def host_state(method: Method) -> list[tuple[str, Any]]:
    """Numbers, texts and switches in attributes of a method's modules: what its passes may depend on, or change."""
    return [
        (name, value)
        for module in modules_with_code(method)
        for name, value in vars(module).items()
        if isinstance(value, PLAIN) or (isinstance(value, tuple) and all(isinstance(one, PLAIN) for one in value))
    ]


def kept_attributes(method: Method) -> list[tuple[nn.Module, str, Any]]:
    """Other attributes, such as tensors that passes keep for ``after_step``."""
    return [
        (module, name, value)
        for module in modules_with_code(method)
        for name, value in vars(module).items()
        if name not in ATTRIBUTES_OF_TORCH and not isinstance(value, PLAIN)
    ]
