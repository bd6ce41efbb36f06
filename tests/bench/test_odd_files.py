"""Files and folders with odd names, in other encodings, and machines that lack what others have."""

import os
import re
import shutil
import sys
import textwrap

import pytest
from PIL import Image

from bench.commands.list import protocol_lines
from protocols.spec import protocol
from protocols.spec.execution import available_cores
from protocols.spec.grid import parse_request
from protocols.spec.plugins import add_file
from results.errors import BrokenPlugin, RequestError
from results.store import read_attempts
from slurm import queue
from slurm.queue import query_squeue
from tests.tools.damages import a_broken_link, a_device, a_folder, a_link_loop, a_pipe, empty, huge, zeros
from tests.tools.forked import bench, execute, start_bench

PLUGIN = '''from methods.base import Method
from methods.registry import register
@register("NAME")
class Mine(Method):
    """x."""
    def forward(self, batch):
        return {"loss": self.backbone(batch.views).float().square().mean()}
'''
MARK = b"\xef\xbb\xbf"


@pytest.fixture
def folder(tmp_path):
    """A folder of images whose name has a comma, a bracket and an at sign."""
    path = tmp_path / "co,m[1]@64"
    for split in ("train", "test"):
        for kind in "ab":
            (path / split / kind).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (32, 32), (9, number, 9)).save(path / split / kind / f"{number}.png")
    return path


def test_paths_with_commas_and_brackets(folder, tmp_path):
    (tmp_path / "pl[1],x.py").write_text(PLUGIN.replace("NAME", "odd_path"), encoding="utf-8")
    datasets = f"folder:{folder.name},digits,folder:{folder.name}@16"
    words = ("--methods", "random,./pl[1],x.py,random", "--datasets", datasets, "--set", "pretrain.batch=2")
    done = bench("run", *words, "--seeds", "0", "--dry-run", cwd=tmp_path)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "odd_path" in done.stdout
    assert f"folder:{folder.name}@16" in done.stdout


def test_names_are_split_where_no_such_path_is_there(folder, tmp_path):
    asked = parse_request(datasets=f"shapes,folder:x,folder:{folder.name},digits", data=tmp_path)
    assert asked.datasets == ["shapes", "folder:x", f"folder:{folder.name}", "digits"]
    assert parse_request(methods="a[b=1,c=2],d").methods == ["a[b=1,c=2]", "d"]


@pytest.mark.parametrize("damage", [empty, a_folder, a_broken_link, a_link_loop, a_pipe, a_device, zeros, huge])
def test_a_damaged_protocol_costs_a_line(tmp_path, monkeypatch, damage):
    shutil.copytree(protocol.PRESETS, tmp_path / "presets")
    monkeypatch.setattr(protocol, "PRESETS", tmp_path / "presets")
    before = dict(protocol_lines())
    damage(tmp_path / "presets" / "quick.toml")
    said = dict(protocol_lines())
    assert said.pop("quick").startswith("broken: ")
    assert said.items() <= before.items()
    with pytest.raises(RequestError, match=r"quick\.toml"):
        protocol.load("quick")


@pytest.mark.parametrize(
    "content",
    [MARK + PLUGIN.replace("NAME", "marked").encode(), "# -*- coding: latin-1 -*-\n# café\n".encode("latin-1")],
    ids=["mark", "latin-1"],
)
def test_a_plugin_in_an_encoding_that_it_declares(content, tmp_path):
    name = "marked" if content.startswith(MARK) else "declared"
    path = tmp_path / f"{name}.py"
    path.write_bytes(content if name == "marked" else content + PLUGIN.replace("NAME", name).encode())
    assert add_file(path) == {"methods": [name]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# café\n".encode("latin-1"), "encoding"),
        ("#\n#\n# café\n".encode("latin-1"), "utf-8"),
        (PLUGIN.encode() + b"\0", "null bytes"),
        (b"# coding: x\n", "encoding"),
    ],
)
def test_a_plugin_that_cannot_be_read_costs_a_line(content, message, tmp_path):
    (tmp_path / "bad.py").write_bytes(content)
    with pytest.raises(BrokenPlugin, match=f"bad.py.*{message}") as error:
        add_file(tmp_path / "bad.py")
    assert "None" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_protocol_with_a_byte_order_mark(tmp_path):
    (tmp_path / "mine.toml").write_bytes(MARK + b'extends = "quick"\nname = "mine"\nsummary = "x"\n')
    (tmp_path / "latin.toml").write_bytes('name = "é"'.encode("latin-1"))
    words = ("run", "--methods", "random", "--datasets", "digits", "--seeds", "0", "--dry-run", "--protocol")
    assert bench(*words, "mine.toml", cwd=tmp_path).returncode == 0
    refused = bench(*words, "latin.toml", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "latin.toml is not UTF-8" in refused.stderr


@pytest.mark.parametrize("value", ["", "x", "2(x3)", "-1", "0", "²", "1e3"])
def test_a_number_of_cores_that_is_none(value, monkeypatch):
    expected = available_cores()
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", value)
    assert available_cores() == expected


def test_a_user_without_a_name(monkeypatch):
    asked = []
    monkeypatch.setattr(queue, "run_command", lambda *words: asked.append(words) or "")
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "pwd", None)
    assert query_squeue(set()) == {}
    assert asked[0][asked[0].index("-u") + 1] == str(os.getuid())


@pytest.mark.parametrize(
    ("to", "complaint"),
    [("taken", "cannot write to .*/taken: "), (".", "table.md is not of a report, and would be lost")],
)
def test_the_folder_of_the_report_is_tried_before_any_work(to, complaint, tmp_path):
    for name in ("taken", "table.md"):
        (tmp_path / name).write_text("mine")
    done = bench("run", *ONE, "--to", to, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert re.search(complaint, done.stderr)
    assert "--to" in done.stderr
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "table.md").read_text() == "mine"


ONE = ("--methods", "random", "--datasets", "digits", "--seeds", "0", "--evaluations", "knn", "--jobs", "1")
NAMELESS = f"""
    import os, pwd, sys
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "MPLCONFIGDIR"):
        os.environ.pop(name, None)

    def no_entry(uid):
        raise KeyError(f"getpwuid(): uid not found: {{uid}}")

    pwd.getpwuid = no_entry
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii")
    from bench.cli import main
    sys.argv = ["bench", "run", *{ONE!r}]
    main()
    """
SMALL_FILES = f"""
    import resource, sys
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as ulimit -f does
    from bench.cli import main
    sys.argv = ["bench", "run", *{ONE!r}]
    main()
    """
MOVING = '''"""Goes elsewhere, when it is loaded and when it is called."""
import os
from bench import Features, register_evaluation
os.chdir(ELSEWHERE)

@register_evaluation("moving")
def moving(features: Features) -> dict[str, float]:
    """Number of classes."""
    os.chdir(ELSEWHERE)
    return {"classes": float(features.classes)}
'''


def test_a_user_without_a_home_or_a_name_at_an_ascii_terminal(tmp_path):
    done = execute(textwrap.dedent(NAMELESS), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "random" in done.stdout
    assert done.stdout.isascii()
    assert (tmp_path / "report" / "index.html").is_file()


def test_where_files_may_not_be_large_the_run_says_so_and_the_same_command_goes_on(tmp_path):
    done = execute(textwrap.dedent(SMALL_FILES), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("Traceback")) == (1, 0), done.stderr
    assert "File too large" in done.stdout + done.stderr
    assert "backbone.pt" in "".join((done.stdout + done.stderr).split())
    assert not list(tmp_path.rglob(".*.pt.*"))
    assert bench("run", *ONE, cwd=tmp_path).returncode == 0


def test_a_plugin_that_changes_the_working_folder_scatters_no_files(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "moving.py").write_text(MOVING.replace("ELSEWHERE", repr(str(tmp_path / "elsewhere"))))
    done = bench("run", *ONE[:6], "--evaluations", "./moving.py,knn", "--jobs", "1", cwd=tmp_path / "work")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "work" / "report" / "index.html").is_file()
    assert len(list(tmp_path.glob("work/runs/*/record.json"))) == 1


def test_six_equal_commands_at_once_share_their_results(tmp_path):
    words = ("--methods", "random", "--datasets", "digits", "--seeds", "0-2", "--evaluations", "knn", "--jobs", "1")
    started = [start_bench("run", *words, cwd=tmp_path) for _ in range(6)]
    for child in started:
        done = child.wait()
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stdout + done.stderr
        assert "(3)" in done.stdout  # seeds, whoever measured them
    folders = [path.parent for path in tmp_path.glob("runs/*/record.json")]
    assert len(folders) == 3
    assert {len(read_attempts(folder)) for folder in folders} == {1}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("claim.json", "heartbeat.json")]
