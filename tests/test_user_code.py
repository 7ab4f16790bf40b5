"""Dotted names: what is imported, and what counts as a strategy, plugin, scenario or data set."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cl_prompts
from cl_prompts.errors import InputError
from cl_prompts.strategies import plugin_class
from cl_prompts.user_code import code_hash, keywords, load_function, load_object

HERE = __name__


@cl_prompts.dataset
def images() -> None:
    """A function with a decorator."""


def plain() -> None:
    """A function without."""


def test_objects_are_named_by_module_and_name() -> None:
    assert load_object("strategy", "cl_prompts.errors:InputError") is InputError
    with pytest.raises(InputError, match="'no_such_module:X' cannot be imported: ModuleNotFound"):
        load_object("strategy", "no_such_module:X")
    says = "unknown strategy in module cl_prompts.errors 'InputErro': did you mean 'InputError'"
    with pytest.raises(InputError, match=says):
        load_object("strategy", "cl_prompts.errors:InputErro")
    with pytest.raises(InputError, match=r"unknown strategy in module cl_prompts\.errors ''"):
        load_object("strategy", "cl_prompts.errors")


def test_user_code_is_found_in_the_current_folder_and_known_by_its_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "own_top.py").write_text("found = 2")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert load_object("strategy", "own_top:found") == 2
    before = code_hash("own_top:found")
    assert before == code_hash("own_top:found")
    (here / "own_top.py").write_text("found = 3")
    assert code_hash("own_top:found") != before
    del sys.modules["own_top"]


def test_functions_need_the_decorator_of_their_kind() -> None:
    assert load_function("data set", f"{HERE}:images") is images
    for name in ("plain", "HERE"):
        with pytest.raises(
            InputError, match=r"not declared as a data set: .* @cl_prompts\.dataset above"
        ):
            load_function("data set", f"{HERE}:{name}")
    with pytest.raises(InputError, match=r"@cl_prompts\.scenario above"):
        load_function("scenario", f"{HERE}:images")


@pytest.mark.parametrize("name", [f"{HERE}:plain", "yaml:YAMLObject", "tests.toys:ALL"])
def test_a_plugin_is_one_of_avalanche(name: str) -> None:
    with pytest.raises(InputError, match="is not a subclass of BasePlugin"):
        plugin_class(name)


def reader(kind: int, folder: str, *others: int, tint: str | None = None, **rest: Any) -> None:
    raise AssertionError("called")


class Maker:
    def __call__(self, image_size: int, shape="round") -> None:
        raise AssertionError("called")


def test_bound_and_variable_parameters_are_left_out() -> None:
    assert keywords(partial(reader, 3), {"folder"}) == {"tint": (str | None, None)}
    assert keywords(reader, set()) == {
        "kind": (int, ...),
        "folder": (str, ...),
        "tint": (str | None, None),
    }
    assert keywords(Maker(), {"image_size"}) == {"shape": (Any, "round")}
