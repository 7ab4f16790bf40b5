"""What every strategy has to satisfy, on Avalanche's own class-incremental benchmark and on ours."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin, ReplayPlugin

from cl_prompts.backbone import FrozenViT
from cl_prompts.errors import InputError, RunError
from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import MVP, AnytimeEvaluation, FineTuning, Joint, LinearProbe
from cl_prompts.strategies.base import OnlineStrategy
from cl_prompts.strategies.labels import check_labels
from cl_prompts.strategies.loaders import RepeatedBatches
from tests.conftest import Blobs, tiny_vit

MVP_TINY: dict[str, Any] = {"pool_size": 4, "g_length": 2, "e_blocks": (1, 2), "e_length": 3}
KINDS: dict[str, tuple[type[OnlineStrategy], dict[str, Any]]] = {
    "mvp": (MVP, MVP_TINY),
    "mvp_r": (MVP, {**MVP_TINY, "memory_size": 12}),
    "mvp_plain": (MVP, {**MVP_TINY, "use_mask": False, "use_contrastive": False, "use_afs": False, "use_gsf": False}),
    "mvp_published": (
        MVP,
        {**MVP_TINY, "gsf_reduction": "batch_mean", "contrastive_pairs": "all", "use_last_block": True},
    ),
    "linear_probe": (LinearProbe, {}),
    "fine_tuning": (FineTuning, {"backbone_lr": 1e-3}),
    "joint": (Joint, {"train_epochs": 2}),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(kind: str, *, backbone: FrozenViT | None = None, **changes: Any) -> OnlineStrategy:
    torch.manual_seed(0)
    cls, options = KINDS[kind]
    settings: dict[str, Any] = {
        "train_mb_size": 16,
        "eval_mb_size": 32,
        "device": "cpu",
        "evaluator": None,
        **options,
        **changes,
    }
    return cls(backbone=backbone or tiny_vit(), n_classes=6, **settings)


def streams(kind: str) -> Any:
    benchmark = si_blurry_benchmark(Blobs(120, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3)
    return [list(benchmark.train_stream)] if kind == "joint" else list(benchmark.train_stream)


def run(strategy: OnlineStrategy, kind: str) -> OnlineStrategy:
    for experience in streams(kind):
        strategy.train(experience, eval_streams=[])
    return strategy


def weights(strategy: OnlineStrategy) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in strategy.model.state_dict().items()}


def test_one_seed_fixes_a_run_and_global_noise_does_not_matter(kind: str) -> None:
    first = weights(run(make(kind), kind))
    strategy = make(kind)
    torch.rand(17)
    second = weights(run(strategy, kind))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_only_declared_parameters_move_and_the_backbone_stays_bit_identical(kind: str) -> None:
    backbone = tiny_vit()
    original = copy.deepcopy(backbone.state_dict())
    strategy = make(kind, backbone=backbone)
    before = weights(strategy)
    after = weights(run(strategy, kind))
    assert all(torch.equal(original[k], v) for k, v in backbone.state_dict().items())
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    declared = {k for k, p in strategy.model.named_parameters() if p.requires_grad}
    assert moved <= declared | {"seen", "selector.count"}
    assert moved & declared
    assert "head.weight" in moved
    assert {k for k in moved if k.startswith("backbone.")} == {k for k in declared & moved if k.startswith("backbone.")}
    if not kind.startswith(("fine", "joint")):
        assert all(p.grad is None for p in strategy.model.backbone.parameters())


def test_every_prompt_part_learns() -> None:
    strategy = make("mvp")
    before = weights(strategy)
    after = weights(run(strategy, "mvp"))
    for name in (
        "selector.key",
        "logit_mask.values",
        "pools.0.values",
        "pools.1.values",
        "head.weight",
        "selector.count",
    ):
        assert not torch.equal(before[name], after[name]), name


def test_counts_stream_samples_once_and_updates_each(kind: str) -> None:
    strategy = make(kind)
    run(strategy, kind)
    assert strategy.samples_seen == 120 * strategy.train_epochs
    assert strategy.updates == strategy.clock.train_iterations
    if kind.startswith("mvp"):
        batches = sum(-(-len(e.dataset) // 16) for e in streams(kind))
        assert strategy.updates == 3 * batches
        selector = strategy.model.selector
        assert selector is not None
        shown = selector.count.sum().item()
        assert shown == 3 * 120 if kind != "mvp_r" else shown > 3 * 120  # memory samples count as well


def test_modes_and_evaluation_leave_no_trace(kind: str) -> None:
    strategy = run(make(kind), kind)
    benchmark = si_blurry_benchmark(Blobs(120, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3)
    before, random = weights(strategy), torch.get_rng_state()
    strategy.eval(benchmark.test_stream)
    after = weights(strategy)
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(m.training for m in strategy.model.backbone.modules())
    plugin = AnytimeEvaluation(benchmark.test_stream, every=10)
    random = torch.get_rng_state()
    plugin.evaluator(strategy.model, strategy.model.seen)
    assert torch.equal(random, torch.get_rng_state())


def test_how_often_one_looks_does_not_change_training(kind: str) -> None:
    test = Blobs(48, 6, seed=2)
    rarely, often = (make(kind, plugins=[AnytimeEvaluation(test, every=every)]) for every in (1000, 7))
    first, second = weights(run(rarely, kind)), weights(run(often, kind))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_state_resumes_exactly_at_a_task_boundary(kind: str) -> None:
    if kind == "joint":
        pytest.skip("joint training has no task boundary")
    whole = weights(run(make(kind), kind))
    first, second = make(kind), make(kind)
    experiences = streams(kind)
    for experience in experiences[:2]:
        first.train(experience, eval_streams=[])
    second.load_state_dict(first.state_dict(), experiences[:2])
    for experience in experiences[2:]:
        second.train(experience, eval_streams=[])
    resumed = weights(second)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert second.samples_seen == 120


class Recorder(BaseLogger):
    """Keeps what a logger is given."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[tuple[Any, int]]] = {}

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        self.values.setdefault(name, []).append((value, x_plot))


def test_ordinary_plugins_metrics_and_loggers_work(kind: str) -> None:
    logger = Recorder()
    evaluator = EvaluationPlugin(
        accuracy_metrics(minibatch=True, epoch=True, stream=True), loss_metrics(epoch=True), loggers=[logger]
    )
    train, test = Blobs(120, 6, seed=1), Blobs(48, 6, seed=2)
    benchmark = nc_benchmark(train, test, n_experiences=3, task_labels=False, seed=1)
    mine = [AnytimeEvaluation(benchmark.test_stream, every=40)]
    plugins = mine if kind in ("mvp_r", "joint") else [ReplayPlugin(mem_size=20), *mine]
    strategy = make(kind, evaluator=evaluator, plugins=plugins)
    assert len(plugins) == len(mine) + (kind not in ("mvp_r", "joint"))  # the caller's list is left alone
    scheduler = torch.optim.lr_scheduler.StepLR(strategy.optimizer, 1, gamma=0.9)
    strategy.plugins.insert(
        0, LRSchedulerPlugin(scheduler, step_granularity="iteration", reset_lr=False, reset_scheduler=False)
    )
    rate = strategy.optimizer.param_groups[0]["lr"]
    for experience in [list(benchmark.train_stream)] if kind == "joint" else benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    assert strategy.optimizer.param_groups[0]["lr"] < rate
    metrics = strategy.eval(benchmark.test_stream)
    assert any(k.startswith("Top1_Acc_Stream/eval_phase") for k in metrics)
    assert [x for _, x in logger.values["AnytimeAccuracy"]] == [e.samples_seen for e in mine[0].curve.anytime]
    assert all(isinstance(v, float) for v, _ in logger.values["A_AUC"])
    losses = [v for name, values in logger.values.items() if name.startswith("Loss_Epoch") for v, _ in values]
    assert losses
    assert max(losses) < 100  # unseen classes do not leak a mask value into the loss
    expected = 120 * strategy.train_epochs
    assert strategy.samples_seen == expected == mine[0].samples_seen


def test_stored_queries_make_later_evaluations_cheaper(kind: str) -> None:
    strategy, test = make(kind), Blobs(48, 6, seed=2)
    strategy.model.see(torch.arange(6))
    evaluate = AnytimeEvaluation(test).evaluator
    counter, seen = strategy.model.backbone.counter, torch.ones(6, dtype=torch.bool)
    costs, counts, reads = [], [], []
    for _ in range(3):
        counter.reset()
        reads_before = test.reads
        counts.append(evaluate(strategy.model, seen).correct)
        costs.append(counter.blocks / 48)
        reads.append(test.reads - reads_before)
    assert all(torch.equal(c, counts[0]) for c in counts)
    depth = 4
    query = {"mvp_published": depth}.get(kind, depth - 1)
    expected = {"linear_probe": [depth, 0, 0], "fine_tuning": [depth] * 3, "joint": [depth] * 3}
    assert costs == expected.get(kind, [query + depth, depth, depth])
    assert reads == ([48, 0, 0] if kind == "linear_probe" else [48] * 3)


def test_training_costs_the_passes_it_needs(kind: str) -> None:
    strategy = run(make(kind), kind)
    counter, depth = strategy.model.backbone.counter, 4
    shown = counter.images
    per_image = {"mvp_published": 2 * depth, "linear_probe": depth, "fine_tuning": depth, "joint": depth}.get(
        kind, 2 * depth - 1
    )
    assert counter.blocks == shown * per_image
    if kind != "mvp_r":
        assert shown == strategy.samples_seen * strategy.online_iter


def test_memory_stays_flat() -> None:
    strategy = make("mvp_r")
    run(strategy, "mvp_r")
    assert len(strategy.memory) == 12
    assert strategy.memory.slots.shape == (12, 2)
    labels = {int(strategy.replay._sources[s][r][1]) for s, r in strategy.memory.slots.tolist()}
    assert len(labels) > 1


def test_memory_references_follow_a_shuffled_order() -> None:
    strategy = make("mvp_r", memory_size=1000)
    benchmark = nc_benchmark(Blobs(60, 6, seed=1), Blobs(48, 6, seed=2), n_experiences=2, task_labels=False, seed=1)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    references = strategy.memory.slots[: len(strategy.memory)].tolist()
    assert sorted(map(tuple, references)) == [(s, r) for s in range(2) for r in range(30)]
    assert references[:30] != sorted(references[:30])  # foreign streams are shuffled, as in Avalanche


def test_a_replay_plugin_and_an_own_memory_exclude_each_other() -> None:
    strategy = make("mvp_r", plugins=[ReplayPlugin(mem_size=20)])
    with pytest.raises(InputError, match="memory_size and a plugin"):
        run(strategy, "mvp_r")


def test_a_loss_that_is_not_a_number_says_where() -> None:
    strategy = make("linear_probe", lr=1.0)
    with torch.no_grad():
        strategy.model.head.bias[:] = float("nan")
    with pytest.raises(RunError, match="loss became nan after 0 samples"):
        run(strategy, "linear_probe")


def test_parameter_groups_survive_and_frozen_weights_stay_out() -> None:
    strategy = run(make("fine_tuning"), "fine_tuning")
    assert [g["lr"] for g in strategy.optimizer.param_groups] == [5e-3, 1e-3]
    probe = run(make("linear_probe"), "linear_probe")
    assert sum(len(g["params"]) for g in probe.optimizer.param_groups) == 2


def test_an_own_optimizer_and_model_are_used(vit: FrozenViT) -> None:
    from cl_prompts.strategies.mvp import mvp_model

    model = mvp_model(vit, 6, **MVP_TINY)
    optimizer = torch.optim.SGD(
        [{"params": list(model.head.parameters()), "lr": 0.1}, {"params": list(model.pools.parameters()), "lr": 0.2}]
    )
    strategy = MVP(model=model, optimizer=optimizer, device="cpu", evaluator=None, train_mb_size=16)
    run(strategy, "mvp")
    assert strategy.optimizer is optimizer
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 6  # keys and mask joined the first group


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
        ({"memory_size": -1}, "memory size is -1"),
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
    strategy, (first, *_) = make("linear_probe"), streams("linear_probe")
    with pytest.raises(InputError, match="unknown loader argument 'num_worker': did you mean 'num_workers'"):
        strategy.train(first, eval_streams=[], num_worker=2)
    with pytest.raises(InputError, match="'drop_last'"):
        strategy.train(first, eval_streams=[], drop_last=True)


def test_a_memory_needs_the_experiences_it_points_into() -> None:
    first, experiences = make("mvp_r"), streams("mvp_r")
    first.train(experiences[0], eval_streams=[])
    with pytest.raises(InputError, match="points into 1 experiences, but 0 were given"):
        make("mvp_r").load_state_dict(first.state_dict())


def test_nothing_is_kept_of_past_experiences_without_a_memory() -> None:
    assert run(make("mvp"), "mvp").replay._sources == []


def test_any_gamma_gives_a_finite_loss() -> None:
    strategy = run(make("mvp", gamma=0.5, train_mb_size=1, online_iter=1), "mvp")
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
