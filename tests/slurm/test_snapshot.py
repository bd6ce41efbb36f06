"""Copies of the code that a submission runs."""

import json

from slurm.snapshot import copy_code, with_copied_plugins


def test_a_copy_of_the_code_knows_its_commit(tmp_path):
    copy_code(tmp_path / "code")
    kept = json.loads((tmp_path / "code" / "commit.json").read_text())
    assert (tmp_path / "code" / "bench" / "__init__.py").exists()  # plugin files import it
    assert set(kept) == {"commit", "dirty"}
    assert not list(tmp_path.glob(".*"))


def test_named_files_are_copied_and_keep_their_identity(run_of, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("from methods import register")
    run = run_of("simclr", plugins=[str(plugin)])
    copied = with_copied_plugins(run, tmp_path / "plugins")
    plugin.write_text("changed")
    assert (tmp_path / "plugins" / "0-mine.py").read_text() == "from methods import register"
    assert copied.plugins == (str(tmp_path / "plugins" / "0-mine.py"),)
    assert copied.folder() == run.folder()
