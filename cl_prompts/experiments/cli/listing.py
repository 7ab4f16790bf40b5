"""Lists of recipes, strategies and so on, and their settings: ``cl-prompts ls`` and ``show``."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cl_prompts.backbones.catalog import BACKBONES
from cl_prompts.catalog import catalog
from cl_prompts.checks import words_of
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.parameters import (
    Parameter,
    nested_parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.recipes.recipe_files import recipe_names, recipe_text
from cl_prompts.experiments.recipes.values import plain
from cl_prompts.strategies import (
    PLUGINS,
    STRATEGIES,
    canonical_name,
    plugin_class,
    strategy_class,
)

_WIDTH = 96  # characters of a line of text
SHOWN = ("strategy", "plugin", "scenario", "dataset", "backbone", "evaluation")


def lists() -> dict[str, dict[str, str]]:
    """All that is known by name: kind -> name -> a line on it; nothing heavy is loaded.

    >>> list(lists())
    ['recipes', 'strategies', 'plugins', 'scenarios', 'datasets', 'backbones']
    """
    found = {"recipes": {**recipe_names(), "...": "your own, by the name of a YAML file"}}
    for kind in ("strategies", "plugins", "scenarios", "datasets"):
        what = "Class" if kind in ("strategies", "plugins") else "function"
        found[kind] = {name: entry["about"] for name, entry in catalog()[kind].items()}
        found[kind]["..."] = f"your own, by package.module:{what}"
    found["backbones"] = {
        **BACKBONES,
        "...": "any plain timm ViT with a class token, by its timm name",
    }
    return found


def listed(words: Sequence[str]) -> str:
    """The lists as text, or the entries of one of them in which all words occur.

    Args:
        words: first, where one list is asked for, its name ("strategies"); then words that the
            name or the line of an entry must contain, in upper or lower case.

    Raises:
        InputError: nothing is left.
    """
    found = lists()
    words = list(words)
    kinds = {"strategy": "strategies"}
    for name in found:
        kinds |= {name: name, name.removesuffix("s"): name}
    kind = kinds.get(words[0]) if words else None
    if kind is not None:
        found = {kind: found[kind]}
        words = words[1:]
    if words:
        found = {title: _containing(entries, words) for title, entries in found.items()}
        found = {title: entries for title, entries in found.items() if entries}
    if not found:
        among = f"among the {kind}" if kind else f"in the lists {', '.join(lists())}"
        raise InputError(f"there is no {' '.join(words)!r} {among}: see cl-prompts ls")
    width = max(len(name) for entries in found.values() for name in entries)
    blocks = []
    for title, entries in found.items():
        lines = [f"  {name:{width}}  {about}" for name, about in entries.items()]
        blocks.append("\n".join([title, *lines, ""]))
    return "\n".join(blocks)


def _containing(entries: Mapping[str, str], words: Sequence[str]) -> dict[str, str]:
    """Entries in which all words occur."""
    found = {}
    for name, about in entries.items():
        text = f"{name} {about}".lower()
        if name != "..." and all(word.lower() in text for word in words):
            found[name] = about
    return found


def shown_text(words: Sequence[str]) -> str:
    """A recipe as it stands in its file, or settings, each with its default and a sentence.

    Args:
        words: the name of a recipe; or "strategy", "plugin", "scenario" or "dataset" and a name; or
            "backbone" or "evaluation"; or "recipe" and a name.

    Raises:
        InputError: there is no such thing.
    """
    kind, *names = words
    if kind in ("recipe", *SHOWN) and (names or kind in ("backbone", "evaluation")):
        if len(names) > 1:
            raise InputError(f"show one {kind} at a time, not {', '.join(names)}")
        if kind != "recipe":
            return "\n".join(_settings(kind, *names))
        words = names
    if len(words) > 1:
        raise unknown("kind of thing to show", kind, ("recipe", *SHOWN))
    return recipe_text(words[0])


def _settings(kind: str, name: str = "") -> Iterator[str]:
    """Lines on all settings of a thing."""
    if kind == "strategy":
        yield from _of_strategy(canonical_name(name))
    elif kind == "plugin":
        accepted = nested_parameters("plugins", name)
        about = PLUGINS[name].description if name in PLUGINS else plugin_class(name).__doc__ or name
        yield f"{name}: {about.strip().splitlines()[0]}\n"
        yield from _entries(accepted)
        yield f"\nas in plugins={name} {name}.{next(iter(accepted), 'setting')}=..."
    else:
        yield f"settings of {kind} {name}".rstrip() + "\n"
        yield from _entries(section_parameters(kind, name))


def _of_strategy(name: str) -> Iterator[str]:
    """Settings of a strategy, its own ones first, and how options are set."""
    known = name in STRATEGIES
    about = STRATEGIES[name].description if known else strategy_class(name).__doc__ or name
    yield f"{name}: {about.strip().splitlines()[0]}"
    accepted = strategy_parameters(name)
    common = section_parameters("training")
    shared = {key: p for key, p in accepted.items() if common.get(key) == p}
    yield "\nits own settings, and those with defaults of its own\n"
    yield from _entries({key: p for key, p in accepted.items() if key not in shared})
    yield "\nsettings that strategies share\n"
    yield from _entries(shared)
    if "head" in accepted:
        given = accepted["head"].default
        yield f"\nsettings of its head, as in {name}.head.input=whitened\n"
        yield from _entries(
            {
                k: p._replace(default=given.get(k, p.default))
                for k, p in section_parameters("head").items()
            }
        )
    yield "\nplugins, as in plugins=self_regulation: see cl-prompts ls plugins"


def _entries(accepted: Mapping[str, Parameter]) -> Iterator[str]:
    """Lines on settings: name=default, the words that it may be, and the sentence below."""
    for key, (kind, default, sentence) in accepted.items():
        words = [word for word in words_of(kind) if word is not None]
        may_be = f"  ({', '.join(map(str, words))})" if words else ""
        yield f"  {key}={'' if default is ... else _written(default)}{may_be}"
        if sentence:
            yield textwrap.indent(textwrap.fill(_plain(sentence), _WIDTH - 6), " " * 6)


def _plain(sentence: str) -> str:
    """A sentence of a docstring without its marks: the last part of a name stands for the name."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", sentence).replace("``", "")


def _written(value: Any) -> str:
    """A default as recipes write it."""
    value = plain(value)
    return value if isinstance(value, str) else json.dumps(value, default=repr)
