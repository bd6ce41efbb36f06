"""What a wrong line in the middle of a run would break without an error, seen from outside: every test executes runs.

Hooks of torch record what methods, backbones and optimizers are given. The images are a few squares of coloured noise.
"""

import copy
import functools
import inspect
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torchvision.transforms import functional as TF

from methods import EMA, Backbone, Batch, Method
from methods.registry import METHODS
from protocols.datasets.load import load_dataset
from protocols.runner import execute
from protocols.spec import protocol as protocols
from protocols.spec.execution import ExecutionContext
from protocols.spec.resolve import parse_changes, resolve
from protocols.system.progress import ProgressListener
from results import store
from results.record import Record

IMAGES, BATCH, SIDE = 24, 6, 40
PROTOCOL = """
name = "small"
version = 1
track = "controlled"
summary = "a few steps on a few images"

[pretrain]
epochs = 2
batch = 6
lr = 0.05
precision = "float32"

[recipes.standard]
crop = [0.3, 1.0]
flip = 0.5
jitter = 1.0
brightness = 0.4

[recipes.light]
pad = 0.125
flip = 0.5

[evaluations.knn]

[methods.byol]
hidden = 16
output = 8
momentum = 0.6

[methods.mocov2]
hidden = 16
output = 8
queue = 16
momentum = 0.6
final_momentum = 0.9

[methods.nnclr]
hidden = 16
output = 8
bottleneck = 16
queue = 16

[methods.dino]
crops = 0
prototypes = 16
hidden = 16
bottleneck = 8
momentum = 0.6

[methods.mocov3]
hidden = 16
output = 8
momentum = 0.6

[methods.ressl]
hidden = 16
output = 8
queue = 16
momentum = 0.6
final_momentum = 0.9

[methods.tico]
hidden = 16
output = 8
momentum = 0.6

[methods.ijepa]
blocks = 2
width = 8
depth = 1
heads = 2
momentum = 0.6
"""

PLAIN = [f"recipes.standard.{key}" for key in ("crop=[1.0, 1.0]", "ratio=[1.0, 1.0]", "flip=0", "jitter=0")]
"""Settings without any augmentation."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def write_images(folder: Path, split: str, images: np.ndarray) -> str:
    """Write (n, side, side, 3) as a split of two classes, in turn; returns the data set's name."""
    for number, pixels in enumerate(images.clip(0, 255).astype(np.uint8)):
        path = folder / split / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return f"folder:{folder}"


MEAN, DEVIATION = np.array([60, 120, 170]), np.array([15, 25, 40])
"""Of the channels of the training images, before the second class is made brighter."""


def noise(n: int, seed: int, mean=MEAN, deviation=DEVIATION, gap: float = 15) -> np.ndarray:
    """(n, 16, 16, 3); the second class is brighter by ``gap``."""
    pixels = np.random.default_rng(seed).normal(mean, deviation, (n, 16, 16, 3))
    return pixels + gap * (np.arange(n) % 2)[:, None, None, None]


@pytest.fixture(scope="module")
def images(data):
    write_images(data / "images", "train", noise(IMAGES, 0))
    return write_images(data / "images", "test", noise(10, 1))


@dataclass
class Recording:
    """What a run gave to its method, backbone and optimizer.

    Attributes:
        batches: of every step.
        before: a copy of the method before every step, and the method after the last one.
        rates: learning rate of every step.
        inputs: of the backbone, in training and in evaluation mode.
        record: of the run.
        weights: stored state of the backbone.
    """

    batches: list[Batch] = field(default_factory=list)
    before: list[Method] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    inputs: dict[bool, list[torch.Tensor]] = field(default_factory=lambda: {True: [], False: []})
    record: Record | None = None
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


@pytest.fixture(scope="module")
def run(data, images, tmp_path_factory):
    """Executes a run of a method and records it; the same run only once."""
    (data / "small.toml").write_text(PROTOCOL, encoding="utf-8")
    protocol = protocols.load(str(data / "small.toml"))

    @functools.cache
    def execute_and_record(
        method: str,
        *settings: str,
        dataset: str = images,
        backbone: str = "conv4",
        evaluate: tuple[str, ...] = ("knn",),
        **context: Any,
    ) -> Recording:
        found = Recording()
        last: list[Method] = []

        def before_forward(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if isinstance(module, Method):
                found.batches.append(inputs[0])
                found.before.append(copy.deepcopy(module))
                last[:] = [module]
            elif isinstance(module, Backbone):
                found.inputs[module.training].append(inputs[0].detach().clone())

        hooks = [
            register_module_forward_pre_hook(before_forward),
            register_optimizer_step_pre_hook(lambda optimizer, *_: found.rates.append(optimizer.param_groups[0]["lr"])),
        ]
        runs = tmp_path_factory.mktemp("runs")
        resolved = resolve(
            protocol,
            method=method,
            dataset=dataset,
            backbone=backbone,
            seed=3,
            changes=parse_changes(settings),
            data=data,
            evaluate=evaluate,
        )
        try:
            found.record = execute(resolved, ExecutionContext(runs, data, "cpu", **context), ProgressListener())
        finally:
            for hook in hooks:
                hook.remove()
        found.before += last
        found.weights = torch.load(runs / resolved.folder() / store.BACKBONE, weights_only=True)["backbone"]
        return found

    return execute_and_record


def views_by_image(batches: list[Batch]) -> torch.Tensor:
    """(images, 2, 3, side, side): both views of every image, by the index of the image."""
    views = torch.cat([batch.views.unflatten(0, (2, -1)).transpose(0, 1) for batch in batches])
    return views[torch.cat([batch.index for batch in batches]).argsort()]


def epochs_of(batches: list[Batch]) -> list[list[Batch]]:
    return [batches[: IMAGES // BATCH], batches[IMAGES // BATCH :]]


def test_the_views_of_an_image_differ_from_each_other_and_between_epochs(run):
    first, second = (views_by_image(epoch) for epoch in epochs_of(run("simclr").batches))
    assert len(first) == len(second) == IMAGES
    for one, other in itertools.combinations((first[:, 0], first[:, 1], second[:, 0], second[:, 1]), 2):
        assert (one - other).abs().amax((1, 2, 3)).min() > 0.1


def test_every_epoch_shows_every_image_once_in_another_order(run):
    orders = [torch.cat([batch.index for batch in epoch]).tolist() for epoch in epochs_of(run("simclr").batches)]
    assert [sorted(order) for order in orders] == [list(range(IMAGES))] * 2
    assert orders[0] != orders[1]
    assert list(range(IMAGES)) not in orders


@pytest.mark.parametrize("method", ["byol", "mocov2", "nnclr", "dino", "supervised", "rotnet"])
def test_all_methods_get_the_same_images_and_views_in_the_same_order(run, method):
    """Of methods with other views than two standard ones the images alone are compared."""
    expected, found = run("simclr").batches, run(method).batches
    assert [batch.index.tolist() for batch in found] == [batch.index.tolist() for batch in expected]
    if method not in ("supervised", "rotnet"):
        assert all(torch.equal(one.views, other.views) for one, other in zip(found, expected, strict=True))


def momentum_of(average: EMA, online: nn.Module, updated: EMA) -> float:
    """m of the update m · average + (1 - m) · online, by least squares over all parameters."""
    old, new, target = (
        torch.cat([parameter.flatten() for parameter in net.parameters()]) for net in (average, online, updated)
    )
    return float((target - new) @ (old - new) / (old - new).square().sum())


AVERAGES = {
    "byol": ("target", "online", 1.0),
    "mocov2": ("key_encoder", "query_encoder", 0.9),
    "mocov3": ("key_encoder", "query_encoder", 1.0),
    "dino": ("teacher", "student", 1.0),
    "ressl": ("teacher", "student", 0.9),
    "tico": ("target", "online", 1.0),
    "ijepa": ("target", "backbone", 1.0),
}
"""Of every method with a moving average of its own: the average, what it follows, and its last momentum."""


def test_no_moving_average_is_missing_in_the_test_of_their_schedules():
    files = {name: Path(inspect.getfile(METHODS.get(name))).read_text("utf-8") for name in METHODS.names()}
    assert {name for name, text in files.items() if " EMA(" in text} == AVERAGES.keys()


@pytest.mark.parametrize("method", AVERAGES)
def test_a_moving_average_follows_the_published_schedule(run, method):
    """BYOL, section 3.2: 1 - (1 - m) · (cos(πk/K) + 1) / 2 after step k of K, to the end of the schedule."""
    average, online, final = AVERAGES[method]
    states = run(method, backbone="timm:test_vit@patch=4" if method == "ijepa" else "conv4").before
    steps = len(states) - 1
    assert steps == 2 * IMAGES // BATCH
    with torch.no_grad():
        found = [
            momentum_of(getattr(old, average), getattr(new, online), getattr(new, average))
            for old, new in itertools.pairwise(states)
        ]
    expected = [final - (final - 0.6) * (math.cos(math.pi * k / steps) + 1) / 2 for k in range(1, steps + 1)]
    assert found == pytest.approx(expected, abs=1e-3)


def test_random_weights_have_seen_no_image(run):
    """They are those that every method starts from, with the statistics of a BatchNorm that was never used."""
    untrained, trained = run("random"), run("simclr")
    assert untrained.record.cost.views == untrained.record.cost.steps == 0
    assert not untrained.inputs[True]
    initial = trained.before[0].backbone.state_dict()
    assert initial.keys() == untrained.weights.keys()
    assert all(torch.equal(value, initial[name]) for name, value in untrained.weights.items())
    for name, value in untrained.weights.items():
        fresh = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0}.get(name.rpartition(".")[2])
        assert fresh is None or (value == fresh).all(), name
    assert any(not torch.equal(value, trained.weights[name]) for name, value in initial.items())


@pytest.mark.parametrize("method", ["mocov2", "nnclr"])
def test_a_queue_holds_the_view_that_the_paper_pushes(run, method):
    """MoCo's keys are those of the second view, NNCLR's support set holds projections of the first."""
    recorded = run(method)
    (before, after), views = recorded.before[:2], recorded.batches[0].views
    with torch.no_grad():
        if method == "mocov2":
            expected = before.key_encoder(views[BATCH:])
        else:
            expected = before.projector(before.backbone(views))[:BATCH]
    torch.testing.assert_close(after.queue.embeddings[:BATCH], F.normalize(expected))
    assert torch.equal(after.queue.embeddings[BATCH:], before.queue.embeddings[BATCH:])


def test_every_channel_of_the_input_has_mean_0_and_deviation_1(run):
    """Over the training images, whose channels differ in both: in pretraining without augmentation, and evaluated."""
    inputs = run("simclr", *PLAIN).inputs
    evaluated = [some for some in inputs[False] if len(some) == IMAGES]
    assert len(evaluated) == 3  # two views for the health of the representation, and the features
    for some in (torch.cat(inputs[True]), *evaluated):
        std, mean = torch.std_mean(some, (0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros(3), atol=2e-3, rtol=0)
        torch.testing.assert_close(std, torch.ones(3), atol=2e-3, rtol=0)


def test_health_is_measured_on_the_first_images_of_a_large_split(run, data):
    """Two views of 2,000 of them, eight more of a tenth; beside that, evaluations see every image once."""
    write_images(data / "many", "train", noise(2100, 0)[:, :8, :8])
    many = write_images(data / "many", "test", noise(4, 1)[:, :8, :8])
    recorded = run("random", dataset=many)
    assert sum(map(len, recorded.inputs[False])) == 2 * 2000 + 8 * 210 + 2100 + 4
    assert recorded.record.health.n == 2100


def test_the_learning_rate_of_every_step_is_torchs(run):
    """A linear warm-up from 0 over half of the steps, then a cosine, as torch's own schedulers set them."""
    recorded = run("simclr", "pretrain.warmup=0.5", "pretrain.schedule=cosine")
    steps = 2 * IMAGES // BATCH
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    warmup = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / (steps / 2))]
    cosine = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps // 2)]
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [*warmup, *cosine], [steps // 2])
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert recorded.rates == pytest.approx(expected, abs=1e-9)


def test_no_step_is_longer_than_the_largest_norm_allows(run):
    """By plain SGD: of every tensor at most the learning rate times ``clip``; without it, some are longer."""

    def longest(*settings):
        recorded = run("simclr", "pretrain.optimizer=sgd", "pretrain.momentum=0", *settings)
        return max(
            float((after - before).detach().norm() / rate)
            for rate, *methods in zip(recorded.rates, recorded.before, recorded.before[1:], strict=False)
            for before, after in zip(*(method.parameters() for method in methods), strict=True)
        )

    assert longest("pretrain.clip=0.01") == pytest.approx(0.01, rel=1e-3)
    assert longest() > 0.02


def test_reference_operations_are_used_where_they_are_asked_for_and_change_little(run):
    """The relation head, and the blocks and the last pooling of the backbone, have faster implementations."""
    fast, slow = run("relational[views=2]"), run("relational[views=2]", reference=True)
    for recorded, expected in ((fast, False), (slow, True)):
        chosen = [module.reference for module in recorded.before[0].modules() if hasattr(module, "reference")]
        assert chosen == [expected] * 6
    losses = [[epoch["loss"] for epoch in recorded.record.history] for recorded in (fast, slow)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_blur_is_as_strong_as_the_protocol_says(run, data):
    """Of images of one white pixel: deviations are uniform over the protocol's range, views are torchvision's."""
    rows, columns = np.random.default_rng(0).integers(4, SIDE - 4, (2, IMAGES))
    pixels = np.zeros((IMAGES, SIDE, SIDE, 3))
    pixels[np.arange(IMAGES), rows, columns] = 255
    write_images(data / "points", "test", pixels)
    points = write_images(data / "points", "train", pixels)
    low, high = 0.5, 1.5
    blur = ["recipes.standard.blur=1", f"recipes.standard.sigma=[{low}, {high}]", "pretrain.epochs=4"]
    batches = run("simclr", *PLAIN, *blur, dataset=points).batches
    dataset = load_dataset(points, data)
    index = torch.cat([batch.index.repeat(2) for batch in batches])
    images = torch.from_numpy(dataset.train.images)[index].permute(0, 2, 1, 3) / 255
    views = torch.cat([batch.views for batch in batches]).mul(dataset.std[0]).add(dataset.mean[0])
    beside = images.roll(1, 3)  # a Gaussian falls by exp(-1 / 2σ²) from its centre to the next pixel
    fall = (views * beside).sum((1, 2, 3)) / (views * images).sum((1, 2, 3))
    sigmas = (-0.5 / fall.log()).sqrt()
    assert stats.kstest(sigmas, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    expected = [TF.gaussian_blur(image, [5, 5], [float(sigma)]) for image, sigma in zip(images, sigmas, strict=True)]
    torch.testing.assert_close(views, torch.stack(expected), atol=1e-4, rtol=0)


def test_a_test_image_is_measured_without_the_others(run, data):
    """What is right in two parts of a test split is right in the whole, though one part is all outliers.

    The images of the other part lie between the classes, so that a classifier must change little to change its mind.
    """
    parts = noise(60, 1, mean=MEAN + 6, gap=3), noise(30, 2, mean=(200, 60, 90), deviation=(60, 6, 60))
    found = []
    for name, test in (("first", parts[0]), ("second", parts[1]), ("both", np.concatenate(parts))):
        write_images(data / name, "train", noise(IMAGES, 0))
        dataset = write_images(data / name, "test", test)
        record = run("random", dataset=dataset, evaluate=("linear", "knn", "retrieval")).record
        found.append({(m.label, m.metric): m.value * m.n for m in record.metrics})
    first, second, both = found
    assert len(both) == 5
    assert both == pytest.approx({key: first[key] + second[key] for key in both})
