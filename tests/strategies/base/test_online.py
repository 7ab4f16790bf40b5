"""The training loop that all strategies share: settings, optimizer, memory, loader, state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, RunError
from cl_prompts.strategies import MVP
from cl_prompts.strategies.base.labels import check_labels
from cl_prompts.strategies.base.loaders import RepeatedBatches
from tests.conftest import Blobs
from tests.strategies.table import MVP_TINY, benchmark, fit, make, weights


def stream() -> list[Any]:
    return list(benchmark().train_stream)


def test_every_prompt_part_learns() -> None:
    strategy = make("mvp")
    before = weights(strategy)
    after = weights(fit(strategy, stream()))
    for name in (
        "selector.key",
        "logit_mask.values",
        "pools.0.values",
        "pools.1.values",
        "head.weight",
        "selector.count",
    ):
        assert not torch.equal(before[name], after[name]), name


def test_memory_stays_flat() -> None:
    strategy = make("mvp_r")
    fit(strategy, stream())
    assert len(strategy.buffer) == 12
    assert strategy.buffer.slots.shape == (12, 2)
    labels = {int(strategy.replay._sources[s][r][1]) for s, r in strategy.buffer.slots.tolist()}
    assert len(labels) > 1


def test_memory_references_follow_a_shuffled_order() -> None:
    strategy = make("mvp_r", buffer_size=1000)
    benchmark = nc_benchmark(
        Blobs(60, 6, seed=1), Blobs(48, 6, seed=2), n_experiences=2, task_labels=False, seed=1
    )
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    references = strategy.buffer.slots[: len(strategy.buffer)].tolist()
    assert sorted(map(tuple, references)) == [(s, r) for s in range(2) for r in range(30)]
    assert references[:30] != sorted(
        references[:30]
    )  # foreign streams are shuffled, as in Avalanche


def test_a_loss_that_is_not_a_number_says_where() -> None:
    strategy = make("linear_probe", lr=1.0)
    with torch.no_grad():
        strategy.model.head.bias[:] = float("nan")
    with pytest.raises(RunError, match="loss became nan after 0 samples"):
        fit(strategy, stream())


def test_parameter_groups_survive_and_frozen_weights_stay_out() -> None:
    strategy = fit(make("fine_tuning"), stream())
    assert [g["lr"] for g in strategy.optimizer.param_groups] == [5e-3, 1e-3]
    probe = fit(make("linear_probe"), stream())
    assert sum(len(g["params"]) for g in probe.optimizer.param_groups) == 2


def test_an_own_optimizer_and_model_are_used(vit: FrozenViT) -> None:
    from cl_prompts.strategies.mvp import mvp_model

    model = mvp_model(vit, 6, **MVP_TINY)
    optimizer = torch.optim.SGD(
        [
            {"params": list(model.head.parameters()), "lr": 0.1},
            {"params": list(model.pools.parameters()), "lr": 0.2},
        ]
    )
    strategy = MVP(model=model, optimizer=optimizer, device="cpu", evaluator=None, train_mb_size=16)
    fit(strategy, stream())
    assert strategy.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]
    assert (
        sum(len(g["params"]) for g in optimizer.param_groups) == 6
    )  # keys and mask joined the first group


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_mb_size": 0}, "train_mb_size is 0"),
        ({"online_iter": 0}, "online_iter is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"device": "gpux"}, "device 'gpux' is not available"),
        ({"alpha": 2.0}, "alpha is 2.0"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"e_blocks": (-1,)}, "block -1, but this ViT has blocks 0 to 3"),
        ({"g_blocks": (1, 1)}, "a block is there twice"),
        ({"e_length": 0}, "e_length is 0"),
        ({"gsf_reduction": "mean"}, "'sample' or 'batch_mean'"),
        ({"buffer_size": -1}, "memory size is -1"),
        (
            {"class_mask": "current"},
            "the loss of MVP is over all classes seen: leave out class_mask=current",
        ),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make("mvp", **changes)
    with pytest.raises(TypeError, match="poolsize"):
        make("mvp", poolsize=3)
    with pytest.raises(InputError, match="either model= or both"):
        MVP(n_classes=3)


def test_labels_are_checked_before_an_experience() -> None:
    def one(targets: list[Any]) -> Any:
        data = SimpleNamespace(targets=targets)
        return SimpleNamespace(dataset=data)

    strategy = make("linear_probe")
    for targets, says in (
        ([[0, 1], [1, 1]], "one label per image"),
        ([0, 6], "label 6 was met"),
        ([-1, 2], "label -1 was met"),
    ):
        strategy.experience = one(targets)
        with pytest.raises(InputError, match=says):
            check_labels(strategy.experience, strategy.model, "LinearProbe")
    check_labels(one([0, 5]), strategy.model, "LinearProbe")


def test_loader_arguments_are_known_or_refused() -> None:
    strategy, (first, *_) = make("linear_probe"), stream()
    with pytest.raises(
        InputError, match="unknown loader argument 'num_worker': did you mean 'num_workers'"
    ):
        strategy.train(first, eval_streams=[], num_worker=2)
    with pytest.raises(InputError, match="'drop_last'"):
        strategy.train(first, eval_streams=[], drop_last=True)


def test_a_memory_needs_the_experiences_it_points_into() -> None:
    first, experiences = make("mvp_r"), stream()
    first.train(experiences[0], eval_streams=[])
    with pytest.raises(InputError, match="points into 1 experiences, but 0 were given"):
        make("mvp_r").load_state_dict(first.state_dict())


def test_nothing_is_kept_of_past_experiences_without_a_memory() -> None:
    assert fit(make("mvp"), stream()).replay._sources == []


def test_any_gamma_gives_a_finite_loss() -> None:
    strategy = fit(make("mvp", gamma=0.5, train_mb_size=1, online_iter=1), stream())
    assert bool(torch.isfinite(strategy.loss))


@pytest.mark.parametrize("order", [None, torch.Generator().manual_seed(0)])
def test_repeated_batches(order: torch.Generator | None) -> None:
    batches = list(sampler := RepeatedBatches(10, 4, 3, order))
    assert len(batches) == len(sampler) == 9
    assert batches[0] == batches[1] == batches[2]
    assert sorted([row for batch in batches[::3] for row in batch]) == list(range(10))
    assert ([row for batch in batches[::3] for row in batch] == list(range(10))) == (order is None)
    assert sampler.order.tolist() == [row for batch in batches[::3] for row in batch]
    assert list(RepeatedBatches(0, 4, 3)) == []
