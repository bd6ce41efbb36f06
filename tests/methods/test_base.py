import textwrap

import pytest
import torch

import methods
from methods import Backbone, Batch, Method, RunInfo
from methods.registry import METHODS
from protocols.backbones.small import Conv4
from protocols.spec.plugins import add_file
from results.errors import BrokenPlugin
from results.names import OLD_HOOKS

INFO = RunInfo(classes=10, images=40, side=16, steps=9, seed=0)


@pytest.mark.parametrize(("old", "new"), OLD_HOOKS.items())
def test_a_hook_of_an_earlier_version_is_refused_by_its_new_name(old, new):
    with pytest.raises(BrokenPlugin) as caught:
        type("Mine", (Method,), {old: lambda self: None})
    assert str(caught.value) == f"Mine defines {old}, which is now called {new}; rename it to {new}"


def test_by_default_every_view_shows_the_image_itself():
    index = torch.tensor([7, 3, 5])
    assert Method(Conv4(), None, INFO).source_indices(index, 2).tolist() == [[7, 3, 5]] * 2


def test_an_old_hook_is_refused_in_a_mixin_too():
    class Mixin:
        @classmethod
        def passes(cls, options):
            return 4

    with pytest.raises(BrokenPlugin, match="Mine defines passes, which is now called views_per_image"):
        type("Mine", (Mixin, Method), {})


def test_a_plugin_file_with_an_old_hook_is_refused_when_it_registers(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent('''
        from methods import Method, register

        @register("old-hook")
        class Mine(Method):
            """Mine."""

            def keepsakes(self):
                return {}
        ''')
    )
    with pytest.raises(BrokenPlugin, match="keepsakes, which is now called extra_state"):
        add_file(path)


def test_a_plugin_of_an_earlier_version_goes_on_working(tmp_path):
    path = tmp_path / "old.py"
    path.write_text(
        textwrap.dedent('''
        from methods import Batch, Method, MomentumCopy, Setting, mlp, register
        from methods.base import Setting as SettingOfBase
        from methods.momentum import cosine_between

        assert Setting is SettingOfBase

        @register("old-plugin")
        class Old(Method):
            """Old."""

            def __init__(self, backbone, options, setting: Setting):
                super().__init__(backbone, options, setting)
                self.target = MomentumCopy(backbone)
                self.classifier = mlp(backbone.dim, self.setting.classes)

            def forward(self, batch):
                z, maps = self.backbone.with_map(batch.views)
                return {"loss": self.classifier(z).square().mean() + maps.mean() * 0}

            def before_epoch(self, epoch, represent):
                self.seen = represent()

            def after_step(self, progress):
                self.target.follow(self.backbone, cosine_between(0.9, 1.0, progress))
        ''')
    )
    add_file(path)
    method = METHODS.get("old-plugin")(Conv4(), None, INFO)
    assert method.setting is method.info is INFO
    method.before_epoch(0, lambda: torch.ones(40, 64))
    assert torch.isfinite(method(Batch(torch.rand(4, 3, 16, 16), torch.arange(4)))["loss"])
    method.after_step(0.5)


def test_names_of_earlier_versions_are_those_of_now():
    assert methods.Setting is RunInfo
    assert issubclass(methods.MomentumCopy, methods.EMA)


def test_a_backbone_that_overrides_the_old_name_is_refused():
    with pytest.raises(BrokenPlugin, match="defines with_map, which is now called _forward_with_map"):
        type("Mine", (Backbone,), {"with_map": lambda self, images: None})


def test_baselines_are_declared_by_the_method():
    declared = {name: METHODS.get(name).baseline for name in ("random", "supervised", "simclr")}
    assert declared == {"random": "lower", "supervised": "upper", "simclr": ""}


def test_a_tensor_with_two_keys_is_exported_once():
    class Tied(Backbone):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
            self.second.weight = self.first.weight

    assert list(Tied().common_names()) == ["first.weight", "first.bias", "second.bias"]
