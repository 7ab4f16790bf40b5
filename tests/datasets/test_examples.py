"""The examples in the docstrings of the data set modules run as they stand."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import cl_prompts.datasets

MODULES = [module.name for module in pkgutil.iter_modules(cl_prompts.datasets.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"cl_prompts.datasets.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_has_an_example(name: str) -> None:
    module = importlib.import_module(f"cl_prompts.datasets.{name}")
    classes = [
        member
        for key, member in vars(module).items()
        if isinstance(member, type) and member.__module__ == module.__name__ and key[0] != "_"
    ]
    assert [member.__name__ for member in classes if ">>>" not in (member.__doc__ or "")] == []
