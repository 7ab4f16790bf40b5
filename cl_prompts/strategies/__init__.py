"""Avalanche strategies, one per method, and anytime evaluation.

Importing this package is cheap; Avalanche is loaded when a strategy is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.strategies.anytime import AnytimeEvaluation
    from cl_prompts.strategies.base import OnlineStrategy
    from cl_prompts.strategies.fine_tuning import FineTuning, Joint
    from cl_prompts.strategies.linear_probe import LinearProbe
    from cl_prompts.strategies.mvp import MVP

#: name in recipes -> (module here, class, what it is): the one line that a new strategy needs
STRATEGIES = {
    "mvp": ("mvp", "MVP", "mask and visual prompt tuning (ICCV 2023); MVP-R with memory_size"),
    "linear_probe": ("linear_probe", "LinearProbe", "only a linear head on the frozen class token"),
    "fine_tuning": ("fine_tuning", "FineTuning", "all weights, AdamW, small learning rate on the backbone"),
    "joint": ("fine_tuning", "Joint", "upper bound: all data at once, i.i.d., several epochs"),
}

_PLACES = {cls: module for module, cls, _ in STRATEGIES.values()}
_PLACES |= {"OnlineStrategy": "base", "AnytimeEvaluation": "anytime"}

__all__ = ["MVP", "STRATEGIES", "AnytimeEvaluation", "FineTuning", "Joint", "LinearProbe", "OnlineStrategy"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def strategy_class(name: str) -> type[OnlineStrategy]:
    """The class behind a key of ``STRATEGIES``."""
    found: type[OnlineStrategy] = __getattr__(STRATEGIES[name][1])
    return found
