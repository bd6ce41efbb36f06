"""What is wrong with a plugin is found before any work starts, and said in one line."""

import typing
from pathlib import Path
from typing import Annotated

import pytest
import torch
from PIL import Image

from methods.registry import METHODS
from protocols.check.preflight import check
from protocols.spec.grid import Request, expand
from protocols.spec.plugins import AUGMENTATIONS, EVALUATIONS, OPTIMIZERS, REFINEMENTS, SCHEDULES, option_types
from protocols.spec.protocol import PRESETS
from results.constraints import Bound
from results.errors import BrokenPlugin, RequestError

FILE = """
from bench import *

@register_optimizer("wrong-optimizer")
def optimizer(parameters): "Takes one argument."

@register_schedule("wrong-schedule")
def schedule(progress, pretrain): "Returns nothing."

@register_augmentation("wrong-operation", uniforms=1)
def operation(views, u):
    "Makes views of another size."
    return views[..., 1:]

@register_backbone("wrong-backbone", argument="NUMBER")
def backbone(name):
    "Takes a number after the colon."
    return int(name.partition(":")[2])

@register_evaluation("wrong-evaluation")
def evaluation(features, *, k: Unknown = 1): "Has an option of an unknown type."
"""
CASES = {
    "optimizer 'wrong-optimizer' does not work: TypeError": {"settings": ["pretrain.optimizer=wrong-optimizer"]},
    "schedule 'wrong-schedule' does not work: TypeError": {"settings": ["pretrain.schedule=wrong-schedule"]},
    "augmentation 'wrong-operation' does not work: ValueError: it makes (2, 3, 16, 15)": {
        "settings": ["recipes.standard.operations.wrong-operation={}"]
    },
    "backbone 'wrong-backbone:x' does not work: ValueError": {"backbones": ["wrong-backbone:x"]},
    "does not load: NameError: name 'Unknown' is not defined": {"evaluations": ["wrong-evaluation"]},
}


@pytest.mark.parametrize("complaint", CASES)
def test_a_plugin_that_cannot_work_is_refused(tmp_path, complaint):
    text = FILE if "NameError" in complaint else FILE.replace(": Unknown", ": int")
    (tmp_path / "mine.py").write_text(text)
    words = {"methods": ["simclr"], "datasets": ["digits"], "seeds": [0], "evaluations": ["knn"], **CASES[complaint]}
    runs = expand(Request(plugins=[str(tmp_path / "mine.py")], **words), Path("data"))
    with pytest.raises(BrokenPlugin) as caught:
        check(runs, Path("data"))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("raise SystemExit(0)", "does not load: SystemExit: 0"),
        ("raise type('Odd', (Exception,), {'__str__': None})()", "does not load: Odd: its message cannot be shown"),
        ("raise OSError('one\\ntwo')", "does not load: OSError: one two"),
        ("import torch; torch.set_default_dtype(torch.float64)", "changes the default type of torch for the whole"),
        ("import torch; torch.set_grad_enabled(False)", "changes whether there are gradients of torch for the whole"),
        ("import torch; torch.set_default_device('meta')", "changes the default device of torch for the whole"),
    ],
)
def test_a_plugin_that_harms_others_is_refused(tmp_path, line, complaint):
    text = FILE.replace(": Unknown", ": int").replace("from bench import *", f"from bench import *\n{line}")
    (tmp_path / "harmful.py").write_text(text)
    with pytest.raises(BrokenPlugin) as caught:
        checked("pretrain.schedule=wrong-schedule", plugins=[str(tmp_path / "harmful.py")], methods=["random"])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.get_default_dtype() is torch.float32
    assert torch.get_default_device().type == "cpu"
    assert torch.is_grad_enabled()


def checked(*settings, protocol="quick", **words):
    """What preflight says of runs, without training any."""
    words = {"methods": ["random"], "datasets": ["digits"], "seeds": [0], "evaluations": ["knn"], **words}
    check(expand(Request(settings=list(settings), protocol=protocol, **words), Path("data")), Path("data"))


@pytest.mark.parametrize(
    ("setting", "complaint"),
    {
        "knn.k=0": "knn.k must be 1 or more, not 0",
        "knn.k=-3": "knn.k must be 1 or more, not -3",
        "knn.temperature=0": "knn.temperature must be 1e-06 or more, not 0.0",
        "knn.temperature=-0.07": "knn.temperature must be 1e-06 or more, not -0.07",
        "knn.temperature=nan": "knn.temperature is nan; it must be finite",
        "retrieval.k=0": "retrieval.k must be 1 or more, not 0",
        "linear.l2=-1": "linear.l2 must be 0 or more, not -1.0",
        "linear.l2=1e300": "linear.l2 must be 1000 or less, not 1e+300",
        "linear-tuned.held_out=1e-9": "linear-tuned.held_out must be 0.01 or more, not 1e-09",
        "byol.hidden=-1": "byol.hidden must be 1 or more, not -1",
        "dino.prototypes=0": "dino.prototypes must be 2 or more, not 0",
        "dino.crops=-1": "dino.crops must be 0 or more, not -1",
        "relational.alpha=2": "relational.alpha must be 1 or less, not 2.0",
        "simclr.temperature=0": "simclr.temperature must be above 0, not 0.0",
        "linear.batch=0": "linear.batch must be 1 or more, not 0",
        "linear.fraction=0": "linear.fraction must be above 0, not 0.0",
        "linear.fraction=1.5": "linear.fraction must be 1 or less, not 1.5",
        "finetune.batch=1": "finetune.batch must be 2 or more, not 1",
        "finetune.erase=2": "finetune.erase must be 1 or less, not 2.0",
        "graph.k=0": "graph.k must be 1 or more, not 0",
        "neighbour_mean.rounds=-1": "neighbour_mean.rounds must be 0 or more, not -1",
        "recipes.standard.operations.cutout.probability=2": "cutout.probability must be 1 or less, not 2",
    }.items(),
)
def test_an_option_out_of_its_range_is_refused(setting, complaint):
    target = setting.partition(".")[0]
    kind = "refinements" if target in ("graph", "neighbour_mean") else "evaluations"
    kind = "methods" if target in METHODS.names() else kind
    words = {kind: [target]} if target != "recipes" else {"methods": ["simclr"]}
    with pytest.raises(RequestError) as caught:
        checked(setting, **words)
    assert str(caught.value) == complaint


def may_be_any_number(hint) -> bool:
    """Whether an option of this type may be a number of either sign and any size."""
    if typing.get_origin(hint) is Annotated:
        base, *constraints = typing.get_args(hint)
        return may_be_any_number(base) and not any(isinstance(some, Bound) for some in constraints)
    return hint in (int, float) or any(may_be_any_number(part) for part in typing.get_args(hint))


@pytest.mark.parametrize("name", METHODS.names())
def test_every_number_among_the_options_of_a_method_has_a_range(name):
    options = getattr(METHODS.get(name), "Options", None)
    hints = typing.get_type_hints(options, include_extras=True) if options else {}
    free = [key for key, hint in hints.items() if may_be_any_number(hint)]
    assert free == (["mean", "std"] if name == "pretrained" else [])


@pytest.mark.parametrize("registry", [EVALUATIONS, REFINEMENTS, OPTIMIZERS, SCHEDULES, AUGMENTATIONS])
def test_every_number_among_the_options_of_other_plugins_has_a_range(registry):
    assert registry.names()
    for name in registry.names():
        assert not any(map(may_be_any_number, option_types(registry.get(name), name).values())), name


PLUGINS = """
from typing import Annotated

from bench import *

@register_optimizer("mine")
def optimizer(parameters, pretrain, *, beta: Annotated[float, Below(1)] = 0.9): "Never called."

@register_schedule("mine")
def schedule(progress, pretrain, *, power: Annotated[float, Above(0)] = 1.0): "Never called."

@register_augmentation("mine", uniforms=1)
def operation(views, u, *, size: Annotated[int, AtLeast(1), AtMost(9)] = 1): "Never called."

@register_evaluation("mine", takes="context")
def evaluation(context, *, bins: Annotated[int, AtLeast(1)] = 15, views: Annotated[str, AugmentationName()] = "light"):
    "Never called."

@register_refinement("mine-too")
def refinement(features, *, rounds: Annotated[int, AtLeast(0)] = 1): "Never called."
"""


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["pretrain.optimizer=mine", "pretrain.optimizer_options.beta=1"], "mine.beta must be below 1, not 1"),
        (["pretrain.schedule=mine", "pretrain.schedule_options.power=0"], "mine.power must be above 0, not 0"),
        (["recipes.standard.operations.mine.size=10"], "mine.size must be 9 or less, not 10"),
        (["mine.bins=0"], "mine.bins must be 1 or more, not 0"),
        (["mine.views=tiny"], "mine[views=tiny] asks for images of augmentation 'tiny', which quick does not have"),
        (["mine-too.rounds=-1"], "mine-too.rounds must be 0 or more, not -1"),
    ],
)
def test_options_of_plugins_have_ranges_too(tmp_path, settings, complaint):
    (tmp_path / "mine.py").write_text(PLUGINS)
    words = {"methods": ["simclr"], "evaluations": ["mine", "knn"], "refinements": ["mine-too"]}
    with pytest.raises(RequestError) as caught:
        checked(*settings, plugins=[str(tmp_path / "mine.py")], **words)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_augmentation_that_an_evaluation_needs_is_missed_before_training(tmp_path):
    text = (
        (PRESETS / "quick.toml").read_text(encoding="utf-8").replace("[recipes.light]\npad = 0.125\nflip = 0.5\n", "")
    )
    (tmp_path / "mine.toml").write_text(text.replace('name = "quick"', 'name = "mine"'))
    protocol = str(tmp_path / "mine.toml")
    checked("finetune.augmentation=affine", evaluations=["finetune", "knn"], protocol=protocol)
    with pytest.raises(RequestError, match="images of augmentation 'light', which mine does not have; add"):
        checked("finetune.augmentation=light", evaluations=["finetune"], protocol=protocol)
    (tmp_path / "mine.toml").write_text(text.replace("recipes.standard]", "recipes.usual]"))
    with pytest.raises(RequestError, match=r"health .* views of augmentation 'standard'"):
        checked(protocol=protocol)


def test_one_class_to_evaluate_on_is_refused(tmp_path):
    for split, count in (("train", 20), ("test", 5)):
        (tmp_path / "single" / split / "a").mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "single" / split / "a" / f"{number}.png")
    name = f"folder:{tmp_path / 'single'}"
    with pytest.raises(RequestError, match="single has one class, of which every prediction is right; name"):
        checked("pretrain.batch=2", datasets=[name])
    checked("pretrain.batch=2", datasets=[name], evaluate_on=["digits"])  # to pretrain on it may have one


@pytest.mark.parametrize(
    ("backbone", "settings", "complaint"),
    [
        ("timm:inception_v3", [], "backbone 'timm:inception_v3' does not take images of 16 px: "),
        ("valid:12", ["recipes.standard.size=8"], "backbone 'valid:12' does not take images of 8 px: "),
        ("valid:12", ["knn.image_size=9"], "backbone 'valid:12' does not take images of 9 px: "),
        ("valid:16", [], None),
        ("valid:17", [], "backbone 'valid:17' does not take images of 16 px: "),
        ("wide", [], "backbone 'wide' gives features (2, 3) of 2 images, and says that dim is 4"),
    ],
)
def test_a_backbone_is_tried_on_images_of_every_size(tmp_path, backbone, settings, complaint):
    (tmp_path / "backbones.py").write_text(BACKBONES)
    words = {"backbones": [backbone], "plugins": [str(tmp_path / "backbones.py")], "methods": ["simclr"]}
    if complaint is None:
        checked(*settings, **words)
        return
    with pytest.raises(RequestError) as caught:
        checked(*settings, **words)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


BACKBONES = """
import torch
from bench import Backbone, register_backbone

class Valid(Backbone):
    "A convolution without padding, which smaller images than its kernel do not pass."

    def __init__(self, dim, kernel):
        super().__init__()
        self.dim = dim
        self.stem = torch.nn.Conv2d(3, 3, kernel)

    def forward(self, images):
        print("images of", images.shape[-1])
        return self.stem(images).mean((2, 3))

@register_backbone("valid", argument="SIDE")
def valid(name): return Valid(3, int(name.partition(":")[2]))

@register_backbone("wide")
def wide(name): return Valid(4, 3)
"""


MASKED = """
from bench import Method, register_method

@register_method("masked")
class Masked(Method):
    "Needs tokens."
    uses_tokens = True
"""


def test_a_method_that_needs_tokens_refuses_a_backbone_without(tmp_path):
    (tmp_path / "masked.py").write_text(MASKED)
    words = {"methods": ["masked"], "plugins": [str(tmp_path / "masked.py")]}
    for backbone in ("conv4", "timm:test_vit"):
        with pytest.raises(RequestError, match=f"masked needs tokens .* own patches, which {backbone} does not have"):
            checked(backbones=[backbone], **words)
    checked(backbones=["timm:test_vit@patch=4"], **words)
    with pytest.raises(RequestError, match="does not take images of 16 px: Input height"):
        checked(backbones=["timm:test_vit@patch=3"], **words)


def test_a_backbone_is_tried_once_on_every_size_whatever_the_number_of_runs(tmp_path, capsys):
    (tmp_path / "backbones.py").write_text(BACKBONES)
    words = {"backbones": ["valid:3"], "plugins": [str(tmp_path / "backbones.py")], "seeds": [0, 1]}
    words |= {"methods": ["simclr", "byol", "random"], "evaluations": ["knn", "linear"]}
    checked("knn.image_size=40", "recipes.standard.size=24", **words)
    assert sorted(capsys.readouterr().out.split("images of ")[1:]) == ["16\n", "24\n", "40\n"]
