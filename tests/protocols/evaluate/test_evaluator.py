"""What is measured of a backbone: on which data sets, from which labels, and never twice."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import center_crop, normalize, resize

from bench.commands import show
from protocols.augment.augmenter import Augmenter
from protocols.backbones import inference
from protocols.backbones.small import Conv4
from protocols.datasets.load import load_dataset
from protocols.evaluate.finetune import finetune
from protocols.evaluate.knn import knn
from protocols.features.context import EvaluationContext
from protocols.features.extraction import extract_dataset
from protocols.features.features import Features
from protocols.pretrain.build import build_augmenters
from protocols.pretrain.stage import pretrained_backbone
from protocols.refine.refiner import with_extra_state
from protocols.runner import execute
from protocols.spec import protocol as protocols
from protocols.spec.execution import ExecutionContext
from protocols.spec.resolve import missing_evaluations, parse_changes, resolve
from protocols.system.progress import ProgressListener
from results import store
from results.errors import RequestError
from results.record import Record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A folder of images in three classes, told apart by colour; its statistics are not those of digits."""
    folder, g = tmp_path_factory.mktemp("data") / "colours", np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for label, name in enumerate("rgb"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = g.normal(60, 40, (16, 16, 3)) + 30 * np.eye(3)[label]
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / split / name / f"{number:02}.png")
    return f"folder:{folder}"


def run_of(*settings, method="random", protocol="quick", **words):
    return resolve(
        protocols.load(protocol),
        method=method,
        dataset="digits",
        backbone="conv4",
        seed=0,
        changes=parse_changes(settings),
        data=Path("data"),
        **words,
    )


def carry_out(run, runs, listener=None):
    return execute(run, ExecutionContext(runs, runs / "data", "cpu"), listener or ProgressListener())


class NoTraining(ProgressListener):
    """Hears of no pretraining."""

    def stage(self, name, total, done=0):
        assert name != "pretrain"


def stored_backbone(folder):
    backbone = Conv4().eval()
    backbone.load_state_dict(torch.load(folder / store.BACKBONE, weights_only=True)["backbone"])
    return backbone


def values(record, metric="top1"):
    return {(m.label, m.dataset): m.value for m in record.metrics if m.metric == metric}


def test_a_target_is_measured_with_its_own_normalisation(tmp_path, colours):
    run = run_of(evaluate=["knn"], evaluate_on=[colours])
    record = carry_out(run, tmp_path)
    backbone = stored_backbone(tmp_path / run.folder())
    target = load_dataset(colours, tmp_path)

    def features_of(split):
        pixels = torch.from_numpy(split.images).permute(0, 2, 1, 3) / 255
        with torch.no_grad():
            return backbone(
                (pixels - torch.tensor(target.mean)[:, None, None]) / torch.tensor(target.std)[:, None, None]
            )

    labels = [torch.from_numpy(split.labels) for split in (target.train, target.test)]
    expected = knn(Features(features_of(target.train), labels[0], features_of(target.test), labels[1], 3, 0))
    assert values(record) == {("knn", colours): pytest.approx(expected["top1"])}
    assert record.metrics[0].n == 30


def test_images_are_measured_at_the_size_that_an_evaluation_asks_for(tmp_path, colours):
    """Torchvision's resize beside ours; the result stands beside that of the data set's own size."""
    native = carry_out(run_of(evaluate=["knn"], evaluate_on=[colours], refine=["graph"]), tmp_path)
    run = run_of(evaluate=["knn[image_size=24]"], evaluate_on=[colours], refine=["graph"])
    record = carry_out(run, tmp_path, NoTraining())
    backbone = stored_backbone(tmp_path / run.folder())
    target = load_dataset(colours, tmp_path)

    def features_of(split):
        pixels = torch.from_numpy(split.images).permute(0, 2, 1, 3) / 255
        with torch.no_grad():
            return backbone(normalize(resize(pixels, [24, 24]), target.mean, target.std))

    labels = [torch.from_numpy(split.labels) for split in (target.train, target.test)]
    expected = knn(Features(features_of(target.train), labels[0], features_of(target.test), labels[1], 3, 0))
    measured = {(m.label, m.refinement): m.value for m in record.metrics}
    assert measured["knn[image_size=24]", ""] == pytest.approx(expected["top1"])
    assert len(measured) == 4
    assert {(m.label, m.refinement): m.value for m in native.metrics}.items() <= measured.items()
    assert record.cost.seconds.keys() > {f"graph on {colours}", f"graph at 24 px on {colours}"}


def test_images_are_resized_and_cropped_as_an_evaluation_asks_for(tmp_path, colours):
    """Torchvision's resize and centre crop beside ours; the identity without a crop is what it was."""
    run = run_of(evaluate=["knn", "knn[image_size=24,crop_pct=0.875]"], evaluate_on=[colours])
    record = carry_out(run, tmp_path)
    backbone = stored_backbone(tmp_path / run.folder())
    target = load_dataset(colours, tmp_path)

    def features_of(split):
        pixels = torch.from_numpy(split.images).permute(0, 2, 1, 3) / 255
        with torch.no_grad():
            cropped = center_crop(resize(pixels, [27, 27]), [24, 24])
            return backbone(normalize(cropped, target.mean, target.std))

    train, test = features_of(target.train), features_of(target.test)
    seen = extract_dataset(backbone, target, CPU, 0, size=24, crop_pct=0.875)
    torch.testing.assert_close(seen.test, test, atol=1e-4, rtol=1e-4)
    labels = [torch.from_numpy(split.labels) for split in (target.train, target.test)]
    expected = knn(Features(train, labels[0], test, labels[1], 3, 0))
    measured = {m.label: m.value for m in record.metrics}
    assert measured[run.evaluations[1].label] == pytest.approx(expected["top1"])
    assert "crop_pct" not in run.evaluations[0].identity()["options"]
    assert run.evaluations[1].identity()["options"]["crop_pct"] == 0.875


@pytest.mark.parametrize("part", ["0", "1.5", "half"])
def test_an_impossible_crop_is_refused(part):
    with pytest.raises(RequestError, match=r"knn\.crop_pct (is|must be)"):
        run_of(f"knn.crop_pct={part}", evaluate=["knn"])


def test_finetuning_sees_the_size_too(tmp_path, colours):
    class Backbone(Conv4):
        def forward(self, images):
            sides.add(images.shape[-1])
            return super().forward(images)

    sides = set()
    target = load_dataset(colours, tmp_path)
    augmenters = build_augmenters(run_of(), target, size=24)
    context = EvaluationContext(Backbone(), target, augmenters, 0, ProgressListener(), 24)
    for augmentation in ("none", "light", "affine"):
        finetune(context, epochs=1, augmentation=augmentation)
    assert sides == {24}


@pytest.mark.parametrize("size", ["0", "-8", "1.5", "large", "100000"])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(RequestError, match=r"knn\.image_size (is|must be)"):
        run_of(f"knn.image_size={size}", evaluate=["knn"])


def test_a_further_target_is_measured_alone(tmp_path, colours):
    first = carry_out(run_of(), tmp_path)
    folder = tmp_path / run_of().folder()
    before = {path.name: path.stat().st_mtime_ns for path in (folder / store.EVALUATIONS).iterdir()}
    second = carry_out(run_of(evaluate=["linear"], evaluate_on=[colours]), tmp_path, NoTraining())
    assert values(second) == {**values(first), ("linear", colours): values(second)["linear", colours]}
    assert second.cost.seconds.keys() == {*first.cost.seconds, f"linear on {colours}"}
    after = {path.name: path.stat().st_mtime_ns for path in (folder / store.EVALUATIONS).iterdir()}
    assert before.items() < after.items()
    assert Record.from_json(store.read_run(folder).record).metrics == second.metrics


def test_what_was_measured_stays_when_its_data_are_gone(tmp_path, colours):
    copy = Path(shutil.copytree(colours.partition(":")[2], tmp_path / "copy"))
    carry_out(run_of(evaluate=["knn"], evaluate_on=[f"folder:{copy}"]), tmp_path)
    shutil.rmtree(copy)
    record = carry_out(run_of(evaluate=["linear"]), tmp_path, NoTraining())
    assert [key for key, _ in values(record)] == ["knn", "linear"]


def test_a_record_of_a_version_that_knew_less_is_enough(tmp_path):
    """Neither targets nor fractions, and other files of evaluations: nothing is measured again, nothing lost."""
    first = carry_out(run_of(), tmp_path)
    folder = tmp_path / run_of().folder()
    for path in (folder / store.EVALUATIONS).glob("[kl]*.json"):
        path.unlink()
    record = store.read_json(folder / store.RECORD)
    for part in record["run"]["evaluations"]:
        del part["dataset"]
        part["options"].pop("fraction", None)
    del record["pictures"]
    record["metrics"][0]["value"] = 12.5
    store.write_json(folder / store.RECORD, record)
    assert missing_evaluations(run_of(), record) == ()
    second = carry_out(run_of("knn.k=3", evaluate=["knn"]), tmp_path, NoTraining())
    assert list(values(second)) == [("linear", "digits"), ("knn", "digits"), ("knn[k=3]", "digits")]
    assert values(second)["linear", "digits"] == 12.5
    assert second.cost.seconds["linear"] == first.cost.seconds["linear"]


def test_variants_of_one_evaluation_are_measured_each_under_its_label(tmp_path):
    """What was measured under another label is not measured again."""
    carry_out(run_of("linear.fraction=0.1", evaluate=["linear"]), tmp_path)
    path = tmp_path / "mine.toml"
    quick = (protocols.PRESETS / "quick.toml").read_text(encoding="utf-8")
    path.write_text(quick + '[evaluations.linear-10]\nevaluation = "linear"\nfraction = 0.1\n', encoding="utf-8")
    record = carry_out(run_of(protocol=str(path), evaluate=["linear", "linear-10"]), tmp_path, NoTraining())
    by_label = {label: value for (label, _), value in values(record).items()}
    assert set(by_label) == {"linear", "linear-10", "linear[fraction=0.1]"}
    assert by_label["linear-10"] == by_label["linear[fraction=0.1]"] < by_label["linear"]
    assert len(list((tmp_path / run_of().folder() / store.EVALUATIONS).glob("linear-*"))) == 2


def test_finetuning_leaves_frozen_evaluations_alone(tmp_path, colours):
    before = values(carry_out(run_of(evaluate=["knn"], evaluate_on=[colours]), tmp_path / "before"))
    both = run_of("finetune.epochs=1", evaluate=["finetune", "knn"], evaluate_on=[colours])
    after = values(carry_out(both, tmp_path / "after"))
    assert list(after) == [("finetune[epochs=1]", colours), ("knn", colours)]
    assert after["knn", colours] == before["knn", colours]


def test_a_contact_sheet_lies_in_the_folder_and_is_named(tmp_path, colours):
    run = run_of(evaluate=["retrieval"], evaluate_on=[colours])
    record = carry_out(run, tmp_path)
    (picture,) = record.pictures
    assert (picture.label, picture.dataset) == ("retrieval", colours)
    with Image.open(tmp_path / run.folder() / picture.file) as sheet:
        assert sheet.format == "PNG"
    assert [m.metric for m in record.metrics] == ["precision@1", "precision@10", "map"]
    folder = store.read_run(tmp_path / run.folder())
    assert Record.from_json(folder.record).pictures == record.pictures
    assert f"shown on {colours} in {picture.file}" in "\n".join(show.lines(folder))


def test_a_run_may_be_stopped_between_evaluations(tmp_path):
    class StopBefore(ProgressListener):
        note = ""

        def progress(self, done, note=""):
            self.note = note

        def stopping(self):
            return self.note == "linear"

    with pytest.raises(KeyboardInterrupt):
        carry_out(run_of(), tmp_path, StopBefore())
    kept = {path.name.partition("-")[0] for path in (tmp_path / run_of().folder() / store.EVALUATIONS).iterdir()}
    assert kept == {"health", "linear"}
    assert set(values(carry_out(run_of(), tmp_path))) == {("linear", "digits"), ("knn", "digits")}


def test_computing_features_says_how_far_it_is_and_may_be_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "batch_size", lambda _: 500)

    class StopAt(ProgressListener):
        def __init__(self, images):
            self.images, self.stage_name, self.reported = images, "", []

        def stage(self, name, total, done=0):
            self.stage_name = name
            if name == "features":
                assert total == 1297 + 500

        def progress(self, done, note=""):
            if self.stage_name == "features":
                self.reported.append(done)

        def stopping(self):
            return self.reported[-1:] == [self.images]

    listener = StopAt(1000)
    with pytest.raises(KeyboardInterrupt):
        carry_out(run_of(), tmp_path, listener)
    assert listener.reported == [500, 1000]
    carry_out(run_of(), tmp_path, listener := StopAt(None))
    assert listener.reported == [500, 1000, 1297, 1797], "once for all evaluations"


def test_health_compares_few_views_at_a_time(tmp_path, monkeypatch):
    """Views of all images together would take gigabytes at 224 pixels."""
    monkeypatch.setattr(inference, "batch_size", lambda _: 1000)
    together = carry_out(run_of(), tmp_path / "together").health
    sizes, views = [], Augmenter.__call__
    monkeypatch.setattr(inference, "batch_size", lambda _: 100)
    monkeypatch.setattr(
        Augmenter, "__call__", lambda self, images, index, u: sizes.append(len(index)) or views(self, images, index, u)
    )
    apart = carry_out(run_of(), tmp_path / "apart").health
    assert max(sizes) == 100
    numbers = [[value for value in msgspec.structs.astuple(one) if value != ""] for one in (apart, together)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)


REFINED = ["graph.epochs=1", "graph.k=4"]


def test_evaluations_are_repeated_after_refinements_and_kept(tmp_path):
    """What is stored is neither refined nor measured again; a further refinement is measured alone."""
    bare = carry_out(run_of(evaluate=["knn"]), tmp_path)
    run = run_of(*REFINED, evaluate=["finetune", "knn"], refine=["averaged", "graph"])
    assert [run.evaluation_name(evaluation) for evaluation in run.evaluations] == [
        "finetune",
        "knn",
        "knn after averaged",
        "knn after graph[epochs=1,k=4]",
    ]
    run = run_of(*REFINED, evaluate=["knn"], refine=["averaged", "graph"])
    assert run.folder() == run_of().folder()
    record = carry_out(run, tmp_path, NoTraining())
    found = {m.refinement: m for m in record.metrics}
    assert list(found) == ["", "averaged", "graph[epochs=1,k=4]"]
    assert found[""] == bare.metrics[0]
    assert not any(m.transductive for m in record.metrics)
    assert len({m.value for m in record.metrics}) > 1
    folder = tmp_path / run.folder()
    before = {path.name: path.stat().st_mtime_ns for path in (folder / store.EVALUATIONS).iterdir()}
    further = carry_out(
        run_of("transductive.epochs=1", evaluate=["knn"], refine=["transductive"]), tmp_path, NoTraining()
    )
    assert [m.transductive for m in further.metrics] == [False, False, False, True]
    assert further.metrics[:3] == record.metrics
    after = {path.name: path.stat().st_mtime_ns for path in (folder / store.EVALUATIONS).iterdir()}
    assert before.items() < after.items()
    assert Record.from_json(store.read_run(folder).record).metrics == further.metrics


def test_a_refinement_leaves_its_graph_and_pictures(tmp_path):
    run = run_of(*REFINED, evaluate=["knn"], refine=["averaged", "graph"])
    record = carry_out(run, tmp_path)
    folder = tmp_path / run.folder()
    assert [(p.label, Path(p.file).stem.rpartition("-")[2]) for p in record.pictures] == [
        ("averaged", "map"),
        ("graph[epochs=1,k=4]", "map"),
        ("graph[epochs=1,k=4]", "neighbours"),
    ]
    for picture in record.pictures:
        with Image.open(folder / picture.file) as drawn:
            assert drawn.format == "PNG"
            assert len(np.unique(np.asarray(drawn))) > 20
    (graph,) = folder.glob("evaluations/graph-digits-*.npz")
    digits = load_dataset("digits", tmp_path)
    with np.load(graph) as kept:
        assert kept["train"].shape == (len(digits.train), 4)
        assert kept["test"].shape == (len(digits.test), 4)
        assert kept["train"].dtype == kept["test"].dtype == np.int32
    assert "graph[epochs=1,k=4]" in record.cost.seconds


def test_a_method_with_two_networks_offers_both_and_its_recorded_graph(tmp_path):
    settings = ["pretrain.views=1000", "graph_nnclr.prototypes=16", "graph_nnclr.hidden=16"]
    run = run_of(*settings, method="graph_nnclr", evaluate=["knn"], refine=["concatenated"])
    record = carry_out(run, tmp_path)
    assert [m.refinement for m in record.metrics] == ["", "concatenated"]
    backbone, _ = pretrained_backbone(
        run, load_dataset("digits", tmp_path), CPU, ProgressListener(), ExecutionContext(tmp_path, tmp_path)
    )
    subject = EvaluationContext(backbone, load_dataset("digits", tmp_path), {}, 0, ProgressListener())
    given = with_extra_state(subject, run, tmp_path / run.folder())
    kept = torch.load(tmp_path / run.folder() / store.EXTRA_STATE, weights_only=True)
    assert torch.equal(given.recorded_neighbours, kept["teacher_neighbours"])
    assert torch.equal(given.student.recorded_neighbours, kept["student_neighbours"])
    assert not torch.allclose(given.train, given.student.train)
    network = Conv4().eval()
    network.load_state_dict({k.removeprefix("student."): v for k, v in kept.items() if k.startswith("student.")})
    again = extract_dataset(network, subject.dataset, CPU, 0)
    torch.testing.assert_close(given.student.test, again.test)


def test_a_method_with_one_network_has_nothing_to_concatenate(tmp_path):
    record = carry_out(run_of(evaluate=["knn"], refine=["concatenated"]), tmp_path)
    assert [m.refinement for m in record.metrics] == [""]


def test_another_data_set_has_no_recorded_graph(tmp_path, colours):
    settings = ["pretrain.views=1000", "graph_nnclr.prototypes=16", "graph_nnclr.hidden=16"]
    run, digits = run_of(*settings, method="graph_nnclr", evaluate=["knn"]), load_dataset("digits", tmp_path)
    (tmp_path / run.folder()).mkdir()
    backbone, _ = pretrained_backbone(run, digits, CPU, ProgressListener(), ExecutionContext(tmp_path, tmp_path))
    subject = EvaluationContext(backbone, load_dataset(colours, tmp_path), {}, 0, ProgressListener())
    given = with_extra_state(subject, run, tmp_path / run.folder())
    assert given.recorded_neighbours is None
    assert given.student.recorded_neighbours is None


def test_a_protocol_may_name_its_refinements(tmp_path):
    path = tmp_path / "mine.toml"
    quick = (protocols.PRESETS / "quick.toml").read_text(encoding="utf-8")
    path.write_text(quick + '[refinements.published]\nrefinement = "transductive"\nk = 3\n', encoding="utf-8")
    run = run_of(protocol=str(path), evaluate=["knn"])
    (refinement,) = [e.refinement for e in run.evaluations if e.refinement]
    assert (refinement.name, refinement.label, refinement.options["k"]) == ("transductive", "published", 3)
    for word, message in (
        ("grahp", "unknown refinement 'grahp'; did you mean graph"),
        ("graph[kk=2]", "no option 'kk'"),
    ):
        with pytest.raises(RequestError, match=message):
            run_of(protocol=str(path), refine=[word])
