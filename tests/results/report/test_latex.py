"""table.tex compiles as it is, whatever the labels."""

import shutil
import subprocess

import pytest

from results import report
from results.report import latex

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
    report.write(runs, tmp_path / "report", published=True)
    done = subprocess.run(compiler, cwd=tmp_path / "report", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_latex_escapes_what_it_must():
    assert latex.escape("a_b & 50% {x} [y] ~^\\ é ± 字") == (
        r"a\_b \& 50\% \{x\} {[}y{]} \textasciitilde{}\textasciicircum{}\textbackslash{} e $\pm$ ?"
    )
