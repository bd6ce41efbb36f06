"""Names and reasons that others wrote: nothing in them acts on a terminal, a page, a spreadsheet or a document."""

import csv
import io
import json
import re
import textwrap
from pathlib import Path

import pytest

from bench.commands import status
from results.store import CONFIG, FAILURE, RECORD, write_json
from slurm.status import read_status
from tests.tools.forked import bench, execute

MEASURED = Path(__file__).parents[2] / "results/measured/quick-shapes"
HOSTILE = '\x1b[31m=HYPERLINK("x")|[bold]<script>\\1\u202e\x9b2J\x07'
SHOWN = '\\x1b[31m=HYPERLINK("x")|[bold]<script>\\1\\u202e\\x9b2J\\x07'
FORMULA = '=HYPERLINK("x")'
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def change(table, name, text):
    """Give a component of a configuration another name."""
    table[name] |= {"name": text, "label": text}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Runs with hostile words in every text that a report shows."""
    runs = tmp_path_factory.mktemp("hostile") / "runs"
    for number, path in enumerate(sorted(MEASURED.glob("*simclr*"))):
        config, record = (json.loads((path / name).read_text(encoding="utf-8")) for name in (CONFIG, RECORD))
        for table in (config, record["run"]):
            change(table, "method", HOSTILE if number else FORMULA)
            change(table, "dataset", HOSTILE)
        for metric in record["metrics"]:
            metric["dataset"] = HOSTILE
        record["health"]["warning"] = f"collapsed: {HOSTILE}"
        record["provenance"] |= {"command": FORMULA if number else HOSTILE, "device": HOSTILE}
        record["pictures"] = []
        folder = runs / f"a{HOSTILE.replace('/', '')}{number}"
        folder.mkdir(parents=True)
        write_json(folder / CONFIG, config)
        if number == 2:
            write_json(folder / FAILURE, {"reason": HOSTILE, "traceback": f"a\n\tb{HOSTILE}", "time": HOSTILE})
        else:
            write_json(folder / RECORD, record)
    return runs


@pytest.fixture(scope="module")
def written(hostile):
    """The folder of a report, and what the command printed."""
    done = bench("report", "--runs", "runs", "--to", "report", cwd=hostile.parent, figures=True)
    assert (done.returncode, done.stderr) == (0, "")
    return hostile.parent / "report", done.stdout


def test_every_text_of_a_report_is_free_of_control_characters(written):
    folder, printed = written
    texts = {p.name: p.read_text(encoding="utf-8") for p in folder.rglob("*.*") if p.suffix not in (".png", ".pdf")}
    assert {"table.md", "table.tex", "index.html", "results.csv"} <= set(texts)
    assert {name: found[0] for name, text in texts.items() if (found := CONTROL.search(text))} == {}
    assert not CONTROL.search(printed)
    assert "[bold]" in printed


def test_no_format_of_a_report_acts_on_names(written):
    folder, _ = written
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1
    assert page.index("<script") > page.index("</main>")
    assert "&lt;script&gt;\\1" in page
    assert "<script>" not in "".join(path.read_text(encoding="utf-8") for path in folder.glob("figures/*.svg"))
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "[31m=HYPERLINK" not in markdown.replace("\\[", "")
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if "HYPERLINK" in line} <= {
        len(re.findall(r"(?<!\\)\|", line)) for line in lines if "---" in line
    }
    assert "[bold]" not in (folder / "table.tex").read_text(encoding="utf-8")


def test_no_cell_of_a_table_is_a_formula(written):
    folder, _ = written
    cells = [
        cell
        for path in folder.glob("*.csv")
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        for cell in row
    ]
    assert f"'{FORMULA}" in cells
    starts = [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert all(isinstance(float(cell), float) for cell in starts)


def test_show_and_status_print_what_is_there(hostile):
    for config in hostile.glob(f"*/{CONFIG}"):
        folder = config.parent
        done = bench("show", folder.name, "--runs", "runs", cwd=hostile.parent)
        assert done.returncode == 0
        assert not CONTROL.search(done.stdout)
        assert SHOWN in done.stdout
    done = bench("status", "--runs", "runs", cwd=hostile.parent)
    assert not CONTROL.search(done.stdout)
    assert SHOWN in done.stdout
    refused = bench("show", HOSTILE, "--runs", "runs", cwd=hostile.parent)
    assert refused.returncode == 2
    assert not CONTROL.search(refused.stderr)


def test_the_live_table_shows_brackets_and_no_escapes(hostile):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system=None)
    console.print(status.table(read_status(hostile)))
    text = console.file.getvalue()
    assert "[bold]" in text
    assert not CONTROL.search(text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_with_few_characters(encoding, tmp_path):
    code = f"""
        import sys
        from bench.cli import main
        sys.stdout.reconfigure(encoding={encoding!r})
        sys.stderr.reconfigure(encoding={encoding!r})
        sys.argv = ["bench", "report", "--runs", {str(MEASURED)!r}, "--to", "report"]
        main()
        """
    done = execute(textwrap.dedent(code), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "simclr" in done.stdout
    assert (tmp_path / "report" / "table.md").is_file()
