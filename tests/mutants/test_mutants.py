"""The tool itself: what it changes, and that it tells what tests notice from what they do not."""

import ast
import csv
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from methods.registry import METHODS
from tests.mutants.operators import OPERATORS, mutants_of
from tests.mutants.sample import EXTRA_TESTS, core_modules, mapped_tests, sample

ROOT = Path(__file__).parents[2]

EXAMPLES = {
    "arithmetic": ("a + b", ["a - b"]),
    "comparison": ("a < b", ["a <= b", "a >= b"]),
    "constant": ("f(2, 0.5, True, 1e-8)", ["3", "1", "1.0", "0.25", "False"]),
    "condition": ("a if b and not c else d", ["d if b and (not c) else a", "b or not c", "c"]),
    "arguments": ("f(a, b, c)", ["f(b, a, c)"]),
    "keyword": ("zip(a, b, strict=True, key=c)", ["zip(a, b, strict=True)"]),
    "statement": ("a.b = c", ["pass"]),
    "slice_bound": ("a[:, b:c]", ["a[:, b + 1:c]", "a[:, b:c - 1]"]),
    "reduction": ("a.mean(0)", ["a.sum(0)"]),
    "sign": ("-a", ["a"]),
    "unwrapped": ("F.normalize(a.detach(), dim=b)", ["a.detach()", "a"]),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_makes_its_changes(operator):
    code, expected = EXAMPLES[operator]
    assert [mutant.after for mutant in mutants_of("m.py", code) if mutant.operator == operator] == expected


def test_what_changes_no_number_is_left_alone():
    code = '''
        """Text of 3 words."""
        from a import b
        if TYPE_CHECKING:
            x = 1
        ROWS_PER_BLOCK = 2**20

        @decorated(version=1)
        def f(a: list[1]) -> Literal[2]:
            """More than 1."""
            assert a > 1
            listener.progress(1)
            raise ValueError(f"{1}", 2)
    '''
    assert not mutants_of("m.py", textwrap.dedent(code))


def test_every_change_can_be_read_and_changes_something():
    for module in ("methods/losses.py", "protocols/augment/parameters.py", "results/analysis/statistics.py"):
        source = (ROOT / module).read_text(encoding="utf-8")
        mutants = mutants_of(module, source)
        assert len({mutant.id for mutant in mutants}) == len(mutants) > 80
        for mutant in mutants[::4]:
            assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(source)), mutant


def test_the_sample_is_the_same_again_and_even_over_modules():
    first, again = (sample(ROOT, 150, 0) for _ in range(2))
    assert first == again
    modules = [mutant.module for mutant in first]
    assert max(modules.count(module) for module in modules) <= 3
    assert {mutant.operator for mutant in first} == OPERATORS.keys()


def test_every_test_file_of_the_table_is_there():
    files = {text.partition("[")[0] for texts in EXTRA_TESTS.values() for text in texts}
    assert all((ROOT / file).is_file() for file in files)
    assert all(mapped_tests(module, ROOT) for module in core_modules(ROOT) if not module.endswith("__init__.py"))


def test_tests_by_the_name_of_a_method_are_asked_of_methods_only():
    """Of another module there are none, and the run would end there."""
    for module in core_modules(ROOT):
        name = Path(module).stem
        if module.startswith("methods/") and any(f"[{name}]" in test for test in mapped_tests(module, ROOT)):
            assert name in METHODS.names(), module


TREE = {
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"',
    "methods/__init__.py": "",
    "methods/area.py": """
def area(width, height):
    return width * height


def positive(x):
    return x if x > 0 else 0
""",
    "tests/methods/test_area.py": """
from methods.area import area, positive

def test_area():
    assert area(2, 3) == 6

def test_positive():
    assert [positive(x) for x in (-1, 0, 1)] == [0, 0, 1]
""",
}


def test_a_noticed_change_is_told_from_an_equivalent_one(tmp_path):
    """The first is a quotient instead of a product, the second counts 0 as positive."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "tests" / "mutants").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.py")}
    changes = ("width / height", "x >= 0")
    ids = [mutant.id for mutant in mutants_of("methods/area.py", TREE["methods/area.py"]) if mutant.after in changes]
    words = [sys.executable, "-m", "tests.mutants", "run", *ids, "--tree", str(tmp_path), "--libraries", "pytest"]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    with (tmp_path / "tests" / "mutants" / "results.csv").open(encoding="utf-8") as file:
        found = {row["after"]: (row["outcome"], row["test"]) for row in csv.DictReader(file)}
    assert found == {"width / height": ("failed", "tests/methods/test_area.py::test_area"), "x >= 0": ("passed", "")}
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.py")} == before
    again = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    assert not again.stdout
