"""Attentive probe: accuracy of a classifier that attends to the frozen tokens of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import nn
from torch.nn import functional as F

from protocols.backbones.inference import evaluation_mode
from protocols.evaluate.accuracy import mask_absent_classes, top_k
from protocols.features.extraction import prepare_images
from protocols.spec.plugins import register_evaluation
from protocols.system import randomness
from results.constraints import Above, AtLeast, AtMost

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from protocols.features.context import EvaluationContext

MOST_BYTES = 4 * 2**30
"""Tokens of the training split that are held in memory; more are computed again in every epoch."""

IMAGES_PER_BATCH = 250
"""Images in one forward pass of the backbone."""

HEAD_WIDTH = 64
"""Features of an attention head."""


class AttentivePool(nn.Module):
    """Cross-attention of one learned query to the tokens of an image, then BatchNorm and a linear classifier."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        heads = max((n for n in range(1, dim // HEAD_WIDTH + 1) if dim % n == 0), default=1)
        self.query = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.BatchNorm1d(dim, affine=False)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, t, dim) to scores (n, classes)."""
        pooled, _ = self.attention(self.query.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False)
        scores: Tensor = self.classifier(self.norm(pooled[:, 0]))
        return scores


@register_evaluation("attentive", takes="context", uses_tokens=True)
def attentive(
    context: EvaluationContext,
    *,
    epochs: Annotated[int, AtLeast(1)] = 20,
    batch: Annotated[int, AtLeast(2)] = 256,
    lr: Annotated[float, Above(0)] = 1e-3,
    weight_decay: Annotated[float, AtLeast(0), AtMost(1000)] = 1e-2,
) -> dict[str, float]:
    """Attention pooling and a linear classifier on frozen tokens, trained on the training split, scored once.

    For methods whose class token or mean says less than their tokens do, as masked ones. As in the attentive probing of
    Chen et al. (IJCV 2023, arXiv 2202.03026), one cross-attention reads all tokens, and BatchNorm without scale and
    shift stands before the classifier. Deviations: a learned query in place of the class token, AdamW with a cosine
    schedule, no augmentation; tokens are held in half precision.

    Args:
        context: backbone and data set.
        epochs: passes over the training split.
        batch: images per step; a last batch of one image is left out.
        lr: learning rate at the beginning; it falls to 0 by a cosine.
        weight_decay: of AdamW.

    Returns:
        ``top1``, and with more than ten classes ``top5``, in percent.

    Raises:
        Diverged: the scores are not finite.
        KeyboardInterrupt: the listener asked to stop.
    """
    dataset, device = context.dataset, context.device
    labels = torch.from_numpy(dataset.train.labels)
    torch.manual_seed(randomness.key(context.seed, "attentive"))
    probe = AttentivePool(context.backbone.dim, len(dataset.classes)).to(device)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    first = tokens_of(context, dataset.train.images[:2])
    memory = first[0].numel() * first.element_size() * len(labels)
    held = tokens_of(context, dataset.train.images) if memory <= MOST_BYTES else None
    context.listener.stage("attentive", epochs * len(labels))
    for epoch in range(epochs):
        order = randomness.permutation(len(labels), context.seed, "attentive", epoch)
        for number, index in enumerate(order.split(batch)):
            if len(index) == 1:
                continue
            tokens = tokens_of(context, dataset.train.images[index.numpy()]) if held is None else held[index]
            loss = F.cross_entropy(probe(tokens.to(device).float()), labels[index].to(device))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            context.listener.advance_or_stop(epoch * len(labels) + number * batch, f"epoch {epoch + 1}/{epochs}")
        schedule.step()
    probe.eval()
    with torch.no_grad():
        parts = torch.arange(len(dataset.test)).split(IMAGES_PER_BATCH)
        rows = [probe(tokens_of(context, dataset.test.images[part.numpy()]).to(device).float()) for part in parts]
    scores = mask_absent_classes(torch.cat(rows), labels.to(device))
    return top_k(scores, torch.from_numpy(dataset.test.labels).to(device), len(dataset.classes))


def tokens_of(context: EvaluationContext, images: NDArray[Any]) -> Tensor:
    """Frozen tokens (n, t, dim) of images (n, side, 3, side), in half precision on the CPU."""
    size = context.image_size or context.dataset.side
    with evaluation_mode(context.backbone), torch.inference_mode():
        batches = [
            context.backbone.tokens(prepare_images(part.to(context.device), context.dataset, size, context.crop_pct))
            .half()
            .cpu()
            for part in torch.from_numpy(images).split(IMAGES_PER_BATCH)
        ]
    return torch.cat(batches).clone()
