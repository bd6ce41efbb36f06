import pytest
import torch

from methods import RunInfo
from methods.adasim import AdaSim
from protocols.backbones.small import Conv4


def build(**options) -> AdaSim:
    small = {"prototypes": 8, "hidden": 16, "bottleneck": 4, **options}
    return AdaSim(Conv4(), AdaSim.Options(**small), RunInfo(classes=10, images=40, side=16, steps=9, seed=0))


def remember(method: AdaSim, image: int, ids: list[int], cosines: list[float]) -> None:
    method.neighbours.write(torch.tensor([image]), torch.tensor([ids]))
    method.cosines.write(torch.tensor([image]), torch.tensor([cosines]))


def second_views(method: AdaSim, image: int, draws: int) -> torch.Tensor:
    """How often each of the 40 images is behind the second view."""
    torch.manual_seed(0)
    first, second = method.source_indices(torch.full((draws,), image), 2)
    assert (first == image).all()
    return torch.bincount(second, minlength=40) / draws


def test_odds_are_those_of_the_worked_example():
    """Mean similarities .95, .90, .88 over the window, sampling temperature 0.2: .40, .31, .28."""
    method = build(topk=3, window=2, sampling_temperature=0.2)
    remember(method, 7, [7, 3, 5], [0.97, 0.88, 0.86])
    remember(method, 7, [7, 5, 3], [0.93, 0.90, 0.92])
    candidates, log_odds = method.candidates(torch.tensor([7]))
    assert candidates.tolist() == [[7, 3, 5]]
    odds = log_odds.softmax(1)[0]
    torch.testing.assert_close(odds, torch.tensor([0.40, 0.31, 0.28]), atol=5e-3, rtol=0)
    shares = second_views(method, 7, 20_000)
    torch.testing.assert_close(shares[[7, 3, 5]], odds, atol=0.02, rtol=0)
    assert shares[[7, 3, 5]].sum() == pytest.approx(1.0)


def test_an_image_that_does_not_recognise_itself_shows_itself():
    method = build(topk=3, window=2, sampling_temperature=0.2)
    remember(method, 7, [3, 7, 5], [0.95, 0.90, 0.88])
    remember(method, 7, [3, 7, 5], [0.95, 0.90, 0.88])
    assert second_views(method, 7, 200)[7] == 1


def test_before_the_window_is_full_an_image_shows_itself():
    method = build(topk=3, window=2, sampling_temperature=10.0)
    assert second_views(method, 7, 200)[7] == 1
    remember(method, 7, [7, 3, 5], [0.95, 0.90, 0.88])
    assert second_views(method, 7, 200)[7] == 1
    remember(method, 7, [7, 3, 5], [0.95, 0.90, 0.88])
    assert second_views(method, 7, 200)[7] < 0.5


def test_the_papers_temperature_all_but_always_draws_the_image_itself():
    method = build(topk=3, window=2)
    for _ in range(2):
        remember(method, 7, [7, 3, 5], [0.95, 0.90, 0.88])
    assert second_views(method, 7, 1000)[7] == 1


def test_what_was_never_seen_is_never_drawn():
    method = build(topk=3, window=1, sampling_temperature=10.0)
    remember(method, 7, [7, -1, -1], [0.95, 0.0, 0.0])
    assert second_views(method, 7, 200)[7] == 1
