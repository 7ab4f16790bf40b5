"""Strategies, scenarios and data sets by name: a short name of this package, or the dotted name
``package.module:name`` of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cl_prompts.checks import load_object
from cl_prompts.datasets.registry import DATASETS, load_dataset
from cl_prompts.errors import InputError, unknown


def is_dotted(name: str) -> bool:
    """Whether ``name`` is of the form ``package.module:name``."""
    return ":" in name


def label_of(name: str) -> str:
    """Short label of a name, for folders, tables and pictures: what follows the colon."""
    return name.rpartition(":")[2]


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """Label of each name: the short one, or the whole name where two short ones are equal."""
    distinct = list(dict.fromkeys(names))
    short = [label_of(name) for name in distinct]
    return {
        name: label if short.count(label) == 1 else name
        for name, label in zip(distinct, short, strict=True)
    }


def dataset_function(name: str) -> Callable[..., Any]:
    """Function whose arguments are the settings of a data set: ``load_dataset``, or one's own.

    Raises:
        InputError: there is none.
    """
    if not is_dotted(name):
        if name not in DATASETS:
            raise unknown("data set", name, DATASETS)
        return load_dataset
    function: Callable[..., Any] = load_object("data set", name)
    if not callable(function):
        raise InputError(f"data set {name!r} is no function: it should return a DataSet")
    return function
