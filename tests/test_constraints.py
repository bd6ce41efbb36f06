"""``constraints.txt``: what CI ran, without addresses."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"[a-z0-9][a-z0-9.-]*==[^\s;@/:]+( ; [^@/:]+)?")


def test_every_line_is_a_pin_without_address_path_or_hash():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines[0].startswith("# The versions that .ci/run used")
    wrong = [line for line in lines if not line.startswith("#") and not PIN.fullmatch(line)]
    assert wrong == []


def test_every_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in wanted}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pinned == set()
    assert all(re.search(r">=\d", requirement) for requirement in wanted), "a dependency without a lowest version"


def test_lowest_versions_that_do_not_work_are_excluded():
    """typer below 0.19 takes no Literal, and matplotlib 3.8.0 to 3.8.3 no colour in lower case in ``hlines``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest = dict(requirement.split(">=", 1) for requirement in project)
    for name, works in {"typer": (0, 19), "matplotlib": (3, 8, 4)}.items():
        assert tuple(map(int, lowest[name].partition(",")[0].split("."))) >= works


def test_the_lowest_versions_run_a_grid_in_continuous_integration():
    script = (ROOT / ".ci" / "run").read_text()
    assert "uv sync --resolution lowest-direct" in script
    assert re.search(r"bench\" run --methods simclr,random .*--seeds 0,1", script)
