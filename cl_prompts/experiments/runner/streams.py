"""Streams of runs: the training samples of each task, those of ancestors first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.joined import JoinedDataSet
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.runner.lineage import parent_of
from cl_prompts.scenarios.domain_incremental import one_domain
from cl_prompts.scenarios.joined import joined_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.registry import SCENARIOS, find_scenario


def split_of(settings: RunConfig, data: DataSet) -> Any:
    """Stream of a run: the training samples of each task, those of its ancestors first.

    The function of the scenario is called with the training labels, with the run's ``stream_seed``
    as ``seed``, the labels of the test set as ``test_labels`` and the domains of the training
    images as ``domains``, if it declares them, and with the settings of the section ``scenario``.

    Raises:
        InputError: the scenario does not fit the data set.
    """
    if isinstance(data, JoinedDataSet):
        first = split_of(parent_of(settings), data.before)
        later = _later_split(settings, data.later)
        both = joined_split(first, later, data.train.targets, data.columns)
        if isinstance(both, MultiLabelSplit):
            both = both.with_test_labels(data.test.targets)
        return both
    name, arguments = settings.section("scenario")
    scenario = find_scenario(name)
    if scenario.multi_label != data.multi_label:
        fitting = [n for n, known in SCENARIOS.items() if known.multi_label == data.multi_label]
        has = "several classes per image" if data.multi_label else "one class per image"
        raise InputError(
            f"scenario {name!r} does not fit data set {data.name!r}, which has {has}: use"
            f" {' or '.join(fitting)}"
        )
    if "seed" in scenario.parameters:
        arguments["seed"] = settings.stream_seed
    train = data.train
    return scenario.make(train.targets, data.test.targets, train.domains, **arguments)


def _later_split(settings: RunConfig, data: DataSet) -> Any:
    name, arguments = settings.section("scenario")
    # One new domain is a task; a stream of its own would need two.
    if name == "domain_incremental" and len(data.domains) == 1:
        (domain,) = data.domains
        announced = arguments["announced"]
        return one_domain(
            data.train.targets, domain, announced=announced, seed=settings.stream_seed
        )
    return split_of(replace(settings, parent={}), data)


def home_classes_of(split: Any) -> list[list[int]] | None:
    """Classes that have their home in each task of a blurry stream; None where classes have no
    home, or occur in no other task."""
    if not any(getattr(split, "blurry_classes", ())):
        return None
    pairs = zip(split.disjoint_classes, split.blurry_classes, strict=True)
    return [[*disjoint, *blurry] for disjoint, blurry in pairs]
