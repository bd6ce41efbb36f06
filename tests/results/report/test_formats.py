"""The same numbers in every format."""

import csv
import html
import importlib.util
import itertools
import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from results import report
from results.errors import RequestError
from results.report import latex, markdown, terminal
from results.report.section import Detail

HOSTILE = "sim|clr[a&b=50%,c={x},d=~^\\#$<é>_*]"


@pytest.fixture
def made(store, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_all", lambda *_, **__: {})
    methods = {"simclr": (HOSTILE, 60.0), "byol": ("byol", 55.5), "random": ("random", 30.25)}
    for method, (label, level) in methods.items():
        for seed in range(3):
            values = {"linear": level + seed / 7, "knn": level - seed / 3}
            store(values, method=method, method_label=label, seed=seed)
    return report.write(runs, tmp_path, parquet=importlib.util.find_spec("pyarrow") is not None), tmp_path


def numbers(made):
    """The main table as the model of all formats has it: by method, the texts of its cells."""
    (table,) = (table for section in made.sections for table in section.tables if table.name == "quick-conv4")
    assert table.detail == Detail.MAIN
    return {row.header[0]: [cell.text for cell in row.cells] for row in table.rows}


def test_markdown(made):
    lines = (made[1] / "table.md").read_text().splitlines()
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines if line.startswith("| ")]
    plain = [[html.unescape(re.sub(r"\\(.)", r"\1", cell.strip("*"))) for cell in row] for row in rows]
    for method, texts in numbers(made[0]).items():
        # A star at the end of a label is stripped with those of bold cells.
        assert [method.rstrip("*"), *texts] in [[row[0].rstrip("*"), *row[1:]] for row in plain]


@pytest.mark.parametrize(
    "name", ["<b>x</b>&amp;", "$x_1^2$#{}~", "[link](x)", "`a`*b*_c_", "~~a~~", "a|b\\|c", "![x](/etc/passwd)", "&lt;"]
)
def test_a_name_is_shown_as_it_is_when_markdown_is_rendered(name):
    lines = markdown.line([markdown.escape(name)]), markdown.line(["---"]), f"- {markdown.paragraph(name)}"
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render("\n".join(lines[:2]) + "\n\n" + lines[2])
    for tag in ("th", "li"):
        (content,) = re.findall(rf"<{tag}>\s*(.*?)\s*</{tag}>", page, re.DOTALL)
        assert html.unescape(content) == name
    assert name.count("$") == lines[0].count("\\$")  # on some sites a pair of them encloses a formula


def test_html(made):
    page = (made[1] / "index.html").read_text()
    rows = [
        [
            html.unescape(re.sub(r"<[^>]*>", "", cell)).strip()
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    ]
    for method, texts in numbers(made[0]).items():
        assert [method, *texts] in rows


def test_latex(made):
    tex = (made[1] / "table.tex").read_text().replace("$\\pm$", "±").replace("~", "")
    rows = {re.sub(r"\\bfseries |\\boldmath |[{}]", "", line) for line in tex.splitlines()}
    for method, texts in numbers(made[0]).items():
        assert " & ".join([re.sub("[{}]", "", latex.escape(method)).replace("~", ""), *texts]) + r" \\" in rows


def test_terminal(made):
    with (console := Console(width=200)).capture() as capture:
        for block in terminal.render(made[0].sections, 200):
            console.print(block)
    for method, texts in numbers(made[0]).items():
        assert any(method in line and all(text in line for text in texts) for line in capture.get().splitlines())


def test_json(made):
    text = (made[1] / "report.json").read_text()
    values = json.loads(text)
    tables = {table["name"]: table for section in values["sections"] for table in section["tables"]}
    found = {
        row["header"][0]: [f"{cell['value']} {cell['seeds']}" for cell in row["cells"]]
        for row in tables["quick-conv4"]["rows"]
    }
    assert found == numbers(made[0])
    assert values["sections"][0]["lead"] == list(made[0].sections[0].lead)
    summary = {name: rows for section in values["sections"] for name, rows in section["frames"].items()}["summary"]
    assert summary == json.loads(made[0].data.summary.to_json(orient="records"))
    rows = [json.dumps(row, ensure_ascii=False) for row in (*summary, *tables["quick-conv4"]["rows"])]
    assert set(rows) <= {line.removesuffix(",") for line in text.splitlines()}


def test_csv(made):
    with (made[1] / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = numbers(made[0])
    for row in rows:
        half = (float(row["high"]) - float(row["low"])) / 2
        text = shown[row["method"]][["linear", "knn"].index(row["evaluation"])]
        assert text == f"{float(row['mean']):.2f} ± {half:.2f} ({row['n']})"
    assert unicodedata.normalize("NFC", HOSTILE) in {row["method"] for row in rows}


def test_parquet(made):
    pytest.importorskip("pyarrow")
    frames = {name: frame for section in made[0].sections for name, frame in section.frames.items()}
    assert {path.stem for path in made[1].glob("*.parquet")} == set(frames) == {p.stem for p in made[1].glob("*.csv")}
    for name, frame in frames.items():
        found = pd.read_parquet(made[1] / f"{name}.parquet")
        pd.testing.assert_frame_equal(found, frame.reset_index(drop=True), check_dtype=False)
        numbers_of_csv = pd.read_csv(made[1] / f"{name}.csv", keep_default_na=False).select_dtypes("number")
        pd.testing.assert_frame_equal(found[numbers_of_csv.columns], numbers_of_csv, check_dtype=False, rtol=1e-12)
    assert HOSTILE in set(pd.read_parquet(made[1] / "results.parquet")["method"])


def test_parquet_without_pyarrow_is_refused_before_any_work(made, runs, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"need the package pyarrow.*ssl-bench\[parquet\]"):
        report.write(runs, tmp_path / "new", parquet=True)
    assert not (tmp_path / "new").exists()


MEASURED = Path(__file__).parents[3] / "results" / "measured"


@pytest.mark.parametrize("name", ["quick-field", "relational2020", "tuned-shapes"])
def test_every_cell_of_the_page_stands_under_its_header(name, tmp_path, no_figures):
    """Cells that span several rows or columns counted; the texts of each row are those of the section's table."""
    made = report.write(MEASURED / name, tmp_path, published=True)
    tables = [table for section in made.sections for table in section.tables]
    several = [table for table in tables if len(table.names) > 1]
    assert several
    page = Tables()
    page.feed((tmp_path / "index.html").read_text())
    assert len(page.found) == len(tables)
    for table, rows in zip(tables, page.found, strict=True):
        grid = filled_grid(rows)
        width = len(table.names) + len(table.columns)
        assert {len(row) for row in grid} == {width}
        body = grid[len(grid) - len(table.rows) :]
        for row, cells in zip(table.rows, body, strict=True):
            texts = [*row.header, *(cell.text if cell else "–" for cell in row.cells)]
            assert cells[1:] == texts[1:], table.name
            assert cells[0] == texts[0] or not texts[0], table.name


class Tables(HTMLParser):
    """The cells of every row of every table of a page: text, rows and columns that it spans."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            spans = dict(attrs)
            self.found[-1][-1].append(["", int(spans.get("rowspan", 1)), int(spans.get("colspan", 1))])
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.found[-1][-1][-1][0] += data


def filled_grid(table):
    """The text of every place of a table; that of a cell which spans several stands in all of them."""
    places = {}
    for y, row in enumerate(table):
        x = 0
        for text, down, right in row:
            while (y, x) in places:
                x += 1
            for place in itertools.product(range(y, y + down), range(x, x + right)):
                assert place not in places
                places[place] = text.strip()
    return [[places[y, x] for x in range(sum(row == y for row, _ in places))] for y in range(1 + max(places)[0])]
