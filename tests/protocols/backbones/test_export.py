"""Exported backbones, loaded by others: with bench out of reach, equal to the bit."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import bench
from protocols.backbones.block import Block
from protocols.backbones.export import write_export
from protocols.backbones.small import Conv4, ResNet, cifar_resnet
from protocols.backbones.timm_models import timm
from results.errors import RequestError, UnknownName
from tests.tools import forked

CARD = {
    "method": "simclr",
    "dataset": "digits",
    "backbone": "",
    "protocol": "quick",
    "seed": 0,
    "views": 1000,
    "external": False,
    "weights": "",
    "image_side": 32,
    "dim": 64,
    "parameters": 1,
    "accuracies": [],
    "normalisation": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}
MAKERS = {
    "resnet8": lambda: cifar_resnet(1),
    "large-stem": lambda: ResNet(Block(3, 8, 7, 2), nn.MaxPool2d(3, stride=2, padding=1), (8, 16), (1, 2)),
    "small": lambda: timm("timm:resnet18@small", 32),
    "vit": lambda: timm("timm:test_vit@patch=4@pool=avg", 32),
    "fixed": lambda: timm("timm:test_vit", 32),
}
TIMM_ALONE = ("vit", "fixed")

LOAD = """
import sys
ours = ("bench", "methods", "protocols", "results", "slurm")
sys.modules.update(dict.fromkeys([*ours, *(name for name in sys.modules if name.split(".")[0] in ours)]))
try:  # what is None in sys.modules cannot be imported
    import bench
    sys.exit("bench is there")
except ImportError:
    pass
import torch

images = torch.load("images.pt")
found = {}
for name in BACKBONES:
    sys.path.insert(0, name)
    sys.modules.pop("model", None)
    import model
    with torch.no_grad():
        found[name] = model.load()(images)
    sys.path.pop(0)
import timm
for name in TIMM_ALONE:
    code = open(f"{name}/README.md").read().split("```python")[2].split("```")[0]
    space = {}
    exec(code.replace('"model.safetensors"', f'"{name}/model.safetensors"'), space)
    backbone = space["backbone"]
    side = 160 if name == "fixed" else 32
    inputs = torch.nn.functional.interpolate(images, size=side, mode="bicubic", antialias=True)
    with torch.no_grad():
        found[f"{name} by timm"] = backbone(inputs if side != 32 else images)
torch.save(found, "found.pt")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with one tiny run, its export by the command, and a run of what was exported."""
    folder = tmp_path_factory.mktemp("run")
    grid = ["--datasets", "digits", "--seeds", "0", "--views", "2000", "--evaluations", "knn"]
    commands = [
        ["run", "--methods", "simclr", *grid],
        ["export", "digits-conv4-simclr", "--to", "conv4"],
        ["run", "--methods", "pretrained[weights=conv4/model.safetensors,name=again]", *grid],
    ]
    done = forked.bench_all(*commands, cwd=folder)
    assert done.returncode == 0, done.stderr
    written = [line for line in done.stdout.splitlines() if line.startswith("conv4/")]
    assert written == [f"conv4/{name}" for name in ("README.md", "card.json", "model.py", "model.safetensors")]
    return folder


@pytest.fixture(scope="module")
def exports(run):
    """Features by backbone: of the exports, loaded without bench, and of the backbones themselves."""
    expected, images = {}, torch.rand(3, 3, 32, 32)
    torch.save(images, run / "images.pt")
    backbones = {name: make() for name, make in MAKERS.items()}
    for name, backbone in backbones.items():
        for key, value in backbone.state_dict().items():
            if "running" in key:
                value.copy_(torch.rand_like(value) + 0.5)
        write_export(backbone, run / name, {**CARD, "backbone": name})
    backbones["conv4"] = bench.load_backbone("digits-conv4-simclr", runs=run / "runs")
    with torch.no_grad():
        expected = {name: backbone.eval()(images) for name, backbone in backbones.items()}
    expected |= {f"{name} by timm": expected[name] for name in TIMM_ALONE}
    names = f"BACKBONES, TIMM_ALONE = {[*backbones]}, {TIMM_ALONE}"
    done = forked.execute(names + LOAD, cwd=run)
    assert done.returncode == 0, done.stderr
    return torch.load(run / "found.pt"), expected


@pytest.mark.parametrize("name", ["conv4", *MAKERS, *(f"{name} by timm" for name in TIMM_ALONE)])
def test_features_without_bench_are_equal_to_the_bit(exports, name):
    found, expected = exports
    assert found[name].shape == expected[name].shape
    assert torch.equal(found[name], expected[name])


def test_the_card_says_what_the_run_measured(run):
    card = json.loads((run / "conv4" / "card.json").read_text())
    (path,) = run.glob("runs/*simclr*/record.json")
    record = json.loads(path.read_text())
    assert card["fingerprint"] == record["run"]["fingerprint"]
    assert card["provenance"] == record["provenance"]
    assert [one["value"] for one in card["accuracies"]] == [metric["value"] for metric in record["metrics"]]
    from protocols.datasets.load import load_dataset

    dataset = load_dataset("digits", run)
    assert card["normalisation"] == {"mean": list(dataset.mean), "std": list(dataset.std)}
    assert card["image_side"] == dataset.side
    readme = (run / "conv4" / "README.md").read_text()
    assert f"| knn | digits | top1 | {record['metrics'][0]['value']:.2f} |" in readme
    assert "24,648 parameters, 64 features; pretrained with 2,0" in readme
    weights = load_file(run / "conv4" / "model.safetensors")
    assert {key.split(".")[0] for key in weights} == {"layer1", "layer2", "layer3", "layer4"}


def test_an_export_is_a_checkpoint_again(run):
    """What was exported and comes back has the same accuracy."""
    records = [json.loads(path.read_text()) for path in run.glob("runs/*/record.json")]
    values = {record["run"]["method"]["label"]: record["metrics"][0]["value"] for record in records}
    assert values["again"] == next(value for label, value in values.items() if label.startswith("simclr"))


def test_what_cannot_be_exported_is_refused_in_one_line(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("here")
    with pytest.raises(RequestError, match="is not empty; export to another folder"):
        write_export(cifar_resnet(1), tmp_path, dict(CARD))
    with pytest.raises(RequestError, match="cannot write to"):
        write_export(cifar_resnet(1), tmp_path / "file", dict(CARD))

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("protocols.backbones.export.save_file", full)
        with pytest.raises(RequestError, match=r"cannot write to .*/new: I/O error: No space left"):
            write_export(cifar_resnet(1), tmp_path / "new", dict(CARD))
    assert list((tmp_path / "new").iterdir()) == []  # so that the same command works later

    class Other(bench.Backbone):
        pass

    with pytest.raises(RequestError, match="the architecture of other is known to its plugin only"):
        write_export(Other(), tmp_path / "other", {**CARD, "backbone": "other"})
    with pytest.raises(UnknownName, match="unknown run 'nothing'"):
        bench.export("nothing", tmp_path / "x", runs=run / "runs")


@pytest.mark.parametrize("make", [Conv4, MAKERS["fixed"]])
def test_onnx_gives_the_same_features(tmp_path, make):
    """Also of images that a ViT resizes, and for another number of images than it was written with."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    backbone = make().eval()
    write_export(backbone, tmp_path / "onnx", dict(CARD), onnx=True)
    session = runtime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    images = torch.rand(5, 3, 32, 32)
    (features,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(features), backbone(images).detach(), rtol=1e-4, atol=1e-5)


def test_onnx_that_is_not_installed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RequestError, match=r"--onnx needs a package: .*; pip install"):
        write_export(cifar_resnet(1), tmp_path / "onnx", dict(CARD), onnx=True)
    assert not (tmp_path / "onnx").exists()
