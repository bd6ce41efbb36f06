"""DeepCluster: predict the cluster that the backbone's own features put an image into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.clustering import kmeans, whitened
from methods.heads import mlp
from methods.registry import register_method
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@register_method("deepcluster")
class DeepCluster(Method):
    """DeepCluster (Caron, Bojanowski, Joulin & Douze, ECCV 2018, arXiv 1807.05520).

    Before every epoch, k-means on whitened, normalised features gives each image a pseudo-label, and the last layer of
    the head starts anew; what the optimiser knows of it does not. Head, clustering and light crop are those of the code
    of Patacchiola & Storkey (2020). Deviations from that code: it trains on crops of pictures spoilt by an overflow of
    bytes, these are whole; it clusters random crops, here images as they are; it starts k-means from the clock, here
    from the seed. Against Caron et al.: no Sobel filter, and empty clusters stay empty.
    """

    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            clusters: at most as many as there are images; ten to a class in both papers.
            hidden: width of the head's hidden layer.
            components: principal components that are clustered, at most.
            restarts: of k-means; the best counts.
            iterations: of k-means, at most.
            weighting: of a cluster in the loss: ``inverse`` to its size, as if clusters were drawn evenly (Caron et
                al., section 3.3); ``complement`` is 1 - its share of the images (Patacchiola & Storkey).
        """

        clusters: int = 100
        hidden: int = 256
        components: int = 256
        restarts: int = 5
        iterations: int = 30
        weighting: Literal["inverse", "complement"] = "inverse"

        def __post_init__(self) -> None:
            for name in ("clusters", "hidden", "components", "restarts", "iterations"):
                if getattr(self, name) < 1:
                    raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        if options.clusters > info.images:
            raise RequestError(
                f"deepcluster: {options.clusters:,} clusters of {info.images:,} images",
                hint="lower them with --set deepcluster.clusters=N",
            )
        self.head = mlp(backbone.dim, options.hidden, options.clusters, activation=nn.LeakyReLU)
        self.pseudo_labels: Tensor
        self.weights: Tensor
        self.register_buffer("pseudo_labels", torch.zeros(info.images, dtype=torch.int64))
        self.register_buffer("weights", torch.ones(options.clusters))

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view, cropped and flipped only."""
        return ("light",)

    @torch.no_grad()
    def before_epoch(self, epoch: int, extract_features: Callable[[], Tensor]) -> None:  # noqa: ARG002
        """Cluster the pretraining split and start the last layer anew."""
        wanted = self.options
        points = F.normalize(whitened(extract_features(), wanted.components))
        self.pseudo_labels.copy_(
            kmeans(points, wanted.clusters, restarts=wanted.restarts, iterations=wanted.iterations)
        )
        sizes = torch.bincount(self.pseudo_labels, minlength=wanted.clusters)
        self.weights.copy_(1 / sizes.clamp(min=1) if wanted.weighting == "inverse" else 1 - sizes / len(points))
        *_, weight, bias = self.head.parameters()
        nn.init.normal_(weight, std=0.01)
        nn.init.zeros_(bias)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted cross-entropy and accuracy on the pseudo-labels."""
        logits = self.head(self.backbone(batch.views)).float()
        clusters = self.pseudo_labels[batch.index]
        accuracy = (logits.argmax(1) == clusters).float().mean()
        return {"loss": F.cross_entropy(logits, clusters, weight=self.weights), "cluster_accuracy": accuracy}
