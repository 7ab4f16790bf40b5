"""States of torch and of a model that are refused, each in one sentence, before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.metrics.evaluator import CachedEvaluator
from cl_prompts.models.surroundings import check_surroundings, rounds_products
from tests.toy_data import Blobs, experiences
from tests.toy_vits import tiny_vit
from tests.toys import make


@contextmanager
def default_type() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def rounded_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        if not rounds_products():
            pytest.skip("this processor has no products in bf16")
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


STATES = [
    (autocast, "torch.autocast is on here"),
    (default_type, "the default type is torch.float64"),
    (torch.inference_mode, "inference_mode"),
    (rounded_products, "rounds the factors of products on the CPU to bf16"),
    (lambda: torch.device("meta"), "the default device is meta"),
]


@pytest.mark.parametrize(("state", "says"), STATES)
def test_neither_trained_nor_evaluated_there(
    state: Callable[[], AbstractContextManager[Any]], says: str
) -> None:
    (first, *_) = experiences()
    strategy = make("mvp")
    before = {name: value.clone() for name, value in strategy.model.state_dict().items()}
    test = CachedEvaluator(Blobs(6))
    seen = torch.ones(6, dtype=torch.bool)
    calls = (
        lambda: strategy.train(first, num_workers=0),
        lambda: strategy.eval([first], num_workers=0),
        lambda: test(strategy.model, seen),
    )
    for call in calls:
        with pytest.raises(InputError, match=says), state():
            call()
    for name, value in strategy.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    strategy.train(first, num_workers=0)


def test_gradients_are_for_training_alone() -> None:
    (first, *_) = experiences()
    strategy = make("linear_probe")
    with torch.no_grad():
        with pytest.raises(InputError, match=r"outside of torch\.no_grad"):
            strategy.train(first, num_workers=0)
        strategy.eval([first], num_workers=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda model: model.half(), "is torch.float16, and should be torch.float32"),
        (lambda model: model.double(), "is torch.float64, and should be torch.float32"),
        (lambda model: model.head.bfloat16(), "head.weight is torch.bfloat16"),
        (lambda model: model.to("meta"), "is on the meta device, without values"),
        (lambda model: model.requires_grad_(), "of the frozen ViT requires a gradient"),
    ],
)
def test_parameters_in_another_state(change: Callable[[Any], Any], says: str) -> None:
    model = make("linear_probe").model
    check_surroundings(model, training=True)
    change(model)
    with pytest.raises(InputError, match=says):
        check_surroundings(model)


@pytest.mark.parametrize("kind", ["ncm", "klda", "recommended"])
def test_statistics_keep_their_precision(kind: str) -> None:
    model = make(kind).model
    check_surroundings(model, training=True)
    model.float()
    with pytest.raises(InputError, match=r"head.* is torch.float32, and was torch.float64"):
        check_surroundings(model)


def test_a_projection_of_more_digits_is_given_before_the_first_use() -> None:
    (first, *_) = experiences()
    strategy = make("ranpac")
    expansion = strategy.model.head.statistics.expansion
    expansion.matrix = expansion.matrix.double()
    strategy.train(first, num_workers=0)
    expansion.matrix = expansion.matrix.float()
    with pytest.raises(InputError, match=r"matrix is torch.float32, and was torch.float64"):
        strategy.train(first, num_workers=0)
    strategy = make("ranpac")
    strategy.train(first, num_workers=0)
    expansion = strategy.model.head.statistics.expansion
    expansion.matrix = expansion.matrix.double()
    with pytest.raises(InputError, match=r"matrix is torch.float64, and was torch.float32"):
        strategy.train(first, num_workers=0)


@pytest.mark.parametrize("name", ["mvp", "aper"])
def test_nothing_to_train(name: str) -> None:
    (first, *_) = experiences()
    strategy = make(name)
    strategy.model.requires_grad_(False)
    with pytest.raises(InputError, match="nothing that the method trains requires a gradient"):
        strategy.train(first, num_workers=0)
    # Frozen later on
    strategy = make("fine_tuning")
    strategy.train(first, num_workers=0)
    strategy.model.requires_grad_(False)
    with pytest.raises(InputError, match="nothing that the method trains requires a gradient"):
        strategy.train(first, num_workers=0)


@pytest.mark.parametrize("name", ["mvp", "ncm", "ranpac"])
def test_statistics_changed_before_their_first_use(name: str) -> None:
    (first, *_) = experiences()
    strategy = make(name)
    for buffer in strategy.model.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.half()
    with pytest.raises(InputError, match=r"is torch.float16, and was torch.float"):
        strategy.train(first, num_workers=0)
    with pytest.raises(InputError, match=r"is torch.float16, and was torch.float"):
        type(strategy)(model=strategy.model, evaluator=None)


@pytest.mark.parametrize("name", ["mvp", "ncm", "ranpac"])
@pytest.mark.parametrize(("state", "says"), STATES)
def test_no_strategy_is_built_there(
    state: Callable[[], AbstractContextManager[Any]], says: str, name: str
) -> None:
    backbone = tiny_vit()
    with pytest.raises(InputError, match=says), state():
        make(name, backbone=backbone)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (torch.inference_mode, r"was made in torch.inference_mode\(\)"),
        (lambda: torch.device("meta"), "is on the meta device, without values"),
    ],
)
def test_models_made_there(state: Callable[[], AbstractContextManager[Any]], says: str) -> None:
    strategy = make("ncm")
    with state():
        strategy.model.head.mean = torch.zeros(6, strategy.model.head.mean.shape[1])
    with pytest.raises(InputError, match=says):
        type(strategy)(model=strategy.model, evaluator=None)
    with pytest.raises(InputError, match=says):
        check_surroundings(strategy.model)
