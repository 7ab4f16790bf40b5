"""Lazy streams: experiences made once and on demand, their data, their classes, joined tasks."""

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_with_validation_stream
from torch.utils.data import DataLoader

from cl_prompts import scenarios
from cl_prompts.errors import InputError
from cl_prompts.scenarios.streams import CARRIED, MultiHotTargets
from cl_prompts.strategies.base.experience import mark_of
from tests.scenarios.images import (
    IN_DOMAINS,
    KINDS,
    MULTI,
    SINGLE,
    Pictures,
    make_benchmark,
    row_of,
)
from tests.toy_data import benchmark

MULTI_LABEL = ("mlcil", "si_blurry_multi_label")
ANNOUNCED = ("class_incremental", "domain_incremental", "mlcil")
#: scenarios with a single test set
WHOLE = ("si_blurry", "i_blurry", "disjoint", "class_incremental")


def shown(benchmark: Any, task: int) -> np.ndarray:
    """Labels that the learner should see in a task: integers, or a 0/1 matrix."""
    split = benchmark.split
    labels = (MULTI if split.title.startswith("multi-label") else SINGLE)[0].targets
    rows = split.tasks[task]
    return labels[rows] if labels.ndim == 1 else labels[rows] * split.visible[task]


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_image_label_and_task_label_in_stream_order(kind: str) -> None:
    benchmark = make_benchmark(kind)
    for task, experience in enumerate(benchmark.train_stream):
        rows = benchmark.split.tasks[task].tolist()
        items = [experience.dataset[i] for i in range(len(rows))]
        assert [row_of(x) for x, _, _ in items] == rows == experience.indices.tolist()
        assert {t for _, _, t in items} == {0}
        expected = shown(benchmark, task)
        y = torch.stack([torch.as_tensor(y) for _, y, _ in items]).numpy()
        assert np.array_equal(y, expected)
        if kind not in MULTI_LABEL:
            assert all(type(y) is int for _, y, _ in items)
            assert list(experience.dataset.targets) == expected.tolist()


@pytest.mark.parametrize("kind", MULTI_LABEL)
def test_targets_of_multi_label_experiences_are_the_visible_labels(kind: str) -> None:
    for task, experience in enumerate(make_benchmark(kind).train_stream):
        targets = experience.dataset.targets
        y = torch.stack(list(targets))
        assert np.array_equal(y, shown(experience.origin_stream.benchmark, task))
        assert y.any(dim=1).all()
        assert targets.uniques == experience.classes_in_this_experience
        x, batch, t = next(iter(DataLoader(experience.dataset, batch_size=4)))
        assert (x.shape, batch.dtype, t.tolist()) == ((4, 3, 4, 4), torch.float32, [0] * 4)
        assert torch.equal(batch, y[:4])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("si_blurry", {"n_tasks": 5, "blurry_percent": 50, "leftover": "drop"}),
        *((kind, {}) for kind in KINDS),
    ],
)
def test_classes_of_experiences(kind: str, settings: dict[str, Any]) -> None:
    benchmark = make_benchmark(kind, **settings)
    visible = [set(np.flatnonzero(row).tolist()) for row in benchmark.split.visible]
    for task, experience in enumerate(benchmark.train_stream):
        before = set().union(*visible[:task])
        later = set().union(*visible[task + 1 :])
        now = visible[task]
        assert experience.classes_in_this_experience == now
        assert experience.previous_classes == before
        assert experience.classes_seen_so_far == before | now
        assert experience.future_classes == later - before - now
        assert all(type(c) is int for c in experience.classes_seen_so_far)
        assert experience.ordered is (kind not in ANNOUNCED)
        assert experience.boundaries is (kind in ANNOUNCED)
        assert experience.origin_stream.benchmark is benchmark


def test_experiences_are_made_once_and_on_demand() -> None:
    benchmark = make_benchmark("si_blurry")
    stream = benchmark.train_stream
    assert not stream._made
    third = stream[2]
    assert list(stream._made) == [2]
    assert third is stream[2] is stream[1:][1] is list(stream)[2]
    assert stream[-1] is third
    assert [experience.current_experience for experience in stream[1:]] == [1, 2]
    assert third.origin_stream is stream
    assert stream.benchmark is benchmark
    assert len(stream) == 3
    assert third.task_label == 0
    assert third.task_labels == [0]
    assert np.array_equal(third.indices, benchmark.split[2])


@pytest.mark.parametrize("kind", [*WHOLE, "si_blurry_multi_label"])
def test_the_test_stream_is_every_labelled_image(kind: str) -> None:
    (experience,) = make_benchmark(kind).test_stream
    targets = KINDS[kind][0][1].targets
    rows = np.flatnonzero(targets.any(axis=1)) if targets.ndim == 2 else np.arange(len(targets))
    assert experience.indices.tolist() == rows.tolist()
    y = np.stack([np.asarray(experience.dataset[i][1]) for i in range(len(rows))])
    assert np.array_equal(y, targets[rows])
    assert experience.classes_in_this_experience == set(range(12))
    assert experience.future_classes == set()


def test_domains_have_a_test_set_each_and_go_with_the_data() -> None:
    benchmark = make_benchmark("domain_incremental")
    train, test = IN_DOMAINS
    names = ("photo", "art", "sketch")
    pairs = zip(names, benchmark.train_stream, benchmark.test_stream, strict=True)
    for name, experience, tested in pairs:
        assert tested.indices.tolist() == np.flatnonzero(test.domains == name).tolist()
        assert experience.indices.tolist() == np.flatnonzero(train.domains == name).tolist()
        assert experience.dataset.subset([2, 0]).stream_domains[1] == names
        for part in (experience, tested):
            assert set(part.dataset.domains) == {name}
            assert list(part.dataset.subset([2, 0]).domains) == [name] * 2
    joined = benchmark.train_stream.joint()
    assert list(joined.dataset.domains) == train.domains.tolist()


@pytest.mark.parametrize(
    ("domains", "says"),
    [
        (None, "the test set of a domain-incremental stream needs .domains"),
        (["art", "photo"] * 18, "domain 'sketch' has no test images: add some"),
    ],
)
def test_test_sets_without_the_domains_of_training_are_refused(domains: Any, says: str) -> None:
    train, test = IN_DOMAINS
    with pytest.raises(InputError, match=says):
        scenarios.domain_incremental_benchmark(train, Pictures(test.targets, domains))


def test_mlcil_test_stream_grows() -> None:
    benchmark = make_benchmark("mlcil")
    split = benchmark.split
    _, test = MULTI
    assert len(benchmark.test_stream) == len(split) == 5
    for task, experience in enumerate(benchmark.test_stream):
        seen = split.seen[task]
        rows = np.flatnonzero(test.targets[:, seen].any(axis=1))
        assert experience.indices.tolist() == rows.tolist()
        assert np.array_equal(split.test_indices(test.targets, task), rows)
        y = torch.stack([experience.dataset[i][1] for i in range(len(rows))])
        assert np.array_equal(y.numpy(), test.targets[rows] * seen)
        assert y.any(dim=1).all()
        seen_in_training = benchmark.train_stream[task].classes_seen_so_far
        assert experience.classes_in_this_experience == seen_in_training
        assert experience.classes_seen_so_far == seen_in_training


@pytest.mark.parametrize("chosen", [None, [0], [2, 1]])
@pytest.mark.parametrize("kind", KINDS)
def test_joined_tasks_have_each_image_once_with_all_visible_labels(
    kind: str, chosen: list[int] | None
) -> None:
    benchmark = make_benchmark(kind)
    split = benchmark.split
    tasks = [t for t in (chosen or range(len(split))) if t < len(split)] or [0]
    joined = benchmark.train_stream.joint(None if chosen is None else tasks)
    rows = np.unique(np.concatenate([split.tasks[t] for t in tasks]))
    assert joined.indices.tolist() == rows.tolist()
    visible = split.visible[tasks].any(axis=0)
    assert joined.classes_in_this_experience == set(np.flatnonzero(visible).tolist())
    items = [joined.dataset[i] for i in range(len(rows))]
    assert [row_of(x) for x, _, _ in items] == rows.tolist()
    y = np.stack([np.asarray(y) for _, y, _ in items])
    labels = KINDS[kind][0][0].targets[rows]
    assert np.array_equal(y, labels * visible if kind in MULTI_LABEL else labels)
    assert joined.ordered is split.ordered
    assert joined.boundaries is split.boundaries


MARKS = {"si_blurry": (True, False), "class_incremental": (False, True), "mlcil": (False, True)}


def marks(experience: Any) -> tuple[bool, ...]:
    # Defaults that are wrong for each, so that they cannot hide a lost mark.
    wrong = {"ordered": not mark_of(experience, "ordered", True), "boundaries": False}
    return tuple(mark_of(experience, name, wrong[name]) for name in CARRIED)


@pytest.mark.parametrize("scenario", MARKS)
def test_a_benchmark_with_validation_keeps_the_marks(scenario: str) -> None:
    whole = benchmark(scenario)
    made = benchmark_with_validation_stream(whole, 0.25)
    for kept, held_out, origin in zip(
        made.train_stream, made.valid_stream, whole.train_stream, strict=True
    ):
        assert marks(kept) == marks(held_out) == MARKS[scenario]
        n = len(kept.dataset)
        assert n + len(held_out.dataset) == len(origin.dataset)
    assert whole.split.n_tasks == len(whole.train_stream)  # the first benchmark is as it was


def test_multi_hot_targets() -> None:
    matrix = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=np.uint8)
    shown = np.array([True, False, True])
    targets = MultiHotTargets(matrix * shown, shown)
    assert len(targets) == 4
    assert targets.uniques == {0, 2}
    assert targets[1].tolist() == [0, 0, 1]
    assert targets[1:3].tolist() == [[0, 0, 1], [0, 0, 0]]
    for rows in ([3, 1], np.array([3, 1]), torch.tensor([3, 1])):
        part = targets.subset(rows)
        assert isinstance(part, MultiHotTargets)
        assert part.annotated is shown
        assert part.data.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert targets.subset([]).uniques == set()
    same = targets.subset([0]).concat(targets.subset([3]))
    assert same.data.tolist() == [[1, 0, 1], [1, 0, 0]]
    assert same.annotated is shown
    both = targets.concat(MultiHotTargets(matrix, np.ones(3, dtype=bool)).subset([1]))
    assert both.annotated is None
    assert both.data.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
