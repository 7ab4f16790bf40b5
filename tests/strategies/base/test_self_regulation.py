"""Self-regulation in a strategy: what is compared, what it costs, and the published loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.errors import InputError
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.batch import Batch
from tests.golden_numbers import Golden, gradient, put
from tests.toy_data import Blobs, experiences
from tests.toy_vits import tiny_vit
from tests.toys import POOLS, fit, make, watch

GOLDEN = Golden("self_regulation")
NO_SLOTS = torch.zeros(0, dtype=torch.int64)


def batch_of(labels: torch.Tensor) -> Batch:
    """A batch of nothing but labels."""
    return Batch([torch.zeros(len(labels), 0), labels], torch.ones(5, dtype=torch.bool), NO_SLOTS)


def test_the_loss_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = GOLDEN.number("promptsrc/logit_scale")
    strategy = make(
        "one_prompt",
        backbone=tiny_vit(embed_dim=12, num_heads=2),
        n_classes=5,
        head="cosine",
        tau=1 / scale,
        regulation="promptsrc",
        regulation_features=10,
        regulation_classes=25,
        regulation_scale=scale,
    )
    model = strategy.model
    put(model.head.weight, GOLDEN("promptsrc/class_weights"))
    strategy.class_means.copy_(GOLDEN("promptsrc/frozen_class_weights"))
    strategy.class_counts.fill_(1)
    monkeypatch.setattr(strategy, "_take_in", lambda *_: None)
    frozen, labels = GOLDEN("promptsrc/frozen_features"), GOLDEN("promptsrc/labels")
    monkeypatch.setattr(strategy, "frozen_features", lambda *_: frozen)
    features = GOLDEN("promptsrc/prompted_features").requires_grad_()
    logits = model.head(features)
    batch = batch_of(labels)
    terms = strategy.regularisation(Output(logits, features, raw=features), batch)
    loss = F.cross_entropy(logits, labels) + terms
    GOLDEN.close(loss, "promptsrc/loss")
    loss.backward()
    GOLDEN.close(gradient(features), "promptsrc/grad_features")
    GOLDEN.close(gradient(model.head.weight), "promptsrc/grad_class_weights")


@pytest.mark.parametrize("kind", ["mvp", *POOLS])
@pytest.mark.parametrize("regulation", ["promptsrc", "coprompt"])
def test_every_prompt_method_can_be_held_to_frozen_features(kind: str, regulation: str) -> None:
    strategy, images = make(kind, regulation=regulation), Blobs(16, seed=4).images
    fit(strategy, experiences())
    model = strategy.model.train()
    batch = Batch([images, torch.arange(16) % 6], strategy.annotated, NO_SLOTS)
    output = strategy.training_output(batch)
    frozen = strategy.frozen_features(output, batch)
    vit = model.backbone
    torch.testing.assert_close(frozen, vit.class_features(vit.embed(images)))
    terms = strategy.regularisation(output, batch)
    assert terms > 0
    assert strategy.class_counts.sum() == 72 * strategy.online_iter + 16


def test_means_are_those_of_the_streams_frozen_features() -> None:
    strategy = make("dual_prompt", regulation="promptsrc", buffer_size=12, buffer_batch_size=8)
    seen: list[Any] = []
    watch(
        strategy,
        "_take_in",
        lambda frozen, labels: seen.append((frozen.clone(), labels.clone())),
    )
    fit(strategy, experiences())
    frozen, labels = (torch.cat(column) for column in zip(*seen, strict=True))
    assert len(labels) == 72 * strategy.online_iter  # replayed samples do not count
    for c in range(6):
        want = frozen[labels == c].mean(dim=0)
        torch.testing.assert_close(strategy.class_means[c], want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "more"), [("dual_prompt", 0), ("one_prompt", 1), ("mvp", 1)])
def test_frozen_features_cost_a_pass_where_no_query_is_them(kind: str, more: int) -> None:
    costs = []
    for regulation in ("none", "promptsrc"):
        strategy = fit(make(kind, regulation=regulation), experiences())
        costs.append(strategy.model.backbone.counter.images)
    assert costs[1] - costs[0] == more * 72 * strategy.online_iter


def test_it_is_for_one_class_an_image() -> None:
    with pytest.raises(InputError, match="regulation compares softmaxes"):
        make("one_prompt", "mlcil", regulation="promptsrc")
