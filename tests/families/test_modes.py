"""Training and evaluation mode, seeds, and Avalanche's plugins, metrics and loggers."""

from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin, ReplayPlugin

from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import begin, finished
from tests.toy_data import N_CLASSES, TEST, TRAIN, Blobs, benchmark
from tests.toys import PROTOTYPES, REPLAYING, TABLE, fit, same, trained_on, weights


@pytest.mark.parametrize("kind", TABLE)
def test_evaluation_runs_in_evaluation_mode_and_leaves_no_trace(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(kind)
    strategy = run.strategy
    test = benchmark(trained_on(kind)[0]).test_stream[-1]
    model = strategy.model
    model.train()
    frozen = [] if model.backbone.trainable else list(model.backbone.modules())
    assert not any(module.training for module in frozen)
    modes: list[bool] = []
    for stage in ("encode", "decode"):
        method = getattr(model, stage)
        monkeypatch.setattr(
            model,
            stage,
            lambda *given, method=method: modes.append(model.training) or method(*given),
        )
    random = torch.get_rng_state()
    anytime = AnytimeEvaluation(test.dataset, n_classes=N_CLASSES)
    anytime.evaluator.evaluate(model, model.seen)
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert not any(module.training for module in frozen)
    strategy.eval([test])
    assert len(modes) >= 4
    assert not any(modes)
    assert same(run.after, weights(strategy))


class Recorder(BaseLogger):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[tuple[Any, int]]] = {}

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        self.values.setdefault(name, []).append((value, x_plot))


def foreign_benchmark() -> Any:
    """An Avalanche benchmark, whose experiences lack `boundaries` and `ordered`."""
    train = Blobs(TRAIN, N_CLASSES, seed=1)
    test = Blobs(TEST, N_CLASSES, seed=2)
    return nc_benchmark(train, test, n_experiences=3, task_labels=False, seed=1)


#: one of each way to train and of each way to hold samples
WAYS = ("mvp", "multi_lane", "flyprompt", "hide_prompt", "fine_tuning", "lwf", "derpp", "rainbow")
WAYS += ("clib", "joint", "ncm", "aper")


@pytest.mark.parametrize("kind", WAYS)
def test_avalanches_metrics_loggers_replay_and_schedulers_work(kind: str) -> None:
    logger = Recorder()
    foreign = foreign_benchmark()
    metrics = [accuracy_metrics(minibatch=True, epoch=True, stream=True), loss_metrics(epoch=True)]
    anytime = AnytimeEvaluation(foreign.test_stream, every=25)
    # Of two buffers one is refused, and at once nothing is replayed.
    replays = kind in REPLAYING or kind == "joint"
    plugins = [anytime] if replays else [anytime, ReplayPlugin(mem_size=20)]
    given = list(plugins)
    strategy = begin(
        kind,
        "class_incremental",
        evaluator=EvaluationPlugin(*metrics, loggers=[logger]),
        plugins=plugins,
    )
    scheduler = LRSchedulerPlugin(
        torch.optim.lr_scheduler.StepLR(strategy.optimizer, 1, gamma=0.9),
        step_granularity="iteration",
        reset_lr=False,
        reset_scheduler=False,
    )
    strategy.plugins.insert(0, scheduler)
    rate = strategy.optimizer.param_groups[0]["lr"]
    fit(strategy, foreign.train_stream)
    assert plugins == given  # the caller's list is left alone
    found = strategy.eval(foreign.test_stream)
    assert any(name.startswith("Top1_Acc_Stream/eval_phase") for name in found)
    points = [at for _, at in logger.values["AnytimeAccuracy"]]
    assert points == [e.samples_seen for e in anytime.curve.anytime]
    assert all(isinstance(value, float) for value, _ in logger.values["A_AUC"])
    epochs = [values for name, values in logger.values.items() if name.startswith("Loss_Epoch")]
    losses = [value for values in epochs for value, _ in values]
    assert losses
    assert max(losses) < 200  # unseen classes do not leak a mask value into the loss
    assert bool(torch.isfinite(strategy.loss))
    # Replayed samples do not count.
    assert strategy.samples_seen == TRAIN * strategy.train_epochs == anytime.samples_seen
    if kind not in PROTOTYPES and strategy.schedule == "constant":  # others set their own rate
        assert strategy.optimizer.param_groups[0]["lr"] < rate
