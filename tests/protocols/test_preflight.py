"""What is wrong with a plugin is found before any work starts, and said in one line."""

from pathlib import Path

import pytest

from protocols.preflight import check
from protocols.spec.grid import Request, expand
from results.errors import BrokenPlugin

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

@register_backbone("wrong-backbone")
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
