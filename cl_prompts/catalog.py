"""All names and settings of the package as data, so that nothing need be imported to list them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def catalog() -> dict[str, Any]:
    """Content of ``settings.json``, which ``make settings`` writes.

    >>> catalog()["strategies"]["mvp"]["class"]
    'MVP'
    """
    text = resources.files("cl_prompts").joinpath("settings.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
