import pytest
import torch

from methods import Batch, RunInfo
from methods.ibot import IBOT, masked_cross_entropy
from protocols.backbones.timm_models import timm
from results.errors import RequestError
from tests.tools.parity import assert_same_loss_and_gradient, embeddings

MASKED = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]]).bool()


def build(backbone: str = "timm:test_vit@patch=4", **options: float) -> IBOT:
    torch.manual_seed(0)
    small = {"crops": 2, "prototypes": 20, "hidden": 16, "bottleneck": 8, "freeze": 0.0, **options}
    info = RunInfo(classes=3, images=9, side=16, steps=4, seed=0)
    return IBOT(timm(backbone, 16), IBOT.Options(**small), info).train()


def slow_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    views = []
    for image in range(len(student)):
        patches = [
            -(teacher[image, patch].softmax(0).detach() * student[image, patch].log_softmax(0)).sum()
            for patch in range(student.shape[1])
            if MASKED[image, patch]
        ]
        views.append(sum(patches) / len(patches) if patches else torch.zeros(()))
    return torch.stack(views).mean()


def test_patch_loss_and_gradient_are_those_of_the_definition():
    assert_same_loss_and_gradient(
        lambda student, teacher: masked_cross_entropy(student, teacher, MASKED),
        slow_loss,
        embeddings(3, 4, 5),
        embeddings(3, 4, 5, seed=1),
    )


def test_patch_losses_gradients_and_centres_of_some_steps_are_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    criterion, centre = (
        lightly.IBOTPatchLoss(5, teacher_temp=0.05, student_temp=0.1, center_momentum=0.9),
        torch.zeros(5),
    )
    for seed in range(3):
        student, teacher = embeddings(3, 4, 5, seed=seed), embeddings(3, 4, 5, seed=seed + 9)[MASKED]
        filled = torch.zeros(3, 4, 5).masked_scatter(MASKED[..., None].expand(3, 4, 5), teacher)
        before = criterion.center.value.clone()
        torch.testing.assert_close(before.flatten(), centre)

        def theirs(student, teacher=teacher, before=before):
            criterion.center.center = before.clone()
            return criterion(teacher, student[MASKED], MASKED.unflatten(1, (2, 2)))

        assert_same_loss_and_gradient(
            lambda student, filled=filled, centre=centre: masked_cross_entropy(
                student / 0.1, (filled - centre) / 0.05, MASKED
            ),
            theirs,
            student,
        )
        centre = centre.lerp(teacher.mean(0), 0.1)


def test_half_of_the_views_have_masked_patches_within_the_range():
    torch.manual_seed(0)
    share = build().sample_masks(4000, 100, torch.device("cpu")).float().mean(1)
    some = share[share > 0]
    assert len(some) / 4000 == pytest.approx(0.5, abs=0.03)
    assert some.min() >= 0.09
    assert some.max() <= 0.5
    assert some.mean().item() == pytest.approx(0.3, abs=0.02)


def test_the_loss_is_dinos_and_that_of_patches_and_centres_follow():
    """Without masks the student's class tokens are DINO's; their centre follows the teacher's mean."""
    method, batch = build(mask=0.0, mask_range=0.0, crops=0), Batch(torch.rand(8, 3, 16, 16), torch.arange(4))
    scalars = method(batch)
    assert scalars["patch_loss"] == 0
    expected = method.distillation_loss(method.student(batch.views).logits, method.teacher(batch.views).logits, 4)
    torch.testing.assert_close(scalars["loss"], expected["loss"])
    with torch.no_grad():
        mean = method.teacher.module.head(method.encoder.tokens(batch.views)[:, 1:]).mean((0, 1))
    method(batch)
    method.after_step(0.5)
    torch.testing.assert_close(method.patch_centre, 0.1 * mean)


def test_the_loss_of_masked_patches_is_added_with_its_weight():
    method, batch = build(patch_weight=0.5, crops=0), Batch(torch.rand(8, 3, 16, 16), torch.arange(4))
    scalars = method(batch)
    assert scalars["patch_loss"] > 0
    torch.testing.assert_close(scalars["loss"], scalars["class_loss"] + 0.5 * scalars["patch_loss"])


def test_options_and_backbones_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"mask ± mask_range must lie in \[0, 1\], not 0.1 ± 0.2"):
        IBOT.Options(mask=0.1)
    backbone = timm("timm:test_vit@patch=4", 16)
    backbone.prefix_tokens = 0
    with pytest.raises(RequestError, match="this backbone has no class token"):
        IBOT(backbone, IBOT.Options(), RunInfo(classes=3, images=9, side=16, steps=4, seed=0))
