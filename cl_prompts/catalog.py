"""Names and settings of the package as data, so that listing them imports nothing."""

import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


@cache
def catalog() -> dict[str, Any]:
    """Return the content of ``settings.json``, which ``make settings`` writes.

    >>> catalog()["strategies"]["mvp"]["class"]
    'MVP'
    """
    text = Path(__file__).with_name("settings.json").read_text(encoding="utf-8")
    return json.loads(text)


def door(room: str, public: str, *own: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a room, whose names are imported on first access.

    >>> _, names = door("cl_prompts.prompts", "pools.TokenPool pools.SharedTokens")
    >>> names()
    ['SharedTokens', 'TokenPool']

    Args:
        room: ``__name__`` of the room, a folder of the package.
        public: ``module.name`` of each public name, relative to the room, separated by spaces.
        own: public names that the room itself defines.
    """
    homes = {path.rpartition(".")[2]: path.rpartition(".")[0] for path in public.split()}

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f".{homes[name]}", room), name)

    return get, lambda: sorted({*homes, *own})
