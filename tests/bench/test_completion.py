"""What the shell is offered, asked as bash asks: by environment variables."""

import os
import subprocess
import sys

import pytest

from bench.cli import main


def as_bash(line):
    """The environment in which bash asks for the completion of a line."""
    words = line.split(" ")
    return {"_BENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}


@pytest.fixture
def complete(monkeypatch, capsys, tmp_path):
    """What is offered for a line, in a folder with two runs."""
    for name in ("digits-conv4-byol-s0-1", "digits-conv4-simclr-s0-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    (tmp_path / "runs" / "no-run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "", raising=False)  # not "python -m pytest"

    def offered(line, **environment):
        for name, value in (as_bash(line) | environment).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out.split()

    return offered


LINES = {
    "bench run --methods simcl": ["simclr"],
    "bench run --methods simclr,by": ["simclr,byol"],
    "bench run --methods relational[views=4],by": ["relational[views=4],byol"],
    "bench run --methods relational[by": [],
    "bench run --methods byol,by": [],
    "bench run --datasets cifar10,digi": ["cifar10,digits"],
    "bench submit --backbones resnet3": ["resnet32", "resnet34"],
    "bench tune --evaluations knn,lin": ["knn,linear", "knn,linear-tuned"],
    "bench run --refine grap": ["graph"],
    "bench run --evaluate-on digi": ["digits"],
    "bench speed --protocol qui": ["quick"],
    "bench data digi": ["digits"],
    "bench list prot": ["protocols"],
    "bench show ": ["digits-conv4-byol-s0-1", "digits-conv4-simclr-s0-2"],
    "bench export digits-conv4-s": ["digits-conv4-simclr-s0-2"],
    "bench cancel --runs nowhere ": [],
}


@pytest.mark.parametrize("line", LINES)
def test_names_are_completed(complete, line):
    found = complete(line)
    assert set(LINES[line]) <= set(found)
    assert all(word.startswith(line.split(" ")[-1]) for word in found)
    assert bool(found) == bool(LINES[line])


def test_runs_are_those_of_the_runs_folder(complete, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "others")
    assert complete("bench show ") == []
    assert len(complete("bench show --runs others ")) == 2
    assert len(complete("bench show digits-conv4-b", BENCH_RUNS="others")) == 1


def test_plugins_are_completed_without_torch(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from bench import register_method\n@register_method('my_method')\ndef my_method(): ...\n"
    )
    code = "import sys; sys.argv = ['bench']\nfrom bench.cli import main\n"
    code += "try: main()\nfinally: assert not {'torch', 'numpy', 'pandas', 'rich'} & set(sys.modules)"
    environment = os.environ | as_bash("bench run --plugins mine.py --plugins missing.py --methods my_")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["my_method"], "")
