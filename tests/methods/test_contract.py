"""What every registered method owes the harness; a new method is tested by existing."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from methods import EMA, METHODS, Batch, RunInfo
from protocols.backbones.inference import extract_features
from protocols.backbones.small import Conv4
from protocols.backbones.timm_models import timm
from results.names import UNTRAINED

TEACHING = {"prototypes": 64, "hidden": 128, "bottleneck": 32, "momentum": 0.9, "freeze": 0.0}
SMALL = {
    "relational": {"views": 4},
    "byol": {"hidden": 128, "output": 32},
    "deepcluster": {"clusters": 5},
    "mocov2": {"queue": 40, "hidden": 128, "momentum": 0.9, "final_momentum": 0.9},
    "simsiam": {"hidden": 128, "output": 64, "bottleneck": 32},
    "nnclr": {"queue": 40, "hidden": 128, "output": 32, "bottleneck": 128},
    "barlow": {"hidden": 128, "output": 64},
    "vicreg": {"hidden": 128, "output": 64},
    "dino": {**TEACHING, "crops": 2},
    "adasim": {**TEACHING, "topk": 3, "window": 2},
    "graph_nnclr": {**TEACHING, "topk": 3, "window": 2, "edges": 2},
    "supcon": {"hidden": 128, "output": 32},
    "tico": {"hidden": 128, "output": 32, "momentum": 0.9},
    "mmcr": {"hidden": 128, "output": 32},
    "ressl": {"queue": 40, "hidden": 128, "output": 32, "momentum": 0.9, "final_momentum": 0.9},
    "mocov3": {"hidden": 128, "output": 32, "momentum": 0.9},
    "swav": {"crops": 2, "prototypes": 64, "hidden": 128, "output": 32, "queue": 20, "queue_start": 0.0, "freeze": 0.0},
    "lejepa": {"crops": 2, "directions": 32, "hidden": 128, "output": 32},
    "mae": {"width": 32, "depth": 1, "heads": 2},
    "ijepa": {"width": 32, "depth": 1, "heads": 2, "momentum": 0.9},
    "ibot": {**TEACHING, "crops": 2},
    "wmse": {"views": 4, "hidden": 64, "output": 4, "sub_batch": 8},
}
"""Options that keep the tests quick; a method that is not named here is tested with its defaults."""

STILL = {"momentum": 1.0, "centre_momentum": 1.0}
"""Options that hold the target of a self-distillation still; where it moves, the loss need not fall."""

MEMORYLESS = {"tico": {"beta": 0.0}}
"""Options that take away a memory that starts empty and adds to the loss as it fills."""

IMAGES = 16
SPLIT = 40


def build(name: str, seed: int = 0, **changes: float):
    kind = METHODS.get(name)
    options = kind.Options(**{**SMALL.get(name, {}), **changes})
    torch.manual_seed(seed)
    info = RunInfo(classes=10, images=SPLIT, side=16, steps=50, seed=seed)
    backbone = timm("timm:test_vit@patch=4", 16) if kind.uses_tokens else Conv4()
    method = kind(backbone, options, info).train()
    return method, kind.views(options)


def batch_for(method, views, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(IMAGES, 3, 16, 16, generator=g) + torch.rand(IMAGES, 3, 1, 1, generator=g)
    noisy = [images + 0.1 * torch.rand(images.shape, generator=g) for _ in views]
    full = [image for image, name in zip(noisy, views, strict=True) if name != "small"]
    small = [image[..., :8, :8] for image, name in zip(noisy, views, strict=True) if name == "small"]
    labels = torch.arange(IMAGES) % 10 if method.uses_labels else None
    return Batch(torch.cat(full), torch.arange(IMAGES), labels, (torch.cat(small),) if small else ())


def begin_epoch(method, epoch: int = 0) -> None:
    torch.manual_seed(epoch)
    images = torch.rand(SPLIT, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    method.before_epoch(epoch, lambda: extract_features(method.backbone, images, lambda some: some, images.device))


def train(method, batch: Batch, steps: int) -> list[float]:
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = method(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step((step + 1) / steps)
        losses.append(loss.item())
    return losses


@pytest.fixture(params=METHODS.names())
def name(request) -> str:
    return request.param


@pytest.fixture
def trained(name):
    if METHODS.describe(name).declared["baseline"] in UNTRAINED:
        pytest.skip(f"{name} is not trained")
    method, views = build(name)
    begin_epoch(method)
    return method, batch_for(method, views)


def loss_of(method, batch: Batch) -> torch.Tensor:
    torch.manual_seed(0)
    return method(batch)["loss"]


def test_options_read_from_source_are_those_of_the_class(name):
    options = METHODS.get(name).Options()
    assert dict(METHODS.describe(name).options) == vars(options)


def test_docstring_cites_or_explains(name):
    assert METHODS.describe(name).summary.endswith(".")


def test_every_option_is_documented(name):
    """By the method's own options or those of a method that it builds on, and not by restating the name."""
    kind = METHODS.get(name)
    documented = [vars(base)["Options"].__doc__ for base in kind.__mro__ if "Options" in vars(base)]
    assert not documented[0].startswith("Options")
    missing = [option for option in vars(kind.Options()) if not any(f"    {option}: " in text for text in documented)]
    assert not missing


def test_loss_is_a_finite_scalar(trained):
    method, batch = trained
    scalars = method(batch)
    assert all(value.ndim == 0 and torch.isfinite(value) for value in scalars.values())


def test_loss_decreases_on_one_batch(name):
    if METHODS.describe(name).declared["baseline"] in UNTRAINED:
        pytest.skip(f"{name} is not trained")
    changes = STILL if hasattr(METHODS.get(name).Options, "centre_momentum") else {}
    method, views = build(name, **changes, **MEMORYLESS.get(name, {}))
    losses = train(method, batch_for(method, views), steps=25)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_gradient_reaches_the_whole_backbone_and_no_moving_average(trained):
    method, batch = trained
    method(batch)["loss"].backward()
    missing = [n for n, p in method.backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing
    copies = [module for module in method.modules() if isinstance(module, EMA)]
    assert all(p.grad is None and not p.requires_grad for module in copies for p in module.parameters())


def test_budgets_count_every_view_and_every_image_that_the_backbone_sees(trained):
    """A view that only a moving average sees counts as well."""
    method, batch = trained
    seen = []
    method.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    method(batch)
    kind, made = type(method), len(type(method).views(method.options))
    assert kind.views_per_image(method.options) == max(made, sum(seen) / IMAGES)


def test_same_seed_same_losses(trained, name):
    method, batch = trained
    again, _ = build(name)
    begin_epoch(again)
    assert train(method, batch, 3) == train(again, batch, 3)


@pytest.mark.parametrize("anew", [False, True], ids=["within an epoch", "between epochs"])
def test_state_dict_round_trip_carries_everything(trained, name, anew):
    method, batch = trained
    train(method, batch, 3)
    other, _ = build(name, seed=1)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    if anew:
        begin_epoch(method, 1)
        begin_epoch(other.train(), 1)
    assert train(method, batch, 2) == train(other, batch, 2)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
def test_works_in_half_precision(trained, precision):
    method, batch = trained
    with torch.autocast("cpu", precision):
        loss = loss_of(method, batch)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, loss_of(method, batch), rtol=0.1, atol=0.02)


def test_does_not_depend_on_its_place_in_memory(trained):
    method, batch = trained
    channels_last = batch.views.contiguous(memory_format=torch.channels_last)
    other = replace(batch, views=channels_last)
    torch.testing.assert_close(loss_of(method, other), loss_of(method, batch))
