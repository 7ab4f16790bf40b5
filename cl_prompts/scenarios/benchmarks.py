"""Avalanche benchmarks over splits: lazy streams of experiences."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from avalanche.benchmarks import CLScenario

from cl_prompts.errors import InputError
from cl_prompts.scenarios.base_split import BaseSplit
from cl_prompts.scenarios.class_incremental import class_incremental_split, mlcil_split
from cl_prompts.scenarios.domain_incremental import domain_incremental_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.registry import Scenario
from cl_prompts.scenarios.si_blurry import (
    disjoint_split,
    i_blurry_split,
    iid_split,
    si_blurry_split,
)
from cl_prompts.scenarios.si_blurry_multi_label import si_blurry_multi_label_split
from cl_prompts.scenarios.split import Split
from cl_prompts.scenarios.streams import multi_label_streams, single_label_streams


def benchmark_builder(split_function: Callable[..., BaseSplit]) -> Callable[..., CLScenario]:
    """Turn a function that splits labels into one that builds Avalanche benchmarks.

    ``si_blurry_benchmark = benchmark_builder(si_blurry_split)`` takes what ``si_blurry_split``
    takes, behind the training and the test set: ``si_blurry_benchmark(train, test, n_tasks=5)``. A
    function of your own serves as well.

    Example:
        >>> def one_by_one(targets, *, task_size: int = 2) -> Split:
        ...     rows = range(len(targets))
        ...     tasks = [rows[i : i + task_size] for i in rows[::task_size]]
        ...     return Split.of("one by one", targets, tasks)
        >>> class Numbers(list):
        ...     targets = [0, 1, 0, 1]
        >>> data = Numbers((number, number % 2) for number in range(4))
        >>> benchmark = benchmark_builder(one_by_one)(data, data, task_size=2)
        >>> [experience.indices.tolist() for experience in benchmark.train_stream]
        [[0, 1], [2, 3]]

    Returns:
        a function of ``train``, ``test`` and the parameters of ``split_function`` by name. It
        raises ``InputError`` for an unknown parameter.
    """
    scenario = Scenario.of(split_function)

    def build(train: Any, test: Any, **parameters: Any) -> CLScenario:
        targets = _targets("train", train), _targets("test", test)
        domains = getattr(train, "domains", None)
        split = scenario.make(*targets, domains, **parameters)
        return benchmark_from_split(train, test, split)

    # The signature and documentation that completion and help show.
    train, test, _ = inspect.signature(build, eval_str=True).parameters.values()
    declared = inspect.signature(split_function, eval_str=True).parameters
    own = [
        declared[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in scenario.parameters
    ]
    build.__name__ = build.__qualname__ = scenario.name.removesuffix("_split") + "_benchmark"
    build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [train, test, *own], return_annotation=CLScenario
    )
    build.__doc__ = f"""Build the Avalanche benchmark of ``{scenario.name}(train.targets, ...)``.

Args:
    train, test: see ``benchmark_from_split``.
    others: see ``{scenario.name}``, whose documentation follows.

{inspect.getdoc(split_function)}
"""
    return build


def benchmark_from_split(train: Any, test: Any, split: BaseSplit) -> CLScenario:
    """Wrap two data sets and a split as an Avalanche benchmark, without touching an image.

    ``train_stream`` has one experience a task, built when it is first asked for and kept.
    ``test_stream`` has a single one with the whole test set (multi-label: all images with a label;
    domain-incremental: one a domain, in the order of tasks, and those of which there are test
    images alone behind them), so anytime evaluation restricts itself to seen classes in the
    strategy or the metric. For a multi-label split with announced boundaries (``mlcil_split``) it
    has one experience a task instead, the cumulative test set after that task with labels of
    classes seen by then: evaluate ``test_stream[t]`` alone, since these overlap. The split is
    ``benchmark.split`` (with the test labels, if it was made without).

    An experience is a ``DatasetExperience`` whose data set gives ``(x, y, 0)``: a constant task
    label, which LwF, DER and others need. Of a single-label split y is the label; of a multi-label
    one it is the float32 vector (C,) from ``.targets`` with zeros for the classes that are not
    visible in the task. Its further attributes are the sets ``classes_in_this_experience``
    (multi-label: the visible classes), ``previous_classes``, ``classes_seen_so_far`` (with this
    one), ``future_classes`` (those of the stream not seen so far), ``new_classes`` (in this one and
    not before), ``recurring_future_classes`` (seen so far and coming again); ``indices`` (data-set
    rows in stream order); and three flags. ``ordered``: the order of samples is part of the
    scenario. Avalanche's own strategies shuffle by default: train them with
    ``strategy.train(experience, shuffle=False)`` then, and give them the plugin ``KeepOrder``,
    which refuses to shuffle. ``boundaries``: they are announced to the learner.
    ``overlapping``: experiences of this stream share samples with others of it that are meant to be
    evaluated one at a time. The data set carries the first two along into experiences that
    Avalanche makes of it, such as ``benchmark_with_validation_stream``.

    Tasks may be empty. With ``shuffle=False`` most of Avalanche's strategies pass over an empty
    experience; DER, AGEM and ``IncrementalClassifier`` do not, and with ``shuffle=True`` torch
    refuses to sample from it: skip experiences with ``len(experience.dataset) == 0`` there.

    Avalanche's accuracy and forgetting metrics take the arg-max of multi-hot labels and report
    nonsense: leave them out of the evaluator of a multi-label benchmark. Multi-label targets need a
    loss such as ``BCEWithLogitsLoss``.

    Args:
        train, test: map-style data sets, items ``(x, y)``, with labels in ``.targets``: 0..C-1, the
            same C in both, or for a multi-label split 0/1 matrices with C columns.
        split: made from ``train.targets``.

    Raises:
        InputError: targets missing or unfit, or a split of other data.
    """
    data = (train, test)
    targets = (_targets("train", train), _targets("test", test))
    if isinstance(split, MultiLabelSplit):
        split, streams = multi_label_streams(data, targets, split)
    elif isinstance(split, Split):
        streams = single_label_streams(data, targets, split)
    else:
        raise InputError(f"split must be a Split or a MultiLabelSplit, not {split!r}")
    benchmark = CLScenario(streams)
    benchmark.split = split
    # Avalanche reads the benchmark from its streams, which had to exist first.
    for stream in streams:
        stream.benchmark = benchmark
    return benchmark


def _targets(name: str, data: Any) -> Any:
    targets = getattr(data, "targets", None)
    if targets is None or len(targets) != len(data):
        raise InputError(
            f"the {name} data set must have one label per item in .targets (a list, an array or a"
            " tensor)"
        )
    return targets


si_blurry_benchmark = benchmark_builder(si_blurry_split)
i_blurry_benchmark = benchmark_builder(i_blurry_split)
disjoint_benchmark = benchmark_builder(disjoint_split)
iid_benchmark = benchmark_builder(iid_split)
class_incremental_benchmark = benchmark_builder(class_incremental_split)
domain_incremental_benchmark = benchmark_builder(domain_incremental_split)
mlcil_benchmark = benchmark_builder(mlcil_split)
si_blurry_multi_label_benchmark = benchmark_builder(si_blurry_multi_label_split)
