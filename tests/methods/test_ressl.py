import torch

from methods import Batch, RunInfo
from methods.ressl import ReSSL, relational_consistency
from protocols.backbones.small import Conv4
from tests.tools.parity import assert_same_loss_and_gradient, embeddings

QUEUE = torch.nn.functional.normalize(embeddings(7, 5, seed=2))


def slow_loss(student, teacher, student_temperature=0.1, teacher_temperature=0.04):
    """Equations 2 to 4 of the paper, one image and one earlier image at a time."""
    losses = []
    for one, other in zip(student, teacher.detach(), strict=True):
        predicted = [(one @ row / one.norm() / student_temperature).exp() for row in QUEUE]
        wanted = [(other @ row / other.norm() / teacher_temperature).exp() for row in QUEUE]
        p = [value / sum(wanted) for value in wanted]
        q = [value / sum(predicted) for value in predicted]
        losses.append(-sum(a * b.log() for a, b in zip(p, q, strict=True)))
    return torch.stack(losses).mean()


def solo_learns_loss(student, teacher, student_temperature=0.1, teacher_temperature=0.04):
    """-Σ softmax(k · queue / T_k) log softmax(q · queue / T_q) of normalised queries q and keys k."""
    q, k = (torch.nn.functional.normalize(some) for some in (student, teacher.detach()))
    targets = torch.softmax(torch.einsum("nc,kc->nk", k, QUEUE) / teacher_temperature, dim=1)
    return -(targets * torch.log_softmax(torch.einsum("nc,kc->nk", q, QUEUE) / student_temperature, 1)).sum(1).mean()


def loss(student, teacher):
    return relational_consistency(student, teacher, QUEUE, student_temperature=0.1, teacher_temperature=0.04)


def test_loss_and_gradient_are_those_of_the_definition_and_the_teacher_gets_none():
    for reference in (slow_loss, solo_learns_loss):
        assert_same_loss_and_gradient(loss, reference, embeddings(6, 5), embeddings(6, 5, seed=1))


def test_the_teacher_sees_the_weak_view_and_its_embeddings_join_the_queue_after_the_step():
    torch.manual_seed(0)
    options = ReSSL.Options(queue=9, hidden=16, output=5)
    method = ReSSL(Conv4(), options, RunInfo(classes=3, images=6, side=16, steps=3, seed=0)).train()
    assert ReSSL.views(options) == ("standard", "light")
    batch = Batch(torch.rand(12, 3, 16, 16), torch.arange(6))
    before = method.queue.embeddings.clone()
    student, teacher = method.student(batch.views[:6]), method.teacher(batch.views[6:])
    expected = relational_consistency(student, teacher, before, student_temperature=0.1, teacher_temperature=0.04)
    torch.testing.assert_close(method(batch)["loss"], expected)
    assert torch.equal(method.queue.embeddings, before)
    method.after_step(0.5)
    torch.testing.assert_close(method.queue.embeddings[:6], torch.nn.functional.normalize(teacher))
    assert torch.equal(method.queue.embeddings[6:], before[6:])
