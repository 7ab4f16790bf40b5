"""Avalanche benchmarks over splits: lazy streams of experiences."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, cast, overload

import numpy as np
from avalanche.benchmarks import CLScenario

from cl_prompts.errors import InputError
from cl_prompts.scenarios.base_split import BaseSplit
from cl_prompts.scenarios.class_incremental import class_incremental_split, mlcil_split
from cl_prompts.scenarios.domain_incremental import domain_incremental_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.registry import SCENARIOS, Scenario
from cl_prompts.scenarios.si_blurry import (
    disjoint_split,
    i_blurry_split,
    iid_split,
    si_blurry_split,
)
from cl_prompts.scenarios.si_blurry_multi_label import si_blurry_multi_label_split
from cl_prompts.scenarios.split import Split
from cl_prompts.scenarios.streams import multi_label_streams, single_label_streams

P = ParamSpec("P")


class BenchmarkBuilder(Protocol[P]):
    """A function from two data sets and a scenario's parameters to an Avalanche benchmark.

    Example:
        >>> builder: BenchmarkBuilder = benchmark_builder(iid_split)
        >>> list(inspect.signature(builder).parameters)[:3]
        ['train', 'test', 'seed']
    """

    @overload
    def __call__(self, train: Any, test: Any, *args: P.args, **kwargs: P.kwargs) -> CLScenario: ...

    # Parameters of a ParamSpec cannot stand beside others, so these two are not checked by type.
    @overload
    def __call__(
        self, train: Any, test: Any, *, task_labels: bool, **parameters: Any
    ) -> CLScenario: ...

    @overload
    def __call__(
        self,
        train: Any,
        test: Any,
        *,
        split: BaseSplit | None,
        task_labels: bool = True,
        **parameters: Any,
    ) -> CLScenario: ...


def benchmark_builder(
    split_function: Callable[Concatenate[Any, P], BaseSplit],
) -> BenchmarkBuilder[P]:
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
        a function of ``train``, ``test``, the parameters of ``split_function`` by name, and two
        more: ``split``, a given split to use instead of making one, and ``task_labels`` (see
        ``benchmark_from_split``). It raises ``InputError`` for an unknown parameter, and for one
        that contradicts the given split.
    """
    scenario = Scenario.of(split_function)
    name = scenario.name.removesuffix("_split") + "_benchmark"

    def build(
        train: Any,
        test: Any,
        *,
        split: BaseSplit | None = None,
        task_labels: bool = True,
        **parameters: Any,
    ) -> CLScenario:
        scenario.check_names(parameters, of=name, beside=("split", "task_labels"))
        if split is None:
            targets = _targets("train", train), _targets("test", test)
            domains = getattr(train, "domains", None)
            split = scenario.make(*targets, domains, **parameters)
        else:
            _check_given(split, scenario, parameters)
        return benchmark_from_split(train, test, split, task_labels=task_labels)

    _dress(build, name, scenario)
    return cast(BenchmarkBuilder[P], build)


def _dress(build: Any, name: str, scenario: Scenario) -> None:
    """Give a builder the name, signature and documentation that completion and help show."""
    # Parameters of the split stand among the builder's own, as if written out by hand.
    common = inspect.signature(build, eval_str=True).parameters.values()
    train, test, split, task_labels, more = common
    declared = inspect.signature(scenario.split, eval_str=True).parameters
    own = [
        declared[parameter].replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in scenario.parameters
    ]
    signature = inspect.Signature(
        [train, test, *own, split, task_labels, *([more] if scenario.open_ended else [])],
        return_annotation=CLScenario,
    )
    hints = {p.name: p.annotation for p in signature.parameters.values()}
    build.__name__ = build.__qualname__ = name
    build.__signature__ = signature
    build.__annotations__ = {**hints, "return": CLScenario}
    build.__wrapped__ = scenario.split
    build.__doc__ = f"""Build the Avalanche benchmark of ``{scenario.name}(train.targets, ...)``.

Args:
    train, test, task_labels: see ``benchmark_from_split``.
    split: use this split instead of making one; a parameter that contradicts it is refused.
    others: see ``{scenario.name}``, whose documentation follows.

{inspect.getdoc(scenario.split)}
"""


def _check_given(split: BaseSplit, scenario: Scenario, parameters: dict[str, Any]) -> None:
    """A given split must be one that the scenario can make, with the parameters that were given
    beside it; None stands for "not given"."""
    right_kind = isinstance(split, MultiLabelSplit) == scenario.multi_label
    asked = set(split.parameters)
    # Splits of i-Blurry say that they are not stochastic, for which their function is not asked.
    if scenario.split is i_blurry_split and split.parameters.get("stochastic") is False:
        asked.remove("stochastic")
    # A split of another scenario shows by parameters that this one does not have.
    if not right_kind or not scenario.knows(asked):
        raise InputError(f"this split is not of {scenario.name}: {split!r}")
    carried = {"n_tasks": split.n_tasks, **split.parameters}
    for name, value in parameters.items():
        if value is None:
            continue
        if name not in carried:
            raise InputError(f"give either split or {name}, not both")
        # A parameter may be a list, such as an order of classes.
        if not np.array_equal(value, carried[name]):
            raise InputError(
                f"{name}={value!r} contradicts the given split, which has {carried[name]!r}"
            )


def benchmark_from_split(
    train: Any, test: Any, split: BaseSplit, *, task_labels: bool = True
) -> CLScenario:
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
        task_labels: set ``task_label=0`` and ``task_labels=[0]`` on the experiences too, as in
            Avalanche's classic benchmarks. It puts ``/Task000`` into the names of metrics; False
            gives names without it.

    Raises:
        InputError: targets missing or unfit, or a split of other data.
    """
    data = (train, test)
    targets = (_targets("train", train), _targets("test", test))
    if isinstance(split, MultiLabelSplit):
        split, streams = multi_label_streams(data, targets, split, task_labels=task_labels)
    elif isinstance(split, Split):
        streams = single_label_streams(data, targets, split, task_labels=task_labels)
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


# The scenarios' own builders. A new scenario needs no line here, since it has a builder as soon as
# it is in the registry; with one, type checkers know its parameters too.
si_blurry_benchmark = benchmark_builder(si_blurry_split)
i_blurry_benchmark = benchmark_builder(i_blurry_split)
disjoint_benchmark = benchmark_builder(disjoint_split)
iid_benchmark = benchmark_builder(iid_split)
class_incremental_benchmark = benchmark_builder(class_incremental_split)
domain_incremental_benchmark = benchmark_builder(domain_incremental_split)
mlcil_benchmark = benchmark_builder(mlcil_split)
si_blurry_multi_label_benchmark = benchmark_builder(si_blurry_multi_label_split)


def __getattr__(name: str) -> Any:
    scenario = SCENARIOS.get(name.removesuffix("_benchmark"))
    if scenario is None or not name.endswith("_benchmark"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return benchmark_builder(scenario.split)
