"""``bench tune`` from its options to the report."""

import json
import random
import re
import signal
import time
import tomllib

import pytest

from bench.commands.tune import parse_budget, require_replaceable
from results.errors import RequestError
from tests.tools.forked import bench, start_bench

TINY = ["--datasets", "digits", "--views", "1500", "--trials", "3", "--jobs", "1", "--evaluations", "knn"]

PLUGIN = '''
from dataclasses import dataclass

from bench import Method, register_method


@register_method("pull")
class Pull(Method):
    """Pulls two views together."""

    SPACE = {"weight": {"log": [0.1, 10.0]}}

    @dataclass(frozen=True)
    class Options:
        weight: float = 1.0

    def forward(self, batch):
        first, second = self.backbone(batch.views).chunk(2)
        return {"loss": self.options.weight * (first - second).square().mean()}
'''

LOCKED_TEST_SPLIT = '''
import numpy as np
from bench import Dataset, Source, Split, register_dataset, rows_of_planes


class Secret(np.ndarray):
    """Labels that nobody may look at."""

    def __array_finalize__(self, other):
        if other is not None and getattr(other, "locked", False):
            raise RuntimeError("the test split was read")
        self.locked = False

    def __getitem__(self, index):
        raise RuntimeError("the test split was read")


@register_dataset("secret")
class SecretTest(Source):
    """Two classes of noise, whose test labels raise."""

    def digest(self):
        return "secret"

    def load(self):
        rng = np.random.default_rng(0)
        labels = np.arange(400) % 2
        planes = rng.integers(0, 128, (400, 16, 16)) + 100 * labels[:, None, None]
        images = rows_of_planes(planes.astype(np.uint8))
        test = np.zeros(100, dtype=np.int64).view(Secret)
        test.locked = True
        return Dataset(
            self.name, ("dark", "light"), (0.5,) * 3, (0.25,) * 3, Split(images, labels), Split(images[:100], test)
        )
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a plugin and a built-in method were tuned, one trial first and then the others."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "pull.py").write_text(PLUGIN)
    words = ["tune", "--methods", "./pull.py,rotnet", *TINY]
    first = bench(*words, "--limit", "2", cwd=folder)
    assert first.returncode == 0, first.stderr
    assert "4 trials are left" in first.stdout
    assert not list(folder.glob("tuned-*"))
    second = bench(*words, cwd=folder)
    assert second.returncode == 0, second.stderr
    return folder


def tuned_file(folder):
    return next(folder.glob("tuned-*.toml"))


def test_the_outcome_is_a_protocol(folder):
    values = tomllib.loads(tuned_file(folder).read_text())
    assert tuned_file(folder).name == "tuned-digits-conv4-quick-3.toml"
    assert values["extends"] == "quick"
    assert values["tuned"]["trials"] == 3
    assert values["grid"]["methods"] == ["pull", "rotnet", "random"]


def test_at_once_is_the_same_as_in_parts(folder, tmp_path):
    (tmp_path / "pull.py").write_text(PLUGIN)
    done = bench("tune", "--methods", "./pull.py,rotnet", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tuned_file(tmp_path).read_text() == tuned_file(folder).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_killed_at_random_and_repeated_it_ends_with_the_same_choice(folder, tmp_path, seed):
    """SIGKILL within the first trial, between and within others, and when all are done; what is done stays done."""
    (tmp_path / "pull.py").write_text(PLUGIN)
    rng, done = random.Random(seed), {}

    def finished():
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/record.json")}

    for records, seconds in ((0, 3.0), (rng.randint(1, 3), 1.0), (rng.randint(4, 5), 1.0), (6, 0.3)):
        child = start_bench("tune", "--methods", "./pull.py,rotnet", *TINY, cwd=tmp_path)
        while child.process.is_alive() and len(finished()) < records:
            time.sleep(0.01)
        child.process.join(rng.uniform(0, seconds))
        child.process.kill()
        assert child.wait().returncode in (0, -signal.SIGKILL)
        assert done.items() <= finished().items()
        done = finished()
    last = bench("tune", "--methods", "./pull.py,rotnet", *TINY, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert done.items() <= finished().items()
    assert tuned_file(tmp_path).read_text() == tuned_file(folder).read_text()
    (search,) = (tmp_path / "runs" / "tuning").glob("search-*.json")
    assert search.read_text() == (folder / "runs" / "tuning" / search.name).read_text()


def test_again_there_is_nothing_to_do(folder):
    before = tuned_file(folder).read_text()
    done = bench("tune", "--methods", "./pull.py,rotnet", *TINY, cwd=folder)
    assert done.returncode == 0
    assert re.search(r"pull: \d+\.\d\d \(default \d+\.\d\d\), trial \d", done.stdout)
    assert "bench run --protocol tuned-digits-conv4-quick-3.toml" in done.stdout
    assert tuned_file(folder).read_text() == before


def test_the_trials_can_be_submitted_and_are_done(folder):
    words = ["submit", "--methods", "./pull.py,rotnet", *TINY[:-4], "--evaluations", "knn", "--dry-run", "--time", "1h"]
    done = bench(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (0, "6 runs done before\nnothing to submit\n"), done.stderr


def test_the_tuned_runs_stand_in_the_report_beside_the_default(folder):
    shared = ["--evaluations", "knn", "--jobs", "1", "--seeds", "10-11"]
    tuned = bench("run", "--protocol", tuned_file(folder).name, "--plugins", "pull.py", *shared, cwd=folder)
    assert tuned.returncode == 0, tuned.stderr
    default = ["--methods", "./pull.py,rotnet,random", "--datasets", "digits", "--views", "1500"]
    assert bench("run", *default, *shared, cwd=folder).returncode == 0
    report = bench("report", cwd=folder)
    assert report.returncode == 0, report.stderr
    text = (folder / "report" / "table.md").read_text()
    assert "Tuned and default: quick\\[views=1500], best of 3 trials" in text
    assert "Trials: digits · conv4 · quick\\[views=1500] · knn" in text
    assert "held_out" not in (folder / "report" / "summary.csv").read_text()
    gains = next((folder / "report").glob("tuned-*.csv")).read_text().splitlines()
    assert len(gains) == 3
    trials = next((folder / "report").glob("search-*-trials.csv")).read_text().splitlines()
    assert len(trials) == 7


def test_run_tuned_is_tune_and_then_run(folder, tmp_path):
    """In one command; repeated, it has nothing to do."""
    (tmp_path / "pull.py").write_text(PLUGIN)
    shared = [word for word in TINY if word not in ("--trials", "3")]
    words = ["run", "--methods", "./pull.py,rotnet", *shared, "--tuned", "3", "--seeds", "10-11"]
    first = bench(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert tuned_file(tmp_path).read_text() == tuned_file(folder).read_text()
    tuned = json.loads(next((tmp_path / "runs" / "tuning").glob("tuned-*.json")).read_text())
    assert sorted(tuned["methods"].values()) == sorted(["pull", "rotnet", "random"] * 2)
    assert {run.partition("-s")[2][:2] for run in tuned["methods"]} == {"10", "11"}
    assert all((tmp_path / "runs" / run / "record.json").is_file() for run in tuned["methods"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/record.json")}
    again = bench(*words, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/record.json")} == before
    assert bench(*words, "--dry-run", cwd=tmp_path).stdout.splitlines()[1].startswith("6 runs done, 0 to execute")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--tuned", "3", "--seeds", "0-2"], "the settings were chosen with seed 0"),
        (["--tuned", "3", "--limit", "1"], "--limit and --tuned exclude each other"),
        (["--space", "spaces.toml"], "--space is for tuning"),
    ],
)
def test_what_run_tuned_refuses_starts_nothing(tmp_path, words, complaint):
    done = bench("run", "--methods", "rotnet", "--datasets", "digits", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_tuned_protocol_replaces_nothing_else(folder, tmp_path):
    require_replaceable(tuned_file(folder))
    require_replaceable(tmp_path / "new.toml")
    for name, text in (
        ("mine.toml", 'name = "mine"\nextends = "quick"\n'),
        ("notes.toml", "notes"),
        ("folder.toml", ""),
    ):
        (tmp_path / name).write_text(text) if text else (tmp_path / name).mkdir()
        with pytest.raises(RequestError, match=f"{name} is no tuned protocol, and would be lost"):
            require_replaceable(tmp_path / name)
    words = ["tune", "--methods", "rotnet", *TINY, "--to"]
    for to, complaint in (("mine.toml", "would be lost"), ("mine.txt", "does not end in .toml")):
        done = bench(*words, to, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert complaint in done.stderr
    assert not (tmp_path / "runs").exists()


def test_seeds_of_trials_are_refused(folder):
    done = bench("run", "--protocol", tuned_file(folder).name, "--plugins", "pull.py", "--seeds", "0", cwd=folder)
    assert done.returncode == 2
    assert "the settings were chosen with seed 0; measure with fresh ones" in done.stderr


def test_a_budget_in_views_is_a_number_of_trials(folder):
    words = [word for word in TINY if word not in ("--trials", "3")]
    words = ["tune", "--methods", "rotnet", *words, "--budget"]
    done = bench(*words, "4600", "--dry-run", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 trials done, 0 to execute" in done.stdout
    assert "of 1,500 views each; give 3000views or more" in bench(*words, "2000", cwd=folder).stderr


def test_a_budget_in_flops_is_equal_compute_for_every_method(folder):
    """The pull of two views costs more than rotations, so that fewer of its trials are paid for."""
    words = ["--methods", "./pull.py,rotnet", "--datasets", "digits", "--evaluations", "knn", "--dry-run"]
    done = bench("tune", *words, "--views", "1500", "--budget", "9e9flops", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    counts = {method: int(n) for n, method in re.findall(r"× (\d+) trials of (\w+)", done.stdout)}
    planned = {method: counts[method] + 3 for method in counts}  # three of each are done
    costs = {method: 9e9 / planned[method] for method in planned}
    assert all(2e9 < cost < 4.6e9 for cost in costs.values()), done.stdout
    equal = bench("tune", *words, "--flops", "2e9", "--budget", "9e9 flops", cwd=folder)
    assert re.findall(r"× (\d+) trials", equal.stdout) == ["4", "4"], equal.stderr


WRONG_BUDGETS = {
    "nanviews": "it does not begin with a number",
    "views": "it does not begin with a number",
    "": "it does not begin with a number",
    "1.2.3views": "'1.2.3' is no number",
    "9e9 seconds": "'seconds' is neither views nor flops",
    "5epochs": "'epochs' is neither views nor flops",
    "2e": "'e' is neither views nor flops",
    "-5views": "it must be above 0",
    "0": "it must be above 0",
    "1e400views": "it is too large",
}


@pytest.mark.parametrize("text", WRONG_BUDGETS)
def test_a_budget_that_cannot_be_says_what_is_wrong(text):
    with pytest.raises(RequestError) as error:
        parse_budget(text)
    problem = f"--budget {text!r}: {WRONG_BUDGETS[text]}"
    assert str(error.value) == f"{problem}; write views or FLOPs like 2e6views or 1e16flops"


def test_budgets_have_a_unit():
    assert parse_budget("2e6views") == parse_budget("2_000_000") == parse_budget(" 2.0E+6 Views") == (2e6, "views")
    assert parse_budget("1e16 flops") == (1e16, "flops")


def test_successive_halving_ends_with_a_choice_among_the_last(folder, tmp_path):
    """Stopped after the first three runs; short runs are ordinary runs, and no more than planned are executed."""
    words = ["tune", "--methods", "rotnet", "--datasets", "digits", "--views", "1500", "--evaluations", "knn"]
    words += ["--trials", "4", "--halving", "2", "--jobs", "1"]
    first = bench(*words, "--limit", "3", cwd=tmp_path)
    assert "3 trials are left" in first.stdout, first.stderr
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs" / "tuning").glob("search-*.json")
    trials = json.loads(path.read_text())["methods"]["rotnet"]["trials"]
    assert [len(trial["shorter"]) for trial in trials] == [1] * 4
    finalists = [index for index, trial in enumerate(trials) if trial["runs"]]
    assert finalists[0] == 0
    assert len(finalists) == 2
    runs = {path.name: json.loads((path / "record.json").read_text()) for path in (tmp_path / "runs").glob("held_out*")}
    assert sorted(record["run"]["pretrain"]["views"] for record in runs.values()) == [750] * 4 + [1500] * 2
    scores = [runs[trial["shorter"][0]["0"]]["metrics"][0]["value"] for trial in trials]
    assert scores[finalists[1]] == max(scores[1:])
    values = tomllib.loads((tmp_path / "tuned-digits-conv4-quick-4-halved2.toml").read_text())
    assert (values["tuned"]["trials"], values["tuned"]["halving"]) == (4, 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/record.json")}
    assert bench(*words, cwd=tmp_path).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/record.json")} == before
    report = bench("report", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "successive halving by 2" in (tmp_path / "report" / "table.md").read_text()


def test_tpe_stopped_and_repeated_draws_the_same_trials(folder, tmp_path):
    pytest.importorskip("optuna")
    words = ["tune", "--methods", "rotnet", *TINY, "--sampler", "tpe"]
    assert "trials are left" in bench(*words, "--limit", "2", cwd=tmp_path).stdout
    done = bench(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs" / "tuning").glob("search-*.json")
    search = json.loads(path.read_text())
    trials = search["methods"]["rotnet"]["trials"]
    assert (search["sampler"], len(trials)) == ("tpe", 3)
    assert {run for trial in trials for run in trial["runs"].values()} == {
        path.parent.name for path in tmp_path.glob("runs/held_out*/record.json")
    }
    again = bench(*words, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(path.read_text()) == search


def test_what_is_refused_leaves_no_search_behind(tmp_path):
    done = bench(
        "tune", "--methods", "simclr", "--datasets", "cifar10", "--trials", "2", "--data", "none", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "is not there" in done.stderr
    assert not (tmp_path / "runs" / "tuning").exists()


def test_the_test_split_is_not_read(tmp_path):
    (tmp_path / "secret.py").write_text(LOCKED_TEST_SPLIT)
    words = ["--methods", "rotnet", "--datasets", "./secret.py", *TINY[2:]]
    done = bench("tune", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tuned,) = tmp_path.glob("tuned-*.toml")
    measured = [
        "--protocol",
        tuned.name,
        "--plugins",
        "secret.py",
        "--evaluations",
        "knn",
        "--seeds",
        "10",
        "--jobs",
        "1",
    ]
    measured = bench("run", "--methods", "rotnet", *measured, cwd=tmp_path)
    assert measured.returncode != 0  # what reads the test split fails
    assert "the test split was read" in measured.stdout + measured.stderr
