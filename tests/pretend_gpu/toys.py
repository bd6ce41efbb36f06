"""Small methods whose passes a CUDA graph can or cannot repeat, trained on a pretended GPU; prints JSON.

Executed by the tests, in a process with the pretended driver.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from methods.base import Batch
from protocols.pretrain.step_graph import GraphedPasses
from tests.pretend_gpu.device import Counts, PretendedGPU, PretendedGraph, capture

STEPS, EPOCH = 9, 5


class Toy(nn.Module):
    """Normalises, drops some values at random, and has a loss; a subclass adds what a graph may not repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.factor, self.calls, self.kept = 1.0, 0, None
        self.host_draw = False

    def forward(self, batch: Batch) -> Tensor:
        outputs = self.norm(self.layer(batch.views))
        outputs = outputs * (torch.rand(outputs.shape, device=outputs.device) > 0.2)
        return (outputs - batch.labels[:, None]).square().mean() * self.factor

    def before_epoch(self, epoch: int) -> None:
        """Called before every epoch."""

    def after_step(self, step: int) -> None:
        """Called after every step."""


class NewEveryEpoch(Toy):
    def before_epoch(self, epoch: int) -> None:
        self.factor = 1.0 + epoch


class NewEveryStep(Toy):
    def after_step(self, step: int) -> None:
        self.factor = 1.0 + 0.1 * step


class CountsCalls(Toy):
    def forward(self, batch: Batch) -> Tensor:
        self.calls += 1
        return super().forward(batch) * self.calls


class DrawsOnHost(Toy):
    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch) * float(torch.rand(1))


class Waits(Toy):
    def forward(self, batch: Batch) -> Tensor:
        loss = super().forward(batch)
        return loss * 2.0 if loss.item() > 1e9 else loss


class RemembersTheLastBatch(Toy):
    """Reads memory that a graph has from its first batch."""

    def forward(self, batch: Batch) -> Tensor:
        loss = super().forward(batch)
        before, self.kept = self.kept, batch.views.mean() + 0.0
        return loss if before is None else loss * (2.0 + before)


class RebindsABuffer(Toy):
    """A graph would go on reading the memory of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(4))

    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch) + (self.layer(batch.views) - self.centre).square().mean()

    def after_step(self, step: int) -> None:
        self.centre = self.centre * 0.999 + 0.001


class KeepsForAfterStep(Toy):
    """What ``after_step`` reads has to be of the batch, whichever way that was computed."""

    def forward(self, batch: Batch) -> Tensor:
        self.kept = [batch.views.mean() + 0.0]
        return super().forward(batch)

    def after_step(self, step: int) -> None:
        with torch.no_grad():
            self.layer.bias += self.kept[0]


TOYS = (
    Toy,
    NewEveryEpoch,
    NewEveryStep,
    CountsCalls,
    DrawsOnHost,
    Waits,
    RemembersTheLastBatch,
    RebindsABuffer,
    KeepsForAfterStep,
)


def train(kind: type[Toy], *, graphs: bool) -> tuple[list[float], str, list[int]]:
    """Two epochs, the last batch of which is smaller: final values, why there is no graph, kernels of each step."""
    with PretendedGPU() as gpu:
        torch.cuda.CUDAGraph, torch.cuda.graph = PretendedGraph, capture
        torch.manual_seed(0)
        method = kind().to("cuda")

        def compute(batch: Batch) -> dict[str, Tensor]:
            loss = method(batch)
            loss.backward()
            return {"loss": loss.detach()}

        passes = GraphedPasses(method)
        optimizer, kernels = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9), []
        for step in range(STEPS):
            if step % EPOCH == 0:
                method.before_epoch(step // EPOCH)
                if graphs:
                    passes.begin_epoch()
            torch.manual_seed(step)
            rows = 5 if step % EPOCH == EPOCH - 1 else 8
            generator = torch.Generator().manual_seed(step)
            views, labels = torch.randn(rows, 6, generator=generator), torch.arange(rows)
            batch = Batch(views.to("cuda"), torch.arange(rows).to("cuda"), labels.to("cuda"))
            gpu.counts = Counts()
            # The first step counts operations, in training.
            passes(batch, compute) if graphs and step else compute(batch)
            kernels.append(gpu.counts.kernels[""])
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(step)
        values = torch.cat([value.host.double().flatten() for value in method.state_dict().values()]).tolist()
        return values, passes.reason, kernels


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = {}
    for kind in TOYS:
        expected, _, _ = train(kind, graphs=False)
        values, reason, kernels = train(kind, graphs=True)
        results[kind.__name__] = {"equal": values == expected, "reason": reason, "kernels": kernels}
    print(json.dumps(results))
