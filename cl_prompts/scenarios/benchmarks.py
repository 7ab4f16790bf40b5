"""Avalanche benchmarks over splits: lazy streams of experiences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from avalanche.benchmarks import CLScenario

from cl_prompts.errors import InputError
from cl_prompts.scenarios.class_incremental import class_incremental_split, mlcil_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.si_blurry import (
    disjoint_split,
    i_blurry_split,
    iid_split,
    si_blurry_split,
)
from cl_prompts.scenarios.si_blurry_multi_label import si_blurry_multi_label_split
from cl_prompts.scenarios.si_blurry_sampler import Leftover
from cl_prompts.scenarios.split import BlurrySplit
from cl_prompts.scenarios.streams import multi_label_streams, single_label_streams


def si_blurry_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
    task_labels: bool = True,
    split: BlurrySplit | None = None,
) -> CLScenario:
    """A Si-Blurry stream as an Avalanche benchmark: ``benchmark_from_split`` of
    ``si_blurry_split(train.targets, ...)``.

    Args:
        train, test, task_labels: see ``benchmark_from_split``.
        n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover: see
            ``si_blurry_split``.
        split: use this split instead of drawing one; a parameter that contradicts it is refused.
    """
    parameters: dict[str, Any] = {
        "n_tasks": n_tasks,
        "disjoint_percent": disjoint_percent,
        "blurry_percent": blurry_percent,
        "seed": seed,
        "stochastic": stochastic,
        "leftover": leftover,
    }
    if split is None:
        split = si_blurry_split(_targets("train", train), **parameters)
    _no_contradiction(split, parameters, si_blurry_split)
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def i_blurry_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    leftover: Leftover = "keep",
    task_labels: bool = True,
) -> CLScenario:
    """``benchmark_from_split`` of ``i_blurry_split(train.targets, ...)``."""
    split = i_blurry_split(
        _targets("train", train),
        n_tasks=n_tasks,
        disjoint_percent=disjoint_percent,
        blurry_percent=blurry_percent,
        seed=seed,
        leftover=leftover,
    )
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def disjoint_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 5,
    seed: int = 1,
    leftover: Leftover = "keep",
    task_labels: bool = True,
) -> CLScenario:
    """``benchmark_from_split`` of ``disjoint_split(train.targets, ...)``."""
    split = disjoint_split(_targets("train", train), n_tasks=n_tasks, seed=seed, leftover=leftover)
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def iid_benchmark(train: Any, test: Any, *, seed: int = 1, task_labels: bool = True) -> CLScenario:
    """One experience with all data in a seeded random order, for the joint upper bound
    (``iid_split``)."""
    split = iid_split(_targets("train", train), seed=seed)
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def class_incremental_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 10,
    class_order: Sequence[int] | int | str | None = None,
    seed: int = 1,
    task_labels: bool = True,
) -> CLScenario:
    """``benchmark_from_split`` of ``class_incremental_split(train.targets, ...)``: announced tasks
    of new classes."""
    split = class_incremental_split(
        _targets("train", train), n_tasks=n_tasks, class_order=class_order, seed=seed
    )
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def mlcil_benchmark(
    train: Any,
    test: Any,
    *,
    base: int | None = None,
    increment: int | None = None,
    protocol: str | None = None,
    class_order: Sequence[int] | int | str | None = None,
    seed: int = 1,
    task_labels: bool = True,
    split: MultiLabelSplit | None = None,
) -> CLScenario:
    """A multi-label class-incremental stream as an Avalanche benchmark.

    Args:
        train, test, task_labels: see ``benchmark_from_split``.
        base, increment, protocol, class_order, seed: see ``mlcil_split``.
        split: use this split instead of making one; then leave out base, increment, protocol and
            class_order.
    """
    division: dict[str, Any] = {
        "base": base,
        "increment": increment,
        "protocol": protocol,
        "class_order": class_order,
    }
    if split is None:
        split = mlcil_split(
            _targets("train", train), **division, seed=seed, test_labels=_targets("test", test)
        )
    else:
        for name, value in division.items():
            if value is not None:
                raise InputError(f"give either split or {name}, not both")
        if split.anchors is not None:
            raise InputError(f"this split is not of mlcil_split: {split!r}")
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def si_blurry_multi_label_benchmark(
    train: Any,
    test: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
    task_labels: bool = True,
    split: MultiLabelSplit | None = None,
) -> CLScenario:
    """A multi-label Si-Blurry stream as an Avalanche benchmark.

    Args:
        train, test, task_labels: see ``benchmark_from_split``.
        n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover: see
            ``si_blurry_multi_label_split``.
        split: use this split instead of drawing one; a parameter that contradicts it is refused.
    """
    parameters: dict[str, Any] = {
        "n_tasks": n_tasks,
        "disjoint_percent": disjoint_percent,
        "blurry_percent": blurry_percent,
        "seed": seed,
        "stochastic": stochastic,
        "leftover": leftover,
    }
    if split is None:
        split = si_blurry_multi_label_split(
            _targets("train", train), **parameters, test_labels=_targets("test", test)
        )
    if split.anchors is None:
        raise InputError(f"this split is not of si_blurry_multi_label_split: {split!r}")
    _no_contradiction(split.anchors, parameters, si_blurry_multi_label_split)
    return benchmark_from_split(train, test, split, task_labels=task_labels)


def benchmark_from_split(
    train: Any, test: Any, split: BlurrySplit | MultiLabelSplit, *, task_labels: bool = True
) -> CLScenario:
    """Wrap two data sets and a split as an Avalanche benchmark, without touching an image.

    ``train_stream`` has one experience a task, built when it is first asked for and kept.
    ``test_stream`` has a single one with the whole test set (multi-label: all images with a label),
    so anytime evaluation restricts itself to seen classes in the strategy or the metric. For
    ``mlcil_split`` it has one experience a task instead, the cumulative test set after that task
    with labels of classes seen by then: evaluate ``test_stream[t]`` alone, since these overlap. The
    split stands at ``benchmark.split`` (with the test labels, if it was made without).

    An experience is a ``DatasetExperience`` whose data set gives ``(x, y, 0)``: a constant task
    label, which LwF, DER and others need. Of a single-label split y is the label; of a multi-label
    one it is the float32 vector (C,) from ``.targets`` with zeros for the classes that are not
    visible in the task. Its further attributes are the sets ``classes_in_this_experience``
    (multi-label: the visible classes), ``previous_classes``, ``classes_seen_so_far`` (with this
    one), ``future_classes`` (those of the stream not seen so far), ``new_classes`` (in this one and
    not before), ``recurring_future_classes`` (seen so far and coming again); ``indices`` (data-set
    rows in stream order); and three flags. ``ordered``: the order of samples is part of the
    scenario. Avalanche's own strategies shuffle unless told not to: train them with
    ``strategy.train(experience, shuffle=False)`` then. ``boundaries``: the learner is told where
    tasks begin and end. ``overlapping``: experiences of this stream share samples with others of it
    that are meant to be evaluated one at a time.

    Tasks may be empty. With ``shuffle=False`` Naive, Replay, EWC, LwF and most others of
    Avalanche's strategies pass over an empty experience; DER and AGEM, which build a memory from
    it, do not, nor can ``IncrementalClassifier`` adapt to it (give the model a head for all
    classes), and with ``shuffle=True`` torch refuses to sample from it. The remedy for these is to
    skip experiences with ``len(experience.dataset) == 0``.

    Avalanche's accuracy and forgetting metrics take the arg-max of multi-hot labels and report
    nonsense: leave them out of the evaluator of a multi-label benchmark. Multi-label targets need a
    loss such as ``BCEWithLogitsLoss``.

    Args:
        train, test: map-style data sets, items ``(x, y)``, with labels in ``.targets``: 0..C-1, the
            same C in both, or for a multi-label split 0/1 matrices with C columns.
        split: made from ``train.targets``.
        task_labels: set ``task_label=0`` and ``task_labels=[0]`` on the experiences too, as in
            Avalanche's classic benchmarks. It puts ``/Task000`` into the names of metrics; False
            gives names without it.

    Raises:
        InputError: targets missing or unfit, or a split of other data.
    """
    marks = {"ordered": split.ordered, "boundaries": split.boundaries, "overlapping": False}
    targets = _targets("train", train), _targets("test", test)
    if isinstance(split, MultiLabelSplit):
        split, streams = multi_label_streams(
            (train, test), targets, split, task_labels=task_labels, marks=marks
        )
    else:
        streams = single_label_streams(
            (train, test), targets, split, task_labels=task_labels, marks=marks
        )
    benchmark = CLScenario(streams)
    benchmark.split = split
    for stream in streams:
        stream.benchmark = benchmark
    return benchmark


def _no_contradiction(
    split: BlurrySplit, parameters: dict[str, Any], function: Callable[..., Any]
) -> None:
    """A given split must have the parameters that were given beside it; one left at its default
    says nothing."""
    defaults = inspect.signature(function).parameters
    for name, value in parameters.items():
        if value not in (getattr(split, name), defaults[name].default):
            raise InputError(
                f"{name}={value!r} contradicts the given split, which has {getattr(split, name)!r}"
            )


def _targets(name: str, data: Any) -> Any:
    targets = getattr(data, "targets", None)
    if targets is None or len(targets) != len(data):
        raise InputError(
            f"the {name} data set must have one label per item in .targets (a list, an array or a"
            " tensor)"
        )
    return targets
