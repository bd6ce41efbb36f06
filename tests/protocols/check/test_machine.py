"""The checks of a machine pass where everything is right, and notice what is wrong."""

from __future__ import annotations

import re

import pytest
import torch

from protocols.check import losses, machine, views
from protocols.check.precision import PRECISIONS, check_products
from tests.tools import forked

CPU = torch.device("cpu")

BROKEN = '''
import torch
from torch.nn import functional as F
from bench import Method, mlp, register_method


class Reversed(torch.autograd.Function):
    """The identity, with a backward pass that is wrong in single precision, as that of a kernel may be."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad if grad.dtype == torch.float64 else -grad


class Agreement(Method):
    def __init__(self, backbone, options, info):
        super().__init__(backbone, options, info)
        self.head = mlp(backbone.dim, 32, 16)
        self.steps = 0

    def forward(self, batch):
        one, other = self.embed(self.backbone(batch.views)).chunk(2)
        return {"loss": (one - other).square().mean() - one.std(0).mean()}

    def embed(self, features):
        return F.normalize(self.head(features).float(), dim=1)


@register_method("miscomputed")
class Miscomputed(Agreement):
    """Its gradient is wrong."""

    def embed(self, features):
        return super().embed(Reversed.apply(features))


@register_method("forgetful")
class Forgetful(Agreement):
    """Its state is not in buffers."""

    def forward(self, batch):
        return {"loss": super().forward(batch)["loss"] * (1 + self.steps)}

    def after_step(self, progress):
        self.steps += 1
'''


@pytest.mark.slow
def test_a_check_passes_what_is_right_and_notices_what_is_wrong(tmp_path):
    """A wrong gradient, and state that a checkpoint lacks; everything else is right, two ranks among it."""
    (tmp_path / "broken.py").write_text(BROKEN)
    words = ["doctor", "--check", "--methods", "simclr,./broken.py", "--device", "cpu"]
    done = forked.bench(*words, cwd=tmp_path, env={"COLUMNS": "300"})
    assert done.returncode == 1, done.stdout + done.stderr
    rows = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[1:-1]]
    wrong = {row[0] for row in rows if row[2] == "wrong"}
    assert wrong == {row[0] for row in rows if re.match(r"miscomputed: (?!resume)|forgetful: resume", row[0])}
    assert {"miscomputed: float32", "forgetful: resume"} <= wrong
    right = {row[0] for row in rows if row[2] == "ok"}
    assert {"views", "simclr: float32", "simclr: resume", "simclr: two ranks", "float32 products"} <= right
    assert re.search(rf"{len(rows)} checks in .*: {len(wrong)} wrong", done.stdout)
    assert " left" in done.stderr


def test_every_method_is_checked_unless_some_are_chosen(tmp_path):
    checks = [check.name for check in machine.plan_checks([], [], tmp_path, "cpu")]
    assert "byol: float32" in checks
    assert "byol: two ranks" in checks
    assert not any(name.startswith("random") for name in checks)


def test_an_error_is_a_wrong_check():
    def fail():
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    result = machine.make(machine.Check("views", "cuda:0", fail, 1.0))
    assert (result.outcome, result.figure) == ("wrong", "RuntimeError: CUDA error: an illegal memory access")


def test_what_overflows_in_float16_at_the_first_scale_is_not_wrong(tmp_path):
    """The loss of Barlow Twins is some hundreds; its gradient times 65,536 overflows, and training lowers the scale."""
    (run,) = machine.runs_of(["barlow"], [], tmp_path)
    outcome, figure = losses.check_loss(run, tmp_path, CPU, "float16")
    assert outcome == "ok", figure


def test_wrong_views_are_noticed(tmp_path, monkeypatch):
    (run,) = machine.runs_of(["simclr"], [], tmp_path)
    monkeypatch.setattr("protocols.augment.augmenter.compilation_works", lambda: False)
    assert views.check_views(run, CPU)[0] == "ok"
    monkeypatch.setattr("protocols.augment.augmenter.compilation_works", lambda: True)
    monkeypatch.setattr("protocols.augment.augmenter.compiled_jitter", lambda views, *_: views)
    assert views.check_views(run, CPU)[0] == "wrong"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_are_as_exact_as_the_precision(precision):
    outcome, figure = check_products(CPU, precision)
    assert outcome in {"ok", "no"}, figure
    assert precision != "float32" or outcome == "ok"


def test_what_is_checked_is_named_with_check_only(tmp_path):
    done = forked.bench("doctor", "--methods", "simclr", cwd=tmp_path)
    assert done.returncode == 2
    assert "add --check" in done.stderr
