"""The command, from outside: what it prints, what it writes, how it exits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.cli import plain_words
from results import store
from tests.tools import forked

BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
QUICK = ["--datasets", "digits", "--seeds", "0", "--views", "2000"]


def bench(*words, cwd, check=None, figures=True, **options):
    done = forked.bench(*words, cwd=cwd, figures=figures, **options)
    if check is not None:
        assert done.returncode == check, done.stderr + done.stdout
    return done


def records(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")}


def test_help_is_quick_and_has_examples(tmp_path):
    start = os.times()
    done = subprocess.run([*BENCH, "--help"], capture_output=True, text=True, check=True)
    end = os.times()
    assert end.children_user + end.children_system - start.children_user - start.children_system < 1.0
    assert "bench run" in done.stdout
    assert (
        "bench run --methods relational,simclr --datasets cifar10,stl10"
        in bench("run", "--help", cwd=tmp_path, check=0).stdout
    )


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("Invalid value for '--tuned': Input should be greater than or equal to 2", "it must be 2 or more"),
        ("Invalid value for '--x': Input should be less than or equal to 1.5", "it must be 1.5 or less"),
        ("Invalid value for '--x': Input should be a valid boolean", "it must be a valid boolean"),
        ("Invalid value: Value error, 'method' is not one of 'methods', 'runs'.", "'method'; did you mean methods?"),
        ("Invalid value: 'x' is not one of 'sobol', 'tpe'.", "there is no 'x'; there are: sobol, tpe"),
    ],
)
def test_a_wrong_value_is_refused_in_our_words(message, plain):
    said = plain_words(message)
    assert said.endswith(plain)
    assert said.startswith("Invalid value")


def test_plugins_are_given_by_commas_or_repeated(tmp_path):
    for name in ("one", "two", "a,b"):
        method = name.replace(",", "_")
        text = f"from bench import register_method\n@register_method({method!r})\ndef {method}(): ...\n"
        (tmp_path / f"{name}.py").write_text(text)
    done = bench("list", "methods", "--plugins", "one.py,two.py", "--plugins", "a,b.py", cwd=tmp_path, check=0)
    assert {"one", "two", "a_b"} <= {line.split()[0] for line in done.stdout.splitlines()}


def test_a_listing_has_no_markup(tmp_path):
    listed = [bench("list", kind, cwd=tmp_path, check=0).stdout for kind in ("evaluations", "refinements", "schedules")]
    assert "`knn` with 200 neighbours" in listed[0]
    assert not any("``" in text for text in listed)


@pytest.mark.parametrize("what", ["methods", "datasets", "backbones", "protocols", "evaluations"])
def test_listing_imports_no_torch(tmp_path, what):
    code = f"import sys; sys.argv = ['bench', 'list', {what!r}]\n" + textwrap.dedent("""
        from bench.cli import main
        try:
            main()
        finally:
            assert not {"torch", "pandas", "numpy"} & set(sys.modules), "slow imports"
        """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2


LONG = "9" * 5000

WRONG = {
    "misspelt method": (["--methods", "simclrr"], "unknown method 'simclrr'; did you mean simclr?"),
    "a method in capitals": (["--methods", "SIMCLR"], "unknown method 'SIMCLR'; did you mean simclr"),
    "misspelt data set": (["--datasets", "cifar11"], "unknown dataset 'cifar11'; did you mean cifar10"),
    "misspelt backbone": (["--backbones", "con4"], "unknown backbone 'con4'; did you mean conv4?"),
    "a backbone of timm": (["--backbones", "resnet18"], "did you mean timm:resnet18@small"),
    "a protocol file that is missing": (["--protocol", "mine.toml"], "there is no file mine.toml; check the path"),
    "a protocol of bench as a file": (
        ["--protocol", "quick.toml"],
        "there is no file quick.toml; the protocol of bench",
    ),
    "a method without its option": (["simclr"], "did you mean --methods simclr?"),
    "--set without a target": (["--set", "lr=0.1"], "did you mean pretrain.lr=0.1?"),
    "misspelt protocol": (["--protocol", "quik"], "unknown protocol 'quik'; did you mean quick?"),
    "misspelt evaluation": (["--evaluations", "liner"], "unknown evaluation 'liner'; did you mean linear"),
    "unknown option in --set": (["--set", "simclr.temprature=1"], "simclr has no option 'temprature'"),
    "unknown target of --set": (["--set", "simclrr.x=1"], "unknown target of --set 'simclrr'"),
    "--set for a method that takes no part": (["--set", "byol.momentum=1"], "byol, which is not among the methods"),
    "--set for an evaluation that is not asked for": (
        ["--set", "finetune.epochs=3"],
        "finetune, which is not among the evaluations; add it: --evaluations finetune",
    ),
    "--set for a refinement that is not asked for": (
        ["--refine", "neighbour_mean", "--set", "transductive.k=3"],
        "transductive, which is not among the refinements; add it: --refine transductive",
    ),
    "an option that a refinement does not have": (
        ["--refine", "neighbour_mean", "--set", "averaged.nope=3"],
        "neighbour_mean has no option 'nope'; there are: append_input, k, rounds",
    ),
    "a value of a refinement": (["--refine", "no_edges[append_input=3]"], "no_edges.append_input is 3; it must be"),
    "budgets in two options": (
        ["--set", "pretrain.epochs=1", "--views", "10"],
        "--views and --set pretrain.epochs exclude each other",
    ),
    "a number in place of a table": (["--set", "simclr.pretrain=3"], "simclr.pretrain is 3; it must be a table"),
    "a number in place of an augmentation": (["--set", "recipes.standard=3"], "recipes.standard is 3; it must be a"),
    "training of random weights": (["--methods", "random[lr=0.1]"], "random is not trained: lr changes nothing"),
    "a data set that no grid of a protocol has": (
        ["--protocol", "relational2020-table1", "--datasets", "cifar100,digits"],
        "relational2020-table1 has no runs of digits; its datasets are cifar100, cifar10",
    ),
    "tuning of what the tuned protocol cannot say": (
        ["--tuned", "2", "--refine", "graph", "--set", "graph.k=3"],
        "--set changes graph, which quick does not have, nor the tuned protocol",
    ),
    "tuning with an evaluation that is not asked for": (
        ["--tuned", "2", "--evaluations", "knn", "--set", "linear.lr=5"],
        "linear, which is not among the evaluations",
    ),
    "--set for an augmentation that no method uses": (
        ["--set", "recipes.small.size=8"],
        "recipes.small, which none of the methods uses",
    ),
    "wrong value": (["--set", "simclr.activation=tanh"], "choose relu, leaky_relu"),
    "value a method refuses": (["--set", "simclr.temperature=-1"], "temperature must be above 0, not -1.0"),
    "value out of the range of an evaluation": (["--set", "knn.k=-3"], "knn.k must be 1 or more, not -3"),
    "wrong choice of an evaluation": (["--set", "linear.solver=sgd"], "choose lbfgs, adam"),
    "seeds": (["--seeds", "abc"], "'abc' is not a whole number; write 0,1,2 or 0-9"),
    "seeds backwards": (["--seeds", "3-1"], "--seeds '3-1': 3-1 is empty; write 1-3"),
    "one view for relational": (
        ["--methods", "relational", "--set", "relational.views=1"],
        "relational.views must be 2 or more, not 1",
    ),
    "batch": (["--set", "pretrain.batch=5000"], "a batch of 5000 is larger than the 1,297 images"),
    "two budgets": (["--epochs", "1", "--views", "10"], "--epochs and --views exclude each other"),
    "not a number": (["--epochs", "ten"], "Invalid value for '--epochs': it must be a number"),
    "not a whole number": (["--limit", "many"], "Invalid value for '--limit': it must be a whole number"),
    "one trial": (["--tuned", "1"], "Invalid value for '--tuned': it must be 2 or more"),
    "no plugin": (["--plugins", ""], "Invalid value for '--plugins': it is empty; name something, or leave it out"),
    "plugins by commas": (["--plugins", "./mine.py,./yours.py"], "no such file: mine.py"),
    "logs by commas": (["--log", "tensorbord,wandb"], "unknown log 'tensorbord'; did you mean tensorboard?"),
    "a patch that does not fit": (
        ["--backbones", "timm:vit_tiny_patch16_224@patch=5"],
        "divisible by patch size (5); name a patch that divides 16, such as @patch=4",
    ),
    "views that are no whole number": (["--views", "2.5"], "'2.5' is not a whole number; write 2000000 or 2e6"),
    "no number of views": (["--views", "many"], "'many' is not a whole number"),
    "missing data": (["--datasets", "cifar10"], "bench data cifar10 --data /"),
    "missing data to evaluate on": (["--evaluate-on", "digits,cifar10"], "bench data cifar10 --data /"),
    "misspelt data set to evaluate on": (["--evaluate-on", "digit"], "unknown dataset 'digit'; did you mean digits?"),
    "missing folder": (["--datasets", "folder:nowhere"], "nowhere"),
    "missing file": (["--methods", "./mine.py"], "no such file: mine.py"),
    "device": (["--device", "tpu9"], "no device 'tpu9' here"),
    "empty": (["--evaluations", ""], "--evaluations is empty; name something, or leave it out"),
    "nothing but commas": (["--refine", ", ,"], "--refine is empty"),
    "a huge seed": (["--seeds", "9" * 30], "is too large; seeds go up to 9223372036854775807"),
    "too many seeds": (["--seeds", "0-99999999"], "more than 10,000 seeds"),
    "a budget that is no number": (["--epochs", "nan"], "epochs"),
    "an endless budget": (["--epochs", "inf"], "epochs"),
    "a learning rate that is no number": (["--set", "pretrain.lr=nan"], "lr"),
    "too many epochs": (["--epochs", "1e308"], "epochs must be 1e+15 or less"),
    "too many views": (["--views", "9" * 20], "views must be 1e+15 or less"),
    "too many trials": (["--tuned", "99999999"], "more than 10,000 trials"),
    "a number of thousands of digits": (["--set", f"simclr.temperature={LONG}"], "; it must be a number"),
    "a side of thousands of digits": (["--datasets", f"imagenet:{LONG}"], "is no side in pixels"),
    "thousands of brackets": (["--set", f"simclr.temperature={'[' * 5000}"], "; it must be a number"),
    "a long path": (["--methods", f"./{LONG}.py"], "File name too long"),
    "a long folder of images": (["--datasets", f"folder:{LONG}@{LONG}"], "File name too long"),
    "a report of a long name": (["--to", LONG], "File name too long"),
    "an option twice": (["--methods", "simclr[temperature=1,temperature=2]"], "says twice what temperature is"),
    "a backbone that takes nothing": (["--backbones", "conv4:3"], "conv4 takes nothing after a colon, and got '3'"),
    "a device that computes nothing": (["--device", "meta"], "meta is no device that computes"),
    "a view without pixels": (["--set", "recipes.standard.size=0"], "size must be above 0, not 0"),
    "a range from above": (["--set", "recipes.standard.sigma=[2,1]"], "sigma is a range of pixels, not (2.0, 1.0)"),
    "a negative factor": (["--set", "recipes.standard.contrast=-1"], "contrast must be 0 or more, not -1"),
    "no file of weights": (["--methods", "pretrained[weights=]"], "pretrained.weights names no file"),
    "a folder of weights": (["--methods", "pretrained[weights=.]"], "pretrained.weights: not a file: ."),
    "unwritable report": (["--to", "/proc/report"], "cannot write to /proc/report"),
    "unwritable": (["--runs", "/proc/runs"], "cannot write to /proc/runs"),
    "unknown option": (["--method", "simclr"], "No such option: --method"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line_and_starts_nothing(tmp_path, case):
    words, line = WRONG[case]
    base = [] if "--datasets" in words else ["--datasets", "digits"]
    base += [] if "--methods" in words or "--method" in words else ["--methods", "simclr"]
    done = bench("run", *base, *words, cwd=tmp_path, check=2)
    assert line in done.stderr.replace("option '--method'", "option: --method")  # quoted by some versions of click
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 1000
    assert not done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("methods", "line"), [("random", "none of the methods is trained"), (" ,", "--methods is empty")]
)
def test_the_speed_of_nothing_is_refused(tmp_path, methods, line):
    done = bench("speed", "--methods", methods, "--datasets", "digits", cwd=tmp_path, check=2)
    assert (line in done.stderr, done.stdout) == (True, "")


def test_views_may_be_written_as_floats(tmp_path):
    done = bench(
        "run", "--methods", "simclr", "--datasets", "digits", "--views", "4e3", "--dry-run", cwd=tmp_path, check=0
    )
    assert "quick[views=4000]: 4,002 views" in done.stdout


def test_a_traceback_appears_only_when_asked_for(tmp_path):
    assert "Traceback" in bench("--debug", "run", "--methods", "x", cwd=tmp_path).stderr


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A grid that was carried out, its folder and what the command printed."""
    folder = tmp_path_factory.mktemp("grid")
    words = ["run", "--methods", "simclr,random", *QUICK, "--seeds", "0,1"]
    return folder, words, bench(*words, cwd=folder, check=0)


def test_a_grid_ends_in_a_table_and_a_report(grid):
    folder, _, done = grid
    assert "simclr" in done.stdout
    assert "random" in done.stdout
    assert len(records(folder)) == 4
    written = {path.name for path in (folder / "report").rglob("*")}
    assert {"results.csv", "summary.csv", "table.md", "table.tex", "index.html"} <= written
    assert {path.suffix for path in (folder / "report").rglob("*.*")} >= {".svg", ".png"}


def test_the_same_command_again_does_nothing_and_quickly(grid):
    folder, words, first = grid
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    start = time.perf_counter()
    again = bench(*words, cwd=folder, check=0)
    assert time.perf_counter() - start < 6  # 3 s on an idle machine
    assert again.stdout == first.stdout
    changed = [path for path, at in before.items() if path.stat().st_mtime_ns != at and path.is_file()]
    assert changed == []


def test_what_a_killed_writer_of_the_report_left_is_written_by_the_same_command(grid, tmp_path):
    """And what a process left that was killed just after it wrote its record."""
    folder, words, _ = grid
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "report" / "index.html").unlink()
    (copy / "report" / "table.md").write_text("half")
    run = next(copy.glob("runs/*simclr*"))
    (run / "claim.json").write_text(json.dumps({**asdict(store.this_process()), "pid": 2**22 + 5, "started": "1"}))
    (run / "heartbeat.json").write_text("{}")
    bench(*words, cwd=copy, check=0)
    for name in ("index.html", "table.md"):
        assert (copy / "report" / name).read_bytes() == (folder / "report" / name).read_bytes()
    assert not list(copy.glob("runs/*/claim.json"))
    assert not list(copy.glob("runs/*/heartbeat.json"))
    written = (copy / "report" / "index.html").stat().st_mtime_ns
    bench(*words, cwd=copy, check=0)
    assert (copy / "report" / "index.html").stat().st_mtime_ns == written


def test_more_seeds_only_add_runs(grid):
    folder, words, _ = grid
    before = records(folder)
    plan = bench(*words, "--seeds", "0-2", "--dry-run", cwd=folder, check=0).stdout
    assert "4 runs done, 2 to execute" in plan
    assert "in all" in plan
    assert records(folder) == before


def test_a_protocol_that_extends_another_shares_its_runs(grid):
    folder, _, _ = grid
    text = 'name = "mine"\nextends = "quick"\nsummary = "mine"\n[grid]\nmethods = ["random", "simclr"]\n'
    (folder / "mine.toml").write_text(text + 'datasets = ["digits", "stl10"]\nseeds = [0, 1]\n[evaluations.linear]\n')
    words = ["run", "--protocol", "mine.toml", *QUICK[-2:]]
    plan = bench(*words, "--dry-run", cwd=folder, check=0).stdout.splitlines()
    assert plan[:2] == ["mine, which extends quick", "4 runs done, 0 to execute"]
    assert plan[2] == "4 to execute once their data are on this machine"
    assert "  stl10 conv4 simclr under quick[views=2000]: stl10 missing; linear, knn × 2 seeds" in plan
    assert "  bench data stl10" in plan
    only = ["--datasets", "digits", "--methods", "random", "--seeds", "1", "--evaluations", "knn[k=3]"]
    plan = bench(*words, *only, "--dry-run", cwd=folder, check=0).stdout
    assert "digits conv4 random under quick[views=2000]: pretrained already; knn[k=3] × 1 seeds" in plan
    bench(*words, *only, cwd=folder, check=0)
    (name,) = (name for name, record in records(folder).items() if record["run"]["preset"] == "mine")
    assert "quick[views=2000] (version 1, controlled); requested by mine" in bench("show", name, cwd=folder).stdout
    assert [metric["label"] for metric in records(folder)[name]["metrics"]] == ["linear", "knn", "knn[k=3]"]


def test_force_begins_again_and_gets_the_same(grid):
    folder, words, _ = grid
    before = records(folder)
    bench(*words, "--seeds", "0", "--methods", "random", "--force", cwd=folder, check=0)
    after = records(folder)
    assert before.keys() == after.keys()
    assert all(record["metrics"] == before[name]["metrics"] for name, record in after.items())


def test_show_tells_everything_about_a_run(grid):
    folder, _, _ = grid
    name = next(name for name in records(folder) if "simclr" in name)
    shown = bench("show", name[-8:], cwd=folder, check=0).stdout
    for word in ("done", "temperature=0.5", "linear", "views/s", "provenance", "commit", "history"):
        assert word in shown
    assert json.loads(bench("show", name, "--json", cwd=folder, check=0).stdout)["status"] == "done"
    assert bench("show", f"runs/{name}", cwd=folder, check=0).stdout == shown
    assert "unknown run 'x'" in bench("show", "x", cwd=folder, check=2).stderr
    (line,) = (line for line in bench("list", "runs", cwd=folder, check=0).stdout.splitlines() if name in line)
    assert "done: linear " in line
    middle = name.split("-", 1)[1][:-4]
    assert bench("show", middle, cwd=folder, check=0).stdout == shown
    assert "4 runs match" in bench("show", "digits", cwd=folder, check=2).stderr
    assert "unknown run ''" in bench("show", "", cwd=folder, check=2).stderr


def test_doctor_finds_what_is_broken(grid):
    folder, _, _ = grid
    broken = folder / "runs" / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    try:
        done = bench("doctor", cwd=folder, check=0).stdout
    finally:
        shutil.rmtree(broken)
    assert "4 done" in done
    assert "unreadable: broken" in done
    assert "digits: found" in done
    assert "cifar10: missing" in done
    assert "compiled kernels: " in done


def test_report_of_nothing_is_refused(tmp_path):
    assert "no runs" in bench("report", cwd=tmp_path, check=2).stderr


FAILING = '''
from dataclasses import dataclass
import torch
from methods import Batch, Method, register

@register("raises")
class Raises(Method):
    """Raises."""
    def forward(self, batch):
        raise ZeroDivisionError("on purpose")

@register("explodes")
class Explodes(Method):
    """Becomes NaN."""
    def forward(self, batch):
        z = self.backbone(batch.views)
        return {"loss": z.sum() * float("nan")}
'''


def test_methods_that_fail_fail_alone(tmp_path):
    (tmp_path / "mine.py").write_text(FAILING)
    done = bench("run", "--methods", "./mine.py,random", *QUICK, cwd=tmp_path, check=1)
    assert "ZeroDivisionError: on purpose" in done.stderr
    assert "the loss became nan" in done.stderr
    assert [name.split("-")[2] for name in records(tmp_path)] == ["random"]
    report = (tmp_path / "report" / "table.md").read_text()
    assert "ZeroDivisionError: on purpose" in report
    assert "the loss became nan" in report


def test_a_file_that_does_not_load_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "mine.py").write_text(FAILING.replace("import torch", "import no_such_package"))
    done = bench("run", "--methods", "./mine.py,random", *QUICK, cwd=tmp_path, check=2)
    assert "'raises' does not load: ModuleNotFoundError" in done.stderr
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_carries_on(tmp_path, number):
    words = [*BENCH, "run", "--methods", "simclr", *QUICK[:-1], "200000", "--set", "pretrain.precision=float32"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    while not list(tmp_path.glob("runs/*/heartbeat.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "bench: interrupted; the same command resumes"
    assert list(tmp_path.glob("runs/*/checkpoint.pt"))
    assert not list(tmp_path.glob("runs/*/claim.json"))


def test_equal_commands_at_once_share_their_work(tmp_path):
    words = ["run", "--methods", "random", "--datasets", "digits", "--seeds", "0-3", "--jobs", "1"]
    children = [forked.start_bench(*words, "--to", f"report{number}", cwd=tmp_path) for number in range(4)]
    done = [child.wait() for child in children]
    assert [one.returncode for one in done] == [0] * 4, "".join(one.stdout + one.stderr for one in done)
    attempts = [record["cost"]["attempts"] for record in records(tmp_path).values()]
    assert attempts == [1] * 4
    tables = [(tmp_path / f"report{number}" / "table.md").read_text() for number in range(4)]
    assert tables == tables[:1] * 4
    assert not list(tmp_path.glob("runs/*/failure.json"))


ZEROED = '''"""A representation that is zero."""
import torch
from bench import Method, register_method

@register_method("zeroed")
class Zeroed(Method):
    """Sets the weights of its backbone to 0 after every step."""

    def __init__(self, backbone, options, info):
        super().__init__(backbone, options, info)
        self.layer = torch.nn.Linear(backbone.dim, 8)

    def forward(self, batch):
        return {"loss": self.layer(self.backbone(batch.views)).square().mean()}

    def after_step(self, progress):
        with torch.no_grad():
            for parameter in self.backbone.parameters():
                parameter.zero_()
'''


def test_a_collapse_is_told_once_beside_the_table(tmp_path):
    (tmp_path / "zeroed.py").write_text(ZEROED)
    done = bench("run", "--methods", "zeroed.py", *QUICK, cwd=tmp_path, check=0, figures=False)
    assert "linear 10.0, knn 10.0" in done.stderr  # chance, of ten classes
    told = "collapsed: all images have almost the same representation"
    words = " ".join((tmp_path / "report" / "table.md").read_text().split())
    assert words.count(told) == 1
    assert "collapsed: collapsed" not in words + done.stdout + done.stderr


def test_a_backbone_whose_output_is_wider_than_what_it_pools(tmp_path):
    words = ["run", "--methods", "simclr", "--backbones", "timm:mobilenetv3_small_050"]
    bench(*words, *QUICK, cwd=tmp_path, check=0, figures=False)
    (record,) = records(tmp_path).values()
    (knn,) = (row["value"] for row in record["metrics"] if row["evaluation"] == "knn")
    assert knn > 30  # chance is 10
