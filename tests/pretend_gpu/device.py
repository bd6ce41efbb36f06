"""A GPU that is only pretended: its tensors say ``cuda:0`` and hold their values in this machine's memory.

Needs the driver of :mod:`tests.pretend_gpu.driver`. Every operation that a GPU would execute passes through
:class:`PretendedGPU`, which computes it on the CPU and counts what it would cost on a GPU:

- kernels, and the bytes that they read and write;
- copies to the device: those that the host waits for, those from memory that is not pinned, all of them;
- copies to the host, and whatever else makes the host wait for the device.

What it cannot count are launches inside one operation of torch. A ``_foreach`` operation is counted as the launches
that its list of tensors is cut into; any other operation that is no view is one kernel.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
ROOT = Path(__file__).parents[2]
PACKAGES = tuple(str(ROOT / name) for name in ("methods", "protocols"))

WAITS = frozenset((
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount",
    "equal", "is_nonzero", "linalg_inv_ex", "_linalg_eigh", "linalg_eig", "_linalg_svd", "_linalg_check_errors",
    "multinomial",
))  # fmt: skip
"""Operations after which the host waits for the device, since a size or a value on the host depends on the result."""

NO_KERNEL = frozenset((
    "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "detach", "alias", "lift_fresh", "set_",
    "resize_", "record_stream", "_unsafe_view", "_reshape_alias", "_local_scalar_dense", "_pin_memory", "is_pinned",
))  # fmt: skip
"""Operations that allocate, or describe the same memory anew."""

FOREACH_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
"""Tensors of each list in one launch of a ``_foreach`` operation, by its number of lists."""

FOREACH_CHUNK, FOREACH_BLOCKS = 65_536, 320
"""Values that a block of such a launch works on, and blocks in it."""


@dataclass(frozen=True)
class Event:
    """Something a step does that a GPU would notice.

    Attributes:
        kind: ``blocking copy``, ``unpinned copy``, ``copy`` (to the device), ``copy to host`` or ``sync``.
        operation: of torch.
        line: the innermost line of the project that asked for it.
    """

    kind: str
    operation: str
    line: str


@dataclass
class Counts:
    """What was counted, by the phase that :attr:`phase` names at the time."""

    phase: str = ""
    events: list[tuple[str, Event]] = field(default_factory=list)
    kernels: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    operations: Counter[tuple[str, str]] = field(default_factory=Counter)

    def event(self, kind: str, operation: str) -> None:
        self.events.append((self.phase, Event(kind, operation, calling_line())))


class MixedDevices(RuntimeError):
    """An operation that a GPU would refuse."""


class GPUTensor(Tensor):
    """A tensor on the pretended GPU; ``host`` has its values."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> Self:
        tensor = Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype, device=GPU
        )
        tensor.host = host
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return PretendedGPU.active.execute(operation, args, kwargs or {})

    def __repr__(self) -> str:
        return f"GPUTensor({self.host})"


def launch(kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
    """Stands in for :func:`protocols.augment.gpu_views.launch`.

    It counts the launch, and what is read of images and read and written of views; if ``PretendedGPU.interprets``,
    Triton's interpreter computes it, else the views are noise.
    """
    gpu, views = PretendedGPU.active, programs
    named = dict(zip(kernel.arg_names, [getattr(one, "host", one) for one in arguments], strict=False))
    first, out = arguments[0].host, named["out"] if "out" in named else named["target"]
    if "out" in named:
        moved = views * first[0].nbytes + out.nbytes
    else:  # both ways, of the views that are blurred
        moved = int(named["blur"].sum()) * (first[0].nbytes + out[0].nbytes)
    gpu.counts.kernels[gpu.counts.phase] += 1
    gpu.counts.bytes[gpu.counts.phase] += moved
    gpu.counts.operations[gpu.counts.phase, kernel.__name__] += 1
    with _disable_current_modes():
        if gpu.interprets:
            kernel[(programs,)](*named.values(), **constants)
        elif "out" in named:
            out.normal_(generator=gpu.noise)


class PretendedGraph:
    """Stands in for ``torch.cuda.CUDAGraph``: operations, their arguments, and the memory of their results."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, str, Any, Any, Any]] = []
        self.changed: dict[int, tuple[Tensor, Tensor]] = {}  # by address: what capturing must leave as it was

    def keep(self, written_to: list[Tensor]) -> None:
        for memory in written_to:
            self.changed.setdefault(id(memory), (memory, memory.clone()))

    def replay(self) -> None:
        gpu = PretendedGPU.active
        gpu.counts.kernels[gpu.counts.phase] += 1
        with _disable_current_modes():
            for operation, name, args, kwargs, results in self.operations:
                with gpu.device_random(operation):
                    again = compute_on_cpu(operation, name, args, kwargs)
                for memory, value in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if isinstance(memory, Tensor) and memory is not value:
                        memory.copy_(value)


@contextlib.contextmanager
def capture(graph: PretendedGraph, stream: Any):
    """Stands in for ``torch.cuda.graph``: meanwhile operations are noted, and nothing is computed in the end."""
    gpu = PretendedGPU.active
    gpu.recording = graph
    try:
        yield
    finally:
        gpu.recording = None
        with _disable_current_modes():
            for memory, before in graph.changed.values():
                memory.copy_(before)


class PretendedGPU(TorchDispatchMode):
    """While it is entered, whatever is made on ``cuda`` or from such tensors is computed on the CPU, and counted.

    Args:
        float64: whether it has float64, which Apple's GPUs do not have.
        interprets: whether kernels in Triton are computed, by its interpreter: some 0.1 s a view.
    """

    active: PretendedGPU

    def __init__(self, *, float64: bool = True, interprets: bool = False) -> None:
        super().__init__()
        self.float64 = float64
        self.interprets = interprets
        self.counts = Counts()
        self.noise = torch.Generator().manual_seed(0)
        self.recording: PretendedGraph | None = None
        self.refuses_to_wait = False
        self.random = torch.get_rng_state()
        self._pinned: dict[int, Tensor] = {}  # by address; the tensors are held, so that no address is used again

    def __enter__(self):
        PretendedGPU.active = self
        # torch.tensor(…, device="cuda") fills memory of the host and copies it; modules keep tensors of another kind.
        self._functions = torch.manual_seed, torch.cuda.get_rng_state, torch.cuda.set_rng_state
        self._sync_debug_mode = torch.cuda.set_sync_debug_mode
        torch.cuda.set_sync_debug_mode = lambda mode: setattr(self, "refuses_to_wait", mode == "error")
        seed_host = torch.manual_seed

        def seed_both(seed: int) -> torch.Generator:
            self.random = torch.Generator().manual_seed(seed).get_state()
            return seed_host(seed)

        torch.manual_seed = seed_both
        torch.cuda.get_rng_state = lambda device: self.random.clone()
        torch.cuda.set_rng_state = lambda state, device: setattr(self, "random", state.clone())
        self._before = torch._C._only_lift_cpu_tensors(), torch.__future__.get_overwrite_module_params_on_conversion()
        torch._C._set_only_lift_cpu_tensors(True)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error):
        torch.manual_seed, torch.cuda.get_rng_state, torch.cuda.set_rng_state = self._functions
        torch.cuda.set_sync_debug_mode = self._sync_debug_mode
        torch._C._set_only_lift_cpu_tensors(self._before[0])
        torch.__future__.set_overwrite_module_params_on_conversion(self._before[1])
        return super().__exit__(*error)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return self.execute(operation, args, kwargs or {})

    def execute(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation is torch.ops.prim.device.default:
            return GPU
        name = operation.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = [tensor for tensor in tensors if isinstance(tensor, GPUTensor)]
        on_host = [tensor for tensor in tensors if not isinstance(tensor, GPUTensor)]
        device = kwargs.get("device")
        to_gpu = device is not None and torch.device(device).type == "cuda"
        if name == "is_pinned":
            return args[0].untyped_storage().data_ptr() in self._pinned
        if not on_gpu and not to_gpu:
            return self._on_host(operation, name, args, kwargs)
        to_host = bool(on_gpu) and (
            (name == "_to_copy" and device is not None and not to_gpu)
            or (name == "copy_" and not isinstance(args[0], GPUTensor))
        )
        if name == "_to_copy" and on_host:
            self._copied(on_host[0], kwargs.get("non_blocking", False), name)
        elif name == "copy_" and isinstance(args[0], GPUTensor) and on_host:
            self._copied(args[1], args[2] if len(args) > 2 else kwargs.get("non_blocking", False), name)
        elif to_host:
            self.counts.event("copy to host", name)
        else:
            self._refuse_mixed(name, args, on_gpu, on_host)
        if name in WAITS or self._indexed_by_mask(name, args):
            if self.refuses_to_wait:
                raise RuntimeError("called a synchronizing CUDA operation")
            self.counts.event("sync", name)
        if name == "record_stream":
            return None
        return self._compute(operation, args, kwargs, to_host=to_host)

    @contextlib.contextmanager
    def device_random(self, operation: Any):
        """Meanwhile, random numbers come from the device's generator."""
        if torch.Tag.nondeterministic_seeded not in operation.tags:
            yield
            return
        host = torch.get_rng_state()
        torch.set_rng_state(self.random)
        try:
            yield
        finally:
            self.random = torch.get_rng_state()
            torch.set_rng_state(host)

    def _on_host(self, operation: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation of the host alone; memory is not pinned really, but known by its address."""
        pin = kwargs.get("pin_memory", False) or name == "_pin_memory"
        with _disable_current_modes():
            if name == "_pin_memory":
                result = args[0].clone()
            else:
                result = operation(*args, **({**kwargs, "pin_memory": False} if pin else kwargs))
        if pin:
            self._pinned[result.untyped_storage().data_ptr()] = result
        return result

    def _copied(self, source: Tensor, non_blocking: bool, name: str) -> None:
        self.counts.event("copy", name)
        if source.untyped_storage().data_ptr() not in self._pinned:
            self.counts.event("unpinned copy", name)
        if not non_blocking:
            self.counts.event("blocking copy", name)

    def _refuse_mixed(self, name: str, args: tuple[Any, ...], on_gpu: list[Tensor], on_host: list[Tensor]) -> None:
        """Scalars of the host are arguments of a kernel, indices are copied; anything else of the host is refused."""
        indexing = name in ("index", "index_put", "index_put_", "_index_put_impl_")
        for tensor in on_host:
            if indexing and isinstance(args[0], GPUTensor) and any(tensor is index for index in args[1]):
                self._copied(tensor, False, name)
            elif on_gpu and (tensor.ndim or name in ("stack", "cat")):
                raise MixedDevices(f"{name} of tensors on both devices, at {calling_line()}")

    @staticmethod
    def _indexed_by_mask(name: str, args: tuple[Any, ...]) -> bool:
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)

    def _compute(self, operation, args, kwargs, *, to_host):
        name = operation.overloadpacket.__name__
        hosts = {id(leaf.host): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, GPUTensor)}
        args_on_cpu, kwargs_on_cpu = tree_map(lambda leaf: getattr(leaf, "host", leaf), (args, kwargs))
        if kwargs_on_cpu.get("device") is not None:
            kwargs_on_cpu["device"] = torch.device("cpu")
        if self.recording is not None and (to_host or name in WAITS):
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
        with _disable_current_modes():
            if self.recording is not None:
                self.recording.keep(written(operation, args_on_cpu, kwargs_on_cpu))
            with self.device_random(operation):
                results = compute_on_cpu(operation, name, args_on_cpu, kwargs_on_cpu)
        if self.recording is not None and not operation.is_view and name not in NO_KERNEL:
            self.recording.operations.append((operation, name, args_on_cpu, kwargs_on_cpu, results))
        if to_host:
            return args[0] if name == "copy_" else results

        def wrap(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return hosts[id(leaf)] if id(leaf) in hosts else GPUTensor(leaf)

        if not self.float64 and any(
            isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(results)
        ):
            raise TypeError(f"{name} makes float64, which this device does not have, at {calling_line()}")
        wrapped = tree_map(wrap, results)
        if name not in NO_KERNEL and not operation.is_view:
            many = name.startswith(("_foreach", "_fused"))
            launches = foreach_launches(args, in_place=name.endswith("_")) if many else 1
            tensors = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, wrapped)) if isinstance(leaf, GPUTensor)}
            self.counts.kernels[self.counts.phase] += launches
            self.counts.operations[self.counts.phase, name] += launches
            self.counts.bytes[self.counts.phase] += sum(one.numel() * one.element_size() for one in tensors.values())
        return wrapped


def written(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that an operation writes to."""
    declared = operation._schema.arguments
    given = {**{one.name: value for one, value in zip(declared, args, strict=False)}, **kwargs}
    names = [one.name for one in declared if one.alias_info is not None and one.alias_info.is_write]
    return [leaf for name in names for leaf in tree_leaves(given.get(name)) if isinstance(leaf, Tensor)]


def compute_on_cpu(operation: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation's result; cuDNN's BatchNorm, which torch chooses for a GPU, by torch's own."""
    if name == "cudnn_batch_norm":
        return *torch.ops.aten.native_batch_norm(*args), torch.empty(0, dtype=torch.uint8)
    if name == "cudnn_batch_norm_backward":
        images, grad, weight, mean, variance, saved_mean, saved_rstd, eps, _ = args
        return torch.ops.aten.native_batch_norm_backward(
            grad, images, weight, mean, variance, saved_mean, saved_rstd, True, eps, [True, True, True]
        )
    return operation(*args, **kwargs)


def foreach_launches(args: tuple[Any, ...], *, in_place: bool) -> int:
    """Launches of an operation on lists of tensors; one that is not in place has a list more, its results."""
    lists = [arg for arg in args if isinstance(arg, (list, tuple)) and arg and isinstance(arg[0], Tensor)]
    blocks = sum(math.ceil(tensor.numel() / FOREACH_CHUNK) for tensor in lists[0])
    depth = min(5, sum(len(some) == len(lists[0]) for some in lists) + (not in_place))
    return max(math.ceil(len(lists[0]) / FOREACH_TENSORS[depth]), math.ceil(blocks / FOREACH_BLOCKS))


def calling_line() -> str:
    """The innermost line of the project on the stack, as ``file:line``."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGES):
            return f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward pass"
