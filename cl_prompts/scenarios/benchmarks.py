"""Avalanche benchmarks of splits."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from avalanche.benchmarks import CLScenario

from cl_prompts.datasets import classes
from cl_prompts.datasets.label_noise import LabelNoise
from cl_prompts.errors import InputError
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.registry import SCENARIOS, Scenario
from cl_prompts.scenarios.split import BaseSplit
from cl_prompts.scenarios.streams import LazyStream, experience_data


def benchmark_builder(split_function: Callable[..., BaseSplit]) -> Callable[..., CLScenario]:
    """Turn a function that splits labels into one that builds Avalanche benchmarks.

    ``si_blurry_benchmark = benchmark_builder(si_blurry_split)`` takes the training and the test
    set, then the parameters of ``si_blurry_split``: ``si_blurry_benchmark(train, test,
    n_tasks=5)``. Your own split functions work too. With ``label_noise=LabelNoise(...)`` training
    labels are wrong, and the stream is built from the wrong labels.

    Example:
        >>> from cl_prompts.scenarios import Split
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
        a function of ``train``, ``test``, ``label_noise`` and the parameters of ``split_function``
        by name.
    """
    scenario = Scenario.of(split_function)

    def build(
        train: classes.Items,
        test: classes.Items,
        label_noise: LabelNoise | None = None,
        **parameters: Any,
    ) -> CLScenario:
        if label_noise is not None:
            train = label_noise.apply(train, seed=parameters.get("seed", 1))
        targets = classes.labels_of("train labels", train)
        split = scenario.make(targets, getattr(train, "domains", None), **parameters)
        return benchmark_from_split(train, test, split)

    build.__name__ = build.__qualname__ = scenario.name.removesuffix("_split") + "_benchmark"
    build.__doc__ = f"Build an Avalanche benchmark.\n\n{inspect.getdoc(split_function)}"
    return build


def benchmark_from_split(train: classes.Items, test: classes.Items, split: BaseSplit) -> CLScenario:
    """Wrap two data sets and a split as an Avalanche benchmark; no image is read.

    ``train_stream`` has one experience per task, built on first access and cached. ``test_stream``
    depends on the scenario:

    * in general it has one experience, the whole test set (multi-label: the images with a label).
      The strategy or the metric restricts anytime evaluation to seen classes;
    * domain-incremental: one experience per domain, in the order of tasks, then the domains without
      training images;
    * multi-label with announced boundaries (``mlcil_split``): the cumulative test set after each
      task, with the labels of the classes seen by then. These overlap, so evaluate
      ``test_stream[t]`` alone.

    ``benchmark.split`` is the split.

    An experience is a ``DatasetExperience`` whose data set yields ``(x, y, 0)``. The constant task
    label is what LwF, DER and others need. y is the label, or for a multi-label split the float32
    vector (C,) from ``.targets`` with zeros for the classes not visible in the task. An experience
    has these further attributes:

    * sets of classes: ``classes_in_this_experience`` (multi-label: the visible classes),
      ``previous_classes``, ``classes_seen_so_far`` (including this experience), ``future_classes``
      (not yet seen);
    * ``indices``: data-set rows in stream order;
    * ``ordered``: the order of samples is part of the scenario. Avalanche's own strategies shuffle
      by default: train them with ``strategy.train(experience, shuffle=False)`` and the plugin
      ``KeepOrder``, which refuses to shuffle;
    * ``boundaries``: task boundaries are announced to the learner.

    The data set keeps ``ordered`` and ``boundaries`` in experiences that Avalanche derives, for
    example by ``benchmark_with_validation_stream``.

    Tasks may be empty. With ``shuffle=False`` most of Avalanche's strategies skip an empty
    experience; DER, AGEM and ``IncrementalClassifier`` do not, and with ``shuffle=True`` torch
    cannot sample from it. Skip experiences with ``len(experience.dataset) == 0`` in these cases.

    Avalanche's accuracy and forgetting metrics take the arg-max of multi-hot labels, which is
    meaningless: do not use them on a multi-label benchmark. Multi-label targets need a loss such as
    ``BCEWithLogitsLoss``.

    Args:
        train, test: map-style data sets of items ``(x, y)`` with labels in ``.targets``: 0..C-1,
            the same C in both, or for a multi-label split 0/1 matrices with C columns.
        split: made from ``train.targets``.

    Raises:
        InputError: missing or invalid targets, or a split of other data.
    """
    check = (
        classes.check_label_matrix if isinstance(split, MultiLabelSplit) else classes.check_labels
    )
    labels, n_classes = check(classes.labels_of("train labels", train), "train.targets")
    test_labels, n_test_classes = check(classes.labels_of("test labels", test), "test.targets")
    if n_classes != n_test_classes:
        raise InputError(
            f"train.targets has {n_classes} classes and test.targets {n_test_classes}: they must be"
            " equal"
        )
    if (split.n_samples, split.n_classes) != (len(labels), n_classes):
        raise InputError(f"the split was made from other labels than train.targets ({split!r})")
    others: list[dict[str, np.ndarray | None]] = [{}, {}]
    rows = [np.arange(len(test_labels))]
    if isinstance(split, MultiLabelSplit):
        others = [{"ignored": classes.ignored_of(part)} for part in (train, test)]
        # One test set per task with the classes seen by then, or a single one.
        rows = [np.flatnonzero(test_labels.any(axis=1))]
        shown = np.ones((1, n_classes), dtype=bool)
        if split.boundaries:
            shown = split.seen
            rows = [split.test_indices(test_labels, task) for task in range(split.n_tasks)]
    else:
        if isinstance(split, DomainSplit):
            others, rows = _by_domain(test, split)
        shown = classes.count_labels(test_labels, rows, n_classes) > 0
    data = [
        partial(experience_data, part, known, split, own)
        for part, known, own in zip((train, test), (labels, test_labels), others, strict=True)
    ]
    streams = [
        LazyStream("train", data[0], split.tasks, split.visible, split),
        LazyStream("test", data[1], rows, shown, split),
    ]
    benchmark = CLScenario(streams)
    benchmark.split = split
    # Avalanche's iCaRL reads the order in which classes first appear.
    new = np.diff(split.seen, axis=0, prepend=False)
    benchmark.n_classes_per_exp = new.sum(axis=1).tolist()
    benchmark.classes_order = np.nonzero(new)[1].tolist()
    # Avalanche reads the benchmark from its streams.
    for stream in streams:
        stream.benchmark = benchmark
    return benchmark


def _by_domain(
    test: classes.Items, split: DomainSplit
) -> tuple[list[dict[str, np.ndarray | None]], list[np.ndarray]]:
    """Return the domain of each training and test image, and the test rows of each domain.

    Domains come in the order of tasks, then those without training images.
    """
    found = classes.domains_of("test.domains", test)
    if found is None:
        raise InputError("the test set of a domain-incremental stream needs .domains: add them")
    tested = found.astype(str)
    for domain in split.domains:
        if domain not in tested:
            raise InputError(f"domain {domain!r} has no test images: add some")
    trained = np.empty(split.n_samples, dtype=object)
    for domain, rows in zip(split.domains, split.tasks, strict=True):
        trained[rows] = domain
    # Domains without training images are tested, too.
    further = sorted(set(tested.tolist()) - set(split.domains))
    rows_of = [np.flatnonzero(tested == domain) for domain in (*split.domains, *further)]
    return [{"domains": trained}, {"domains": tested}], rows_of


# si_blurry_benchmark and so on, one per scenario
globals().update({f"{name}_benchmark": benchmark_builder(s.split) for name, s in SCENARIOS.items()})
