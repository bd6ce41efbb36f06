"""DeepCluster: predict an image's cluster in a k-means of the backbone's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import nn
from torch.nn import functional as F

from methods.base import Backbone, Batch, Method, RunInfo
from methods.clustering import kmeans, pca_whiten
from methods.heads import mlp
from methods.registry import register_method
from methods.state_names import load_old_names
from results.constraints import AtLeast
from results.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@register_method("deepcluster")
class DeepCluster(Method):
    """DeepCluster (Caron, Bojanowski, Joulin & Douze, ECCV 2018, arXiv 1807.05520).

    Before every epoch, k-means on PCA-whitened, normalised features gives each image a pseudo-label, and the last layer
    of the head is initialised again; its optimizer state is not. Head, clustering and augmentation are those of the
    code of Patacchiola & Storkey (2020).

    Deviations from that code: images are not damaged by an overflow of bytes before training; clustering uses images
    without augmentation instead of random crops; k-means is seeded by the run instead of the clock. Deviations from
    Caron et al.: no Sobel filter, and empty clusters stay empty.
    """

    @dataclass(frozen=True)
    class Options:
        """Hyper-parameters of DeepCluster; defaults of Patacchiola & Storkey for 10 classes, but for the weighting.

        Attributes:
            clusters: number of clusters, at most the number of images; ten per class in both papers.
            hidden: width of the head's hidden layer.
            components: maximal number of principal components that are clustered.
            restarts: initialisations of k-means, of which the best is used.
            iterations: maximal number of iterations of k-means.
            weighting: weight of a cluster in the loss. ``inverse`` is 1 / its size, as if clusters were sampled
                uniformly (Caron et al., section 3.3); ``complement`` is 1 - its fraction of the images (Patacchiola &
                Storkey).
        """

        clusters: Annotated[int, AtLeast(1)] = 100
        hidden: Annotated[int, AtLeast(1)] = 256
        components: Annotated[int, AtLeast(1)] = 256
        restarts: Annotated[int, AtLeast(1)] = 5
        iterations: Annotated[int, AtLeast(1)] = 30
        weighting: Literal["inverse", "complement"] = "inverse"

    pseudo_labels: Tensor
    cluster_weights: Tensor

    def __init__(self, backbone: Backbone, options: Options, info: RunInfo) -> None:
        super().__init__(backbone, options, info)
        if options.clusters > info.images:
            raise RequestError(
                f"deepcluster: {options.clusters:,} clusters of {info.images:,} images",
                hint="lower them with --set deepcluster.clusters=N",
            )
        self.head = mlp(backbone.dim, options.hidden, options.clusters, activation=nn.LeakyReLU)
        self.register_buffer("pseudo_labels", torch.zeros(info.images, dtype=torch.int64))
        self.register_buffer("cluster_weights", torch.ones(options.clusters))
        load_old_names(self, {"weights": "cluster_weights"})

    @classmethod
    def views(cls, options: Options) -> tuple[str, ...]:  # noqa: ARG003
        """One view with the augmentation ``light``: crop and flip."""
        return ("light",)

    @torch.no_grad()
    def before_epoch(self, epoch: int, extract_features: Callable[[], Tensor]) -> None:  # noqa: ARG002
        """Cluster the pretraining split and initialise the last layer again."""
        options = self.options
        points = F.normalize(pca_whiten(extract_features(), options.components))
        labels = kmeans(points, options.clusters, restarts=options.restarts, iterations=options.iterations)
        self.pseudo_labels.copy_(labels)
        sizes = torch.bincount(self.pseudo_labels, minlength=options.clusters)
        weights = 1 / sizes.clamp(min=1) if options.weighting == "inverse" else 1 - sizes / len(points)
        self.cluster_weights.copy_(weights)
        *_, weight, bias = self.head.parameters()
        nn.init.normal_(weight, std=0.01)
        nn.init.zeros_(bias)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted cross-entropy on the pseudo-labels, and the accuracy of predicting them."""
        logits = self.head(self.backbone(batch.views)).float()
        labels = self.pseudo_labels[batch.index]
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels, weight=self.cluster_weights), "cluster_accuracy": accuracy}
