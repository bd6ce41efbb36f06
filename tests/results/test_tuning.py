"""Searches and tuned columns in a runs folder."""

import pytest

from results.store import write_json
from results.tuning import (
    FOLDER,
    MethodSearch,
    Search,
    Trial,
    TunedColumn,
    choose,
    read_tuning,
    store_column,
    store_search,
    trial_scores,
    values_at_edges,
)

SPACE = {"pretrain.lr": {"log": [1e-4, 1e-2]}, "crop": {"choice": [[0.1, 1.0], [0.2, 1.0]]}}


def search_of(**trials):
    """A search with so many trials of each method."""
    methods = {
        name: MethodSearch(
            SPACE, tuple(Trial({"pretrain.lr": 1e-3} if i else {}, {"0": f"{name}-{i}"}) for i in range(n))
        )
        for name, n in trials.items()
    }
    return Search("shapes", "conv4", "quick", "linear", (0,), "sobol", methods)


def test_what_is_stored_is_read_back(runs):
    search, column = (
        search_of(simclr=3, byol=2),
        TunedColumn("quick, best of 3 trials", "mine", "quick", 3, {"a": "simclr"}),
    )
    store_search(runs, "search-1", search)
    store_column(runs, "tuned-mine", column)
    found = read_tuning(runs)
    assert found.searches == {"search-1": search}
    assert found.columns == {"tuned-mine": column}
    assert found.trials == {"simclr-0", "simclr-1", "simclr-2", "byol-0", "byol-1"}
    assert not found.problems


def test_a_search_grows_and_never_shrinks(runs):
    store_search(runs, "search-1", search_of(simclr=3, byol=2))
    stored = store_search(runs, "search-1", search_of(simclr=2, byol=4, dino=1))
    assert {name: len(one.trials) for name, one in stored.methods.items()} == {"simclr": 3, "byol": 4, "dino": 1}
    assert read_tuning(runs).searches["search-1"] == stored


def test_runs_are_added_to_a_column(runs):
    for run in ("a", "b"):
        store_column(runs, "tuned-mine", TunedColumn("label", "mine", "quick", 3, {run: "simclr"}))
    assert set(read_tuning(runs).columns["tuned-mine"].methods) == {"a", "b"}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"dataset": 3}', "null", "\x00"])
def test_a_damaged_file_is_one_line_and_the_others_are_read(runs, damage):
    store_search(runs, "search-1", search_of(simclr=2))
    (runs / FOLDER / "search-2.json").write_text(damage)
    found = read_tuning(runs)
    assert list(found.searches) == ["search-1"]
    (problem,) = found.problems
    assert "search-2.json" in problem
    assert "\n" not in problem


def test_other_files_and_no_folder_are_nothing(runs):
    assert not read_tuning(runs).searches
    (runs / FOLDER).mkdir()
    write_json(runs / FOLDER / "notes.json", {"mine": 1})
    assert read_tuning(runs) == read_tuning(runs / "none")


def test_the_score_of_a_trial_is_the_mean_over_its_seeds(runs, store):
    shared = {"dataset": "held_out:shapes", "evaluations": ("linear",)}
    both = [
        store({"linear": value, "linear>graph": 99.0}, seed=seed, **shared) for seed, value in ((0, 50.0), (1, 60.0))
    ]
    half = store({"linear": 90.0}, seed=2, **shared), store(seed=3, **shared)
    failed = store(failure={"reason": "no"}, seed=4, **shared)
    trials = [dict(enumerate(path.name for path in group)) for group in (both, half, (failed,))]
    one = MethodSearch(SPACE, tuple(Trial({}, {str(seed): name for seed, name in trial.items()}) for trial in trials))
    search = Search("shapes", "conv4", "quick", "linear", (0, 1), "sobol", {"simclr": one})
    assert trial_scores(search, runs) == {"simclr": [55.0, None, None]}


@pytest.mark.parametrize(
    ("scores", "chosen"), [([1.0, 2.0], 1), ([2.0, 2.0], 0), ([None, 2.0, 2.0], 1), ([None], None), ([], None)]
)
def test_the_first_of_the_best_is_chosen(scores, chosen):
    assert choose(scores) == chosen


@pytest.mark.parametrize(
    ("lr", "side"), [(1e-4, "lower"), (1.2e-4, "lower"), (1e-3, None), (9e-3, "upper"), (1e-2, "upper")]
)
def test_a_value_in_the_outer_twentieth_is_at_an_edge(lr, side):
    one = MethodSearch(SPACE, (Trial({"pretrain.lr": lr, "crop": [0.1, 1.0]}, {}),))
    assert values_at_edges(one, 0) == ({"pretrain.lr": side} if side else {})


def test_a_folder_of_searches_that_is_none_is_a_problem(runs):
    (runs / FOLDER).touch()
    (problem,) = read_tuning(runs).problems
    assert problem == f"cannot read {runs / FOLDER}: Not a directory"
