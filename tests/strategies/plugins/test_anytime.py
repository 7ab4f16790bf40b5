"""Anytime points and task ends, on our strategies and on ordinary ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.models import SimpleMLP
from avalanche.training import Naive
from avalanche.training.plugins import ReplayPlugin

from cl_prompts.errors import InputError
from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation, LinearProbe
from tests.toy_data import Blobs
from tests.toy_vits import tiny_vit
from tests.toys import fit


@pytest.fixture
def stream() -> Any:
    """A blurry benchmark of 100 samples in three tasks."""
    return si_blurry_benchmark(Blobs(100, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3)


def probe(plugin: AnytimeEvaluation, n_classes: int = 6) -> LinearProbe:
    return LinearProbe(
        backbone=tiny_vit(),
        n_classes=n_classes,
        train_mb_size=8,
        device="cpu",
        evaluator=None,
        plugins=[plugin],
    )


def naive(plugins: list[Any], n_classes: int = 6) -> Naive:
    """An ordinary strategy, which keeps the stream's order."""
    model = SimpleMLP(num_classes=n_classes, input_size=3 * 16 * 16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    settings = {"train_mb_size": 8, "plugins": plugins, "evaluator": None}
    return Naive(model=model, optimizer=optimizer, **settings)


def boundaries(stream: Any, size: int = 8) -> list[int]:
    """Samples seen after each batch; a batch never spans two tasks."""
    seen = 0
    out = []
    for experience in stream:
        n = len(experience.dataset)
        out += [seen + min(end, n) for end in range(size, n + size, size)]
        seen += n
    return out


def points(evaluations: list[Any]) -> list[int]:
    return [evaluation.samples_seen for evaluation in evaluations]


@pytest.mark.parametrize("every", [1, 8, 10, 25, 33, 99, 100, 1000])
def test_points_are_the_first_boundaries_at_or_past_the_thresholds(stream: Any, every: int) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=every)
    fit(probe(plugin), stream.train_stream)
    ends = boundaries(stream.train_stream)
    want = sorted({next(e for e in ends if e >= k * every) for k in range(1, 100 // every + 1)})
    assert points(plugin.curve.anytime) == want
    assert points(plugin.curve.points()) == sorted({*want, 100})
    sizes = [len(e.dataset) for e in stream.train_stream]
    assert points(plugin.curve.task_ends) == np.cumsum(sizes).tolist()


def test_published_points_lie_strictly_past_and_never_at_the_end(stream: Any) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=25, points="published")
    fit(probe(plugin), stream.train_stream)
    ends = boundaries(stream.train_stream)
    assert points(plugin.curve.anytime) == [next(e for e in ends if e > k * 25) for k in (1, 2, 3)]
    published = [e.accuracy for e in plugin.curve.anytime]
    assert plugin.results["a_auc"] == pytest.approx(sum(published) / 3)


def test_published_points_do_not_come_between_two_updates_on_a_batch(stream: Any) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=3, points="published")
    fit(probe(plugin), stream.train_stream)
    seen = points(plugin.curve.anytime)
    assert seen == boundaries(stream.train_stream)[: len(seen)]


def test_only_images_of_seen_classes_are_tested(stream: Any) -> None:
    checked = []

    def check(kind: str, evaluation: Any) -> None:
        known = ~evaluation.by_class.isnan()
        assert known.tolist() == strategy.model.seen.tolist()
        checked.append(kind)

    plugin = AnytimeEvaluation(stream.test_stream, every=10, listeners=[check])
    strategy = probe(plugin)
    fit(strategy, stream.train_stream)
    assert checked.count("task_end") == 3
    assert sorted(c for classes in plugin.new_classes for c in classes) == list(range(6))


@pytest.mark.parametrize("plugins", [[], [ReplayPlugin(mem_size=20)]], ids=["naive", "replay"])
def test_ordinary_strategies_are_measured_alike(stream: Any, plugins: list[Any]) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=25)
    naive([*plugins, plugin]).train(stream.train_stream, eval_streams=[], shuffle=False)
    assert plugin.samples_seen == 100
    if not plugins:
        ends = boundaries(stream.train_stream)
        want = [next(e for e in ends if e >= k * 25) for k in (1, 2, 3, 4)]
        assert points(plugin.curve.anytime) == want
    assert 0 <= plugin.results["a_auc"] <= 1  # type: ignore[operator]


def test_state_continues_the_curve(stream: Any) -> None:
    whole, first, second = (AnytimeEvaluation(stream.test_stream, every=25) for _ in range(3))
    fit(probe(whole), stream.train_stream)
    one = fit(probe(first), stream.train_stream[:2])
    two = probe(second)
    two.load_state_dict(one.state_dict(), stream.train_stream[:2])  # that of plugins included
    fit(two, stream.train_stream[2:])
    assert points(second.curve.points()) == points(whole.curve.points())
    assert second.new_classes == whole.new_classes


def test_transfer_is_among_the_results(stream: Any) -> None:
    homes = [np.flatnonzero(stream.split.homes == task).tolist() for task in range(3)]
    plugin = AnytimeEvaluation(stream.test_stream, every=None, home_classes=homes)
    fit(probe(plugin), stream.train_stream)
    first, second, last = (end.by_class for end in plugin.curve.task_ends)
    ahead = torch.cat([first[homes[1]], second[homes[2]]]).nan_to_num(nan=0.0)
    assert plugin.results["fwt"] == pytest.approx(float(ahead.mean()))
    learned = torch.where(first.isnan(), second, first)
    assert plugin.results["bwt"] == pytest.approx(float((last - learned).nanmean()))


@pytest.mark.parametrize(
    ("tested", "settings", "says"),
    [
        (Blobs(6, 6), {"every": 0}, "period is 0"),
        (Blobs(6, 6), {"points": "all"}, "'default' or 'published'"),
        ([], {}, "no experience"),
    ],
)
def test_bad_settings_are_refused(tested: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        AnytimeEvaluation(tested, **settings)


def test_mini_experiences_are_not_tasks(stream: Any) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=25)
    pieces = split_online_stream(stream.train_stream, 7, access_task_boundaries=True, shuffle=False)
    fit(probe(plugin), pieces)
    assert plugin.samples_seen == 100
    assert len(plugin.curve.task_ends) == 3


def test_heads_may_be_wider_than_the_test_labels(stream: Any) -> None:
    ours, other = (AnytimeEvaluation(stream.test_stream, every=50) for _ in range(2))
    fit(probe(ours, n_classes=9), stream.train_stream)
    naive([other], n_classes=9).train(stream.train_stream, eval_streams=[], shuffle=False)
    for watched in (ours, other):
        assert 0 <= watched.results["a_last"] <= 1  # type: ignore[operator]
        assert points(watched.curve.task_ends)[-1] == 100


def test_one_plugin_watches_one_strategy(stream: Any) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=50)
    first = probe(plugin)
    with pytest.raises(InputError, match="belongs to another strategy"):
        probe(plugin)
    fit(first, stream.train_stream[:1])
