"""Self-regulation: what is compared, what it costs, and the published loss."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.models.base import Output
from cl_prompts.strategies import Head, SelfRegulation
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.plugins import self_regulation
from cl_prompts.strategies.plugins.self_regulation import frozen_features
from tests.golden_numbers import Golden, gradient, put
from tests.strategies.shared import stream_batch
from tests.toy_data import Blobs, experiences
from tests.toy_vits import tiny_vit
from tests.toys import POOLS, fit, make, watch

GOLDEN = Golden("self_regulation")


def regulated(kind: str, which: Any = "promptsrc", **settings: Any) -> tuple[Any, SelfRegulation]:
    plugin = SelfRegulation(kind=which)
    return make(kind, plugins=[plugin], **settings), plugin


def terms(strategy: Any, plugin: SelfRegulation, output: Output, batch: Batch) -> torch.Tensor:
    strategy.batch = batch
    strategy.output = output
    strategy.loss = torch.zeros(())
    plugin.before_backward(strategy)
    return strategy.loss


def test_the_loss_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = GOLDEN.number("promptsrc/logit_scale")
    plugin = SelfRegulation(kind="promptsrc", feature_weight=10, class_weight=25, scale=scale)
    strategy = make(
        "one_prompt",
        backbone=tiny_vit(embed_dim=12, num_heads=2),
        n_classes=5,
        head=Head(kind="cosine", tau=1 / scale),
        plugins=[plugin],
    )
    model = strategy.model
    put(model.head.weight, GOLDEN("promptsrc/class_weights"))
    plugin.means.copy_(GOLDEN("promptsrc/frozen_class_weights"))
    plugin.counts.fill_(1)
    monkeypatch.setattr(plugin, "_update_means", lambda *_: None)
    frozen = GOLDEN("promptsrc/frozen_features")
    monkeypatch.setattr(self_regulation, "frozen_features", lambda *_: frozen)
    labels = GOLDEN("promptsrc/labels")
    features = GOLDEN("promptsrc/prompted_features").requires_grad_()
    logits = model.head(features)
    batch = stream_batch(strategy, torch.zeros(len(labels), 0), labels)
    output = Output(logits, features, raw=features)
    loss = F.cross_entropy(logits, labels) + terms(strategy, plugin, output, batch)
    GOLDEN.close(loss, "promptsrc/loss")
    loss.backward()
    GOLDEN.close(gradient(features), "promptsrc/grad_features")
    GOLDEN.close(gradient(model.head.weight), "promptsrc/grad_class_weights")


@pytest.mark.parametrize(
    "kind", ["l2p", "coda_prompt", "one_prompt", "flyprompt", "vq_prompt", "smope"]
)
def test_every_prompt_method_can_be_held_to_frozen_features(kind: str) -> None:
    which = "promptsrc" if POOLS.index(kind) % 2 else "coprompt"
    strategy, plugin = regulated(kind, which, scenario="class_incremental", online_iter=1)
    images = Blobs(16, seed=4).images
    fit(strategy, experiences("class_incremental")[:2])  # of 24 samples
    model = strategy.model.train()
    batch = stream_batch(strategy, images, torch.arange(16) % 6)
    assert terms(strategy, plugin, strategy.training_output(batch), batch) > 0
    vit = model.backbone
    want = vit.class_features(vit.embed(images))
    torch.testing.assert_close(frozen_features(strategy), want)
    assert plugin.counts.sum() == 2 * 24 + 16


def test_means_are_those_of_the_streams_frozen_features() -> None:
    strategy, plugin = regulated("dual_prompt", buffer_size=12, buffer_batch_size=8)
    seen: list[Any] = []
    watch(
        plugin,
        "_update_means",
        lambda frozen, labels: seen.append((frozen.clone(), labels.clone())),
    )
    fit(strategy, experiences())
    frozen, labels = (torch.cat(column) for column in zip(*seen, strict=True))
    assert len(labels) == 72 * strategy.online_iter  # replayed samples do not count
    for c in range(6):
        want = frozen[labels == c].mean(dim=0)
        torch.testing.assert_close(plugin.means[c], want, atol=1e-5, rtol=1e-5)
