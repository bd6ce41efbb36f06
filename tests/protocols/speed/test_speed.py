"""Measuring speed: what the numbers say must be what was done."""

import dataclasses
import re

import pytest
import torch
from torchvision.transforms import v2

from bench.commands.speed import lines
from methods.relation import RelationHead
from protocols.augment.augmenter import Augmenter
from protocols.augment.parameters import COLUMNS
from protocols.backbones import block
from protocols.backbones.pool import SpatialMean
from protocols.pretrain.loop import forward, make_batch
from protocols.spec.execution import ExecutionContext
from protocols.spec.grid import Request, expand
from protocols.spec.protocol import Augmentation
from protocols.speed import conventional
from protocols.speed import measure as speed


@pytest.fixture
def context(tmp_path):
    return ExecutionContext(tmp_path, tmp_path, "cpu")


def run_of(tmp_path, method, **changes):
    settings = [f"{key}={value}" for key, value in {"pretrain.precision": "float32", **changes}.items()]
    (run,) = expand(Request(methods=[method], datasets=["digits"], seeds=[0], settings=settings), tmp_path)
    return run


def test_speed_counts_the_step_that_a_run_takes(context, tmp_path):
    run = run_of(tmp_path, "relational", **{"relational.views": 3, "relational.pretrain.batch": 8})
    measured = speed.measure_in_process(run, context, seconds=0.05, against=False)
    assert (measured.batch, measured.views) == (8, 24)
    assert list(measured.stages) == ["views", "forward", "backward", "update"]
    assert all(seconds > 0 for seconds in measured.stages.values())
    assert measured.views_per_second == pytest.approx(24 / measured.step)
    assert 0 < measured.fraction_of_peak < 1
    assert measured.memory >= 0


@pytest.mark.slow
def test_comparison_measures_both_sides_in_turn(context, tmp_path):
    measured = speed.measure_in_process(run_of(tmp_path, "simclr"), context, seconds=0.05, against=True)
    assert set(measured.ratios) == {"views", "step"}
    for ratio in measured.ratios.values():
        assert len(ratio.seconds) == len(ratio.baseline_seconds) == speed.ROUNDS
        assert ratio.speedup > 0


def test_ratio_is_the_median_of_the_rounds():
    ratio = speed.SpeedRatio((1.0, 2.0, 1.0), (5.0, 4.0, 3.0))
    assert ratio.speedup == 3.0
    assert ratio.median_round == (1.0, 3.0)


def test_the_ratio_that_is_printed_is_that_of_the_speeds_beside_it(tmp_path):
    """Where the fastest rounds of both sides are not the same round, too."""
    ratio = speed.SpeedRatio((0.010, 0.020, 0.014), (0.100, 0.050, 0.060))
    measured = speed.Speed(
        batch=8, views=64, stages={"views": 0.01}, step=0.02, flops=1.0, peak=1.0, memory=0, precision="float32",
        device="a CPU", workers=2, ratios={"step": ratio},
    )  # fmt: skip
    (line,) = (line for line in lines(run_of(tmp_path, "simclr"), measured) if "against" in line)
    times, ours, theirs = (
        float(number.replace(",", "")) for number in re.findall(r"[\d,.]*\d", line.partition(": ")[2])
    )
    assert times == pytest.approx(ours / theirs, rel=0.02)


@pytest.mark.parametrize("method", ["relational", "simclr"])
def test_the_plain_path_computes_the_same(context, tmp_path, method, monkeypatch):
    """One step from the same weights and views: loss and gradients agree to rounding, by different operations."""
    monkeypatch.setattr(block, "MIN_NUMEL", 1)
    run, losses, grads = run_of(tmp_path, method), [], []
    for plain in (False, True):
        job = speed.temporary_job(run, dataclasses.replace(context, reference=plain), torch.device("cpu"))
        parts = [part for part in job.method.modules() if isinstance(part, (block.Block, SpatialMean, RelationHead))]
        assert parts
        assert all(part.reference == plain for part in parts)
        job.method.train()
        loss = forward(job, make_batch(job, torch.arange(job.budget.batch), 0))["loss"]
        loss.backward()
        losses.append(loss.detach())
        grads.append([parameter.grad for parameter in job.method.parameters()])
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    for quick, slow in zip(*grads, strict=True):
        assert (quick - slow).norm() <= 1e-2 * slow.norm() + 1e-6  # a unit at zero may round to either side


def test_conventional_batches_hold_every_image_of_an_epoch_once(context, tmp_path):
    job = speed.temporary_job(run_of(tmp_path, "supervised"), context, torch.device("cpu"))
    loaded = conventional.batches(job, workers=0)
    epoch = [next(loaded) for _ in range(job.budget.images // job.budget.batch)]
    index = torch.cat([batch.index for batch in epoch])
    assert index.unique().numel() == index.numel()
    assert epoch[0].views.shape == (job.budget.batch, 3, 16, 16)
    assert torch.equal(epoch[0].labels, job.labels[epoch[0].index])


def test_conventional_views_are_drawn_like_ours():
    """Means and deviations over many views of one image, of the pixels and of each colour, agree."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=generator), 16, mode="bilinear")
    image = (255 * image).byte().permute(0, 2, 1, 3).contiguous()
    recipe = Augmentation(
        crop=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grayscale=0.2
    )
    augmenter, n = Augmenter(recipe, (0.5,) * 3, (0.25,) * 3), 4000
    ours = augmenter(image, torch.zeros(n, dtype=torch.int64), torch.rand(n, COLUMNS, generator=generator).numpy())
    transform, picture = (
        conventional.torchvision_transform(augmenter, 16),
        v2.functional.to_pil_image(image[0].permute(1, 0, 2)),
    )
    theirs = torch.stack([transform(picture) for _ in range(n)])
    torch.testing.assert_close(ours.mean((0, 2, 3)), theirs.mean((0, 2, 3)), atol=0.06, rtol=0)
    torch.testing.assert_close(ours.std((0, 2, 3)), theirs.std((0, 2, 3)), atol=0.06, rtol=0)
