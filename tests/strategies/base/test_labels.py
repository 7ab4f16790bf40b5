"""What an experience says about its labels, checked before it is trained on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import nc_benchmark, split_online_stream

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.labels import check_class_ids, check_labels, classes_of
from tests.toy_data import Blobs, benchmark, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make


def one(targets: list[Any]) -> Any:
    return SimpleNamespace(dataset=SimpleNamespace(targets=targets))


def test_labels_that_do_not_fit_are_refused() -> None:
    model = PromptedViT(tiny_vit(), 6)
    for targets, says in (
        ([[0, 1], [1, 1]], "Learner learns one label per image"),
        ([0, 6], "label 6 occurs, but n_classes is 6"),
        ([-1, 2], "label -1 occurs"),
    ):
        with pytest.raises(InputError, match=says):
            check_labels(one(targets), model, "Learner")
    for targets in ([], [0, 5]):
        check_labels(one(targets), model, "Learner")


def test_several_labels_need_a_column_for_each_class() -> None:
    model = PromptedViT(tiny_vit(), 3, multi_label=True)
    for targets, says in (
        ([0, 1], "needs multi-hot targets of 3 classes: one class per image"),
        ([[0, 1]], "needs multi-hot targets of 3 classes: multi-hot targets of 2 classes"),
    ):
        with pytest.raises(InputError, match=says):
            check_labels(one(targets), model, "Learner")
    check_labels(one([[0, 1, 1]]), model, "Learner")


def test_annotated_classes_are_those_that_the_experience_names() -> None:
    named = SimpleNamespace(classes_in_this_experience=[2, 0])
    assert classes_of(named, 4).tolist() == [True, False, True, False]
    assert classes_of(SimpleNamespace(), 3).tolist() == [True] * 3
    experience, *_ = experiences("mlcil")
    piece = next(iter(split_online_stream([experience], 8, access_task_boundaries=True)))
    assert torch.equal(classes_of(piece, 6), classes_of(experience, 6))


def test_a_mixture_does_not_say_what_is_annotated() -> None:
    from avalanche.benchmarks.scenarios.online import split_continuous_linear_decay_stream

    mixed = split_continuous_linear_decay_stream(
        benchmark("mlcil").train_stream,
        experience_size=8,
        iters_per_virtual_epoch=2,
        beta=4,
        shuffle=True,
    )
    with pytest.raises(
        InputError, match="mixes tasks and does not say which classes are annotated"
    ):
        fit(make("multi_lane", "mlcil"), [next(iter(mixed))])


def test_class_ids_that_count_from_zero_in_each_task_are_refused() -> None:
    data = Blobs(60, seed=1)
    settings: dict[str, Any] = {"n_experiences": 3, "shuffle": False, "fixed_class_order": range(6)}
    from_zero = nc_benchmark(
        data, data, task_labels=True, class_ids_from_zero_in_each_exp=True, **settings
    )
    strategy = make("linear_probe")
    fit(strategy, [from_zero.train_stream[0]])
    with pytest.raises(InputError, match=r"task label 1 brings no class .* number them through"):
        fit(strategy, [from_zero.train_stream[1]])
    numbered = nc_benchmark(data, data, task_labels=True, **settings)
    strategy = make("linear_probe")
    fit(strategy, numbered.train_stream)
    assert strategy.model.seen.all()
    check_class_ids(numbered.train_stream[0], strategy.model, {0, 1, 2})  # a task comes again
