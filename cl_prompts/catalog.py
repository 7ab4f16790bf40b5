"""Names and settings of the package as data, so that listing them imports nothing."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def catalog() -> dict[str, Any]:
    """Return the content of ``settings.json``, which ``make settings`` writes.

    >>> catalog()["strategies"]["mvp"]["class"]
    'MVP'
    """
    text = resources.files("cl_prompts").joinpath("settings.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
