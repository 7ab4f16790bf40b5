"""Errors are sentences."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError, RunError, unknown


def test_an_unknown_name_offers_the_nearest_one() -> None:
    error = unknown("recipe", "cifar10", ["cifar100", "voc"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown recipe 'cifar10': did you mean 'cifar100'?"


def test_without_a_near_one_it_lists_what_there_is() -> None:
    assert str(unknown("word", "xyz", ["b", "a"])) == "unknown word 'xyz': there is a, b"
    assert str(unknown("word", "xyz", [])) == "unknown word 'xyz': there is none"


def test_a_long_list_is_cut() -> None:
    many = [f"name{i:03d}" for i in range(60)]
    says = str(unknown("word", "xyz", many))
    assert says.endswith("name039, and 20 more")


def test_bad_input_is_a_value_error_and_a_fault_in_a_run_is_not() -> None:
    with pytest.raises(ValueError, match="bad"):
        raise InputError("bad")
    assert not issubclass(RunError, ValueError)
