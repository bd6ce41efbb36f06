"""The attentive probe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols.backbones.timm_models import timm
from protocols.check.preflight import check
from protocols.datasets.load import load_dataset
from protocols.evaluate import attentive as module
from protocols.evaluate.attentive import AttentivePool, attentive, tokens_of
from protocols.features.context import EvaluationContext
from protocols.spec.grid import Request, expand
from protocols.system.progress import ProgressListener
from results.errors import RequestError


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Random weights on part of digits."""
    dataset = load_dataset("digits", tmp_path_factory.mktemp("data"))
    some = replace(dataset.train, images=dataset.train.images[:600], labels=dataset.train.labels[:600])
    torch.manual_seed(0)
    backbone = timm("timm:test_vit@patch=4", dataset.side).eval()
    return EvaluationContext(backbone, replace(dataset, train=some), {}, 0, ProgressListener())


def test_the_pool_is_attention_of_a_query_to_every_token():
    """Against the definition, head by head."""
    torch.manual_seed(0)
    pool, tokens = AttentivePool(128, 10).eval(), torch.randn(3, 7, 128)
    weights, biases = pool.attention.in_proj_weight.chunk(3), pool.attention.in_proj_bias.chunk(3)
    q, k, v = (
        x @ w.T + b for x, w, b in zip((pool.query.expand(3, -1, -1), tokens, tokens), weights, biases, strict=True)
    )
    heads = []
    for part in range(2):
        span = slice(64 * part, 64 * part + 64)
        attention = (q[..., span] @ k[..., span].transpose(1, 2) / 8).softmax(-1)
        heads.append(attention @ v[..., span])
    pooled = pool.attention.out_proj(torch.cat(heads, -1))[:, 0]
    torch.testing.assert_close(pool(tokens), pool.classifier(pool.norm(pooled)), rtol=1e-5, atol=1e-5)


def test_it_learns_and_is_a_function_of_the_seed(context):
    accuracy = attentive(context, epochs=12, batch=32, lr=3e-3)
    assert accuracy["top1"] > 50  # chance is 10
    assert attentive(context, epochs=12, batch=32, lr=3e-3) == accuracy
    assert attentive(replace(context, seed=1), epochs=12, batch=32, lr=3e-3) != accuracy


def test_tokens_that_do_not_fit_into_memory_are_computed_again(context, monkeypatch):
    held = attentive(context, epochs=1)
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    assert attentive(context, epochs=1)["top1"] == pytest.approx(held["top1"], abs=2)


def test_the_backbone_stays_as_it_is(context):
    before = {key: value.clone() for key, value in context.backbone.state_dict().items()}
    attentive(context, epochs=1)
    assert all(value.equal(before[key]) for key, value in context.backbone.state_dict().items())
    tokens = tokens_of(context, context.dataset.test.images[:3])
    assert tokens.shape == (3, context.backbone.prefix_tokens + 16, 64)


def test_classes_without_training_images_are_never_predicted(context):
    labels = context.dataset.train.labels
    few = replace(context.dataset.train, images=context.dataset.train.images[labels < 5], labels=labels[labels < 5])
    accuracy = attentive(replace(context, dataset=replace(context.dataset, train=few)), epochs=1)
    assert accuracy["top1"] <= 100 * np.mean(context.dataset.test.labels < 5)


def test_a_backbone_without_tokens_is_refused_before_work_starts():
    words = {"methods": ["random"], "datasets": ["digits"], "seeds": [0], "evaluations": ["attentive"]}
    with pytest.raises(RequestError, match="attentive needs tokens, which conv4 does not have; choose a ViT"):
        check(expand(Request(**words), Path("data")), Path("data"))
    check(expand(Request(**words, backbones=["timm:test_vit"]), Path("data")), Path("data"))
