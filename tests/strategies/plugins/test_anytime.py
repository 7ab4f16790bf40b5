"""Anytime points and task ends, on our strategies and on ordinary ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.models import SimpleMLP
from avalanche.training import Naive
from avalanche.training.plugins import ReplayPlugin

from cl_prompts.errors import InputError
from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation, LinearProbe
from tests.toy_data import Blobs
from tests.toy_vits import tiny_vit


def benchmark() -> Any:
    return si_blurry_benchmark(Blobs(100, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3)


def probe(plugin: AnytimeEvaluation, **changes: Any) -> LinearProbe:
    settings = {
        "backbone": tiny_vit(),
        "n_classes": 6,
        "train_mb_size": 8,
        "device": "cpu",
        "evaluator": None,
        "plugins": [plugin],
    }
    return LinearProbe(**{**settings, **changes})


def boundaries(stream: Any, size: int) -> list[int]:
    """Samples seen after each batch; a batch never spans two tasks."""
    seen, out = 0, []
    for experience in stream:
        n = len(experience.dataset)
        out += [seen + min(end, n) for end in range(size, n + size, size)]
        seen += n
    return out


@pytest.mark.parametrize("every", [1, 8, 10, 25, 33, 99, 100, 1000])
def test_points_are_the_first_boundaries_at_or_past_the_thresholds(every: int) -> None:
    stream = benchmark()
    plugin = AnytimeEvaluation(stream.test_stream, every=every)
    strategy = probe(plugin)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    ends = boundaries(stream.train_stream, 8)
    want = sorted({next(e for e in ends if e >= k * every) for k in range(1, 100 // every + 1)})
    assert [e.samples_seen for e in plugin.curve.anytime] == want
    assert [p.samples_seen for p in plugin.curve.points()] == sorted({*want, 100})
    sizes = [len(e.dataset) for e in stream.train_stream]
    assert [e.samples_seen for e in plugin.curve.task_ends] == [
        sum(sizes[: t + 1]) for t in range(3)
    ]


def test_published_points_lie_strictly_past_and_never_at_the_end() -> None:
    stream = benchmark()
    plugin = AnytimeEvaluation(stream.test_stream, every=25, points="published")
    strategy = probe(plugin)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    ends = boundaries(stream.train_stream, 8)
    assert [e.samples_seen for e in plugin.curve.anytime] == [
        next(e for e in ends if e > k * 25) for k in (1, 2, 3)
    ]
    published = [e.accuracy for e in plugin.curve.anytime]
    assert plugin.results["a_auc"] == pytest.approx(sum(published) / 3)


def test_only_images_of_seen_classes_are_tested() -> None:
    stream, checked = benchmark(), []

    def check(kind: str, evaluation: Any) -> None:
        known = ~evaluation.by_class.isnan()
        assert known.tolist() == strategy.model.seen.tolist()
        checked.append(kind)

    plugin = AnytimeEvaluation(stream.test_stream, every=10, listeners=[check])
    strategy = probe(plugin)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    assert checked.count("task_end") == 3
    assert sorted(c for classes in plugin.new_classes for c in classes) == list(range(6))


@pytest.mark.parametrize("plugins", [[], [ReplayPlugin(mem_size=20)]], ids=["naive", "replay"])
def test_ordinary_strategies_are_measured_alike(plugins: list[Any]) -> None:
    stream = benchmark()
    model = SimpleMLP(num_classes=6, input_size=3 * 16 * 16)
    plugin = AnytimeEvaluation(stream.test_stream, every=25)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    strategy = Naive(
        model=model,
        optimizer=optimizer,
        train_mb_size=8,
        plugins=[*plugins, plugin],
        evaluator=None,
    )
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[], shuffle=False)
    assert plugin.samples_seen == 100
    if not plugins:
        ends = boundaries(stream.train_stream, 8)
        assert [e.samples_seen for e in plugin.curve.anytime] == [
            next(e for e in ends if e >= k * 25) for k in (1, 2, 3, 4)
        ]
    assert 0 <= plugin.results["a_auc"] <= 1  # type: ignore[operator]


def test_state_continues_the_curve() -> None:
    stream = benchmark()
    whole, first, second = (AnytimeEvaluation(stream.test_stream, every=25) for _ in range(3))
    strategy = probe(whole)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    one = probe(first)
    torch.manual_seed(0)
    for experience in stream.train_stream[:2]:
        one.train(experience, eval_streams=[])
    second.load_state_dict(first.state_dict())
    two = probe(second)
    two.load_state_dict(one.state_dict(), stream.train_stream[:2])
    two.train(stream.train_stream[2], eval_streams=[])
    assert [e.samples_seen for e in second.curve.points()] == [
        e.samples_seen for e in whole.curve.points()
    ]
    assert second.new_classes == whole.new_classes


def test_transfer_is_among_the_results() -> None:
    stream = benchmark()
    homes = [np.flatnonzero(stream.split.homes == task).tolist() for task in range(3)]
    plugin = AnytimeEvaluation(stream.test_stream, every=None, home_classes=homes)
    strategy = probe(plugin)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    first, second, last = (end.by_class for end in plugin.curve.task_ends)
    ahead = torch.cat([first[homes[1]], second[homes[2]]]).nan_to_num(nan=0.0)
    assert plugin.results["fwt"] == pytest.approx(float(ahead.mean()))
    learned = torch.where(first.isnan(), second, first)
    assert plugin.results["bwt"] == pytest.approx(float((last - learned).nanmean()))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="period is 0"):
        AnytimeEvaluation(Blobs(6, 6), every=0)
    with pytest.raises(InputError, match="'default' or 'published'"):
        AnytimeEvaluation(Blobs(6, 6), points="all")
    with pytest.raises(InputError, match="no experience"):
        AnytimeEvaluation([])


def test_published_points_do_not_come_between_two_updates_on_a_batch() -> None:
    stream = benchmark()
    plugin = AnytimeEvaluation(stream.test_stream, every=3, points="published")
    strategy = probe(plugin)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    ends = boundaries(stream.train_stream, 8)
    seen = [e.samples_seen for e in plugin.curve.anytime]
    assert seen == ends[: len(seen)]


def test_mini_experiences_are_not_tasks() -> None:
    from avalanche.benchmarks import split_online_stream

    stream = benchmark()
    plugin = AnytimeEvaluation(stream.test_stream, every=25)
    strategy = probe(plugin)
    online = split_online_stream(
        stream.train_stream, experience_size=7, access_task_boundaries=True, shuffle=False
    )
    for experience in online:
        strategy.train(experience, eval_streams=[])
    assert plugin.samples_seen == 100
    assert len(plugin.curve.task_ends) == 3


def test_heads_may_be_wider_than_the_test_labels() -> None:
    stream = benchmark()
    plugin = AnytimeEvaluation(stream.test_stream, every=50)
    strategy = probe(plugin, n_classes=9)
    model = SimpleMLP(num_classes=9, input_size=3 * 16 * 16)
    other = AnytimeEvaluation(stream.test_stream, every=50)
    naive = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        plugins=[other],
        evaluator=None,
    )
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        naive.train(experience, eval_streams=[], shuffle=False)
    for watched in (plugin, other):
        assert 0 <= watched.results["a_last"] <= 1  # type: ignore[operator]
        assert [e.samples_seen for e in watched.curve.task_ends][-1] == 100


def test_one_plugin_watches_one_strategy() -> None:
    stream = benchmark()
    plugin = AnytimeEvaluation(stream.test_stream, every=50)
    first, second = probe(plugin), probe(plugin)
    first.train(stream.train_stream[0], eval_streams=[])
    with pytest.raises(InputError, match="belongs to another strategy"):
        second.train(stream.train_stream[0], eval_streams=[])
