"""SMoPE against the published numbers, as a run uses it, and the phases of a task."""

from typing import Any

import pytest
import torch

from cl_prompts.strategies import SMoPE
from tests.golden_numbers import Golden, give_head, golden_strategy, gradient, put
from tests.strategies.shared import noted, stream_batch
from tests.toy_data import experiences
from tests.toys import make, watch

GOLDEN = Golden("smope")


def published() -> Any:
    strategy = golden_strategy(
        SMoPE,
        8,
        n_experts=6,
        top_k=int(GOLDEN("k")),
        epsilon=GOLDEN.number("epsilon"),
        router_weight=GOLDEN.number("router_weight"),
        prototype_weight=GOLDEN.number("prototype_weight"),
        boundaries=True,
    )
    put(strategy.experts.keys, GOLDEN("keys"))
    put(strategy.experts.values, GOLDEN("values"))
    give_head(strategy.model, GOLDEN)
    strategy.annotated = torch.tensor([False, False, True, True, False, False, False, False])
    build, strategy.plans = strategy.experts.build, []

    def noted_build(selection: Any) -> Any:
        strategy.plans.append(build(selection))
        return strategy.plans[-1]

    strategy.experts.build = noted_build
    return strategy


def check_choice(strategy: Any, case: str) -> None:
    """Compare the scores of all experts, before and after penalties, and the chosen ones."""
    routed = strategy.plans[-1].routed.values()
    for name in ("scores", "for_choice", "index"):
        key = f"{case}/scores_{name}" if name == "for_choice" else f"{case}/{name}"
        if key in GOLDEN.arrays:  # all experts act in the dense phase
            found = torch.stack([getattr(routing, name) for routing in routed])
            GOLDEN.close(found, key, atol=1e-4)


def check(strategy: Any, case: str) -> None:
    model = strategy.model.train()
    model.zero_grad()
    output = model.run(GOLDEN("images"))
    check_choice(strategy, case)
    GOLDEN.close(output.features, f"{case}/features")
    GOLDEN.close(output.logits, f"{case}/logits")
    GOLDEN.close(output.prompt_loss, f"{case}/prompt_loss", atol=1e-4)
    batch = stream_batch(strategy, GOLDEN("images"), GOLDEN("labels"))
    loss = strategy.training_loss(output, batch)
    GOLDEN.close(loss, f"{case}/loss", atol=1e-4)
    loss.backward()
    GOLDEN.close(gradient(strategy.experts.keys), f"{case}/grad_keys")
    GOLDEN.close(gradient(strategy.experts.values), f"{case}/grad_values")
    GOLDEN.close(gradient(model.head.weight), f"{case}/grad_head_weight")


def test_two_tasks_are_the_published_ones() -> None:
    strategy = published()
    strategy.experts.dense = True
    check(strategy, "dense_task0")
    strategy.experts.dense = False
    check(strategy, "sparse_task0")
    strategy.model.eval()
    with strategy.experts.counting():
        strategy.model.run(GOLDEN("images"))
    strategy.experts.end_task()
    assert torch.equal(strategy.experts.counts.long(), GOLDEN("counts"))
    assert torch.equal(strategy.experts.frequent, GOLDEN("frequent"))
    GOLDEN.close(strategy.model.run(GOLDEN("images")).logits, "eval_after_task0/logits")
    check_choice(strategy, "eval_after_task0")
    put(strategy.experts.keys, GOLDEN("task1/keys"))
    put(strategy.experts.values, GOLDEN("task1/values"))
    check(strategy, "sparse_task1")


def phases(strategy: Any, stream: Any) -> list[bool]:
    """Whether all experts act, update by update."""
    return noted(strategy, "training_loss", lambda *_: strategy.experts.dense, stream)


def test_the_first_task_starts_dense_and_turns_sparse_with_a_fresh_optimizer() -> None:
    settings = {"train_epochs": 4, "online_iter": 1, "train_mb_size": 24, "period": None}
    strategy = make("smope", "class_incremental", **settings)
    steps: list[int] = []
    head = strategy.model.head.weight

    def note(**_: Any) -> None:
        steps.append(int(strategy.optimizer.state[head].get("step", 0)))

    watch(strategy.loop, "check_loss", note)
    stream = experiences("class_incremental")
    assert phases(strategy, stream) == [True] * 2 + [False] * 2 + [False] * 8
    assert steps[:1] + steps[-1:] == [1, 4]
    assert 1 in steps[2:]  # the first sparse update is the first of its optimizer
    strategy.tasks_started = 1
    strategy.schedule = "cosine"
    factors = []
    for epoch in range(4):
        strategy.clock.train_exp_epochs = epoch
        factors.append(strategy.learning_rate_factor())
    assert factors == pytest.approx([1, 0.5, 1, 0.5])


def test_a_stream_without_boundaries_begins_dense_and_counts_while_it_trains() -> None:
    strategy = make("smope", train_mb_size=12, online_iter=1)
    stream = experiences()
    settled: list[int] = []
    watch(strategy.experts, "end_task", lambda: settled.append(strategy.samples_seen))
    assert phases(strategy, stream)[:3] == [True, False, False]  # of 24 samples a period
    assert settled[0] == 24
    counts = strategy.experts.counts + strategy.experts.fresh_counts
    assert (counts.sum(dim=-1) == 2 * strategy.samples_seen).all()  # two experts an image
    assert not any(phases(make("smope", dense_share=0.0), experiences()))
