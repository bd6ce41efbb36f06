"""Published numbers beside measured ones."""

import numpy as np
import pytest
from scipy import stats

from results.analysis.comparison import base_name, changes_of, compare, half_of_difference
from results.analysis.frame import load_runs
from results.analysis.statistics import summarize
from results.published import load

PAPER = {"protocol": "relational2020", "fairness": "recipe", "dataset": "cifar10", "epochs": 200}


def compared(runs, absent=()):
    frames = load_runs(runs)
    return compare(frames, summarize(frames.unrefined), load(), set(absent).__contains__)


def of_the_paper(comparison):
    """The numbers of the first paper, whose tables, rows and columns name a number."""
    return comparison[comparison["source"] == "Patacchiola & Storkey 2020"]


def verdicts(store, runs, values, *, method="relational", **options):
    for seed, value in enumerate(values, start=1):
        store({"linear": value}, method=method, seed=seed, **{**PAPER, **options})
    comparison = compared(runs)
    measured = comparison[comparison["mean"].notna()]
    return dict(zip(measured["published"], measured["verdict"], strict=True))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([60.9, 61.0, 61.1], "agrees"),
        ([61.7, 61.8, 61.9], "agrees"),  # 0.77 ± 0.35: excludes 0, and lies within 5 % of 38.97
        ([64.9, 65.0, 65.1], "differs"),
        ([58.9, 59.0, 59.1], "differs"),  # -2.03 ± 0.35 reaches out of ± 1.95
        ([58.0, 61.0, 64.0], "cannot tell"),
        ([61.03], "cannot tell: one seed"),
    ],
)
def test_verdicts(store, runs, values, verdict):
    assert verdicts(store, runs, values)[61.03] == verdict


def test_the_interval_of_a_difference_has_the_uncertainty_of_both_sides(store, runs):
    # Published: 61.03, standard deviation 0.23 of 3 seeds.
    ours = [60.0, 61.0, 62.5]
    verdicts(store, runs, ours)
    comparison = compared(runs)
    (row,) = comparison[(comparison["published"] == 61.03) & comparison["mean"].notna()].to_dict("records")
    rng = np.random.default_rng(0).normal(size=3)
    theirs = 61.03 + 0.23 * (rng - rng.mean()) / rng.std(ddof=1)
    low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (row["difference"] - row["half"], row["difference"] + row["half"]) == pytest.approx((low, high))
    assert row["margin"] == pytest.approx(0.05 * (100 - 61.03))


@pytest.mark.parametrize(("score", "margin"), [(3.24, 0.162), (50.0, 2.5), (90.87, 0.4565), (-7.0, 0.35)])
def test_the_margin_shrinks_towards_both_ends(store, runs, score, margin):
    verdicts(store, runs, [61.0, 61.1])
    published = load().assign(value=score)
    frames = load_runs(runs)
    found = compare(frames, summarize(frames.unrefined), published, lambda name: False)
    assert found["margin"].to_numpy() == pytest.approx(margin)


@pytest.mark.parametrize(
    ("std", "seeds", "variance", "freedom"),
    [
        (None, None, 1 / 3 + 1, 2),  # one run, as noisy as ours
        (None, 5, 1 / 3 + 1 / 5, 2),
        (0.5, None, 1 / 3 + 0.25, 2),  # one run of which the noise is known
        (0.5, 4, 1 / 3 + 0.0625, (1 / 3 + 0.0625) ** 2 / (1 / 9 / 2 + 0.0625**2 / 3)),
    ],
)
def test_what_is_not_published_is_taken_to_be_uncertain(std, seeds, variance, freedom):
    nan = float("nan")
    pair = {"n": 3, "std": 1.0, "published_std": nan if std is None else std}
    half = half_of_difference({**pair, "published_seeds": nan if seeds is None else seeds})
    assert half == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5)


def test_one_seed_gives_no_interval():
    nan = float("nan")
    assert np.isnan(half_of_difference({"n": 1, "std": nan, "published_std": 0.2, "published_seeds": 3}))
    assert np.isnan(half_of_difference({"n": nan, "std": nan, "published_std": 0.2, "published_seeds": 3}))


def test_random_weights_never_agree(store, runs):
    found = verdicts(store, runs, [32.91, 32.92, 32.93], method="random")
    assert found == {32.92: "cannot tell: random weights say nothing of training"}


def test_random_weights_may_differ(store, runs):
    assert verdicts(store, runs, [52.91, 52.92, 52.93], method="random") == {32.92: "differs"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"label": "relational2020[epochs=10]", "epochs": 10}, "10 epochs instead of 200"),
        (
            {"label": "relational2020[views=20000]", "epochs": None, "views": 20_000},
            "20,000 views instead of 200 epochs",
        ),
        ({"method_label": "relational[views=4]"}, "views=4"),
        (
            {"label": "relational2020[epochs=10,lr=1]", "method_label": "relational[views=4]", "epochs": 10},
            "10 epochs instead of 200, lr=1, views=4",
        ),
        ({"protocol": "quick"}, "protocol quick"),
        ({"protocol": "quick", "label": "quick[lr=1]"}, "protocol quick[lr=1]"),
    ],
)
def test_other_conditions_are_not_comparable(store, runs, options, why):
    assert verdicts(store, runs, [61.0, 61.1], **options)[61.03] == f"not comparable: {why}"


def test_a_changed_evaluation_is_not_comparable(store, runs):
    for seed in (1, 2):
        store({"linear[lr=0.1]": 61.0}, method="relational", seed=seed, evaluations=("linear[lr=0.1]",), **PAPER)
    comparison = compared(runs)
    assert comparison[comparison["published"] == 61.03]["verdict"].to_list() == ["not comparable: lr=0.1"]


def test_published_changes_are_compared_by_label(store, runs):
    options = {"method": "simclr", "backbone": "resnet32"}
    found = verdicts(store, runs, [76.0, 76.05, 76.1], method_label="simclr[loss=mean_log]", **options)
    assert found == {77.02: "not comparable: loss=mean_log", 76.05: "agrees"}


def test_what_the_paper_leaves_open_is_not_comparable(store, runs):
    found = verdicts(store, runs, [80.4, 80.5], method="supervised")
    assert found[80.46].startswith("not comparable: theirs taken to be")


def test_numbers_without_a_protocol_of_ours_are_not_comparable(store, runs):
    found = verdicts(store, runs, [90.0, 91.0], method="simclr", backbone="timm:resnet18@small")
    assert found[90.74] == (
        "not comparable: protocol relational2020, theirs 1000 epochs; when the probe was trained is not stated; "
        "seeds not stated"
    )


def test_coarse_labels_share_images_with_fine_ones(store, runs):
    found = verdicts(store, runs, [52.4, 52.45, 52.5], dataset="cifar100-20", backbone="resnet32")
    assert found == {52.44: "agrees"}


def test_a_published_variant_stands_beside_no_other(store, runs):
    found = verdicts(store, runs, [77.0, 77.05, 77.1], method="simclr", backbone="resnet32")
    assert found == {77.02: "agrees"}


def test_length_of_training_is_no_matter_to_random_weights(store, runs):
    found = verdicts(store, runs, [42.9, 43.0], method="random", label="relational2020[views=100]")
    assert found == {32.92: "differs"}


def test_random_weights_serve_every_pretraining(store, runs):
    found = verdicts(store, runs, [7.6, 7.7], method="random", backbone="resnet32", dataset="cifar100")
    undecided = "cannot tell: random weights say nothing of training"
    assert found == {7.65: undecided}
    comparison = compared(runs)
    assert set(comparison[comparison["published"] == 7.65]["column"]) == {"CIFAR-100", "10→100", "ResNet-32 CIFAR-100"}
    assert set(comparison[comparison["published"] == 7.65]["verdict"]) == {undecided}


def test_a_transfer_is_compared_with_the_papers_transfer(store, runs):
    values = {"linear": 75.0, "linear@cifar100": 41.5}
    options = {"method": "relational", "backbone": "resnet32", "evaluate_on": ("cifar10", "cifar100"), **PAPER}
    store(values, seed=1, **options)
    comparison = compared(runs)
    measured = comparison[comparison["mean"].notna()]
    columns = dict(zip(measured["column"], measured["mean"], strict=True))
    assert columns == {"10→100": 41.5, "ResNet-32 CIFAR-10": 75.0, "100 % of labels": 75.0}


def test_coarse_labels_are_a_target_of_fine_ones(store, runs):
    options = {"method": "simclr", "backbone": "resnet32", "evaluate_on": ("cifar100", "cifar100-20")}
    store({"linear": 42.0, "linear@cifar100-20": 51.9}, seed=1, **{**PAPER, **options, "dataset": "cifar100"})
    comparison = compared(runs)
    measured = comparison[comparison["mean"].notna()]
    assert set(zip(measured["published"], measured["mean"], strict=True)) == {(42.13, 42.0), (51.88, 51.9)}


def test_differences(store, runs):
    verdicts(store, runs, [62.0, 63.0])
    comparison = compared(runs)
    measured = comparison[comparison["published"] == 61.03].iloc[0]
    assert measured["difference"] == pytest.approx(62.5 - 61.03)


def test_gains_are_paired_over_seeds(store, runs):
    for seed, level in enumerate((50.0, 60.0, 55.0), start=1):
        for views, gain in ((2, 0.0), (4, 2.0 + seed / 10), (32, 5.0)):
            label = "relational" if views == 32 else f"relational[views={views}]"
            store({"linear": level + gain}, method="relational", method_label=label, seed=seed, **PAPER)
    comparison = compared(runs)
    gains = comparison[comparison["metric"].str.contains("over") & comparison["mean"].notna()].set_index("column")
    assert gains["mean"].to_dict() == pytest.approx({"4 views": 2.2, "32 views": 5.0})
    assert gains["high"]["4 views"] == pytest.approx(2.2 + 0.2484138)
    assert gains["difference"]["4 views"] == pytest.approx(-0.5)
    assert gains["verdict"]["4 views"].startswith("not comparable: theirs read off a figure")


def test_gains_over_a_backbone_are_paired_too(store, runs):
    for seed, level in enumerate((50.0, 60.0, 55.0), start=1):
        for backbone, gain in (("conv4", 0.0), ("resnet32", 16.0 + seed / 10)):
            store({"linear": level + gain}, method="simclr", backbone=backbone, seed=seed, **PAPER)
    comparison = of_the_paper(compared(runs)).set_index(["table", "row", "column"])
    cell = comparison.loc[("Figure 2a", "SimCLR", "CIFAR-10")]
    assert (cell["mean"], cell["n"]) == (pytest.approx(16.2), 3)
    assert cell["high"] == pytest.approx(16.2 + 0.2484138)
    assert cell["verdict"] == "agrees"


def test_nothing_measured_names_the_reason(store, runs):
    store(failure={"reason": "out of memory"}, method="simclr", **PAPER)
    store(method="relational", **PAPER)
    store({"linear": 60.0}, method="rotnet", backbone="resnet32", **PAPER)
    store({"linear": 60.0}, method="relational", method_label="relational[views=4]", **PAPER)
    comparison = compared(runs, absent=["stl10", "tiny_imagenet", "cifar10"])
    reasons = of_the_paper(comparison).set_index(["table", "row", "column"])["verdict"]
    conv4 = reasons["Table 2", :, "Conv-4 CIFAR-10"]
    assert conv4["SimCLR"] == "failed: out of memory"
    assert conv4["DeepCluster"] == "not run"
    assert reasons["Table 1", "RotationNet", "10→100"] == "not evaluated"
    assert reasons["Table 1", "RotationNet", "STL-10 finetune"] == "data not here"
    assert reasons["Table 2", "RotationNet", "Conv-4 tiny-ImageNet"] == "data not here"
    assert reasons["Figure 2b", "Relational Reasoning", "4 views"] == "not run: relational[views=2]"
    assert reasons["Figure 2b", "Relational Reasoning", "32 views"] == "unfinished: the same command resumes it"


@pytest.mark.parametrize(
    ("protocol", "verdict"),
    [
        ("graphnnclr2025-small", "not comparable: protocol graphnnclr2025-small"),
        ("graphnnclr2025", "not comparable: theirs backbone, baseline and accuracies are not stated"),
    ],
)
def test_what_a_refined_method_gains_is_counted_from_the_best_other_without_refinement(store, runs, protocol, verdict):
    of, shared = "linear-graphnnclr2025", {"protocol": protocol, "dataset": "cifar10", "backbone": "conv4"}
    for seed, offset in enumerate((0.0, 1.0, 4.0)):
        own = {of: 90.0, f"{of}>transductive": 70.0, f"{of}>transductive-released": 61.0 + offset - 0.5 * seed}
        store({**own, "linear>transductive-released": 80.0}, method="graph_nnclr", seed=seed, **shared)
        best = {of: 50.0 + offset, f"{of}>transductive-released": 99.0, "linear": 55.0}
        store(best, method="byol", seed=seed, **shared)
        store({of: 40.0}, method="simclr", seed=seed, **shared)
        store({of: 95.0}, method="supervised", seed=seed, **shared)
    (row,) = compared(runs).query("source == 'Javidani et al. 2025' and mean.notna()").to_dict("records")
    assert (row["published"], row["mean"], row["n"]) == (7.3, pytest.approx(10.5), 3)
    assert row["high"] - row["mean"] == pytest.approx(4.303 * 0.5 / 3**0.5, rel=1e-3)
    assert row["verdict"] == verdict


def test_nothing_measured_at_all(store, runs):
    store(failure={"reason": "out of memory"})
    comparison = compared(runs)
    assert set(comparison["verdict"]) == {"not run"}
    assert len(comparison) == len(load())


def test_labels_come_apart():
    assert [base_name("quick"), changes_of("quick")] == ["quick", []]
    label = "a[b=1,c=[2, 3],d.e=x]{f=4}"
    assert [base_name(label), changes_of(label)] == ["a", ["b=1", "c=[2, 3]", "d.e=x", "f=4"]]
