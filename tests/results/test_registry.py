import subprocess
import sys
import textwrap

import pytest

from results.errors import BrokenPlugin, UnknownName
from results.registry import Registry, digest_of_file, read_entry, read_registrations

PLUGIN = textwrap.dedent('''
    from dataclasses import dataclass
    from methods import Method, register_method

    @register_method("mine", version=3)
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


def fresh(**words) -> Registry:
    return Registry("method", package="methods", group="bench.methods", **words)


def write(path, text):
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def add(registry, path):
    """Add what a file registers, as ``protocols.spec.plugins.add_file`` does; returns the names."""
    entries = [
        read_entry(found, registry, module=str(path), origin=path.name, source=digest_of_file(path))
        for found in read_registrations(path)
    ]
    for entry in entries:
        registry.add(entry)
    return [entry.name for entry in entries]


def test_built_in_methods_are_found_without_importing_them():
    code = "import sys; from methods import METHODS; print(METHODS.names()); assert 'torch' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "simclr" in out


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UnknownName, match=r"unknown method 'simclrr'; did you mean simclr\?"):
        fresh().get("simclrr")


def test_a_file_is_described_without_running_it(tmp_path):
    path = write(tmp_path / "mine.py", PLUGIN.replace("register_method\n", "register_method\nraise SystemExit\n"))
    registry = fresh()
    assert add(registry, path) == ["mine"]
    entry = registry.describe("mine")
    assert (entry.version, entry.summary) == (3, "My method. More words.")
    assert entry.options == {"weight": 0.5, "name": "x"}
    assert len(entry.source) == 12


def test_the_name_may_be_a_keyword(tmp_path):
    path = write(tmp_path / "mine.py", PLUGIN.replace('"mine", version', 'name="mine", version'))
    assert add(fresh(), path) == ["mine"]


def test_a_files_digest_follows_its_content(tmp_path):
    digests = set()
    for text in (PLUGIN, PLUGIN + "\n# changed\n"):
        registry = fresh()
        add(registry, write(tmp_path / "mine.py", text))
        digests.add(registry.describe("mine").source)
    assert len(digests) == 2


def test_a_file_that_changed_is_loaded_again(tmp_path):
    from methods import METHODS  # the plugin registers itself with this one

    text = PLUGIN.replace('"mine"', '"mine-by-file"')
    for weight in ("0.5", "0.25"):
        add(METHODS, write(tmp_path / "mine.py", text.replace("0.5", weight)))
        assert METHODS.get("mine-by-file").Options().weight == float(weight)
    del METHODS._files["mine-by-file"], METHODS._loaded["mine-by-file"]


def test_a_copy_of_a_file_is_the_same_plugin(tmp_path):
    registry = fresh()
    add(registry, write(tmp_path / "mine.py", PLUGIN))
    add(registry, write(tmp_path / "copy.py", PLUGIN))
    with pytest.raises(BrokenPlugin, match="'mine', which exists"):
        add(registry, write(tmp_path / "other.py", PLUGIN + "\n"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PLUGIN.replace('"mine"', '"simclr"'), "'simclr', which exists"),
        (PLUGIN.replace("= 0.5", "= 1 / 2"), "must be literals"),
        (PLUGIN.replace('"mine", version=3', "NAME"), "must be literals"),
        (PLUGIN.replace('"mine", version=3', ""), "method without a name"),
        (PLUGIN.replace("float = 0.5", "float"), "option 'weight' has no default"),
        (PLUGIN.replace("version=3", 'takes="labels"'), "declares 'takes'; register_method takes version"),
        (PLUGIN.replace("version=3", "version=0"), "has the version 0; versions are 1, 2"),
        (PLUGIN.replace("version=3", 'version="new"'), "has the version 'new'"),
        (PLUGIN.replace('"mine"', '"my method"'), "cannot be typed under that name"),
        (PLUGIN.replace('"mine"', '"a.b"'), "cannot be typed under that name"),
        (PLUGIN.replace('"mine"', '"pretrain"'), "cannot be typed under that name"),
    ],
)
def test_a_useless_file_is_refused_in_words(tmp_path, text, complaint):
    with pytest.raises(BrokenPlugin, match=complaint) as caught:
        add(fresh(), write(tmp_path / "mine.py", text))
    assert "\n" not in str(caught.value)


def test_what_is_checked_is_checked_when_read_and_when_registered(tmp_path):
    def check(entry):
        if "old_hook" in entry.members:
            raise BrokenPlugin(f"{entry.name} defines old_hook")

    registry = fresh(check=check)
    with pytest.raises(BrokenPlugin, match="mine defines old_hook"):
        add(registry, write(tmp_path / "mine.py", PLUGIN + "\n    def old_hook(self): ...\n"))
    with pytest.raises(BrokenPlugin, match="mine defines old_hook"):
        registry.register("mine")(type("Mine", (), {"old_hook": None}))


def test_an_option_of_a_function_needs_a_default():
    def plugin(x, *, k):
        """Plugin."""

    with pytest.raises(BrokenPlugin, match="option 'k' has no default"):
        fresh().register("mine")(plugin)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with three entry points: two of one module, and one whose import fails."""
    write(
        tmp_path / "third.py",
        """
        class Third:
            '''Third.'''

        class Fourth:
            '''Fourth.'''
        """,
    )
    write(tmp_path / "wrong.py", "import no_such_package")
    info = tmp_path / "third_party-1.2.dist-info"
    info.mkdir()
    write(info / "METADATA", "Metadata-Version: 2.1\nName: third-party\nVersion: 1.2\n")
    points = "[bench.methods]\nthird = third:Third\nfourth = third:Fourth\nwrong = wrong:Wrong\n"
    write(info / "entry_points.txt", points)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield fresh()
    sys.modules.pop("third", None)


def test_entry_points_are_listed_with_their_distribution(installed):
    entries = {entry.name: entry for entry in installed.entries()}
    assert (entries["third"].origin, entries["third"].summary) == ("third-party 1.2", "Third.")


def test_a_broken_entry_point_is_listed_as_broken_and_harms_nobody(installed):
    entries = {entry.name: entry for entry in installed.entries()}
    assert "No module named 'no_such_package'" in entries["wrong"].error
    assert not entries["simclr"].error
    with pytest.raises(BrokenPlugin, match="'wrong' does not load: ModuleNotFoundError"):
        installed.get("wrong")


def test_the_source_of_an_entry_point_is_its_module_and_the_version_of_its_distribution(installed, tmp_path):
    first = installed.describe("third").source
    (tmp_path / "third_party-1.2.dist-info" / "METADATA").write_text("Name: third-party\nVersion: 1.3\n")
    second = fresh().describe("third").source
    with (tmp_path / "third.py").open("a") as file:
        file.write("# changed\n")
    assert len({first, second, fresh().describe("third").source}) == 3


def test_an_entry_point_that_another_one_registers_has_the_same_identity(installed):
    """As where the decorators of one module register plugins of several entry points."""
    alone = fresh().describe("fourth")
    import third

    installed.register("fourth")(third.Fourth)
    assert installed.describe("fourth") == alone


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
