import subprocess
import sys
import textwrap

import pytest

from results.errors import BrokenPlugin, RequestError, UnknownName
from results.registry import Registry

PLUGIN = textwrap.dedent('''
    from dataclasses import dataclass
    from methods import Method, register

    @register("mine", version=3)
    class Mine(Method):
        """My method. More words.

        And more.
        """

        @dataclass(frozen=True)
        class Options:
            """Options."""

            weight: float = 0.5
            name: str = "x"
''')


def fresh() -> Registry:
    return Registry("method", package="methods", group="bench.methods")


def write(path, text):
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_built_in_methods_are_found_without_importing_them():
    code = "import sys; from methods import registry; print(registry.names()); assert 'torch' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "simclr" in out


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UnknownName, match=r"unknown method 'simclrr'; did you mean simclr\?"):
        fresh().get("simclrr")


def test_a_file_is_described_without_running_it(tmp_path):
    path = write(tmp_path / "mine.py", PLUGIN.replace("register\n", "register\nraise SystemExit\n"))
    registry = fresh()
    assert registry.add_file(path) == ["mine"]
    entry = registry.describe("mine")
    assert (entry.version, entry.summary) == (3, "My method. More words.")
    assert entry.options == {"weight": 0.5, "name": "x"}
    assert len(entry.digest) == 12


def test_a_files_digest_follows_its_content(tmp_path):
    digests = set()
    for text in (PLUGIN, PLUGIN + "\n# changed\n"):
        registry = fresh()
        registry.add_file(write(tmp_path / "mine.py", text))
        digests.add(registry.describe("mine").digest)
    assert len(digests) == 2


def test_a_file_loads_on_first_use(tmp_path):
    from methods import registry  # the plugin registers itself with this one

    registry.add_file(write(tmp_path / "mine.py", PLUGIN.replace('"mine"', '"mine-by-file"')))
    assert registry.get("mine-by-file").Options().weight == 0.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", "registers no method"),
        ("def f(:", "line 1"),
        (PLUGIN.replace('"mine"', '"simclr"'), "'simclr', which exists"),
        (PLUGIN.replace("= 0.5", "= 1 / 2"), "must be literals"),
    ],
)
def test_a_useless_file_is_refused_in_words(tmp_path, text, complaint):
    with pytest.raises(RequestError, match=complaint):
        fresh().add_file(write(tmp_path / "mine.py", text))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        fresh().add_file(tmp_path / "nothing.py")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with two entry points: one that works, one whose import fails."""
    write(tmp_path / "third.py", PLUGIN.replace('"mine"', '"third"').replace("class Mine", "class Third"))
    write(tmp_path / "wrong.py", "import no_such_package")
    info = tmp_path / "third_party-1.2.dist-info"
    info.mkdir()
    write(info / "METADATA", "Metadata-Version: 2.1\nName: third-party\nVersion: 1.2\n")
    write(info / "entry_points.txt", "[bench.methods]\nthird = third:Third\nwrong = wrong:Wrong\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return fresh()


def test_entry_points_are_listed_with_their_distribution(installed):
    entries = {entry.name: entry for entry in installed.entries()}
    assert entries["third"].origin == "third-party 1.2"
    assert entries["third"].options == {"weight": 0.5, "name": "x"}


def test_a_broken_entry_point_is_listed_as_broken_and_harms_nobody(installed):
    entries = {entry.name: entry for entry in installed.entries()}
    assert "No module named 'no_such_package'" in entries["wrong"].error
    assert not entries["simclr"].error
    with pytest.raises(BrokenPlugin, match="'wrong' does not load: ModuleNotFoundError"):
        installed.get("wrong")


def test_two_plugins_of_one_name_are_refused():
    registry = fresh()

    class First:
        """First."""

    class Second:
        """Second."""

    First.__module__, Second.__module__ = "one", "two"
    registry.register("same")(First)
    with pytest.raises(BrokenPlugin, match="two methods are called 'same': in one and in two"):
        registry.register("same")(Second)
