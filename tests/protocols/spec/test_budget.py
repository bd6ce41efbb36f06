import pytest

from protocols.spec.budget import Budget, budget_for
from protocols.spec.protocol import Pretrain
from results.errors import RequestError


def spans(budget: Budget) -> list[tuple[int, int]]:
    """(epoch, images) of every step, images counted one by one."""
    counted = []
    for step in range(budget.steps):
        epoch, places = budget.locate(step)
        counted.append((epoch, len(range(budget.images)[places])))
    return counted


@pytest.mark.parametrize("images", [100, 101, 102, 128])
@pytest.mark.parametrize("epochs", [1, 2.5])
def test_total_views_are_what_the_steps_see(images, epochs):
    budget = budget_for(Pretrain(epochs=epochs, batch=20), images=images, views=3)
    assert budget.total_views == 3 * sum(n for _, n in spans(budget))


def test_the_last_batch_of_an_epoch_is_kept_unless_it_is_a_lone_image():
    assert spans(budget_for(Pretrain(epochs=1, batch=20), images=47, views=2)) == [(0, 20), (0, 20), (0, 7)]
    assert spans(budget_for(Pretrain(epochs=1, batch=20), images=41, views=2)) == [(0, 20), (0, 20)]


def test_the_papers_steps():
    """CIFAR with a batch of 64: 782 steps an epoch, the last one of 16 images."""
    budget = budget_for(Pretrain(epochs=200, batch=64), images=50_000, views=32)
    assert (budget.steps_per_epoch, budget.steps) == (782, 156_400)
    assert spans(Budget(50_000, 64, 32, 782))[-1] == (0, 16)


def test_a_budget_in_views_is_matched_within_a_step():
    for views in (1, 2, 4, 32):
        budget = budget_for(Pretrain(views=50_000, batch=64), images=10_000, views=views)
        assert budget.total_views == pytest.approx(50_000, abs=64 * views)


def test_a_budget_in_flops_is_matched_within_a_step():
    for views in (1, 2, 32):
        budget = budget_for(Pretrain(flops=1e12, batch=64), images=10_000, views=views, flops_per_view=3e6)
        assert budget.total_views * 3e6 == pytest.approx(1e12, abs=64 * views * 3e6)
    assert budget_for(Pretrain(flops=1.0), images=10_000, views=2, flops_per_view=3e6).steps == 1


def test_no_views_no_steps():
    assert budget_for(Pretrain(epochs=3, batch=500), images=100, views=0).steps == 0


def test_a_batch_larger_than_the_data_set_is_refused():
    with pytest.raises(RequestError, match="a batch of 128 is larger than the 100 images"):
        budget_for(Pretrain(epochs=1), images=100, views=2)
