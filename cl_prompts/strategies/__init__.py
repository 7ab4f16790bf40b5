"""Avalanche strategies, one per method, and anytime evaluation.

Each module of this package is a strategy: it has the strategy's name, the first line of its
docstring describes it, its one class implements it, and ``ALIASES`` lists other names. Importing
this package is cheap; Avalanche is loaded on first access to a strategy.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cl_prompts.checks import load_object
from cl_prompts.errors import InputError, unknown

if TYPE_CHECKING:
    from cl_prompts.strategies.base.online import OnlineStrategy


class StrategyEntry(NamedTuple):
    """Entry of the table of strategies, known before the import.

    Attributes:
        class_name: its class.
        description: one line.
        aliases: other names for it.
    """

    class_name: str
    description: str
    aliases: tuple[str, ...]


def _read(module: Path) -> StrategyEntry:
    text = module.read_text(encoding="utf-8")
    line = re.match(r'"""(.*?)(?:"""|\n)', text)
    named = re.search(r"^class (\w+)\(", text, flags=re.MULTILINE)
    aliases = re.search(r"^ALIASES = \((.*?)\)", text, flags=re.MULTILINE | re.DOTALL)
    if line is None or named is None:
        raise ImportError(f"{module.name} is no strategy: it needs a docstring and a class")
    return StrategyEntry(
        named[1],
        line[1].rstrip("."),
        tuple(re.findall(r'"([^"]+)"', aliases[1])) if aliases else (),
    )


#: strategy -> its entry
STRATEGIES: dict[str, StrategyEntry] = {
    module.stem: _read(module)
    for module in sorted(Path(__file__).parent.glob("*.py"))
    if module.stem != "__init__"
}

_PLACES = {entry.class_name: name for name, entry in STRATEGIES.items()} | {
    "AnytimeEvaluation": "plugins.anytime",
    "KeepOrder": "plugins.keep_order",
    "MultiLabelMetrics": "plugins.multi_label_metrics",
    "OnlineStrategy": "base.online",
    "PromptStrategy": "base.prompt",
    "refuse_accuracy": "plugins.multi_label_metrics",
}

__all__ = [*_PLACES, "STRATEGIES", "canonical_name", "strategy_class"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def canonical_name(name: str) -> str:
    """Resolve an alias to the name of the strategy; ``"package.module:Class"`` as it is.

    A name may end in ``@`` and the name of a variant: the same strategy with other settings.

    Raises:
        InputError: an unknown name.

    Example:
        >>> canonical_name("der++")
        'derpp'
        >>> canonical_name("der++@large_buffer")
        'derpp@large_buffer'
    """
    base, at, variant = name.partition("@")
    if at:
        return f"{canonical_name(base)}@{variant}"
    if ":" in name or name in STRATEGIES:
        return name
    aliases = {alias: real for real, entry in STRATEGIES.items() for alias in entry.aliases}
    if name not in aliases:
        raise unknown("strategy", name, [*STRATEGIES, *aliases])
    return aliases[name]


@cache
def strategy_class(name: str) -> type[OnlineStrategy]:
    """Load the class of a name, an alias, a variant, or ``"package.module:Class"``.

    Raises:
        InputError: an unknown name, or a class that is no ``OnlineStrategy``.
    """
    name = canonical_name(name).partition("@")[0]
    if ":" not in name:
        found: type[OnlineStrategy] = __getattr__(STRATEGIES[name].class_name)
        return found
    named = load_object("strategy", name)
    base = __getattr__("OnlineStrategy")
    if not (isinstance(named, type) and issubclass(named, base)):
        raise InputError(f"strategy {name!r} is no class derived from OnlineStrategy")
    return named
