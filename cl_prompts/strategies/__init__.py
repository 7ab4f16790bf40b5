"""Avalanche strategies, one per method, their plugins, and anytime evaluation.

Each module of this package is one strategy and has its name. The first line of its docstring
describes it, and its class implements it. Each module of ``plugins`` with a subclass of
``StrategyPlugin`` is an option, with the same conventions. ``make settings`` lists both in
``settings.json``. Importing this package does not import Avalanche; the first access
to a strategy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cl_prompts.catalog import catalog, door
from cl_prompts.errors import InputError, unknown
from cl_prompts.user_code import load_object

if TYPE_CHECKING:
    from avalanche.core import BasePlugin

    from cl_prompts.strategies.base.online import OnlineStrategy


def _classes(kind: str) -> dict[str, str]:
    return {name: entry["class"] for name, entry in catalog()[kind].items()}


#: strategy -> name of its class
STRATEGIES = _classes("strategies")

#: plugin -> name of its class
PLUGINS = _classes("plugins")

__getattr__, __dir__ = door(
    __name__,
    "base.head.Head base.multi_label_metrics.MultiLabelMetrics"
    " base.multi_label_metrics.refuse_accuracy base.online.OnlineStrategy"
    " base.plugin.StrategyPlugin base.prompt.PromptStrategy base.prompt_form.Decomposed"
    " base.prompt_form.Encoded evaluation.anytime.AnytimeEvaluation plugins.keep_order.KeepOrder "
    + " ".join(f"{module}.{name}" for module, name in STRATEGIES.items())
    + "".join(f" plugins.{module}.{name}" for module, name in PLUGINS.items()),
    *("PLUGINS", "STRATEGIES", "make_plugins", "plugin_class", "strategy_class"),
)

# Avalanche has EWC and LwF, too, which ``import *`` must not hide.
__all__ = [name for name in __dir__() if name not in ("EWC", "LwF")]


def strategy_class(name: str) -> type[OnlineStrategy]:
    """Load the class of a name, a variant, or ``"package.module:Class"``.

    Raises:
        InputError: an unknown name, or a class that is not an ``OnlineStrategy``.
    """
    name = name.partition("@")[0]
    # Inside a module, its __getattr__ must be called.
    return _class("strategy", name, STRATEGIES, __getattr__("OnlineStrategy"))


def _class(kind: str, name: str, known: Mapping[str, str], base: type) -> type[Any]:
    """Load a class by its name, or by ``"package.module:Class"``."""
    if ":" not in name:
        if name not in known:
            raise unknown(kind, name, known)
        return __getattr__(known[name])
    named = load_object(kind, name)
    if not (isinstance(named, type) and issubclass(named, base)):
        raise InputError(f"{kind} {name!r} is not a subclass of {base.__name__}")
    return named


def plugin_class(name: str) -> type[BasePlugin]:
    """Load the class of a plugin by its name, or by ``"package.module:Class"``.

    Raises:
        InputError: an unknown name, or an object that is not an Avalanche plugin.
    """
    from avalanche.core import BasePlugin

    return _class("plugin", name, PLUGINS, BasePlugin)


def make_plugins(settings: Mapping[str, Mapping[str, object] | None]) -> list[BasePlugin]:
    """Create plugins by name, each with its settings.

    Raises:
        InputError: an unknown name or setting.

    Example:
        >>> make_plugins({"slow_heads": {"decays": (0.9,)}})[0].decays
        (0.9,)
    """
    return [plugin_class(name)(**(given or {})) for name, given in settings.items()]
