"""Ranks that torchrun or srun has started, on one node or several.

Each process that was started is one rank. The first one leads: it executes the command, tells the others by a store
of torch.distributed which run to share, and ends them. The others follow: each starts a process of its own for its part
of a run, ends it when the run has ended, and reports to the leader why it failed.

The leader listens at ``MASTER_ADDR:MASTER_PORT``. torchrun sets both. For srun the address is the first node of the job
step, and the port 20000 to 29999 by the number of the job, unless the variables are set.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

from protocols.spec import execution
from protocols.spec.execution import available_cores, signal_name
from results.errors import BenchError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch.distributed.distributed_c10d import Store

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = timedelta(minutes=5)
"""Time that the leader may take until it listens; nodes may start a job step at different times."""

POLL_INTERVAL_S = 0.2
"""How often a follower asks for news."""

FAILURE_TIMEOUT_S = 10.0
"""Seconds that the leader, whose run has failed, waits for the failure of a follower that is the reason."""

END_TIMEOUT_S = 5.0
"""Seconds that the leader waits for the followers to learn that it ends."""

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SRUN = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_STEP_NODELIST")


@dataclass(frozen=True)
class LaunchedRank:
    """This process as a rank.

    Attributes:
        rank: of ``ranks``.
        local_rank: of those on this node.
        ranks: on all nodes.
        local_ranks: on this node.
        address: host name or address of the node of rank 0.
        port: that rank 0 listens at.
        namespace: beginning of the names in the store; another one for each start by the same torchrun.
        hosted: whether another process, torchrun, provides the store.
    """

    rank: int
    local_rank: int
    ranks: int
    local_ranks: int
    address: str
    port: int
    namespace: str = "bench"
    hosted: bool = False

    @property
    def threads(self) -> int:
        """CPU threads of this rank: its share of the node's cores, or those that it is bound to."""
        bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        on_node = number_of(os.environ, "SLURM_CPUS_ON_NODE", available_cores())
        return max(1, min(bound, on_node // self.local_ranks))

    def connect(self, *, listen: bool = False) -> PrefixStore:
        """The store that all ranks share; ``listen`` creates it.

        Raises:
            BenchError: no connection, or the port is taken.
        """
        try:
            store = TCPStore(self.address, self.port, is_master=listen, timeout=CONNECT_TIMEOUT, wait_for_workers=False)
        except RuntimeError as error:
            problem = "cannot listen at" if listen else "cannot reach rank 0 at"
            raise BenchError(
                f"rank {self.rank} {problem} {self.address}:{self.port}: {str(error).splitlines()[0]}",
                hint="the nodes must reach each other by that name; set MASTER_ADDR or MASTER_PORT to change it",
            ) from error
        return PrefixStore(self.namespace, store)


def number_of(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    """The whole number that a variable holds; the default, if there is one, where it is empty.

    Raises:
        RequestError: it holds something else.
    """
    text = variables.get(name, "")
    if default is not None and not text:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise RequestError(f"the variable {name} is {text[:40]!r}, no whole number", hint=f"try: unset {name}")
    return int(text)


def launched_by_torchrun(variables: Mapping[str, str] = os.environ) -> LaunchedRank | None:
    """This process as one of several ranks of torchrun; None if it is not."""
    if not all(variables.get(name) for name in TORCHRUN) or number_of(variables, "WORLD_SIZE") == 1:
        return None
    rank, local_rank, ranks, local_ranks = (number_of(variables, name) for name in TORCHRUN[:4])
    namespace = f"bench-{variables.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    hosted = variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = variables["MASTER_ADDR"], number_of(variables, "MASTER_PORT")
    return LaunchedRank(rank, local_rank, ranks, local_ranks, address, port, namespace, hosted)


def launched_by_srun(variables: Mapping[str, str] = os.environ) -> LaunchedRank | None:
    """This process as one of several tasks of a job step of srun, each a rank; None if it is not."""
    if not all(variables.get(name) for name in SRUN) or number_of(variables, "SLURM_STEP_NUM_TASKS") == 1:
        return None
    rank, local_rank, ranks, nodes = (number_of(variables, name) for name in SRUN[:4])
    address = variables.get("MASTER_ADDR") or first_host(variables["SLURM_STEP_NODELIST"])
    job, step = (number_of(variables, name, 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    port = number_of(variables, "MASTER_PORT", 20_000 + (job + 100 * step) % 10_000)
    return LaunchedRank(rank, local_rank, ranks, max(1, ranks // max(1, nodes)), address, port)


def first_host(nodes: str) -> str:
    """The first of SLURM's list of nodes: ``gpu07`` of ``gpu[07-09,12],login1``."""
    group = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", group[0]) if group else ""


@contextlib.contextmanager
def lead(this: LaunchedRank) -> Iterator[None]:
    """What rank 0 does meanwhile, it does as the leader; the followers end with it."""
    store = this.connect(listen=not this.hosted)
    try:
        yield
    finally:
        store.set("end", "")
        deadline = time.monotonic() + END_TIMEOUT_S
        while store.add("followers", 0) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S / 4)


@dataclass(frozen=True)
class Order:
    """A run that all ranks are to share.

    Attributes:
        number: counted from 0.
        config: of the run.
        folder: of the run.
        data: folder of the data sets.
        device: of the ranks, as for ``--device``.
        reference: whether to use the reference operations.
        deterministic: whether to use deterministic kernels only.
    """

    number: int
    config: Any
    folder: str
    data: str
    device: str
    reference: bool
    deterministic: bool = False


@contextlib.contextmanager
def share_run(this: LaunchedRank, **order: Any) -> Iterator[PrefixStore]:
    """Give all followers an :class:`Order`; yields the store of its run, once they are about to join.

    Raises:
        BenchError: a follower failed; its error is reported instead of this rank's.
        KeyboardInterrupt: the connection to a follower is lost, without a word of it: its node has failed.
    """
    store = this.connect()
    if store.check(["lost"]):
        raise KeyboardInterrupt
    number = store.add("orders", 1) - 1
    store.set(f"order-{number}", json.dumps({"number": number, **order}))
    group = run_store(store, number)
    try:
        deadline = time.monotonic() + CONNECT_TIMEOUT.total_seconds()
        while group.add("started", 0) < this.ranks - 1:
            time.sleep(POLL_INTERVAL_S / 4)
            if time.monotonic() > deadline:
                raise BenchError(
                    f"of {this.ranks} ranks, {group.add('started', 0) + 1} have started in {CONNECT_TIMEOUT}"
                )
            if failure := first_failure(group, this.ranks):
                raise BenchError(failure)
        yield group
    except RuntimeError as error:  # perhaps because a follower is gone, whose own reason is on its way
        deadline = time.monotonic() + FAILURE_TIMEOUT_S
        while not first_failure(group, this.ranks) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        time.sleep(2 * POLL_INTERVAL_S)  # that one was killed is told after what follows from it
        if failure := first_failure(group, this.ranks):
            raise BenchError(failure) from error
        if is_communication_error(error):
            log.warning("a rank does not respond: %s; the run can be resumed", str(error).splitlines()[0])
            store.set("lost", "")
            raise KeyboardInterrupt from error
        raise
    finally:
        store.set(f"done-{number}", "")


def is_communication_error(error: RuntimeError) -> bool:
    """Whether an error says that another rank is gone; gloo raises plain RuntimeErrors."""
    words = ("connection", "gloo", "nccl", "socket", "timed out")
    return isinstance(error, DistError) or (
        type(error) is RuntimeError and any(word in str(error).lower() for word in words)
    )


def run_store(store: Store, number: int) -> PrefixStore:
    """The store of the run of an order: its process group, and what failed."""
    return PrefixStore(f"run-{number}", store)


def report_failure(group: Store, message: str) -> None:
    """Tell the leader why this rank failed, before its connections close and others fail for that."""
    group.set(f"failure-{group.add('failures', 1)}", message)


def first_failure(group: Store, ranks: int) -> str:
    """Why a follower failed first; the failures of others follow from it. Empty if none did."""
    for name in (*(f"killed-{rank}" for rank in range(1, ranks)), "failure-1"):
        if group.check([name]):
            return str(group.get(name).decode())
    return ""


def serve_orders(this: LaunchedRank, run_rank: Callable[[LaunchedRank, Order], None]) -> None:
    """Share the runs of the leader until it ends.

    Signals that ask to stop are left to the leader, which saves the state of its run and then ends the followers.

    Args:
        this: rank, above 0.
        run_rank: main function of the process that computes the rank's part of a run; it reports its failure.

    Raises:
        BenchError: the leader cannot be reached, or has ended without saying so.
    """
    for known in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(known, signal.SIG_IGN)
    store = this.connect()
    number = 0
    try:
        store.add("followers", 1)
        while not store.check(["end"]):
            if store.check([f"order-{number}"]):
                serve_order(this, store, Order(**json.loads(store.get(f"order-{number}"))), run_rank)
                number += 1
            time.sleep(POLL_INTERVAL_S)
        store.add("followers", -1)
    except RuntimeError as error:
        raise BenchError(f"rank {this.rank}: rank 0 has ended: {str(error).splitlines()[0]}") from error


def serve_order(
    this: LaunchedRank, store: PrefixStore, order: Order, run_rank: Callable[[LaunchedRank, Order], None]
) -> None:
    """Run a process for an order until it ends, or the leader is done with it or has ended."""
    process = execution.processes.Process(target=run_rank, args=(this, order), daemon=True)
    process.start()
    try:
        while process.is_alive() and not store.check([f"done-{order.number}"]):
            if store.check(["end"]) or store.add("orders", 0) > order.number + 1:  # the leader's process died
                return
            process.join(POLL_INTERVAL_S)
        if (process.exitcode or 0) < 0:
            killed = f"rank {this.rank} was killed by {signal_name(-(process.exitcode or 0))}"
            run_store(store, order.number).set(f"killed-{this.rank}", killed)
    finally:
        process.kill()
        process.join()


def launched_rank(ranks: int) -> LaunchedRank | None:
    """This process as a rank of torchrun, or as a task of srun where these are as many as the ``ranks`` wanted.

    srun may as well have started several commands that have nothing to do with each other.

    Raises:
        RequestError: torchrun has started another number of ranks than are wanted.
    """
    if this := launched_by_torchrun():
        if ranks not in (1, this.ranks):
            raise RequestError(
                f"--ranks {ranks}, and torchrun has started {this.ranks}",
                hint=f"leave --ranks out, or say {this.ranks}",
            )
        return this
    this = launched_by_srun()
    return this if this and this.ranks == ranks else None
