"""Weights that were trained elsewhere, beside methods that are trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm as library
import torch
from huggingface_hub import constants

from methods.pretrained import IMAGENET
from protocols.backbones import timm_models
from protocols.backbones.small import Conv4
from protocols.backbones.timm_models import timm
from protocols.check.preflight import check
from protocols.evaluate.evaluator import Evaluator
from protocols.runner import execute
from protocols.spec.execution import ExecutionContext
from protocols.spec.grid import Request, expand
from protocols.system.progress import ProgressListener
from results import store
from results.errors import RequestError, UnknownName
from tests.tools import forked


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A checkpoint of a Conv-4 under another's names."""
    torch.manual_seed(1)
    backbone = Conv4()
    state = {name: backbone.state_dict()[key] for name, key in backbone.common_names().items()}
    path = tmp_path_factory.mktemp("weights") / "conv4.tar"
    torch.save({"backbone": state, "epoch": 200}, path)
    return path


def runs_of(*methods, **words):
    words = {"datasets": ["digits"], "seeds": [0, 1], "evaluations": ["knn"], **words}
    return expand(Request(methods=methods, **words), Path("data"))


def checked(*methods, **words):
    return check(runs_of(*methods, **words), Path("data"))


def test_it_is_one_repetition_under_its_name_and_known_by_its_content(weights, tmp_path):
    (run,) = runs_of(f"pretrained[weights={weights},name=paper]")
    assert (run.method.label, run.baseline, run.seed) == ("paper", "external", 0)
    copy = Path(shutil.copy(weights, tmp_path / "moved.tar"))
    (moved,) = runs_of(f"pretrained[weights={copy},name=paper]")
    assert moved.fingerprint() == run.fingerprint()
    torch.save({**torch.load(weights), "epoch": 201}, copy)
    (changed,) = runs_of(f"pretrained[weights={copy},name=paper]")
    assert changed.fingerprint() != run.fingerprint()
    (unnamed,) = runs_of(f"pretrained[weights={weights}]", seeds=[3, 4])
    assert (unnamed.method.label, unnamed.seed) == (f"pretrained[weights={weights}]", 3)
    assert len(runs_of(f"pretrained[weights={weights}]", "random")) == 3


def test_its_features_are_those_of_the_file(weights, tmp_path):
    """Normalised by the data set or by values; nothing is trained and no budget claimed."""
    (run,) = runs_of(f"pretrained[weights={weights},normalisation=imagenet]")
    notices = []
    listener = ProgressListener()
    listener.warn = notices.append
    record = execute(run, ExecutionContext(tmp_path, tmp_path, "cpu"), listener)
    assert (record.cost.views, record.cost.views_per_second, record.cost.flops, record.history) == (0, None, None, ())
    assert len(record.metrics) == 1
    assert notices == [f"{weights}: 24 tensors under 'backbone.'"]
    stored = torch.load(tmp_path / run.folder() / store.BACKBONE)["backbone"]
    given, names = torch.load(weights)["backbone"], Conv4().common_names()
    assert all(stored[names[name]].equal(value) for name, value in given.items())
    backbone = Conv4().eval()
    backbone.load_state_dict(stored)
    evaluator = Evaluator(run, tmp_path, backbone, tmp_path, listener)
    context = evaluator.context("digits")
    assert (context.dataset.mean, context.dataset.std) == IMAGENET
    images = torch.from_numpy(context.dataset.test.images[:50]).permute(0, 2, 1, 3) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    with torch.no_grad():
        expected = backbone((images - mean) / std)
    torch.testing.assert_close(context.features.test[:50], expected, rtol=1e-5, atol=1e-5)


def test_images_have_the_size_and_the_statistics_that_are_asked_for(weights, tmp_path):
    label = f"pretrained[weights={weights},image_size=24,mean=[0.5,0.5,0.5],std=[0.25,0.25,0.2]]"
    (run,) = runs_of(label)
    check([run], tmp_path)
    context = Evaluator(run, tmp_path, Conv4(), tmp_path, ProgressListener()).context("digits")
    assert context.image_size == 24
    assert context.dataset.std == (0.25, 0.25, 0.2)
    (other,) = runs_of(f"pretrained[weights={weights}]")
    plain = Evaluator(other, tmp_path, Conv4(), tmp_path, ProgressListener()).context("digits")
    assert plain.image_size is None
    assert plain.dataset.std != context.dataset.std


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("", "pretrained has no weights; write pretrained"),
        ("[weights=none.pth]", "pretrained.weights: no such file: none.pth"),
        ("[weights=FILE,mean=[0.5,0.5,0.5]]", "give mean and std, or normalisation"),
        ("[weights=FILE,std=[0.5,0.5,0],mean=[0,0,0]]", "std must be above 0"),
        ("[weights=FILE,tag=dino]", "tag and normalisation=timm are for weights=timm"),
        ("[weights=FILE,name=simclr]", "is a method's"),
        ("[weights=FILE,name=a b]", "has other signs"),
        ("[weights=FILE,normalisation=cifar]", "normalisation is 'cifar'; choose dataset, imagenet, timm"),
        ("[weights=FILE,image_size=0]", "image_size must be 1 or more"),
        ("[weights=FILE,prefix=nothing]", "has no weights of this backbone"),
        ("[weights=timm]", "weights=timm: the backbone is not one of timm's models"),
    ],
)
def test_what_cannot_work_is_refused_before_work_starts(weights, options, complaint):
    with pytest.raises(RequestError, match=complaint) as caught:
        checked(f"pretrained{options.replace('FILE', str(weights))}")
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_fit_is_refused_before_work_starts(weights):
    with pytest.raises(RequestError, match=r"does not fit the backbone|has no weights"):
        checked(f"pretrained[weights={weights}]", backbones=["resnet8"])


def test_timms_weights_are_loaded_at_the_size_of_the_images(monkeypatch):
    """Without a connection: timm's own loading of a file stands for the download."""
    published = library.create_model("test_vit", num_classes=0)
    create = library.create_model

    def create_from_file(name, *, pretrained=False, **options):
        source = {"pretrained_cfg_overlay": {"state_dict": published.state_dict(), "num_classes": 0}}
        return create(name, pretrained=pretrained, **options, **(source if pretrained else {}))

    monkeypatch.setattr(library, "create_model", create_from_file)
    monkeypatch.setattr(timm_models, "is_reachable", lambda url: True)
    backbone = timm("timm:test_vit@patch=16", 64)
    weights = backbone.published_weights("")
    assert weights["blocks.0.norm1.weight"].equal(published.state_dict()["blocks.0.norm1.weight"])
    assert weights["pos_embed"].shape == backbone.model.pos_embed.shape
    settings = library.get_pretrained_cfg("test_vit")
    assert backbone.published_statistics("") == (settings.mean, settings.std)
    with pytest.raises(UnknownName, match="tag of test_vit"):
        backbone.published_weights("nothing")


@pytest.mark.parametrize(
    ("answers", "reason"), [(True, "no route to host"), (False, "https://huggingface.co does not answer")]
)
def test_timms_weights_that_cannot_be_downloaded_are_refused_in_one_line(monkeypatch, answers, reason):
    """Without an answer the hub looks for stored weights only, and does not try again for minutes."""

    def create(name, *, pretrained=False, **options):
        if pretrained:
            offline.append(constants.HF_HUB_OFFLINE)
            raise OSError("no route to host\nand more")
        return original(name, **options)

    offline, original = [], library.create_model
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(library, "create_model", create)
    monkeypatch.setattr(timm_models, "is_reachable", lambda url: answers)
    with pytest.raises(RequestError, match=f"not on this machine and cannot be downloaded: {reason}") as caught:
        checked("pretrained[weights=timm]", backbones=["timm:test_vit"])
    assert "\n" not in str(caught.value)
    assert (offline, constants.HF_HUB_OFFLINE) == ([not answers], False)


def test_it_stands_in_tables_and_figures_beside_others(weights, tmp_path):
    other = Path(shutil.copy(weights, tmp_path / "other.tar"))
    torch.save({**torch.load(weights), "epoch": 201}, other)
    methods = f"pretrained[weights={weights},name=paper],pretrained[weights={other},name=other],simclr"
    grid = ["--datasets", "digits", "--seeds", "0,1", "--views", "1000", "--evaluations", "knn"]
    done = forked.bench("run", "--methods", methods, *grid, "--refine", "neighbour_mean", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [row.split()[1] for row in rows[2:5]] == ["other", "paper", "simclr"]
    assert all("(1)" in row and "±" not in row and "**" not in row for row in rows[2:4])
    assert "no run was started" not in table
    assert "other, paper: pretrained elsewhere, on images and with a budget that are not known" in table
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    assert sorted(record["run"]["method"]["label"] for record in records) == [*["other", "paper", "simclr", "simclr"]]
    assert all(len(record["metrics"]) == 2 for record in records)
