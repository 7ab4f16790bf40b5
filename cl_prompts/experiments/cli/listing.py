"""Lists of recipes, strategies and so on, and their settings: ``cl-prompts ls`` and ``show``."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from cl_prompts.errors import InputError, unknown
from cl_prompts.strategies.base.outlines import outlined

_OWN = "your own, by package.module:"
_WIDTH = 96  # characters of a line of text
SHOWN = ("strategy", "plugin", "scenario", "dataset", "backbone", "evaluation")


def lists() -> dict[str, dict[str, str]]:
    """All that is known by name: kind -> name -> a line on it; nothing heavy is loaded.

    >>> list(lists())
    ['recipes', 'strategies', 'plugins', 'scenarios', 'datasets', 'backbones']
    """
    # Modules that load neither torch nor Avalanche.
    from cl_prompts.backbones.catalog import BACKBONES
    from cl_prompts.datasets import DESCRIPTIONS
    from cl_prompts.experiments.recipes.recipe_files import recipe_names
    from cl_prompts.strategies import PLUGINS, STRATEGIES

    plugins = {name: entry.description for name, entry in PLUGINS.items()}
    strategies = {name: entry.description for name, entry in STRATEGIES.items()}
    known = outlined("cl_prompts.scenarios.registry", "SCENARIOS")
    scenarios = {name: scenario.description for name, scenario in known.items()}
    return {
        "recipes": {**recipe_names(), "...": "your own, by the name of a YAML file"},
        "strategies": {**strategies, "...": f"{_OWN}Class"},
        "plugins": {**plugins, "...": f"{_OWN}Class"},
        "scenarios": {**scenarios, "...": f"{_OWN}function"},
        "datasets": {**DESCRIPTIONS, "...": f"{_OWN}function"},
        "backbones": {
            **BACKBONES,
            "...": "any plain timm ViT with a class token, by its timm name",
        },
    }


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
    kind = next((name for name in found if words and words[0] in _names_of(name)), None)
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


def _names_of(kind: str) -> tuple[str, ...]:
    """A kind in the plural and in the singular."""
    return kind, "strategy" if kind == "strategies" else kind.removesuffix("s")


def _containing(entries: Mapping[str, str], words: Sequence[str]) -> dict[str, str]:
    def fits(name: str) -> bool:
        text = f"{name} {entries[name]}".lower()
        return name != "..." and all(word.lower() in text for word in words)

    return {name: entries[name] for name in filter(fits, entries)}


def shown_text(words: Sequence[str]) -> str:
    """A recipe as it stands in its file, or the settings of a strategy, plugin, scenario, data set,
    of the backbone or of the evaluation, each with its default and a sentence.

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
            return _settings_text(kind, names[0] if names else "")
        words = names
    if len(words) > 1:
        raise unknown("kind of thing to show", kind, ("recipe", *SHOWN))
    from cl_prompts.experiments.recipes.recipe_files import recipe_text

    return recipe_text(words[0])


def _settings_text(kind: str, name: str) -> str:
    if kind in ("strategy", "plugin"):
        return "\n".join(_of_strategy(name) if kind == "strategy" else _of_plugin(name))
    from cl_prompts.experiments.recipes.signatures import section_parameters

    sentences: dict[str, str] = {}
    for function in _functions(kind, name):
        sentences = argument_sentences(inspect.getdoc(function) or "") | sentences
    parameters = section_parameters(kind, name)
    head = f"settings of {kind} {name}".rstrip()
    entries = ((key, *parameters[key], sentences.get(key, "")) for key in parameters)
    return "\n".join([head, "", *_entries(entries)])


def _functions(kind: str, name: str) -> Iterator[Callable[..., Any]]:
    """Functions whose docstrings have the settings of a section."""
    if kind == "scenario":
        yield outlined("cl_prompts.scenarios.registry", "find_scenario")(name).split
    elif kind == "dataset":
        yield outlined("cl_prompts.datasets.registry", "load_dataset")
        found = outlined("cl_prompts.datasets.registry", "find_dataset")(name)
        function = getattr(found, "read", found)
        # A reader may be a partial of the function that has the docstring.
        yield getattr(function, "func", function)
    elif kind == "backbone":
        yield outlined("cl_prompts.backbones.weights", "create_backbone")
    else:
        yield outlined("cl_prompts.strategies.plugins.anytime", "AnytimeEvaluation")


def _of_strategy(name: str) -> Iterator[str]:
    """Settings of a strategy in groups, its own ones first, and how options are set."""
    from cl_prompts.experiments.recipes.signatures import strategy_parameters
    from cl_prompts.strategies import STRATEGIES, canonical_name, strategy_outline
    from cl_prompts.strategies.base.settings import sentences

    name = canonical_name(name)
    kind = strategy_outline(name)
    about = STRATEGIES[name].description if name in STRATEGIES else (kind.__doc__ or "")
    yield f"{name}: {about.strip().splitlines()[0] if about.strip() else kind.__name__}"
    accepted = strategy_parameters(name)
    texts = sentences(kind)
    for title, keys in _groups(kind, list(accepted)):
        yield f"\n{title}\n"
        yield from _entries((key, *accepted[key], texts.get(key, "")) for key in keys)
    if "head" in accepted:
        yield f"\nsettings of its head, as in {name}.head.input=whitened\n"
        yield from _declared(type(accepted["head"][1]), accepted["head"][1].given)
    yield "\nplugins, as in plugins=self_regulation: see cl-prompts ls plugins"


def _groups(kind: Any, accepted: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The settings of a strategy by who declares them, the method first."""
    from cl_prompts.strategies.base.settings import Declared

    bases = [base for base in kind.__mro__ if issubclass(base, Declared) and base is not Declared]
    left = list(accepted)
    # The last one is the base of all strategies, whose settings come at the end.
    for base in bases[:-1]:
        own = [key for key in left if key in base.own_settings()]
        left = [key for key in left if key not in own]
        title = "its own settings" if base is kind else f"settings shared by {base.__name__}"
        if own:
            yield title, own
    yield "settings that strategies share", left


def _of_plugin(name: str) -> Iterator[str]:
    from cl_prompts.strategies import PLUGINS, plugin_outline

    kind = plugin_outline(name)
    about = PLUGINS[name].description if name in PLUGINS else (kind.__doc__ or kind.__name__)
    yield f"{name}: {about.strip().splitlines()[0]}\n"
    yield from _declared(kind, {})
    yield f"\nas in plugins={name} {name}.{_first_setting(kind)}=..."


def _declared(kind: Any, given: Mapping[str, Any]) -> Iterator[str]:
    """Lines on the settings of a value or plugin, with a method's own defaults."""
    from cl_prompts.experiments.recipes.signatures import parameters
    from cl_prompts.strategies.base.settings import Declared, sentences

    texts = sentences(kind) if issubclass(kind, Declared) else {}
    for key, (annotation, default) in parameters(kind).items():
        yield from _entries(iter([(key, annotation, given.get(key, default), texts.get(key, ""))]))


def _first_setting(kind: Any) -> str:
    from cl_prompts.experiments.recipes.signatures import parameters

    return next(iter(parameters(kind)), "setting")


def _entries(entries: Iterator[tuple[str, Any, Any, str]]) -> Iterator[str]:
    """Lines on settings: name=default, the words that it may be, and the sentence below."""
    for key, kind, default, sentence in entries:
        words = [word for word in dict.fromkeys(_words(kind)) if word is not None]
        may_be = f"  ({', '.join(map(str, words))})" if words else ""
        yield f"  {key}={'' if default is ... else _written(default)}{may_be}"
        if sentence:
            yield textwrap.indent(textwrap.fill(_plain(sentence), _WIDTH - 6), " " * 6)


def _plain(sentence: str) -> str:
    """A sentence of a docstring without its marks: the last part of a name stands for the name."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", sentence).replace("``", "")


def _written(value: Any) -> str:
    """A default as recipes write it."""
    from cl_prompts.experiments.recipes.values import plain

    value = plain(value.given if hasattr(value, "given") else value)
    return value if isinstance(value, str) else json.dumps(value, default=repr)


def _words(kind: Any) -> Iterator[Any]:
    """The words of a ``Literal`` type, also within a union."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    # "int | None" has another origin than Optional[int].
    elif get_origin(kind) in (Union, type(int | None)):
        for member in get_args(kind):
            yield from _words(member)


def argument_sentences(doc: str) -> dict[str, str]:
    """Sentences on the arguments of a function, from the ``Args`` of its docstring.

    >>> argument_sentences("Sum.\\n\\nArgs:\\n    a, b: what to\\n        add.\\n\\nRaises: no")
    {'a': 'what to add.', 'b': 'what to add.'}
    """
    _, _, below = doc.partition("Args:\n")
    # The block ends where a line is no longer indented.
    block = re.split(r"\n(?=\S)", below)[0]
    found: dict[str, str] = {}
    # An entry is indented by four spaces, and its further lines by more.
    for entry in re.split(r"\n(?= {4}\w)", f"\n{block}"):
        names, colon, sentence = entry.strip().partition(": ")
        if colon:
            text = " ".join(sentence.split())
            found.update((name.strip(), text) for name in names.split(","))
    return found
