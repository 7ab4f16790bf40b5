"""What all prompt pools have in common: what learns, and what an image's logits depend on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import ReplayPlugin
from torch import Tensor

from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import BatchwisePrompt
from tests.conftest import Blobs, lively_vit
from tests.strategies.prompt_kinds import (
    KINDS,
    SELECTING,
    announce,
    blurry,
    equal,
    make,
    state,
    tasks,
    train,
    unannounced,
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_training_moves_prompts_keys_and_head_alone(kind: str) -> None:
    backbone = lively_vit()
    original = copy.deepcopy(backbone.state_dict())
    strategy = make(kind, backbone=backbone)
    before, after = state(strategy), state(train(strategy, tasks()))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(p.grad is None for p in backbone.parameters())
    assert equal(original, backbone.state_dict())
    assert not any(m.training for m in backbone.modules())
    assert strategy.model.training
    for part in ("head.", "pools.", *(["selector."] if kind in SELECTING else [])):
        assert any(name.startswith(part) for name in moved), part


def test_head_rows_of_other_classes_stay_as_they_are(kind: str) -> None:
    strategy, first = make(kind), tasks()[0]
    before = state(strategy)
    train(strategy, [first])
    after, current = state(strategy), torch.zeros(6, dtype=torch.bool)
    current[list(first.classes_in_this_experience)] = True
    changed = (before["head.weight"] != after["head.weight"]).any(dim=1)
    assert torch.equal(changed, current)


def test_the_class_mask_is_a_choice() -> None:
    strategy = train(make("dual_prompt", class_mask="seen"), tasks()[:2])
    before = state(strategy)["head.weight"]
    train(strategy, tasks()[2:])
    assert (before != state(strategy)["head.weight"]).any(dim=1).all()


def test_the_loss_is_cross_entropy_over_the_current_classes_minus_the_pull() -> None:
    strategy = train(make("dual_prompt", pull_weight=0.7), tasks()[:2])
    images, labels = Blobs(8, 6, seed=5).images, torch.tensor([2, 3] * 4)
    strategy.mbatch = [images, labels, torch.zeros(8)]
    logits, out = strategy.forward(), strategy.output
    literal = F.cross_entropy(out.logits[:, 2:4], labels - 2) - 0.7 * out.selection.match
    torch.testing.assert_close(strategy.training_loss(), literal)
    assert torch.equal(logits[:, :4], out.logits[:, :4])  # what metrics get is not masked


class Batches(SupervisedPlugin):
    """Keeps the labels of each mini-batch, and which classes compete for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        self.seen.append((strategy.mb_y, strategy.columns.expand(len(strategy.mb_y), -1)))


def test_replayed_samples_compete_among_the_classes_of_their_own_task(kind: str) -> None:
    batches = Batches()
    strategy = train(make(kind, buffer_size=20, buffer_batch_size=8, plugins=[batches]), tasks())
    assert len(strategy.buffer) == 20
    for labels, columns in batches.seen[1:]:
        assert columns.gather(1, labels[:, None]).all()
        assert (columns.sum(dim=1) == 2).all()
    assert len(batches.seen[-1][1][-8:].unique(dim=0)) > 1  # memory samples of several tasks


def test_a_replay_plugin_may_bring_foreign_classes(kind: str) -> None:
    strategy = train(make(kind, plugins=[ReplayPlugin(mem_size=20)]), tasks())
    assert bool(torch.isfinite(strategy.loss))


# ------------------------------------------------------------------------------------- test time
# and state


def test_logits_depend_on_nothing_but_the_image(kind: str) -> None:
    strategy = train(make(kind), tasks())
    model, images = strategy.model.eval(), Blobs(12, 6, seed=7).images
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
        order = torch.randperm(12)
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
        torch.testing.assert_close(model(images[order]), together[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["l2p", "dual_prompt"])
def test_only_a_vote_at_test_time_makes_logits_depend_on_batch_mates(kind: str) -> None:
    differences = {}
    for vote in ("training", "always"):
        strategy = train(make(kind, batchwise_prompt=vote), tasks())
        model, images = strategy.model.eval(), Blobs(12, 6, seed=7).images
        assert isinstance(model.selector, BatchwisePrompt)
        keys = next(m for m in model.modules() if isinstance(m, NearestKeys)).key
        with torch.no_grad():
            keys.copy_(model.frozen_part(images[: len(keys)]))  # images would choose differently
        with torch.no_grad():
            alone = torch.cat([model(image[None]) for image in images])
            differences[vote] = (alone - model(images)).abs().max()
            chosen = model.run(images).selection.index
        assert (len(chosen.unique(dim=0)) == 1) == (vote == "always")
    assert differences["training"] < 1e-5 < 1e-3 < differences["always"]


def test_stored_queries_give_the_same_logits(kind: str) -> None:
    model = train(make(kind), tasks()).model.eval()
    images = Blobs(12, 6, seed=7).images
    with torch.no_grad():
        out = model.run(images)
        assert set(out.cacheable) == ({"frozen"} if kind in SELECTING else set())
        assert torch.equal(model.run(images, out.cacheable).logits, out.logits)


def test_a_shared_first_projection_changes_neither_outputs_nor_gradients(kind: str) -> None:
    model = make(kind).model
    model.see(torch.arange(6))
    announce(model, 0)
    images = Blobs(6, 6, seed=7).images
    out, results = model.run(images), []
    for kept in (None, out.cacheable):  # with a stored query nothing is shared
        model.zero_grad()
        logits = model.run(images, kept).logits
        logits.logsumexp(1).sum().backward()
        results.append(
            [logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        )
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("announced", [True, False])
def test_a_run_resumes_exactly_in_the_middle(kind: str, announced: bool) -> None:
    build, stream = (make, tasks) if announced else (unannounced, blurry)
    whole = state(train(build(kind, buffer_size=10), stream()))
    first = train(build(kind, buffer_size=10), stream()[:2])
    torch.rand(11)  # what else draws random numbers is of no account
    second = build(kind, buffer_size=10)
    second.load_state_dict(first.state_dict(), stream()[:2])
    assert equal(state(first), state(second))
    assert torch.equal(first.model.seen, second.model.seen)
    assert [p.requires_grad for p in first.model.parameters()] == [
        p.requires_grad for p in second.model.parameters()
    ]
    assert equal(whole, state(train(second, stream()[2:])))


def test_a_saved_model_predicts_the_same(kind: str, tmp_path: Any) -> None:
    first, images = train(make(kind), tasks()[:2]), Blobs(12, 6, seed=7).images
    first.save(tmp_path / "learned.safetensors")
    second = make(kind)
    second.load(tmp_path / "learned.safetensors")
    assert torch.equal(first.model.eval()(images), second.model.eval()(images))
