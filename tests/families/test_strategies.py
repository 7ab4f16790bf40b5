"""What every strategy has to satisfy: one table, tests over all of it.

Learning, costs and memory have files of their own beside this one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin, ReplayPlugin
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.strategies import STRATEGIES, AnytimeEvaluation
from tests.conftest import Blobs, lively_vit
from tests.strategies.riddles import riddles_solved
from tests.strategies.table import (
    ALL,
    ANNOUNCED,
    BENCHMARKS,
    N_CLASSES,
    PROMPTED,
    PROTOTYPES,
    REPLAYING,
    SEVERAL,
    SEVERAL_LABELS,
    TABLE,
    TEST,
    TRAIN,
    benchmark,
    fit,
    make,
    same,
    weights,
)

every = pytest.mark.parametrize("kind", ALL)


def test_the_table_covers_every_strategy() -> None:
    assert set(TABLE) == set(STRATEGIES)


@dataclass
class Run:
    """A finished run, which tests may read but not change."""

    strategy: Any
    original: dict[str, Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]


@cache
def finished(kind: str, scenario: str = "si_blurry") -> Run:
    """The table's strategy after the scenario's stream, with the state of its backbone and model
    before."""
    backbone = lively_vit()
    original = copy.deepcopy(backbone.state_dict())
    strategy = make(kind, scenario, backbone=backbone)
    before = weights(strategy)
    fit(strategy, benchmark(scenario).train_stream)
    assert same(original, backbone.state_dict())  # bit-identical, and what is fine-tuned is a copy
    return Run(strategy, original, before, weights(strategy))


# ----------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("kind", PROMPTED)
def test_prompts_solve_what_a_head_alone_cannot(kind: str) -> None:
    cls, options = TABLE[kind]
    if kind == "multi_lane":  # all classes in one lane
        options = {**options, "multi_label": False, "lane_samples": 10_000}
    still, learning = (riddles_solved(cls, still=still, **options) for still in (True, False))
    assert learning > still + 0.05
    assert learning > 0.55


@pytest.mark.parametrize("scenario", ["si_blurry", "class_incremental"])
@pytest.mark.parametrize("kind", [kind for kind in TABLE if kind not in PROMPTED])
def test_heads_and_weights_learn(kind: str, scenario: str) -> None:
    faster = {} if kind in PROTOTYPES else {"lr": 0.02, "train_epochs": 3}
    strategy = fit(
        make(kind, scenario, backbone=lively_vit(), **faster), benchmark(scenario).train_stream
    )
    test = Blobs(60, N_CLASSES, seed=5)
    with torch.no_grad():
        right = strategy.model.eval()(test.images).argmax(dim=1) == torch.from_numpy(test.targets)
    assert right.float().mean() > 0.35  # 1 / 6 by chance


@every
def test_only_declared_parameters_move(kind: str) -> None:
    run = finished(kind)
    model = run.strategy.model
    moved = {name for name in run.before if not torch.equal(run.before[name], run.after[name])}
    declared = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert moved.isdisjoint(frozen)
    if kind in PROTOTYPES:
        assert declared == set()
        assert "head.count" in moved
        return
    fresh = declared - run.before.keys()  # lanes come with their tasks
    assert fresh | moved & declared
    if model.backbone.trainable:
        assert any(name.startswith("backbone.") for name in moved)
    else:
        assert not any(name.startswith("backbone.") for name in moved | declared)
        assert all(parameter.grad is None for parameter in model.backbone.parameters())
    optimized = {
        id(parameter)
        for group in run.strategy.optimizer.param_groups
        for parameter in group["params"]
    }
    assert optimized == {
        id(parameter) for parameter in model.parameters() if parameter.requires_grad
    }


@every
def test_counts_stream_samples_once_and_updates_each(kind: str) -> None:
    strategy = finished(kind).strategy
    assert strategy.samples_seen == TRAIN * strategy.train_epochs
    rehearsals = strategy.updates - strategy.clock.train_iterations
    assert (rehearsals > 0) == (kind == "rainbow")
    if kind.startswith("mvp"):
        shown = strategy.model.selector.count.sum().item()
        assert (
            shown == 2 * TRAIN if kind != "mvp_r" else shown > 2 * TRAIN
        )  # memory samples count as well


# ---------------------------------------------------------------------------------------- sameness,
# test time, modes


@every
def test_one_seed_fixes_a_run_and_global_noise_does_not_matter(kind: str) -> None:
    strategy = make(kind, backbone=lively_vit())
    torch.rand(17)
    assert same(finished(kind).after, weights(fit(strategy, benchmark().train_stream)))


@every
def test_how_often_one_looks_does_not_change_training(kind: str) -> None:
    often = AnytimeEvaluation(Blobs(TEST, N_CLASSES, seed=2), every=20)
    strategy = fit(make(kind, backbone=lively_vit(), plugins=[often]), benchmark().train_stream)
    assert len(often.curve.points()) >= (1 if strategy.whole_stream else 3)
    assert same(finished(kind).after, weights(strategy))


@pytest.mark.parametrize("scenario", ["si_blurry", "class_incremental", *SEVERAL])
@pytest.mark.parametrize(
    "kind", [kind for kind in ALL if kind != "joint"]
)  # joint training has no task boundary
def test_state_resumes_exactly_in_the_middle(kind: str, scenario: str) -> None:
    if scenario in SEVERAL and kind not in SEVERAL_LABELS:
        pytest.skip("defined for one class per image")
    first, second = (make(kind, scenario, backbone=lively_vit()) for _ in range(2))
    experiences = list(benchmark(scenario).train_stream)
    second.load_state_dict(fit(first, experiences[:2]).state_dict(), experiences[:2])
    torch.rand(11)  # what else draws random numbers is of no account
    assert same(finished(kind, scenario).after, weights(fit(second, experiences[2:])))
    assert second.samples_seen == finished(kind, scenario).strategy.samples_seen
    assert second.updates == finished(kind, scenario).strategy.updates


@pytest.mark.parametrize("scenario", ["si_blurry", "class_incremental"])
@every
def test_logits_depend_on_nothing_but_the_image(kind: str, scenario: str) -> None:
    model, images = finished(kind, scenario).strategy.model, Blobs(12, N_CLASSES, seed=7).images
    model.eval()
    with torch.no_grad():
        together, order = model(images), torch.randperm(12)
        alone = torch.cat([model(image[None]) for image in images])
        shuffled = model(images[order])
    model.train()
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scenario", ["si_blurry", "class_incremental"])
@pytest.mark.parametrize(
    "kind", [kind for kind in PROMPTED if kind != "multi_lane"]
)  # lanes read a generator
def test_a_forward_pass_is_one_graph(kind: str, scenario: str) -> None:
    """So that ``torch.compile`` sees all of it; no branch waits for a value on the device."""
    model, images = finished(kind, scenario).strategy.model, Blobs(5, N_CLASSES, seed=7).images
    torch.compiler.reset()
    forward = torch.compile(
        lambda pixels: model.run(pixels).logits, backend="eager", fullgraph=True
    )
    torch.testing.assert_close(forward(images), model.run(images).logits, atol=1e-6, rtol=1e-6)


@every
def test_modes_and_evaluation_leave_no_trace(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, test_stream = finished(kind), benchmark().test_stream
    strategy, model = run.strategy, run.strategy.model
    model.train()
    assert model.training
    assert not any(module.training for module in model.backbone.modules())
    evaluator, random = AnytimeEvaluation(test_stream).evaluator, torch.get_rng_state()
    evaluator(model, model.seen)
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert not any(module.training for module in model.backbone.modules())
    modes, run_model = [], model.run
    monkeypatch.setattr(
        model, "run", lambda *args: modes.append(model.training) or run_model(*args)
    )
    strategy.eval(test_stream)
    assert modes == [False]
    assert same(run.after, weights(strategy))


# -------------------------------------------------------------------------------------------
# Avalanche's own things


class Recorder(BaseLogger):
    """Keeps what a logger is given."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[tuple[Any, int]]] = {}

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        self.values.setdefault(name, []).append((value, x_plot))


@every
def test_ordinary_plugins_metrics_and_loggers_work(kind: str) -> None:
    logger = Recorder()
    evaluator = EvaluationPlugin(
        accuracy_metrics(minibatch=True, epoch=True, stream=True),
        loss_metrics(epoch=True),
        loggers=[logger],
    )
    train, test = Blobs(TRAIN, N_CLASSES, seed=1), Blobs(TEST, N_CLASSES, seed=2)
    foreign = nc_benchmark(train, test, n_experiences=3, task_labels=False, seed=1)
    mine = [AnytimeEvaluation(foreign.test_stream, every=25)]
    plugins = mine if kind in (*REPLAYING, "joint") else [ReplayPlugin(mem_size=20), *mine]
    # Boundaries are announced here, since Avalanche's experiences do not say that they are not.
    strategy = make(kind, "class_incremental", evaluator=evaluator, plugins=plugins)
    assert len(plugins) == len(mine) + (
        kind not in (*REPLAYING, "joint")
    )  # the caller's list is left alone
    scheduler = torch.optim.lr_scheduler.StepLR(strategy.optimizer, 1, gamma=0.9)
    strategy.plugins.insert(
        0,
        LRSchedulerPlugin(
            scheduler, step_granularity="iteration", reset_lr=False, reset_scheduler=False
        ),
    )
    rate = strategy.optimizer.param_groups[0]["lr"]
    fit(strategy, foreign.train_stream)
    if (
        kind not in (*PROTOTYPES, "clib") and strategy.schedule == "constant"
    ):  # the others set their own rate
        assert strategy.optimizer.param_groups[0]["lr"] < rate
    metrics = strategy.eval(foreign.test_stream)
    assert any(k.startswith("Top1_Acc_Stream/eval_phase") for k in metrics)
    assert [x for _, x in logger.values["AnytimeAccuracy"]] == [
        e.samples_seen for e in mine[0].curve.anytime
    ]
    assert all(isinstance(v, float) for v, _ in logger.values["A_AUC"])
    losses = [
        v
        for name, values in logger.values.items()
        if name.startswith("Loss_Epoch")
        for v, _ in values
    ]
    assert losses
    assert max(losses) < 200  # unseen classes do not leak a mask value into the loss
    assert strategy.samples_seen == TRAIN * strategy.train_epochs == mine[0].samples_seen


@pytest.mark.parametrize("kind", REPLAYING)
def test_a_replay_plugin_and_an_own_memory_exclude_each_other(kind: str) -> None:
    with pytest.raises(InputError, match="buffer_size and a plugin"):
        fit(make(kind, plugins=[ReplayPlugin(mem_size=20)]), benchmark().train_stream)


# -------------------------------------------------------------------------------------------------
# every scenario


@pytest.mark.parametrize("scenario", BENCHMARKS)
@pytest.mark.parametrize("kind", TABLE)
def test_every_strategy_on_every_scenario(kind: str, scenario: str) -> None:
    bench = benchmark(scenario)
    anytime = AnytimeEvaluation(bench.test_stream[-1].dataset, n_classes=N_CLASSES, every=25)
    strategy = make(kind, scenario, plugins=[anytime])
    if scenario in SEVERAL and kind not in SEVERAL_LABELS:
        with pytest.raises(
            InputError, match=f"{type(strategy).__name__} learns one label per image"
        ):
            fit(strategy, bench.train_stream)
        return
    fit(strategy, bench.train_stream)
    assert strategy.model.seen.all()
    announced = 0 if scenario not in ANNOUNCED else 1 if strategy.whole_stream else 3
    assert strategy.tasks_started == announced
    last = anytime.results["map_last" if scenario in SEVERAL else "a_last"]
    assert last is not None
    assert 0 <= last <= 1
