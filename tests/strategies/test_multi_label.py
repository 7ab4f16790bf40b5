"""What strategies do on multi-label streams: MLCIL with announced boundaries, and the blurry one
without."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.scenarios import (
    disjoint_benchmark,
    mlcil_benchmark,
    si_blurry_multi_label_benchmark,
)
from cl_prompts.strategies import MVP, AnytimeEvaluation, FineTuning, Joint, LinearProbe, MultiLane
from cl_prompts.strategies.base.online import OnlineStrategy
from tests.conftest import Blobs, tiny_vit
from tests.strategies.table import LANES_TINY, Scenes, fit

KINDS: dict[str, tuple[type[OnlineStrategy], dict[str, Any]]] = {
    "multi_lane": (MultiLane, {**LANES_TINY, "lane_samples": 1000, "train_epochs": 2}),
    "linear_probe": (LinearProbe, {"multi_label": True, "online_iter": 1, "train_epochs": 2}),
    "linear_probe_replay": (
        LinearProbe,
        {"multi_label": True, "online_iter": 1, "buffer_size": 20},
    ),
    "fine_tuning": (FineTuning, {"multi_label": True, "online_iter": 1, "train_epochs": 2}),
    "joint": (Joint, {"multi_label": True, "train_epochs": 2}),
}


def benchmark(kind: str = "mlcil") -> Any:
    train, test = Scenes(90, seed=1), Scenes(40, seed=2)
    if kind == "mlcil":
        return mlcil_benchmark(train, test, protocol="B0-C2")
    return si_blurry_multi_label_benchmark(train, test, n_tasks=3)


def make(kind: str, plugins: Any = (), **changes: Any) -> Any:
    cls, options = KINDS[kind]
    torch.manual_seed(0)
    return cls(
        backbone=tiny_vit(),
        n_classes=6,
        train_mb_size=8,
        evaluator=None,
        device="cpu",
        plugins=plugins,
        **{**options, **changes},
    )


def learned(strategy: Any) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in strategy.model.learned_state().items()}


@pytest.mark.parametrize("scenario", ["mlcil", "blurry"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_multi_label_strategy_learns_every_class_of_a_stream(
    kind: str, scenario: str
) -> None:
    bench = benchmark(scenario)
    anytime = AnytimeEvaluation(
        Scenes(40, seed=2), n_classes=6, every=20 if scenario == "blurry" else None
    )
    strategy = fit(make(kind, [anytime], lr=0.05), bench.train_stream)
    assert strategy.model.seen.all()
    results = anytime.results
    chance = Scenes(40, seed=2).targets.mean()
    assert results["map_last"] is not None
    assert results["map_last"] > chance + 0.1
    assert (results["a_auc"] is None) == (scenario == "mlcil")
    assert {"cf1_80", "of1_80", "cf1_50", "of1_50"} <= set(results)
    if not strategy.whole_stream:
        assert len(anytime.curve.task_ends) == 3
        assert results["task_forgetting_fixed"] is not None


def test_joint_sees_an_image_once_with_all_its_labels() -> None:
    bench = benchmark()
    union = bench.train_stream.joint()
    assert (
        len(union.dataset)
        == len(np.unique(np.concatenate([e.indices for e in bench.train_stream])))
        == 90
    )
    assert torch.equal(
        torch.stack([y for _, y, _ in union.dataset]),
        torch.from_numpy(Scenes(90, seed=1).targets).float(),
    )
    part = bench.train_stream.joint([0, 2])
    assert part.classes_in_this_experience == {0, 1, 4, 5}
    assert all(not y[2:4].any() for _, y, _ in part.dataset)
    strategy = fit(make("joint"), bench.train_stream)
    assert strategy.samples_seen == 2 * 90


def test_columns_of_other_tasks_get_no_gradient_even_with_replay() -> None:
    strategy, stream = make("linear_probe_replay"), list(benchmark().train_stream)
    columns = []
    strategy.after_step = lambda: columns.append(strategy.columns.clone())
    strategy.train(stream[0], eval_streams=[])
    before = strategy.model.head.weight.detach().clone()
    strategy.train(stream[1], eval_streams=[])
    moved = (strategy.model.head.weight != before).any(dim=1)
    assert moved.tolist() == [True, True, True, True, False, False]  # 0 and 1 by replay
    last = columns[-1]
    assert last.dim() == 2
    own = torch.tensor([False, False, True, True, False, False])
    assert torch.equal(last[0], own)
    replayed = last[-len(strategy.replayed) :]
    assert all(row.tolist() in ([True, True, *[False] * 4], own.tolist()) for row in replayed)


def test_lanes_of_finished_tasks_never_move() -> None:
    strategy, stream = make("multi_lane"), list(benchmark().train_stream)
    strategy.train(stream[0], eval_streams=[])
    before = {k: v for k, v in learned(strategy).items() if k != "seen"}
    images = Scenes(10, seed=3).images
    strategy.model.eval()
    with torch.no_grad():
        logits = strategy.model(images)[:, :2]
    strategy.train(stream[1], eval_streams=[])
    after = learned(strategy)
    assert all(torch.equal(before[k], after[k]) for k in before)
    strategy.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(strategy.model(images)[:, :2], logits, atol=1e-6, rtol=0)


def test_evaluation_runs_each_finished_lane_once_an_image() -> None:
    anytime = AnytimeEvaluation(Scenes(40, seed=2), n_classes=6, every=None)
    strategy, bench = make("multi_lane", [anytime]), benchmark()
    for t, experience in enumerate(bench.train_stream):
        strategy.model.lane_passes = 0
        trained = len(experience.dataset) * strategy.train_epochs
        strategy.train(experience, eval_streams=[])
        tested = strategy.model.lane_passes - trained
        seen, old = (
            len(bench.split.test_indices(t)),
            len(bench.split.test_indices(t - 1)) if t else 0,
        )
        # The new lane for all images, the old lanes for the images that are new in the test set.
        assert tested == seen + t * (seen - old)
    again = AnytimeEvaluation(Scenes(40, seed=2), n_classes=6, every=None).evaluator
    want = again.evaluate(strategy.model, strategy.model.seen)
    assert anytime.curve.task_ends[-1].accuracy == pytest.approx(want.accuracy, abs=1e-6)
    before = strategy.model.lane_passes
    again.evaluate(strategy.model, strategy.model.seen)
    assert strategy.model.lane_passes == before


def test_without_boundaries_a_lane_opens_at_the_first_new_class_after_its_samples() -> None:
    stream = list(benchmark("blurry").train_stream)
    strategy = make("multi_lane", lane_samples=24)
    opened: list[int] = []
    original = strategy.model.open_lane
    strategy.model.open_lane = lambda classes: (
        opened.append(strategy.samples_seen),
        original(classes),
    )  # type: ignore[func-returns-value]
    fit(strategy, stream)
    assert opened[0] == 0
    assert len(opened) > 1
    assert all(b - a >= 24 for a, b in pairwise(opened))
    owners = torch.stack([strategy.model.columns(i) for i in range(strategy.model.n_lanes)])
    assert (owners.sum(dim=0) == 1).all()  # every class has one lane
    one = fit(make("multi_lane", lane_samples=10_000), stream)
    assert one.model.n_lanes == 1
    announced = fit(make("multi_lane", boundaries=True), stream)
    assert announced.model.n_lanes == sum(len(e.new_classes) > 0 for e in stream)


def test_overlapping_test_sets_are_evaluated_one_at_a_time() -> None:
    bench = benchmark()
    strategy = make("linear_probe")
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert strategy.eval(bench.test_stream[0]) is not None
    with pytest.raises(InputError, match="3 test sets overlap"):
        strategy.eval(bench.test_stream)
    with pytest.raises(InputError, match="3 test sets overlap"):
        strategy.train(bench.train_stream[1], eval_streams=[bench.test_stream])
    for part in (bench.test_stream, bench.test_stream[0]):
        with pytest.raises(InputError, match="give AnytimeEvaluation the whole test set"):
            AnytimeEvaluation(part)


def test_single_label_metrics_and_strategies_are_refused() -> None:
    evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    with pytest.raises(InputError, match="one label per image"):
        LinearProbe(
            backbone=tiny_vit(), n_classes=6, multi_label=True, evaluator=evaluator, device="cpu"
        )
    single = MVP(backbone=tiny_vit(), n_classes=6, e_blocks=(2, 3), evaluator=None, device="cpu")
    with pytest.raises(InputError, match="MVP learns one label per image"):
        single.train(benchmark().train_stream[0], eval_streams=[])
    several = make("linear_probe")
    blobs = Blobs(20, 6)
    with pytest.raises(
        InputError, match="needs multi-hot targets of 6 classes: one class per image"
    ):
        several.train(disjoint_benchmark(blobs, blobs, n_tasks=2).train_stream[0], eval_streams=[])


def test_the_default_evaluator_of_a_multi_label_strategy_measures_map() -> None:
    bench = benchmark()
    strategy = LinearProbe(
        backbone=tiny_vit(), n_classes=6, multi_label=True, device="cpu", train_mb_size=8
    )
    strategy.train(bench.train_stream[0], eval_streams=[])
    assert any("MeanAP" in name for name in strategy.eval(bench.test_stream[0]))
