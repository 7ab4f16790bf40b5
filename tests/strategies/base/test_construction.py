"""Constructions in Avalanche's manner are refused, with what to give instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies import L2P, Joint, LinearProbe
from cl_prompts.strategies.base.construction import INSTEAD, check_model
from tests.toy_vits import tiny_vit

CRITERION = torch.nn.CrossEntropyLoss()


@pytest.mark.parametrize("cls", [L2P, LinearProbe, Joint])
def test_a_criterion_gets_a_sentence(cls: Any) -> None:
    says = rf"{cls.__name__} takes no criterion=: leave it out, since each method has its own loss"
    with pytest.raises(InputError, match=says):
        cls(backbone=tiny_vit(), n_classes=6, criterion=CRITERION)


@pytest.mark.parametrize("cls", [L2P, LinearProbe, Joint])
def test_positions_get_a_sentence(cls: Any) -> None:
    says = rf"{cls.__name__} takes its settings by name: give backbone= and n_classes="
    with pytest.raises(InputError, match=says):
        cls(torch.nn.Linear(2, 2), None, CRITERION, train_mb_size=8)


def test_every_foreign_argument_is_really_foreign() -> None:
    assert not INSTEAD.keys() & L2P.settings().keys()
    with pytest.raises(InputError, match="L2P takes no mem_size=: give buffer_size"):
        L2P(backbone=tiny_vit(), n_classes=6, mem_size=20)


def test_a_network_for_naive_is_no_model_of_ours() -> None:
    with pytest.raises(InputError, match="model= is a Linear: LinearProbe trains the models of"):
        LinearProbe(model=torch.nn.Linear(2, 2))
    check_model("LinearProbe", PromptedViT(tiny_vit(), 6))
