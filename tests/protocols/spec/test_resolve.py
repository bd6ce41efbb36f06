import csv
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from methods.registry import METHODS
from protocols.spec import protocol as protocols
from protocols.spec.protocol import Pretrain
from protocols.spec.resolve import parse_changes, resolve, stored_evaluations
from protocols.spec.run import Run, digest_of
from results.errors import RequestError


def run_of(*settings: str, method="simclr", dataset="cifar10", backbone="conv4", protocol="quick", **words) -> Run:
    return resolve(
        protocols.load(protocol),
        method=method,
        dataset=dataset,
        backbone=backbone,
        seed=words.pop("seed", 0),
        changes=parse_changes(settings),
        data=Path("data"),
        **words,
    )


@pytest.mark.parametrize("name", protocols.names())
def test_every_preset_resolves_its_own_grid(name):
    protocol = protocols.load(name)
    assert protocol.name == name
    for grid in protocol.grids:
        for method in grid.methods:
            run_of(method=method, protocol=name, dataset=grid.datasets[0], evaluate=grid.evaluations)


@pytest.mark.parametrize("method", sorted(set(METHODS.names()) - {"random", "pretrained"}))
def test_a_step_of_quick_has_128_views(method):
    run = run_of(method=method)
    kind = METHODS.get(method)
    assert run.pretrain.batch * kind.views_per_image(kind.Options(**run.method.options)) == 128


@pytest.mark.parametrize(
    ("dataset", "backbone", "views", "clusters", "epochs"),
    [
        ("cifar10", "resnet32", 32, 100, 200),
        ("cifar100", "resnet32", 32, 1000, 200),
        ("stl10", "resnet34", 25, 100, 300),
        ("tiny_imagenet", "resnet32", 16, 2000, 200),
        ("tiny_imagenet", "conv4", 32, 2000, 200),
        ("slimagenet64", "resnet32", 32, 10_000, 200),
    ],
)
def test_relational2020_follows_the_data_set(dataset, backbone, views, clusters, epochs):
    where = {"dataset": dataset, "backbone": backbone, "protocol": "relational2020"}
    relational, deepcluster = (run_of(method=method, **where) for method in ("relational", "deepcluster"))
    assert relational.method.options["views"] == views
    assert deepcluster.method.options["clusters"] == clusters
    assert relational.pretrain.epochs == deepcluster.pretrain.epochs == epochs


def test_relational2020_is_the_papers():
    relational = run_of(method="relational", protocol="relational2020")
    assert (relational.pretrain.epochs, relational.pretrain.batch, relational.method.options["views"]) == (200, 64, 32)
    assert (relational.pretrain.optimizer, relational.pretrain.lr, relational.pretrain.schedule) == (
        "adam",
        1e-3,
        "constant",
    )
    simclr = run_of(method="simclr", protocol="relational2020")
    assert (simclr.pretrain.batch, simclr.method.options["loss"]) == (128, "log_mean")
    rotnet = run_of(method="rotnet", protocol="relational2020")
    assert (rotnet.pretrain.batch, rotnet.pretrain.lr, rotnet.augmentations["light"].pad) == (128, 1e-3, 0.125)
    infomax = run_of(method="deepinfomax", protocol="relational2020")
    assert (infomax.pretrain.lr, infomax.method.options["prior"], infomax.method.options["adversarial"]) == (
        1e-4,
        0.1,
        False,
    )
    assert (infomax.augmentations["light"].pad, infomax.augmentations["light"].flip) == (0.0, 0.5)
    supervised = run_of(method="supervised", protocol="relational2020").pretrain
    assert (supervised.optimizer, supervised.lr, supervised.schedule) == ("sgd", 0.1, "step")
    assert [part.options["solver"] for part in relational.evaluations if part.name == "linear"] == ["adam"]
    recipe = relational.augmentations["standard"]
    assert (recipe.crop, recipe.jitter, recipe.brightness, recipe.hue, recipe.grayscale) == (
        (0.08, 1),
        0.8,
        0.8,
        0.2,
        0.2,
    )


def test_conditions_of_a_protocol_hold_where_they_apply():
    words = {"method": "relational", "protocol": "relational2020"}
    assert run_of(dataset="stl10", backbone="resnet34", **words).method.options["views"] == 25
    assert run_of(dataset="stl10", **words).pretrain.epochs == 300
    assert run_of(dataset="tiny_imagenet", backbone="resnet32", **words).method.options["views"] == 16
    assert run_of(dataset="tiny_imagenet", **words).method.options["views"] == 32


def test_what_holds_for_a_data_set_holds_for_a_part_of_it():
    words = {"method": "relational", "protocol": "relational2020", "backbone": "resnet34"}
    whole, part = (run_of(dataset=name, **words) for name in ("stl10", "held_out:stl10"))
    assert (part.pretrain, part.method) == (whole.pretrain, whole.method)
    assert part.fingerprint() != whole.fingerprint()


def test_solo2022_is_solo_learns():
    dino, vicreg = (run_of(method=name, protocol="solo2022") for name in ("dino", "vicreg"))
    assert (
        dino.pretrain.epochs,
        dino.pretrain.batch,
        dino.pretrain.trust_coefficient,
        dino.pretrain.clip_trust_ratio,
    ) == (
        1000,
        256,
        0.02,
        True,
    )
    assert (dino.pretrain.lr, dino.pretrain.weight_decay) == (0.3, 1e-6)
    assert [dino.augmentations[name].solarize for name in ("standard", "standard2")] == [0, 0.2]
    assert [vicreg.augmentations[name].solarize for name in ("standard", "standard2")] == [0.1, 0.1]
    assert vicreg.augmentations["standard2"].crop == (0.2, 1)
    for name, hue in (("simclr", 0.2), ("mocov2", 0.1), ("simsiam", 0.1)):
        run = run_of(method=name, protocol="solo2022")
        assert run.augmentations["standard"] == run.augmentations["standard2"]
        assert (run.augmentations["standard"].hue, run.augmentations["standard"].blur) == (hue, 0.5)
    assert run_of(method="mocov2", protocol="solo2022").pretrain.optimizer == "sgd"
    for name, optimizer, lr, weight_decay, temperature in (
        ("mocov3", "lars", 0.3, 1e-6, 0.2),
        ("swav", "lars", 0.6, 1e-6, 0.1),
        ("supcon", "sgd", 0.4, 1e-5, 0.2),
    ):
        run = run_of(method=name, protocol="solo2022")
        settings = run.pretrain
        assert (settings.optimizer, settings.lr, settings.weight_decay) == (optimizer, lr, weight_decay)
        assert METHODS.get(name).Options(**run.method.options).temperature == temperature


def test_solo2022_has_every_method_of_solo_learns_tables_that_is_here():
    """MAE, which is in none, needs a ViT."""
    rows = csv.DictReader((Path(__file__).parents[3] / "results/published/solo_learn.csv").open(encoding="utf-8"))
    theirs = {row["method"] for row in rows if row["dataset"] == "cifar10"} & {*METHODS.names()}
    (grid,) = protocols.load("solo2022").grids
    assert {*grid.methods} == {*theirs, "random"}


@pytest.mark.parametrize(
    ("dataset", "patch", "batch", "graph"),
    [
        ("cifar10", 16, 10, (10, 5, 3, 10_000)),
        ("shapes", 8, 6, (3, 15, 1, 65_536)),
        ("shapes", 16, 2, (3, 10, 1, 10_000)),
    ],
)
def test_graphnnclr2025_is_the_codes(dataset, patch, batch, graph):
    backbone = f"timm:vit_base_patch{patch}_224"
    run = run_of(method="graph_nnclr", dataset=dataset, backbone=backbone, protocol="graphnnclr2025")
    assert (run.pretrain.batch, run.pretrain.lr) == (batch, 5e-4 * batch / 256)
    options = run.method.options
    assert (options["topk"], options["window"], options["edges"], options["prototypes"]) == graph
    assert (run.augmentations["standard"].blur, run.augmentations["standard2"].blur) == (1.0, 0.1)


def test_the_command_line_wins_over_protocol_and_method():
    run = run_of("pretrain.batch=32", "relational.views=6", method="relational")
    assert (run.pretrain.batch, run.method.options["views"]) == (32, 6)
    assert run_of("relational.pretrain.batch=16", "pretrain.batch=32", method="relational").pretrain.batch == 16


def test_a_budget_in_epochs_replaces_one_in_views():
    assert run_of("pretrain.epochs=3").pretrain == Pretrain(**{**vars(run_of().pretrain), "epochs": 3.0, "views": None})
    assert run_of("pretrain.views=500", protocol="relational2020").pretrain.epochs is None


def test_a_budget_in_flops_replaces_the_others_and_is_what_the_run_is_known_by():
    run = run_of("pretrain.flops=1e15")
    assert (run.pretrain.epochs, run.pretrain.views, run.pretrain.flops) == (None, None, 1e15)
    assert run.label == "quick[flops=1e15]"
    assert run_of(*["pretrain.flops=1000000000000000"]).folder() == run.folder()
    assert run_of("pretrain.flops=2e15").folder() != run.folder()
    assert "flops" not in run_of().config()["pretrain"], "runs of earlier versions keep their configuration"


def test_labels_name_what_was_really_changed():
    run = run_of("pretrain.epochs=10", "relational.views=8", "knn.k=5", "pretrain.batch=64", method="relational")
    assert run.label == "quick[epochs=10]"
    assert run.method.label == "relational[views=8]"
    assert [part.label for part in run.evaluations] == ["linear", "knn[k=5]"]
    assert run_of("relational.views=4", method="relational").method.label == "relational"


def test_labels_name_what_was_changed_of_one_methods_training():
    assert run_of("simclr.pretrain.lr=0.1").method.label == "simclr[lr=0.1]"
    assert run_of("simclr.pretrain.batch=128", "pretrain.batch=128").method.label == "simclr"
    assert run_of("simclr.pretrain.lr=0.1").label == "quick"


def test_labels_are_shared_by_all_methods():
    settings = ("pretrain.epochs=10", "recipes.standard.hue=0.2")
    labels = {run_of(*settings, method=method).label for method in ("simclr", "relational", "random")}
    assert labels == {"quick[epochs=10,standard.hue=0.2]"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (("simclr.temprature=0.2",), "simclr has no option 'temprature'; did you mean temperature?"),
        (("simclr.temperature=warm",), "simclr.temperature is 'warm'; it must be a number"),
        (("pretrain.optimizer=adman",), "unknown optimizer 'adman'; did you mean adam"),
        (("pretrain.batch=1.5",), "pretrain.batch is 1.5; it must be a whole number"),
        (("pretrain.batch=0",), "batch must be above 0"),
        (("pretrain.betas=[0.9,1.0]",), "betas must lie in [0, 1)"),
        (("pretrain.betas=[-0.1,0.9]",), "betas must lie in [0, 1)"),
        (("pretrain.warmup=1.0",), "warmup is a fraction of the budget"),
        (("recipes.standard.flip=2",), "flip is a probability"),
        (("recipes.standard.crop=[0.5]",), "needs 2 values, not 1"),
        (("recipes.standart.size=3",), "unknown augmentation of quick 'standart'; did you mean standard?"),
        (("recipes.mine={}",), "unknown augmentation of quick 'mine'; there are: "),
        (("simclrr.temperature=1",), "unknown target of --set 'simclrr'; did you mean simclr?"),
        (("evaluations.knn.k=5",), "unknown target of --set 'evaluations'; write knn.k=5"),
        (("methods.simclr.pretrain.lr=1",), "unknown target of --set 'methods'; write simclr.pretrain.lr=1"),
        (("refinements.graph.k=5",), "unknown target of --set 'refinements'; write graph.k=5"),
        (("grid.seeds=5",), "unknown target of --set 'grid'; write --seeds 5"),
        (("grid.refinements=graph",), "unknown target of --set 'grid'; write --refine graph"),
        (("grid.seed=5",), "unknown target of --set 'grid'; "),
        (("evaluations.knn=5",), "unknown target of --set 'evaluations'; did you mean "),
        (("augmentations.standard.hue=0.2",), "'augmentations'; write recipes.standard.hue=0.2"),
        (("standard.hue=0.2",), "unknown target of --set 'standard'; did you mean recipes.standard.hue=0.2?"),
        (("pretrain.max_grad_norm=1",), "pretrain has no option 'max_grad_norm'; it is called clip here"),
        (("pretrain.trust_coefficient=1",), "pretrain has no option 'trust_coefficient'; it is called trust here"),
        (("simclr.batch=32",), "it is a setting of the training: write simclr.pretrain.batch=32"),
        (("simclr.max_grad_norm=0.5",), "it is a setting of the training: write simclr.pretrain.clip=0.5"),
        (("simclr",), "--set 'simclr' gives no value; write it like simclr.temperature=0.2"),
        (("simclr.temperature",), "--set 'simclr.temperature' gives no value; write simclr.temperature=VALUE"),
        (("temperature=0.1",), "--set 'temperature=0.1' names no target; write it like simclr.temperature=0.2"),
        ((".temperature=0.1",), "--set '.temperature=0.1' names no target; write it like"),
        (("simclr.=0.1",), "--set 'simclr.=0.1' names no option; write it like"),
        (("max_grad_norm=1",), "--set 'max_grad_norm=1' names no target; did you mean pretrain.clip=1?"),
        (("lr=0.1",), "did you mean pretrain.lr=0.1?"),
        (("knn.neighbours=3",), "knn has no option 'neighbours'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_helpful_line(settings, complaint):
    with pytest.raises(RequestError) as caught:
        run_of(*settings)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_pass_for_numbers_and_change_no_identity():
    assert run_of("simclr.temperature=1").fingerprint() == run_of("simclr.temperature=1.0").fingerprint()


def test_the_fingerprint_follows_what_can_change_a_number():
    base = run_of().fingerprint()
    different = [
        run_of(seed=1),
        run_of(method="byol"),
        run_of(dataset="cifar100"),
        run_of(backbone="resnet8"),
        run_of("simclr.temperature=0.2"),
        run_of("pretrain.lr=0.1"),
        run_of("recipes.standard.flip=0.1"),
        run_of(protocol="relational2020"),
    ]
    assert len({base, *(run.fingerprint() for run in different)}) == 1 + len(different)


def test_the_fingerprint_ignores_what_cannot():
    base = run_of().fingerprint()
    assert run_of("byol.momentum=0.5").fingerprint() == base
    assert run_of("knn.k=5").fingerprint() == base
    assert run_of(evaluate=["knn"]).fingerprint() == base
    assert run_of(evaluate_on=["cifar100"]).fingerprint() == base
    assert run_of(plugins=["somewhere/mine.py"]).fingerprint() == base


def test_a_run_survives_json():
    run = run_of("simclr.temperature=0.2", "recipes.standard.size=24")
    again = Run.from_config(json.loads(json.dumps(run.config())))
    assert again == run
    assert again.folder() == run.folder()


def test_evaluations_are_made_on_every_target():
    run = run_of(dataset="cifar100", evaluate_on=["cifar100", "cifar10", "cifar100-20", "cifar10"], evaluate=["knn"])
    assert [run.evaluation_name(part) for part in run.evaluations] == ["knn", "knn on cifar10", "knn on cifar100-20"]
    assert len({digest_of(part.identity()) for part in run.evaluations}) == 3


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("relational", ["relational.views=8", "relational.aggregation=max"]),
        ("simclr", ["simclr.pretrain.lr=0.1", "simclr.pretrain.epochs=12.5", "simclr.temperature=1"]),
        ("byol", ["byol.pretrain.momentum=0.5", "byol.momentum=0.9"]),
        ("relational", ["relational.pretrain.views=100000", "relational.views=2"]),
    ],
)
def test_a_printed_label_may_be_typed_again(method, settings):
    run = run_of(*settings, method=method)
    again = run_of(method=run.method.label)
    assert run.method.label != method
    assert (again.method, again.fingerprint()) == (run.method, run.fingerprint())


def test_labels_of_evaluations_may_be_typed_again():
    run = run_of("linear.solver=adam", "linear.standardize=false", "knn.k=5")
    again = run_of(evaluate=[part.label for part in run.evaluations])
    assert again.evaluations == run.evaluations
    assert again.evaluations[0].label == "linear[solver=adam,standardize=false]"


@pytest.mark.parametrize("name", ["graph", "no_edges"])
def test_an_added_option_with_a_stored_name_leaves_earlier_identities(name):
    """Runs that were recorded before a refinement had ``append_input`` are still known by what they stored."""
    words = {"method": "random", "evaluate": ["knn"]}
    before, after = (run_of(**words, refine=[f"{name}[{word}]"]) for word in ("epochs=3", "epochs=3,append_input=true"))
    earlier, later = (run.evaluations[1].refinement for run in (before, after))
    assert not {"beside", "append_input"} & earlier.options.keys()
    assert later.options == {**earlier.options, "beside": True}
    assert run_of(**words, refine=[f"{name}[epochs=3,append_input=false]"]).evaluations == before.evaluations
    for run in (before, after):
        assert stored_evaluations(json.loads(json.dumps(run.config()))) == run.evaluations


def test_brackets_win_over_settings():
    run = run_of("relational.views=8", "relational.hidden=16", method="relational[views=2]")
    assert (run.method.options["views"], run.method.options["hidden"]) == (2, 16)


def test_brackets_that_change_nothing_are_not_shown():
    assert run_of(method="relational[views=4]").method.label == "relational"
    assert run_of(method="relational[views=4]").fingerprint() == run_of(method="relational").fingerprint()


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ("relational[vews=4]", "relational has no option 'vews'; did you mean views?"),
        ("relational[views=four]", "relational.views is 'four'; it must be a whole number"),
        ("relational[views]", "'relational[views]': 'views' has no value; write relational[views=VALUE]"),
        ("relational[max_grad_norm=2]", "it is a setting of the training: write relational.pretrain.clip=2"),
        ("relationl[views=4]", "unknown method 'relationl'; did you mean relational?"),
    ],
)
def test_a_wrong_label_is_refused_in_words(method, complaint):
    with pytest.raises(RequestError) as caught:
        run_of(method=method)
    assert complaint in str(caught.value)


EXTENDING = 'name = "table"\nextends = "relational2020"\nsummary = "a table"\n'


def extension(folder, text, name="table"):
    path = folder / f"{name}.toml"
    path.write_text(EXTENDING.replace("table", name, 1) + text, encoding="utf-8")
    return str(path)


def test_what_a_protocol_adds_to_another_shares_its_runs(tmp_path):
    added = """
    [grid]
    methods = ["simclr"]
    datasets = ["cifar100"]
    evaluations = ["linear-10"]
    [evaluations.linear-10]
    evaluation = "linear"
    fraction = 0.1
    """
    base, run = (run_of(protocol=name) for name in ("relational2020", extension(tmp_path, added)))
    assert run.fingerprint() == base.fingerprint()
    assert (run.protocol, run.version, run.fairness, run.label) == ("relational2020", 1, "recipe", "relational2020")
    assert (run.preset, base.preset) == ("table", "relational2020")
    assert [part.label for part in run.evaluations] == ["linear", "linear-10"]
    assert run.evaluations[0] == base.evaluations[0]


def test_what_a_protocol_changes_of_another_is_a_setting(tmp_path):
    changed = """
    [pretrain]
    views = 20_000_000
    [methods.simclr]
    temperature = 0.1
    pretrain.batch = 256
    [evaluations.linear]
    epochs = 10
    [[when]]
    dataset = "cifar10"
    pretrain.lr = 0.01
    """
    words = ["pretrain.views=20000000", "simclr.temperature=0.1", "simclr.pretrain.batch=256", "linear.epochs=10"]
    run = run_of(protocol=extension(tmp_path, changed))
    same = run_of(*words, "pretrain.lr=0.01", protocol="relational2020")
    assert (run.fingerprint(), run.label, run.method, run.evaluations) == (
        *(same.fingerprint(), same.label, same.method, same.evaluations),
    )
    assert run.label == "relational2020[lr=0.01,views=20000000]"
    assert run.method.label == "simclr[batch=256,temperature=0.1]"
    elsewhere = run_of(protocol=extension(tmp_path, changed), dataset="cifar100")
    assert elsewhere.pretrain.lr == 1e-3


def test_the_command_line_wins_over_an_extension(tmp_path):
    protocol = extension(tmp_path, "pretrain.views = 1000\nmethods.simclr.temperature = 0.1")
    run = run_of("pretrain.epochs=3", "simclr.temperature=0.5", protocol=protocol)
    assert (run.pretrain.epochs, run.pretrain.views, run.method.label) == (3.0, None, "simclr")
    assert run.label == "relational2020[epochs=3]"


def test_extensions_may_be_extended(tmp_path):
    extension(tmp_path, "pretrain.epochs = 10\nmethods.simclr.temperature = 0.1\n[grid]\nseeds = [7]", name="first")
    path = tmp_path / "second.toml"
    path.write_text('name = "second"\nextends = "first.toml"\nsummary = ""\nmethods.simclr.temperature = 0.2\n')
    run = run_of(protocol=str(path))
    assert (run.label, run.method.label) == ("relational2020[epochs=10]", "simclr[temperature=0.2]")
    assert protocols.load(str(path)).grids == protocols.load(str(tmp_path / "first.toml")).grids
    assert protocols.load(str(path)).grids[0].seeds == (7,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version = 2", "table.toml extends relational2020, and so has its version; leave it out"),
        ("pretrain.epoch = 2", "pretrain has no option 'epoch'; did you mean epochs?"),
        ("methods.simclr.temprature = 2", "simclr has no option 'temprature'"),
        ('evaluations.linear.evaluation = "knn"', "linear has no option 'evaluation'"),
        ("[grid]\nmethod = 3", "grid has no option 'method'; did you mean methods?"),
        ("[[grid]]\nseeds = 3", "grid.seeds is 3; it must be a list of values"),
    ],
)
def test_a_wrong_extension_is_refused_in_words(tmp_path, text, complaint):
    with pytest.raises(RequestError) as caught:
        run_of(protocol=extension(tmp_path, text))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("extends", "complaint"), [("relational202", "did you mean relational2020"), ("a.toml", "extends itself")]
)
def test_an_extension_of_nothing_is_refused(tmp_path, extends, complaint):
    path = tmp_path / "a.toml"
    path.write_text(f'name = "a"\nextends = "{extends}"\nsummary = ""', encoding="utf-8")
    with pytest.raises(RequestError, match=complaint):
        protocols.load(str(path))


def write_protocol(folder, text):
    path = folder / "mine.toml"
    path.write_text(MINIMAL + text, encoding="utf-8")
    return str(path)


VARIANTS = """
[evaluations.linear]
[evaluations.linear-10]
evaluation = "linear"
fraction = 0.1
"""


def measured(run):
    return {part.label: (part.name, part.options.get("fraction")) for part in run.evaluations}


def test_a_protocol_may_hold_variants_of_an_evaluation(tmp_path):
    protocol = write_protocol(tmp_path, VARIANTS)
    both = {"linear": ("linear", 1.0), "linear-10": ("linear", 0.1)}
    assert measured(run_of(protocol=protocol)) == both
    assert measured(run_of(protocol=protocol, evaluate=["linear-10", "knn"])) == {
        "linear-10": ("linear", 0.1),
        "knn": ("knn", None),
    }


def test_a_variant_is_changed_by_its_label(tmp_path):
    protocol = protocols.load(write_protocol(tmp_path, VARIANTS))
    changes = parse_changes(["linear-10.fraction=0.2", "linear.epochs=3"], protocol.labels())
    words = {"method": "random", "dataset": "digits", "backbone": "conv4", "seed": 0, "data": Path("data")}
    run = resolve(protocol, changes=changes, **words)
    assert measured(run) == {"linear[epochs=3]": ("linear", 1.0), "linear-10[fraction=0.2]": ("linear", 0.2)}
    with pytest.raises(RequestError, match=r"unknown target of --set 'linear-1'; did you mean linear-10"):
        parse_changes(["linear-1.fraction=0.2"], protocol.labels())


def test_a_variant_is_the_evaluation_with_its_options(tmp_path):
    variant = run_of(protocol=write_protocol(tmp_path, VARIANTS), evaluate=["linear-10"]).evaluations[0]
    plain = run_of("linear.fraction=0.1", evaluate=["linear"]).evaluations[0]
    assert variant.identity() == plain.identity()
    assert plain.label == "linear[fraction=0.1]"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[evaluations.linear-10]\nevaluation = "liner"', "unknown evaluation 'liner'; did you mean linear"),
        ("[evaluations.linear-10]\nfraction = 0.1", "unknown evaluation 'linear-10'; did you mean linear"),
        ('[evaluations.half]\nevaluation = "knn"\nfraction = 0.5', "half has no option 'fraction'"),
        ("[evaluations.linear]\nimage_size = 0", "linear.image_size must be 1 or more, not 0"),
        ('[evaluations.linear]\nfraction = "half"', "linear.fraction is 'half'; it must be a number"),
    ],
)
def test_a_wrong_variant_is_refused_in_words(tmp_path, text, complaint):
    with pytest.raises(RequestError) as caught:
        run_of(protocol=write_protocol(tmp_path, text))
    assert complaint in str(caught.value)


@pytest.fixture
def pictures(tmp_path):
    for place in ("train/a", "train/b", "test/a"):
        (tmp_path / "my pictures" / place).mkdir(parents=True)
        (tmp_path / "my pictures" / place / "1.png").write_bytes(b"not looked into")
    return tmp_path / "my pictures"


def test_folder_names_are_readable_and_safe(pictures):
    run = run_of(dataset=f"folder:{pictures}", backbone="timm:resnet18@small", seed=3)
    name = run.folder()
    assert "my_pictures-timm_resnet18@small-simclr-s3-" in name
    assert name.endswith(run.fingerprint()[:8])
    assert "/" not in name


def test_a_folder_is_identified_by_its_files_not_by_its_path(pictures):
    before = run_of(dataset=f"folder:{pictures}").fingerprint()
    moved = pictures.rename(pictures.with_name("moved"))
    assert run_of(dataset=f"folder:{moved}").fingerprint() == before
    changed = moved.with_name("changed")
    shutil.copytree(moved, changed)
    (changed / "train/a/2.png").write_bytes(b"one more")
    assert run_of(dataset=f"folder:{changed}").fingerprint() != before


def test_resolving_does_not_import_torch():
    code = """
    import sys
    from pathlib import Path
    from protocols.spec.protocol import load
    from protocols.spec.resolve import resolve
    words = {"method": "simclr", "dataset": "cifar10", "backbone": "conv4"}
    resolve(load("quick"), **words, seed=0, changes={}, data=Path("data")).folder()
    assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


MINIMAL = """
name = "mine"
version = 1
track = "controlled"
summary = "mine"
[pretrain]
epochs = 1
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "Invalid value"),
        (MINIMAL.replace("version = 1", ""), "lacks version"),
        (MINIMAL.replace("controlled", "free"), "choose controlled, recipe"),
        (MINIMAL.replace("epochs", "epoch"), "pretrain has no option 'epoch'; did you mean epochs?"),
        (MINIMAL + "views = 3", "give one budget, in epochs, views or flops"),
        (MINIMAL + "[recipe.standard]\nflip = 1", "has no table 'recipe'; did you mean recipes?"),
        (MINIMAL + "[recipes.standard]\nflop = 1", "recipes.standard has no option 'flop'"),
        (MINIMAL + "[[when]]\npretrain.epochs = 3", "has no condition"),
        (MINIMAL + "[[when]]\ndataset = 'stl10'\nbatch = 3", "unknown batch"),
        ("grid = 3\n" + MINIMAL, "grid is 3; it must be a table"),
        ("recipes = 3\n" + MINIMAL, "recipes is 3; it must be a table"),
        (MINIMAL + "[recipes]\nstandard = 3", "recipes.standard is 3; it must be a table"),
        (MINIMAL + "[evaluations]\nknn = 3", "evaluations.knn is 3; it must be a table"),
        (MINIMAL + "[refinements]\ngraph = 3", "refinements.graph is 3; it must be a table"),
        (MINIMAL + "[methods.simclr]\npretrain = 3", "methods.simclr.pretrain is 3; it must be a table"),
        (MINIMAL + "[[when]]\ndataset = 'digits'\nevaluations.knn = 3", "evaluations.knn is 3; it must be a table"),
        (MINIMAL + "[[when]]\ndataset = 3\npretrain.lr = 1", "when.dataset is 3; it must be a text"),
        ("when = 3\n" + MINIMAL, "when is 3; write [[when]]"),
        ("when = [3]\n" + MINIMAL, "when is 3; it must be a table"),
        (MINIMAL + "[evaluations.mine]\nevaluation = 3", "evaluations.mine.evaluation is 3; it must be a name"),
        (MINIMAL + "[evaluations.'a,b']", "evaluations.'a,b' is no label"),
        (MINIMAL + "[evaluations.pretrain]", "evaluations.'pretrain' is no label"),
        (MINIMAL + "[refinements.averaged]\n[refinements.neighbour_mean]", "says something twice"),
        (MINIMAL + "[refinements.graph]\nbeside = true\nappend_input = false", "says something twice"),
        (MINIMAL + "[grid]\nseeds = [-1]", "grid.seeds must be 0 or more, not -1"),
    ],
)
def test_a_wrong_protocol_file_is_refused_in_words(tmp_path, text, complaint):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        protocols.load(str(path))
    assert complaint in str(caught.value)


def test_a_protocol_may_be_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert protocols.load(str(path)).name == "mine"


def test_an_unknown_protocol_gets_a_suggestion():
    with pytest.raises(RequestError, match=r"unknown protocol 'quik'; did you mean quick\?"):
        protocols.load("quik")
