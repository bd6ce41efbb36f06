"""table.tex compiles as it is, whatever the labels."""

import shutil
import subprocess

import pytest

from results import report
from results.report import latex
from results.report.section import Cell, Column, Row, Section, Table

COMPILERS = {
    "pdflatex": ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
    "tectonic": ["tectonic", "table.tex"],
}


@pytest.fixture
def compiler():
    for name, command in COMPILERS.items():
        if shutil.which(name):
            return command
    pytest.skip(f"none of {', '.join(COMPILERS)} is installed")


def test_it_compiles(store, runs, tmp_path, compiler):
    label = "sim_clr[a&b=50%,c={x},d=~^\\#$<é]"
    for dataset in ("tiny_imagenet", "cifar10", "folder:/data/a_b"):
        for seed in range(2):
            store(
                {"linear": 60.0 + seed, "knn": 55.0, "knn>a_b": 56.0 + seed},
                dataset=dataset.replace("/", "_"),
                seed=seed,
            )
            store({"linear": 61.0 + seed}, dataset=dataset.replace("/", "_"), method_label=label, seed=seed)
    store(seed=7, failure={"reason": "50% of {it} was_wrong"})
    store({"linear": 60.0}, protocol="relational2020", dataset="cifar10", epochs=200)
    for number in range(70):
        store({"linear": 50.0}, protocol="long", method_label=f"simclr[number={number}]")
    report.write(runs, tmp_path / "report", published=True)
    assert "longtable" in (tmp_path / "report" / "table.tex").read_text().partition("document")[2]
    done = subprocess.run(compiler, cwd=tmp_path / "report", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert not [line for line in done.stdout.splitlines() if "Overfull" in line or "too large" in line]


def rendered(cells, **options):
    columns = tuple(Column("x") for _ in cells[0])
    rows = tuple(Row((f"m{index}",), tuple(row), group="all") for index, row in enumerate(cells))
    return latex.render([Section("s", "Title", tables=(Table("t", ("method",), columns, rows),), **options)])


def test_numbers_stand_at_their_points_whatever_follows():
    tex = rendered([[Cell("−3.50 ± 11.25", "(3)", "≈"), Cell("160 k")], [Cell("12.25 ± 0.10", "(3)"), None]])
    first, second = r"~$\pm$ 11.25 (3)$^{\approx}$", "~k"
    assert f"{{lS[table-format=+2.2,table-space-text-post={{{first}}}]" in tex
    assert f"S[table-format=3.0,table-space-text-post={{{second}}}]}}" in tex
    assert f"m0 & -3.50 {{{first}}} & 160 {{~k}} \\\\\n" in tex
    assert r"m1 & 12.25 {~$\pm$ 0.10 (3)} & {--} \\" in tex


def test_bold_is_the_whole_cell():
    assert r"m0 & \bfseries 1.00 {\boldmath ~$\pm$ 0.10} \\" in rendered([[Cell("1.00 ± 0.10", is_best=True)]])


def test_what_does_not_fit_on_a_page_is_broken_over_pages():
    short, long = (rendered([[Cell("1.00")]] * number, notes=("Read me.",)) for number in (40, 70))
    assert "\\begin{table}" in short
    assert "longtable}{" not in short
    assert "\\begin{table}" not in long
    assert long.count("\\begin{longtable}") == 1
    assert long.count("Read me.") == 1
    assert long.index("\\endfirsthead") < long.index("\\endhead") < long.index("m69 & 1.00")


def test_latex_escapes_what_it_must():
    assert latex.escape("a_b & 50% {x} [y] ~^\\ é ± 字") == (
        r"a\_b \& 50\% \{x\} {[}y{]} \textasciitilde{}\textasciicircum{}\textbackslash{} e $\pm$ ?"
    )
