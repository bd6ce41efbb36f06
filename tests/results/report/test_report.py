"""The report as a whole: its files, its page, and what it says when there is little to report."""

import csv
import html
import json
import shutil
from html.parser import HTMLParser

import pytest
from rich.console import Console

from results import report
from results.errors import RequestError
from results.report import terminal
from results.report.data import collect
from results.report.section import Cell, Column, Row, Section, Table
from results.report.sections import _builders, build_sections, register_section
from results.store import RECORD

VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture
def grid(store):
    for method, level in {"supervised": 90.0, "relational": 61.0, "simclr": 60.0, "random": 30.0}.items():
        for seed in (1, 2, 3):
            values = {"linear": level + seed / 10, "knn": level - 5 + seed / 10}
            store(values, method=method, dataset="cifar10", seed=seed, seconds=level)
    store(method="byol", dataset="cifar10", seed=1, failure={"reason": "the <loss> became nan & stayed so"})


class Page(HTMLParser):
    """Checks that elements nest, and collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_there(grid, runs, tmp_path):
    to = tmp_path / "a" / "report"
    made = report.write(runs, to, published=True)
    names = {str(path.relative_to(to)) for path in made.files}
    kinds = ("accuracy", "curves", "cost")
    figures = {f"figures/{kind}-quick-conv4.{suffix}" for kind in kinds for suffix in ("svg", "png", "pdf")}
    tables = {"results.csv", "summary.csv", "differences.csv", "published.csv", "findings.csv"}
    assert names == tables | figures | {"table.md", "table.tex", "index.html", "report.json"}
    assert all((to / "figures" / f"{kind}-quick-conv4-page.svg").stat().st_size for kind in kinds)
    assert all(path.stat().st_size for path in made.files)
    assert not [path for path in to.rglob(".*") if path.name != ".drawn.json"]


def test_csv_files_hold_every_number(grid, runs, no_figures, tmp_path):
    report.write(runs, tmp_path)
    results = rows_of(tmp_path / "results.csv")
    assert len(results) == 24
    first = results[0]
    record = json.loads((runs / first["run"] / RECORD).read_text())
    assert float(first["value"]) == record["metrics"][0]["value"]
    summary = rows_of(tmp_path / "summary.csv")
    assert list(summary[0])[:12] == [
        *["method", "dataset", "backbone", "protocol", "evaluation", "metric", "mean", "std", "n", "low", "high"],
        "evaluated_on",
    ]
    (cell,) = (row for row in summary if (row["method"], row["evaluation"]) == ("simclr", "linear"))
    assert [float(cell[key]) for key in ("mean", "std", "n")] == pytest.approx([60.2, 0.1, 3])
    assert float(cell["high"]) == pytest.approx(60.2 + 0.2484138)


def test_the_same_runs_make_the_same_files(grid, runs, tmp_path):
    contents = []
    for name in ("first", "second"):
        made = report.write(runs, tmp_path / name, published=True)
        contents.append({path.name: path.read_bytes() for path in made.files})
    assert contents[0] == contents[1]


def test_page_stands_alone(grid, runs, tmp_path):
    report.write(runs, tmp_path, published=True)
    text = (tmp_path / "index.html").read_text()
    page = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert page.tags.count("script") == 1
    assert not [a for tag, a in page.attributes if tag in ("link", "img", "iframe") or "src" in a]
    captions = {a["id"] for _, a in page.attributes if a.get("class") == "caption"}
    assert {a["aria-describedby"] for tag, a in page.attributes if tag == "table"} == captions
    assert len(captions) == page.tags.count("table") > 4
    assert not [a for _, a in page.attributes if "style" in a or any(name.startswith("on") for name in a)]
    assert page.tags.count("svg") == page.tags.count("desc") == 3
    assert all(a.get("scope") for tag, a in page.attributes if tag == "th")
    names = [a["id"] for _, a in page.attributes if "id" in a]
    assert len(names) == len(set(names))
    links = {a["href"][1:] for tag, a in page.attributes if tag == "a"}
    assert links <= set(names)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_page_names_where_numbers_come_from(grid, runs, store, no_figures, tmp_path):
    store({"linear": 60.0}, seed=9, dirty=True)
    report.write(runs, tmp_path)
    words = " ".join(Page((tmp_path / "index.html").read_text()).text)
    for expected in (
        "14 runs: 13 done, 1 failed.",
        "0123456789abcdef0123456789abcdef01234567, with uncommitted changes",
        "Some CPU, 2 threads, Linux x86_64",
        "bench 0.1.0, python 3.11.7, torch 2.6.0",
        "quick version 1, controlled, 160,000 views",
        "the <loss> became nan & stayed so",
        "bench run --methods simclr",
    ):
        assert expected in words


def test_failures_are_named_in_every_format(grid, runs, no_figures, tmp_path):
    made = report.write(runs, tmp_path)
    assert "byol on cifar10, seed 1: failed: the <loss> became nan & stayed so" in html.unescape(
        (tmp_path / "table.md").read_text()
    )
    assert "byol on cifar10, seed 1: failed" in (tmp_path / "table.tex").read_text()
    with (console := Console(width=120)).capture() as capture:
        for block in terminal.render(made.sections, 120):
            console.print(block)
    assert "! byol on cifar10, seed 1: failed: the <loss> became nan & stayed so" in capture.get()


def test_published_numbers_in_every_format(grid, runs, no_figures, tmp_path):
    made = report.write(runs, tmp_path, published=True)
    words = " ".join(Page((tmp_path / "index.html").read_text()).text)
    with (console := Console(width=120)).capture() as capture:
        for block in terminal.render(made.sections, 120):
            console.print(block)
    for text in (words, (tmp_path / "table.md").read_text(), capture.get()):
        assert "61.03 ± 0.23" in text
        assert "protocol quick" in text
        assert "56.73 ± 1.71" in text
        assert "not run" in text
        assert "published, 4 measured here. 0 trained methods under the same conditions so far." in text
    tex = (tmp_path / "table.tex").read_text()
    assert "Relational Reasoning & published & 61.03 {~$\\pm$ 0.23}" in tex
    assert "{[}1{]} protocol quick" in tex
    assert len(rows_of(tmp_path / "published.csv")) > 400
    report.write(runs, tmp_path)
    assert not (tmp_path / "published.csv").exists()
    assert "61.03" not in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    "stored",
    [
        [{"values": {"linear": 60.0}}],
        [{"values": {"linear": 30.0}, "method": "random"}],
        [{"failure": {"reason": "out of memory"}}],
        [{"seed": 0}, {"seed": 1}],
        [{"values": {"linear": 60.0}, "seed": 0}, {"seed": 1}, {"method": "byol", "failure": {"reason": "x"}}],
    ],
    ids=["one run", "one untrained run", "only a failure", "only unfinished", "a bit of everything"],
)
def test_little_is_enough(store, runs, tmp_path, stored, no_figures):
    for run in stored:
        store(**run)
    made = report.write(runs, tmp_path, published=True)
    Page((tmp_path / "index.html").read_text())
    assert list(terminal.render(made.sections, 80))
    assert (tmp_path / "table.tex").read_text().count("\\begin{document}") == 1


def test_only_unreadable_runs(store, runs, tmp_path):
    (store({"linear": 60.0}) / "config.json").write_text("{")
    made = report.write(runs, tmp_path)
    (section,) = (section for section in made.sections if section.name == "unreadable")
    assert not [section for section in made.sections if section.name.startswith("table-")]
    assert "config.json is damaged: it is not JSON" in section.problems[0]
    assert section.problems[0] in (tmp_path / "table.md").read_text()
    assert section.problems[0] in " ".join(Page((tmp_path / "index.html").read_text()).text)


def test_without_runs_the_request_is_wrong(runs, tmp_path):
    for folder in (runs, tmp_path / "nowhere"):
        with pytest.raises(RequestError, match=r"no runs (folder|in) .*bench run"):
            report.write(folder, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_figures_are_drawn(grid, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_all", lambda *_, **__: pytest.fail("drawn for nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"cannot write to .*--to DIR"):
        report.write(runs, tmp_path / "file")


@pytest.mark.parametrize("name", ["index.html", "published.csv", "a-trials.csv", "figures/accuracy-mine.png"])
def test_files_of_others_are_neither_replaced_nor_removed(tmp_path, name):
    path, others = tmp_path / name, tmp_path / "figures" / "photo.png"
    others.parent.mkdir()
    for file in (others, path):
        file.write_text(file.name)
    with pytest.raises(RequestError, match=f"{name} is not of a report, and would be lost; choose another --to DIR"):
        report.prepare_folder(tmp_path)
    assert {file.read_text() for file in tmp_path.rglob("*.*")} == {others.name, path.name}
    path.unlink()
    report.prepare_folder(tmp_path)
    path.touch()  # now it is of a report
    report.prepare_folder(tmp_path)
    assert others.read_text() == others.name


def test_a_report_replaces_an_earlier_one_only(grid, runs, no_figures, tmp_path):
    (tmp_path / "table.md").write_text("mine")
    with pytest.raises(RequestError, match=r"table\.md is not of a report"):
        report.write(runs, tmp_path)
    assert not (tmp_path / "index.html").exists()
    (tmp_path / "table.md").unlink()
    for _ in range(2):
        report.write(runs, tmp_path)
    assert "simclr" in (tmp_path / "table.md").read_text()


def test_a_report_is_never_half_written(grid, runs, no_figures, tmp_path, monkeypatch):
    report.write(runs, tmp_path)
    before = (tmp_path / "table.md").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("results.store.os.fsync", full)
    with pytest.raises(RequestError, match="No space left"):
        report.write(runs, tmp_path)
    assert (tmp_path / "table.md").read_bytes() == before


@pytest.fixture
def new_section():
    """Registers a section that a new file would add, for one test."""

    @register_section(position=15)
    def fastest(data):
        frame = data.frames.costs[["method", "seconds"]]
        row = Row(("<byol>",), (Cell("12 & more"),))
        table = Table(
            "fastest", ("method",), (Column("seconds"),), (row,), caption="Time of a run.", notes=("A note.",)
        )
        yield Section("fastest", "The fastest method", tables=(table,), frames={"fastest": frame})

    yield
    del _builders[fastest]


def test_a_new_section_is_in_every_format(grid, runs, no_figures, tmp_path, new_section):
    made = report.write(runs, tmp_path)
    with (console := Console(width=120)).capture() as capture:
        for block in terminal.render(made.sections, 120):
            console.print(block)
    page = (tmp_path / "index.html").read_text()
    assert "&lt;byol&gt;" in page
    assert "\\& more" in (tmp_path / "table.tex").read_text()
    for text in (" ".join(Page(page).text), html.unescape((tmp_path / "table.md").read_text()), capture.get()):
        assert all(word in text for word in ("The fastest method", "12 & more", "<byol>", "Time of a run.", "A note."))
    assert len(rows_of(tmp_path / "fastest.csv")) == 12
    names = [section.name for section in made.sections]
    assert names == ["answer", "table-quick-conv4", "fastest", "runs", "provenance"]


def test_show_prints_some_runs(grid, runs, capsys):
    names = [path.name for path in runs.iterdir() if "simclr" in path.name]
    report.show(runs, only=names)
    shown = capsys.readouterr().out
    assert "simclr" in shown
    assert "relational" not in shown


def test_words_in_brackets_are_no_markup(store, runs):
    store({"linear": 60.0}, method_label="simclr[bold]", label="quick[red]")
    with (console := Console(width=120)).capture() as capture:
        for block in terminal.render(build_sections(collect(runs)), 120):
            console.print(block)
    assert "simclr[bold]" in capture.get()
    assert "quick[red]" in capture.get()


def test_numbers_that_differ_between_folders_are_named(store, runs, tmp_path, no_figures):
    mine = store({"linear": 60.0})
    shutil.copytree(runs, tmp_path / "theirs")
    shutil.rmtree(mine)
    name = store({"linear": 61.0}).name
    made = report.write([runs, tmp_path / "theirs"], tmp_path / "report")
    line = f"{name}: linear top1 is 61.00 and 60.00 ({runs}, {tmp_path / 'theirs'})"
    assert line in html.unescape((tmp_path / "report" / "index.html").read_text())
    assert "1 number of the same run differs between folders." in made.sections[0].lead
