"""``import bench``: what it costs, what it offers, and how it works in a notebook."""

import pkgutil
import resource
import subprocess
import sys
import threading

import pytest

import bench
from bench.api import as_list
from bench.progress import stopping_on_signals
from results.errors import RequestError
from results.registry import describe_code

SLOW_IMPORTS = {"torch", "pandas", "matplotlib", "numpy", "scipy", "rich", "typer"}


def python(*words, cwd):
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_import_takes_no_time_and_imports_nothing_slow(tmp_path):
    def seconds():
        """Of the processor, as the clock also measures what else this machine does."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = python("-c", f"import sys, bench; print(sorted({SLOW_IMPORTS} & set(sys.modules)))", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stdout == "[]\n", done.stderr
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.2  # 0.05 s on an idle machine


def test_every_public_name_resolves():
    assert set(bench.__all__) | {"__version__"} == set(dir(bench))
    for name in bench.__all__:
        value = getattr(bench, name)
        assert value.__name__ == name or name.startswith("register_")
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'Methods'"):
        bench.Methods  # noqa: B018


def test_no_submodule_hides_a_public_name():
    assert not {module.name for module in pkgutil.iter_modules(bench.__path__)} & set(bench.__all__)


@pytest.mark.parametrize("package", ["methods", "protocols", "results", "slurm"])
def test_a_foreign_module_that_hides_one_of_ours_is_named(tmp_path, package):
    (tmp_path / f"{package}.py").write_text("")
    line = f"{(tmp_path / package).resolve()}.py hides the package {package!r} of bench; rename it, or run from another"
    imported = python("-c", "import bench; bench.Method", cwd=tmp_path)
    assert imported.returncode == 1
    assert line in imported.stderr.splitlines()[-1]
    listed = python("-m", "bench", "list", cwd=tmp_path)
    assert listed.returncode == 2
    assert line in listed.stderr
    assert len(listed.stderr.splitlines()) == 1


def test_words_are_lists_or_separated_by_commas(tmp_path):
    assert as_list("relational[views=4,batch=2],simclr") == ["relational[views=4,batch=2]", "simclr"]
    assert as_list(("simclr", tmp_path / "mine.py")) == ["simclr", f"{tmp_path}/mine.py"]
    assert as_list(tmp_path / "mine.py") == [f"{tmp_path}/mine.py"]
    assert as_list("mine.py,yours.py") == ["mine.py", "yours.py"]
    (tmp_path / "cats,dogs").mkdir()
    assert as_list("digits,folder:cats,dogs", tmp_path) == ["digits", "folder:cats,dogs"]
    assert as_list("") == []


WRONG = {
    "method": ({"methods": "simclrr"}, "unknown method 'simclrr'; did you mean simclr?"),
    "seeds": ({"seeds": "abc"}, "'abc' is not a whole number; write 0,1,2 or 0-9"),
    "seed": ({"seeds": [0, 1.5]}, "'1.5' is not a whole number"),
    "jobs": ({"jobs": 0}, "jobs is 0; it must be 1 or more"),
    "option": ({"settings": "simclr.temprature=1"}, "simclr has no option 'temprature'"),
    "file": ({"plugins": "nowhere.py"}, "no such file: nowhere.py"),
    "files": ({"plugins": "nowhere.py,other.py"}, "no such file: nowhere.py"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_the_error_of_the_command_line(tmp_path, case):
    options, line = WRONG[case]
    with pytest.raises(RequestError) as caught:
        bench.run(**{"methods": "simclr", "datasets": "digits", "runs": tmp_path / "runs", **options})
    assert line in str(caught.value)
    assert caught.value._render_traceback_() == [f"bench: {caught.value}"]
    assert not (tmp_path / "runs").exists()


def test_folders_default_to_those_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RUNS", str(tmp_path / "elsewhere"))
    with pytest.raises(RequestError, match=r"no runs folder .*elsewhere"):
        bench.report(to=tmp_path / "report")
    with pytest.raises(RequestError, match=r"no runs folder .*elsewhere"):
        bench.load_backbone("x")
    with pytest.raises(RequestError, match="no runs folder nowhere"):
        bench.load_runs("nowhere")
    assert bench.load_runs(tmp_path).runs.empty


def test_in_a_thread_signals_are_left_alone():
    failures = []

    def enter():
        try:
            with stopping_on_signals(display=None):
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failures == []


LOCAL = """
import bench
@bench.register_optimizer("mine")
def mine(parameters, *, lr: float = {lr}):
    return len(parameters) in {{"a", "b", "c"}}
from protocols.spec.plugins import OPTIMIZERS
print(OPTIMIZERS.describe("mine").source, OPTIMIZERS.is_local("mine"), OPTIMIZERS.is_local("adam"))
"""


def test_a_plugin_without_a_file_is_identified_by_its_code(tmp_path):
    first, again, changed = (python("-c", LOCAL.format(lr=lr), cwd=tmp_path) for lr in (0.1, 0.1, 0.2))
    assert first.stderr == ""
    source, *local = first.stdout.split()
    assert len(source) == 12
    assert local == ["True", "False"]
    assert again.stdout == first.stdout
    assert changed.stdout.split()[0] != source


def test_compiled_code_is_described_without_addresses():
    text = describe_code(compile("def f(x):\n    return x in {'a', 'b'}\n", "<cell>", "exec"))
    assert " at 0x" not in text
    assert text != describe_code(compile("def f(x):\n    return x in {'a', 'c'}\n", "<cell>", "exec"))


IMPORT = """
import sys
import bench
assert not {"torch", "pandas"} & set(sys.modules)
"""
METHOD = """
from dataclasses import dataclass
import torch

@bench.register_method("cosine")
class Cosine(bench.Method):
    '''Pulls the two views of an image together.'''

    @dataclass(frozen=True)
    class Options:
        weight: float = 1.0

    def forward(self, batch):
        first, second = self.backbone(batch.views).chunk(2)
        return {"loss": -self.options.weight * torch.cosine_similarity(first, second).mean()}
"""
RUN = """
budget = dict(datasets="digits", views=512, evaluations="knn", refine="neighbour_mean")
frames = bench.run("cosine,random", seeds=range(1), **budget)
assert frames.problems.empty, frames.problems
assert sorted(frames.runs["method"]) == ["cosine", "random"]
"""
AGAIN = """
before = set(frames.runs["run"])
assert set(bench.run(["cosine", "random"], seeds="0", **budget).runs["run"]) == before
"""
READ = """
frames = bench.load_runs("runs")
assert len(frames.unrefined) == len(frames.refined) == 2
assert frames.results["value"].between(0, 100).all()
assert set(frames.refined["refinement"]) == {"averaged"}
assert len(frames.history.query("method == 'cosine'")) == 1
frames.results[["method", "refinement", "value"]]
"""
BACKBONE = """
state = torch.get_rng_state()
name = frames.runs.set_index("method")["run"]["cosine"]
backbone = bench.load_backbone(f"runs/{name}")
assert torch.equal(state, torch.get_rng_state())
features = backbone(torch.rand(4, 3, 8, 8))
assert features.shape == (4, backbone.dim) and features.isfinite().all() and not backbone.training
weights = bench.load_backbone(name[-8:]).state_dict()
assert all(torch.equal(weights[key], value) for key, value in backbone.state_dict().items())
"""
REPORT = """
made = bench.report(to="report", show=True)
assert all(path.is_file() for path in made.files)
print(sorted(path.name for path in made.files if path.suffix == ".html"))
"""
PLOT = """
import matplotlib.pyplot as plt
frames.unrefined.pivot_table("value", "method", "evaluation").plot.barh()
plt.show()
"""
CHANGED = """
changed = bench.run("cosine", seeds=0, **budget).runs["run"]
assert len(changed) == 1 and changed[0] not in before
"""
PROCESSES = """
bench.run("cosine", seeds="0,1", jobs=2, **budget)
"""


@pytest.mark.slow
def test_a_notebook_registers_runs_reads_and_plots(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "kernel"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "notebook"
    folder.mkdir()
    changed_method = METHOD.replace("-self", "-2 * self")
    cells = [IMPORT, METHOD, RUN, METHOD, AGAIN, READ, BACKBONE, REPORT, PLOT, changed_method, CHANGED]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    refused = nbformat.v4.new_code_cell(PROCESSES.strip(), metadata={"tags": ["raises-exception"]})
    notebook.cells.append(refused)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()

    outputs = [cell.outputs for cell in notebook.cells]
    printed = ["".join(output.get("text", "") for output in of_cell) for of_cell in outputs]
    assert not [output for of_cell in outputs[:-1] for output in of_cell if output.output_type == "error"]
    assert "[1/2] digits conv4 cosine" in printed[2], "no progress"
    assert "[2/2] digits conv4 random" in printed[2]
    assert printed[4] == "", "the same call again has something to do"
    assert "text/html" in outputs[5][-1].data
    assert "['index.html']" in printed[7]
    assert [output for output in outputs[8] if "image/png" in output.get("data", ())]
    (error,) = outputs[-1]
    (line,) = error.traceback
    assert line.startswith("bench: the method cosine was registered in this process; others cannot load it; leave jobs")
    assert len(list(folder.glob("runs/*/record.json"))) == 3
