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
