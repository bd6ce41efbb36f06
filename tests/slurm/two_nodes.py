"""A real SLURM of two nodes on this one machine, for tests: ``python tests/slurm/two_nodes.py up|down|env``.

``kill NODE`` cuts a node's power, and ``start NODE`` brings it back.

A node is a ``slurmd`` in namespaces of its own, with a host name, an address and processes of its own; files are those
of the machine. The addresses are on a bridge that leads nowhere else. There is no accounting. It needs root and
Debian's packages, as ``one_node.py`` does, whose cluster may run at the same time.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

specification = importlib.util.spec_from_file_location("base", Path(__file__).with_name("one_node.py"))
base = importlib.util.module_from_spec(specification)
specification.loader.exec_module(base)

ROOT = Path(os.environ.get("BENCH_TEST_SLURM_TWO", "/tmp/bench-test-slurm-two"))  # noqa: S108 - a folder of root's
NETWORK = os.environ.get("BENCH_TEST_NETWORK", "10.219.31")
BRIDGE = "bench-test"
NODES = ("node1", "node2")
ENVIRONMENT = {"SLURM_CONF": str(ROOT / "slurm.conf")}
Unavailable = base.Unavailable
base.ROOT, base.ENVIRONMENT = ROOT, ENVIRONMENT

SLURM_CONF = """
ClusterName=benchtwo
SlurmctldHost={host}({network}.1)
SlurmUser=root
SlurmctldPort=17817
SlurmctldPidFile={root}/slurmctld.self
SlurmdPidFile={root}/slurmd-%n.self
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
CommunicationParameters=NoCtldInAddrAny
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=10
MaxArraySize=16
MinJobAge=300
{nodes}
PartitionName=both Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""
"""Processes are tracked by their group. ``proctrack/linuxproc``, which goes by their parents, loses the ``srun`` of a
requeued job when its shell has ended, and that ends the same step of the job when it was started again meanwhile."""


def up() -> None:
    """Install what is missing, start the daemons, wait until both nodes are idle.

    Raises:
        Unavailable: it cannot be done.
    """
    if os.geteuid() != 0:
        raise Unavailable("a real SLURM needs root")
    base.install()
    missing = [name for name in ("ip", "nsenter", "unshare") if not shutil.which(name)]
    if missing:
        raise Unavailable(f"there is no {missing[0]} here")
    if not alive():
        shutil.rmtree(ROOT, ignore_errors=True)
    for name in ("state", "log"):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    ROOT.chmod(0o755)
    host = socket.gethostname().partition(".")[0]
    addresses = {host: f"{NETWORK}.1", **{node: address(node) for node in NODES}}
    lines = ["127.0.0.1 localhost", *(f"{number} {name}" for name, number in addresses.items())]
    (ROOT / "hosts").write_text("\n".join(lines) + "\n")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 3 // 8
    described = (
        f"NodeName={node} NodeHostname={node} NodeAddr={address(node)} Port=17818 CPUs=2 RealMemory={memory}"
        for node in NODES
    )
    values = {"root": ROOT, "host": host, "network": NETWORK, "nodes": "\n".join(described)}
    (ROOT / "slurm.conf").write_text(SLURM_CONF.format(**values))
    if not (ROOT / "munge.key").exists():
        (ROOT / "munge.key").write_bytes(os.urandom(128))
        (ROOT / "munge.key").chmod(0o400)
    connect_nodes()
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.self", "seed-file": "munge.seed"}
    base.start("munged", "--foreground", "--force", *(f"--{name}={ROOT}/{file}" for name, file in files.items()))
    launch("slurmctld", "unshare", "--mount", "sh", "-c", f"mount --bind {ROOT}/hosts /etc/hosts; exec slurmctld -D")
    for node in NODES:
        start(node)


def address(node: str) -> str:
    """The address of a node: node1 is .11."""
    return f"{NETWORK}.1{node[-1]}"


def connect_nodes() -> None:
    """Make a network of its own for each node, and connect them and this machine by a bridge.

    Raises:
        Unavailable: this machine does not allow it.
    """
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        base.call("ip", "link", "add", BRIDGE, "type", "bridge")
    base.call("ip", "address", "replace", f"{NETWORK}.1/24", "dev", BRIDGE)
    base.call("ip", "link", "set", BRIDGE, "up")
    for node in NODES:
        space, link = f"bench-{node}", f"bench-{node}"
        if Path(f"/run/netns/{space}").exists():
            continue
        base.call("ip", "netns", "add", space)
        base.call("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        base.call("ip", "link", "set", link, "master", BRIDGE, "up")
        base.call("ip", "-n", space, "address", "add", f"{address(node)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            base.call("ip", "-n", space, "link", "set", device, "up")


def launch(name: str, *words: str) -> None:
    """Start a process in the background and remember it by a name, unless it is running."""
    if running(name):
        return
    with (ROOT / "log" / f"{name}.out").open("ab") as log:
        process = subprocess.Popen(
            words, env=base.environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    (ROOT / f"{name}.pid").write_text(str(process.pid))


def running(name: str) -> int:
    """Process id of what :func:`launch` has started under a name; 0 if it has ended."""
    try:
        pid = int((ROOT / f"{name}.pid").read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        mine = f"SLURM_CONF={ROOT}/slurm.conf".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if mine and state != "Z" else 0


def alive() -> bool:
    """Whether the cluster is running."""
    return running("slurmctld") != 0


def start(node: str) -> None:
    """Start a node, and wait until it is up. Its first process is a shell, which ends with all others of the node."""
    (ROOT / f"spool-{node}").mkdir(exist_ok=True)
    inside = f"hostname {node}; mount --bind {ROOT}/hosts /etc/hosts; slurmd -D -N {node} & wait"
    own = ("--uts", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc")
    launch(node, "nsenter", f"--net=/run/netns/bench-{node}", "unshare", *own, "sh", "-c", inside)
    base.until(f"{node} to be idle", "sh", "-c", f"test $(sinfo -h -N -n {node} -o %T) = idle")


def kill(name: str) -> None:
    """End a process of :func:`launch` at once; a node ends with all of its processes, as if its power were cut."""
    while pid := running(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
    (ROOT / f"{name}.pid").unlink(missing_ok=True)


def processes() -> list[int]:
    """Every process of this cluster: the daemons, the job steps and what they have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            belongs = f"SLURM_CONF={ROOT}/slurm.conf".encode() in (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if belongs and state != "Z" and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def down() -> None:
    """End everything, with the processes of job steps, and remove the network and all files."""
    for name in (*NODES, "slurmctld"):
        kill(name)
    base.stop("munged")
    for node in NODES:
        subprocess.run(["ip", "netns", "delete", f"bench-{node}"], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
    shutil.rmtree(ROOT, ignore_errors=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["up"]:
            up()
        case ["kill", str(node)]:
            kill(node)
        case ["start", str(node)]:
            start(node)
        case ["down"]:
            down()
        case ["env"]:
            print(*(f"export {name}={value}" for name, value in ENVIRONMENT.items()), sep="\n")
        case _:
            sys.exit(__doc__)
