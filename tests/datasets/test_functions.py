"""Parameters of readers and of users' functions; ``test_registry`` calls such functions."""

from __future__ import annotations

from functools import partial
from typing import Any

from cl_prompts.datasets.functions import keywords


def reader(kind: int, folder: str, *others: int, tint: str | None = None, **rest: Any) -> None:
    raise AssertionError("called")


class Maker:
    """A callable that is no function."""

    def __call__(self, image_size: int, shape="round") -> None:  # type: ignore[no-untyped-def]
        raise AssertionError("called")


def test_bound_and_variable_parameters_are_left_out() -> None:
    assert keywords(partial(reader, 3), {"folder"}) == {"tint": (str | None, None)}
    assert keywords(reader, set()) == {
        "kind": (int, ...),
        "folder": (str, ...),
        "tint": (str | None, None),
    }


def test_objects_that_are_called() -> None:
    assert keywords(Maker(), {"image_size"}) == {"shape": (Any, "round")}
