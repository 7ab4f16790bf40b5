"""Anytime points and task ends, on our strategies and on ordinary ones."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_with_validation_stream
from avalanche.training import Cumulative, GDumb, JointTraining, Naive

from cl_prompts.errors import InputError
from cl_prompts.scenarios import domain_incremental_benchmark, mlcil_benchmark, si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation, LinearProbe
from tests.strategies.shared import ordinary
from tests.toy_data import Blobs, Scenes
from tests.toy_vits import tiny_vit
from tests.toys import fit, make


@pytest.fixture
def stream() -> Any:
    return si_blurry_benchmark(Blobs(100, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3)


def probe(plugin: AnytimeEvaluation) -> LinearProbe:
    backbone = tiny_vit(depth=1)
    settings = {"train_mb_size": 8, "online_iter": 1}
    return make("linear_probe", backbone=backbone, plugins=[plugin], **settings)


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


@pytest.mark.parametrize("every", [8, 25, 33, 1000])
def test_points_are_the_first_boundaries_at_or_past_the_thresholds(stream: Any, every: int) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=every)
    fit(probe(plugin), stream.train_stream)
    ends = boundaries(stream.train_stream)
    want = sorted({next(e for e in ends if e >= k * every) for k in range(1, 100 // every + 1)})
    assert points(plugin.curve.anytime) == want
    assert points(plugin.curve.points()) == sorted({*want, 100})
    sizes = [len(e.dataset) for e in stream.train_stream]
    assert points(plugin.curve.task_ends) == np.cumsum(sizes).tolist()


def test_hidden_labels_are_no_test_set() -> None:
    stream = mlcil_benchmark(Scenes(60, seed=1), Scenes(40, seed=2), protocol="B0-C2")
    held_out = benchmark_with_validation_stream(stream, validation_size=0.5).valid_stream
    data = held_out[0].dataset
    for test in (held_out, stream.train_stream, stream.test_stream, data, held_out[0]):
        with pytest.raises(InputError, match="hide the labels of some classes"):
            AnytimeEvaluation(test)


def test_published_points_lie_strictly_past_and_never_at_the_end(stream: Any) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=25, points="published")
    fit(probe(plugin), stream.train_stream)
    ends = boundaries(stream.train_stream)
    assert points(plugin.curve.anytime) == [next(e for e in ends if e > k * 25) for k in (1, 2, 3)]
    published = [e.accuracy for e in plugin.curve.anytime]
    assert plugin.results["a_auc"] == pytest.approx(sum(published) / 3)


@pytest.mark.parametrize("every", [7, 25])
def test_look_ahead_points_come_before_the_batch_that_passes_the_threshold(
    stream: Any, every: int
) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=every, points="look_ahead")
    fit(probe(plugin), stream.train_stream)
    ends = boundaries(stream.train_stream)
    want, k = [], 1
    for start, end in zip([0, *ends], ends, strict=False):
        if 2 * end - start > k * every:
            want.append(end)
            k += 1
    assert points(plugin.curve.anytime) == want
    # The first one lies before its threshold, and the end of the stream is none by itself.
    assert want[0] <= max(every, 8)
    assert plugin.results["a_auc"] == pytest.approx(
        sum(e.accuracy for e in plugin.curve.anytime) / len(want)
    )


@pytest.mark.parametrize("kind", [Cumulative, partial(GDumb, mem_size=30), JointTraining, Naive])
def test_samples_are_those_of_the_stream_whatever_a_strategy_trains_on(
    stream: Any, kind: Any
) -> None:
    plugin = AnytimeEvaluation(stream.test_stream, every=25)
    strategy = ordinary(kind, [plugin], train_epochs=2)
    strategy.train(stream.train_stream, eval_streams=[], shuffle=False, drop_last=kind is Naive)
    dropped = 8 if kind is Naive else 1
    sizes = [len(e.dataset) // dropped * dropped for e in stream.train_stream]
    ends = [sum(sizes)] if kind is JointTraining else np.cumsum(sizes).tolist()
    assert points(plugin.curve.task_ends) == [2 * end for end in ends]
    assert len(plugin.curve.anytime) == 2 * sum(sizes) // 25
    assert (plugin.results["a_auc"] is None) == (kind is JointTraining)


def test_a_memory_sorted_by_class_should_be_shuffled(stream: Any) -> None:
    def warned(kind: Any, *, shuffle: bool) -> list[str]:
        experiences = [*stream.train_stream]
        for experience in experiences:
            experience.ordered = not shuffle
        strategy = ordinary(kind, [AnytimeEvaluation(stream.test_stream, every=25)])
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", UserWarning)
            strategy.train(experiences, eval_streams=[], shuffle=shuffle)
        return [str(one.message) for one in found if "sorted" in str(one.message)]

    gdumb = partial(GDumb, mem_size=30)
    assert "GDumb trains on a memory sorted by class: set" in warned(gdumb, shuffle=False)[0]
    assert warned(gdumb, shuffle=True) == warned(Naive, shuffle=False) == []


def test_state_continues_the_curve(stream: Any) -> None:
    whole, first, second = (AnytimeEvaluation(stream.test_stream, every=25) for _ in range(3))
    fit(probe(whole), stream.train_stream)
    first.listeners.append(lambda kind, evaluation: evaluation.scores.update(worst=0.0))
    one = fit(probe(first), stream.train_stream[:2])
    two = probe(second)
    two.load_state_dict(one.state_dict(), stream.train_stream[:2])  # that of plugins included
    assert second.own_scores == first.own_scores == ["worst"]
    fit(two, stream.train_stream[2:])
    assert points(second.curve.points()) == points(whole.curve.points())
    assert second.new_classes == whole.new_classes


ORDER = ["sketch", "art", "photo"]


def in_domains(**settings: Any) -> Any:
    data = Blobs(90, 6, seed=1), Blobs(48, 6, seed=2)
    return domain_incremental_benchmark(*data, domain_order=ORDER, **settings)


@pytest.mark.parametrize("announced", [True, False])
def test_images_of_a_domain_count_once_it_has_begun(announced: bool) -> None:
    stream = in_domains(announced=announced)
    test = Blobs(48, 6, seed=2)
    targets = torch.from_numpy(test.targets)
    checked: list[tuple[str, set[str]]] = []

    def check(kind: str, evaluation: Any) -> None:
        begun = plugin.by_domain(evaluation)
        for name, value in begun.items():
            rows = np.flatnonzero((test.domains == name) & strategy.model.seen.numpy()[targets])
            logits = strategy.model(test.images[rows]).detach()
            right = (logits.argmax(1) == targets[rows]).float().mean()
            assert value == pytest.approx(float(right))
        images = {name: float(np.sum(test.domains == name)) for name in begun}
        if strategy.model.seen.all():
            pooled = sum(images[n] * v for n, v in begun.items()) / sum(images.values())
            assert evaluation.accuracy == pytest.approx(pooled)
        checked.append((kind, set(begun)))

    plugin = AnytimeEvaluation(test, every=10, listeners=[check])
    strategy = probe(plugin)
    fit(strategy, stream.train_stream)
    ends = [begun for kind, begun in checked if kind == "task_end"]
    assert ends == [{"sketch"}, {"sketch", "art"}, set(ORDER)]
    assert plugin.domains.new == [[2], [0], [1]]
    middle = [begun for kind, begun in checked if kind == "anytime"]
    assert middle[0] == {"sketch"}
    assert middle[4] == {"sketch", "art"}


def test_results_of_domains_are_those_of_hand() -> None:
    """A task is its domain, and a class in a domain a class of its own."""
    plugin = AnytimeEvaluation(Blobs(48, 6, seed=2), every=None)
    fit(probe(plugin), in_domains().train_stream)
    cells = torch.stack([end.by_cell for end in plugin.curve.task_ends])
    images = plugin.curve.task_ends[-1].images_by_cell
    final = [float((cells[-1, d] * images[d]).nansum() / images[d].sum()) for d in (2, 0, 1)]
    found = plugin.results
    assert found["a_last_by_task"] == pytest.approx(np.mean(final))
    assert plugin.by_domain(plugin.curve.task_ends[-1]) == pytest.approx(
        dict(zip(ORDER, final, strict=True))
    )
    best = cells[:-1].nan_to_num(nan=-1.0).amax(dim=0)
    lost = torch.where(best < 0, float("nan"), best - cells[-1])
    assert found["forgetting"] == pytest.approx(float(lost[[2, 0]].nanmean()))
    means = cells.nanmean(dim=2)  # (ends, domains), of classes
    by_task = [max(means[0, 2], means[1, 2]) - means[2, 2], means[1, 0] - means[2, 0]]
    assert found["task_forgetting"] == pytest.approx(float(np.mean(by_task)))
    assert found["a_last"] == plugin.curve.task_ends[-1].accuracy
