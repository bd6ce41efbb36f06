"""Views against torchvision: each operation's numbers, and the distributions of its parameters."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from protocols.augment import colour_jitter
from protocols.augment.augmenter import Augmenter
from protocols.augment.crop import crop
from protocols.augment.gaussian_blur import blur_radius, gaussian_blur
from protocols.augment.grayscale import grayscale
from protocols.augment.normalise import normalise
from protocols.augment.parameters import COLUMNS, sample_parameters
from protocols.augment.solarize import solarize
from protocols.spec.protocol import Augmentation
from protocols.system.randomness import key, uniforms

N = 40
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def photos(side: int = 32, n: int = N) -> torch.Tensor:
    """(n, side, 3, side) uint8: smooth colours with edges and some noise."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 5, 5, generator=g)
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    noisy = (fine + 0.1 * torch.rand(n, 3, side, side, generator=g)).clamp(0, 1)
    return (noisy * 255).byte().permute(0, 2, 1, 3).contiguous()


def as_images(stored: torch.Tensor) -> torch.Tensor:
    """(n, side, 3, side) uint8 to (n, 3, side, side) in [0, 1]."""
    return stored.permute(0, 2, 1, 3) / 255


def as_views(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, side, side) to (n, side, 3, side), and back."""
    return images.permute(0, 2, 1, 3).contiguous()


def random_numbers(n: int, seed: int = 0) -> np.ndarray:
    return uniforms(key(seed, "test"), np.arange(n), COLUMNS)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [32, 20, 48])
def test_crop_resize_flip_is_torchvisions(interpolation, antialias, size):
    """Tolerance: 1e-5 of the range."""
    recipe = Augmentation(crop=(0.08, 1.0), flip=0.5, interpolation=interpolation, antialias=antialias, size=size)
    stored = photos()
    drawn = sample_parameters(recipe, random_numbers(N), 32)
    views = crop(stored, drawn, recipe, size)
    for i, image in enumerate(as_images(stored)):
        box = [int(getattr(drawn, name)[i]) for name in ("top", "left", "height", "width")]
        mode = TF.InterpolationMode(interpolation)
        expected = TF.resized_crop(image, *box, [size, size], interpolation=mode, antialias=antialias)
        expected = TF.hflip(expected) if drawn.flip[i] else expected
        torch.testing.assert_close(as_views(views)[i], expected, atol=1e-5, rtol=0)


def test_pad_and_crop_is_torchvisions():
    recipe = Augmentation(pad=0.125, flip=0.5)
    stored = photos()
    drawn = sample_parameters(recipe, random_numbers(N), 32)
    views = crop(stored, drawn, recipe, 32)
    for i, image in enumerate(as_images(stored)):
        expected = TF.crop(TF.pad(image, [4]), int(drawn.top[i]) + 4, int(drawn.left[i]) + 4, 32, 32)
        expected = TF.hflip(expected) if drawn.flip[i] else expected
        torch.testing.assert_close(as_views(views)[i], expected, atol=1e-6, rtol=0)


def test_pad_and_crop_reaches_both_ends_of_the_padding():
    drawn = sample_parameters(Augmentation(pad=0.125), random_numbers(2000), 32)
    for start in (drawn.top, drawn.left):
        assert start.unique().tolist() == list(range(-4, 5))


COLOURS = {
    "brightness": (TF.adjust_brightness, 0.2, 1.8),
    "contrast": (TF.adjust_contrast, 0.2, 1.8),
    "saturation": (TF.adjust_saturation, 0.2, 1.8),
    "hue": (TF.adjust_hue, -0.5, 0.5),
}
JITTERS = {"compiled": colour_jitter.compiled_jitter, "plain": colour_jitter.jitter}


@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS)
@pytest.mark.parametrize("name", COLOURS)
def test_colour_operations_are_torchvisions(name, jitter):
    """Tolerance: 1e-5 of the range, grey pixels and pure colours among them."""
    theirs, low, high = COLOURS[name]
    images = as_images(photos())
    images[0] = 0.4
    images[1, :, :16] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    images[1, :, 16:] = torch.tensor([0.0, 0.7, 0.7])[:, None, None]
    factors = torch.linspace(low, high, N)
    views = as_views(jitter(as_views(images), torch.full((N,), colour_jitter.OPERATIONS.index(name)), factors))
    for view, image, factor in zip(views, images, factors.tolist(), strict=True):
        torch.testing.assert_close(view, theirs(image, factor), atol=1e-5, rtol=0)


@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS)
def test_views_without_an_operation_stay_as_they_are(jitter):
    """Even outside of [0, 1], where bicubic resampling may put them."""
    views = 3 * as_views(as_images(photos())) - 1
    assert torch.equal(jitter(views, torch.full((N,), -1), torch.full((N,), 0.5)), views)


def test_grayscale_and_solarise_are_torchvisions():
    images = as_images(photos())
    views = as_views(images)
    torch.testing.assert_close(as_views(grayscale(views)), TF.rgb_to_grayscale(images, 3))
    torch.testing.assert_close(as_views(solarize(views)), TF.solarize(images, 0.5))


@pytest.mark.parametrize("side", [32, 64, 96])
def test_blur_is_torchvisions(side):
    """Tolerance: 1e-5 of the range; the kernel is a tenth of the side, and odd."""
    images = as_images(photos(side))
    sigmas = torch.linspace(0.1, 2.0, N)
    views = as_views(gaussian_blur(as_views(images), sigmas[:, None]))
    kernel = 2 * blur_radius(side) + 1
    for view, image, sigma in zip(views, images, sigmas.tolist(), strict=True):
        torch.testing.assert_close(view, TF.gaussian_blur(image, [kernel, kernel], [sigma, sigma]), atol=1e-5, rtol=0)


FULL = Augmentation(
    crop=(0.08, 1.0), flip=0.5, jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grayscale=0.2,
    blur=0.5, solarize=0.2,
)  # fmt: skip


def test_the_whole_pipeline_is_torchvisions_operations_in_their_order():
    stored = photos()
    u = random_numbers(N)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    views = Augmenter(FULL, mean, std)(stored, torch.arange(N), u)
    drawn = sample_parameters(FULL, u, 32)
    operations = [TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue]
    for i, image in enumerate(as_images(stored)):
        box = [int(getattr(drawn, name)[i]) for name in ("top", "left", "height", "width")]
        view = TF.resized_crop(image, *box, [32, 32], antialias=True)
        view = TF.hflip(view) if drawn.flip[i] else view
        for number, factor in zip(drawn.operation[:, i].tolist(), drawn.factor[:, i].tolist(), strict=True):
            view = operations[number](view, factor) if number >= 0 else view
        view = TF.rgb_to_grayscale(view, 3) if drawn.grayscale[i] else view
        view = TF.gaussian_blur(view, [3, 3], [drawn.sigma[i].item()] * 2) if drawn.blur[i] else view
        view = TF.solarize(view, 0.5) if drawn.solarize[i] else view
        close = (views[i] - TF.normalize(view, mean, std)).abs() < 1e-3
        assert close.float().mean() > 0.999  # a pixel within rounding of one half may be solarised on one side only


def draws_of_torchvision(recipe: Augmentation, n: int) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    image = torch.zeros(3, 32, 32)
    boxes = np.array([T.RandomResizedCrop.get_params(image, recipe.crop, recipe.ratio) for _ in range(n)])
    strengths = [(1 - recipe.brightness, 1 + recipe.brightness)] * 3 + [(-recipe.hue, recipe.hue)]
    jitters = [T.ColorJitter.get_params(*strengths) for _ in range(n)]
    columns = {name: boxes[:, i] for i, name in enumerate(("top", "left", "height", "width"))}
    for number in range(4):
        columns[f"factor{number}"] = np.array([jitter[1 + number] for jitter in jitters])
    columns["order"] = np.array([int("".join(map(str, jitter[0].tolist()))) for jitter in jitters])
    return columns


@pytest.mark.parametrize("crop", [(0.08, 1.0), (0.8, 1.0)])
def test_parameters_are_distributed_as_torchvisions(crop):
    """Two-sample tests on 10,000 draws each, at a thousandth."""
    n = 10_000
    recipe = Augmentation(crop=crop, jitter=1.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    drawn = sample_parameters(recipe, random_numbers(n), 32)
    ours = {name: getattr(drawn, name).numpy() for name in ("top", "left", "height", "width")}
    ours.update({f"factor{number}": drawn.factor[drawn.operation == number].numpy() for number in range(4)})
    ours["order"] = np.array([int("".join(map(str, order))) for order in drawn.operation.T.tolist()])
    for name, theirs in draws_of_torchvision(recipe, n).items():
        if name.startswith("factor"):
            assert stats.ks_2samp(ours[name], theirs).pvalue > 1e-3, name
        else:
            values = sorted({*ours[name].tolist(), *theirs.tolist()})
            table = [[np.sum(column == value) for value in values] for column in (ours[name], theirs)]
            frequent = np.array(table)[:, np.sum(table, axis=0) >= 20]
            assert stats.chi2_contingency(frequent).pvalue > 1e-3, name


@pytest.mark.parametrize("name", ["flip", "grayscale", "blur", "solarize"])
def test_probabilities_are_kept(name):
    share = getattr(sample_parameters(FULL, random_numbers(20_000), 32), name).float().mean().item()
    assert share == pytest.approx(getattr(FULL, name), abs=0.015)


def test_jitter_leaves_a_fifth_of_the_views_alone():
    operation = sample_parameters(FULL, random_numbers(20_000), 32).operation
    assert (operation < 0).all(0).float().mean().item() == pytest.approx(0.2, abs=0.015)


def test_identical_images_get_different_views():
    stored = photos(n=1)
    views = Augmenter(FULL, **PLAIN)(stored, torch.zeros(64, dtype=torch.long), random_numbers(64))
    distinct = {view.numpy().tobytes() for view in views}
    assert len(distinct) == 64


@pytest.mark.parametrize("plain", [False, True])
def test_a_view_does_not_depend_on_its_company(plain):
    """Bit for bit, whatever the batch around it: this is what makes resuming exact."""
    stored, u = photos(n=300), random_numbers(300)
    augment = Augmenter(FULL, **PLAIN, reference=plain)
    together = augment(stored, torch.arange(300), u)
    apart = torch.cat([augment(stored, index, u[index.numpy()]) for index in torch.arange(300).split(100)])
    assert torch.equal(together, apart)


def test_views_are_the_same_compiled_or_not():
    """To rounding; what is rounded to another side of one half is solarised otherwise."""
    stored, u, recipe = photos(n=300), random_numbers(300), dataclasses.replace(FULL, solarize=0.0)
    quick, plain = (
        Augmenter(recipe, **PLAIN, reference=plain)(stored, torch.arange(300), u) for plain in (False, True)
    )
    torch.testing.assert_close(quick, plain, atol=1e-5, rtol=0)


def test_nothing_is_compiled_twice():
    stored, u = photos(n=400), random_numbers(400)
    augment = Augmenter(FULL, **PLAIN)
    augment(stored, torch.arange(100), u[:100])
    with torch.compiler.set_stance("fail_on_recompile"):
        for n in (300, 101, 400):
            augment(stored, torch.arange(n), u[:n])
        Augmenter(dataclasses.replace(FULL, size=64), **PLAIN)(stored, torch.arange(150), u[:150])


def test_a_recipe_of_nothing_only_normalises():
    stored = photos()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    views = Augmenter(Augmentation(), mean, std)(stored, torch.arange(N), random_numbers(N))
    expected = TF.normalize(as_images(stored), mean, std)
    torch.testing.assert_close(views, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(normalise(stored, mean, std), expected, atol=1e-5, rtol=1e-5)


def test_views_come_in_channels_last_memory():
    views = Augmenter(FULL, **PLAIN)(photos(), torch.arange(N), random_numbers(N))
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert normalise(photos(), **PLAIN).is_contiguous(memory_format=torch.channels_last)


def test_cutout_removes_one_square_from_the_chosen_share_of_views():
    augmentation = dataclasses.replace(Augmentation(), operations={"cutout": {"probability": 0.5, "size": 0.25}})
    augmenter = Augmenter(augmentation, (0.0,) * 3, (1.0,) * 3)
    n, white = 4000, torch.full((1, 32, 3, 32), 255, dtype=torch.uint8)
    u = uniforms(key(0, "cutout"), np.arange(n), augmenter.columns)
    views = augmenter(white, torch.zeros(n, dtype=torch.int64), u)
    black = (views == 0).all(1).flatten(1).sum(1)
    assert set(black.unique().tolist()) == {0, 8 * 8}
    assert (black > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    centre_of_mass = (views == 0).all(1).float().mean(0)
    torch.testing.assert_close(centre_of_mass, centre_of_mass.flip(0), atol=0.03, rtol=0)


def test_operations_do_not_change_what_the_built_in_ones_draw():
    """The uniform numbers of a view are the same, however many more an operation takes."""
    stored, index = photos(n=20), torch.arange(20)
    with_cutout = dataclasses.replace(FULL, operations={"cutout": {"probability": 0.0}})
    views = []
    for augmentation in (FULL, with_cutout):
        augmenter = Augmenter(augmentation, **PLAIN)
        views.append(augmenter(stored, index, uniforms(key(3, "views"), np.arange(20), augmenter.columns)))
    assert torch.equal(*views)
