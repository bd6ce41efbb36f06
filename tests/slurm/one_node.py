"""A real SLURM on this one machine, with accounting, for tests: ``python tests/slurm/one_node.py up|down|env``.

It needs root and Debian's packages, which ``up`` installs where they are missing. All its files are in one
folder, and its ports are unusual ones that only this machine can reach: another SLURM on the machine is not touched. It
claims 8 cores, since the jobs of tests mostly sleep. Jobs in the partitions ``low`` (the default) and ``brief`` are
preempted by those in ``high``; in ``brief`` they receive the stop signal 30 s earlier.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("BENCH_TEST_SLURM", "/tmp/bench-test-slurm"))  # noqa: S108 - a folder of root's
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "sbatch")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server", "mariadb-client")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
ENVIRONMENT = {"SLURM_CONF": str(ROOT / "slurm.conf")}

SLURM_CONF = """
ClusterName=benchtest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile={root}/slurmctld.self
SlurmdPidFile={root}/slurmd.self
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
InactiveLimit=0
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStoragePass={root}/munge.socket
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=UsePss,OverMemoryKill
MaxArraySize=16
SlurmdParameters=config_overrides
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory={memory} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=brief Nodes={host} MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""

DBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile={root}/slurmdbd.self
"""


class Unavailable(Exception):
    """SLURM cannot run here, for this reason."""


def up() -> None:
    """Install what is missing, start the daemons, wait until the node is idle.

    Raises:
        Unavailable: it cannot be done.
    """
    if os.geteuid() != 0:
        raise Unavailable("a real SLURM needs root")
    install()
    if not any(alive(name) for name in DAEMONS):
        shutil.rmtree(ROOT, ignore_errors=True)  # left behind by a cluster that was killed
    for name in ("state", "spool", "db", "log"):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    ROOT.chmod(0o755)
    write_configuration()
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.self", "seed-file": "munge.seed"}
    start("munged", "--foreground", "--force", *(f"--{name}={ROOT}/{file}" for name, file in files.items()))
    if not (ROOT / "db" / "mysql").exists():
        call("mariadb-install-db", f"--datadir={ROOT}/db", "--user=root", "--auth-root-authentication-method=normal")
    start("mariadbd", "--no-defaults", "--user=root", f"--datadir={ROOT}/db", f"--socket={ROOT}/db.socket",
          "--port=13306", "--bind-address=127.0.0.1", f"--pid-file={ROOT}/mariadbd.self")  # fmt: skip
    sql = "create user if not exists slurm@localhost identified by 'slurm'; grant all on slurm.* to slurm@localhost"
    until("the data base", "mariadb", "--no-defaults", f"--socket={ROOT}/db.socket", "-e", sql)
    start_accounting()
    subprocess.run(
        ["sacctmgr", "-i", "add", "cluster", "benchtest"], env=environment(), capture_output=True, check=False
    )
    start("slurmctld", "-D")
    start("slurmd", "-D")
    until("an idle node", "sh", "-c", "sinfo -h -o %T | grep -qE 'idle|mixed|alloc'")


def install() -> None:
    """Install the packages that are missing.

    Raises:
        Unavailable: there is no way.
    """
    if all(shutil.which(program) for program in PROGRAMS):
        return
    if not shutil.which("apt-get"):
        raise Unavailable("SLURM is not installed, and there is no apt-get to install it with")
    for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(["apt-get", "-qq", *words], env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"apt-get {words[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def write_configuration() -> None:
    """Describe this machine to SLURM."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 3 // 4
    values = {"root": ROOT, "host": socket.gethostname().partition(".")[0], "memory": memory}
    (ROOT / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (ROOT / "slurmdbd.conf").write_text(DBD_CONF.format(**values))
    (ROOT / "slurmdbd.conf").chmod(0o600)
    if not (ROOT / "munge.key").exists():
        (ROOT / "munge.key").write_bytes(os.urandom(128))
        (ROOT / "munge.key").chmod(0o400)


def start_accounting() -> None:
    """Start the accounting daemon, which ``sacct`` needs."""
    start("slurmdbd", "-D")
    until("accounting", "sacctmgr", "-n", "list", "cluster")


def environment() -> dict[str, str]:
    """Environment variables of a process that uses this SLURM."""
    return {**os.environ, **ENVIRONMENT}


def start(name: str, *words: str) -> None:
    """Start a daemon, unless it is running."""
    if alive(name):
        return
    with (ROOT / "log" / f"{name}.out").open("ab") as log:
        process = subprocess.Popen(
            [shutil.which(name), *words], env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    (ROOT / f"{name}.pid").write_text(str(process.pid))


def pid_of(name: str) -> int:
    """Process id of a daemon; 0 if it is not running."""
    try:
        pid = int((ROOT / f"{name}.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except (OSError, ValueError):
        return 0
    return pid if Path(command).name == name else 0


def alive(name: str) -> bool:
    """Whether a daemon is running."""
    return pid_of(name) != 0


def stop(name: str) -> None:
    """End a daemon and wait until it is gone."""
    if pid := pid_of(name):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if not alive(name):
                break
            time.sleep(0.1)
        else:
            os.kill(pid, signal.SIGKILL)
    (ROOT / f"{name}.pid").unlink(missing_ok=True)


def job_step_processes() -> list[int]:
    """Every ``slurmstepd`` of this cluster and the processes of its job step, which are in the same session."""
    sessions = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_step = (path / "comm").read_text().strip() == "slurmstepd"
            if is_step and f"SLURM_CONF={ROOT}/slurm.conf".encode() in (path / "environ").read_bytes().split(b"\0"):
                sessions.add(os.getsid(int(path.name)))
        except OSError:
            continue
    return [pid for session in sessions for pid in processes_of_session(session)]


def processes_of_session(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def end_job_steps(seconds: float) -> None:
    """Wait for the job steps to end; kill those that have not ended in time."""
    deadline = time.monotonic() + seconds
    while pids := job_step_processes():
        if time.monotonic() > deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def down() -> None:
    """Cancel every job, end the daemons and the job steps, remove what they wrote."""
    if alive("slurmctld"):
        subprocess.run(["scancel", "--user=root"], env=environment(), capture_output=True, check=False)
    end_job_steps(seconds=2)
    for name in reversed(DAEMONS):
        stop(name)
    shutil.rmtree(ROOT, ignore_errors=True)


def call(*words: str) -> None:
    """Run a command that must succeed.

    Raises:
        Unavailable: it did not.
    """
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{words[0]}: {done.stderr.strip() or done.stdout.strip()}")


def until(what: str, *words: str, seconds: int = 60) -> None:
    """Try a command until it succeeds.

    Raises:
        Unavailable: it does not in time.
    """
    for _ in range(seconds * 2):
        if subprocess.run(words, env=environment(), capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.5)
    logs = [f"{path.name}: {path.read_text(errors='replace')[-300:]}" for path in sorted((ROOT / "log").glob("*"))]
    raise Unavailable(f"waited {seconds} s for {what}; {' '.join(logs)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["up"]:
            up()
        case ["down"]:
            down()
        case ["env"]:
            print(*(f"export {name}={value}" for name, value in ENVIRONMENT.items()), sep="\n")
        case _:
            sys.exit(__doc__)
