"""Settings that exist: those of this package from ``settings.json``, those of a user's own code
from signatures."""

from __future__ import annotations

import collections.abc
import inspect
import pathlib
import re
import typing
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from annotated_types import Ge, Gt, Le

from cl_prompts.catalog import catalog
from cl_prompts.errors import unknown
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.recipes.values import plain
from cl_prompts.strategies import PLUGINS, canonical_name, plugin_class, strategy_class


class Parameter(NamedTuple):
    """A setting of a recipe.

    Attributes:
        kind: its type.
        default: its value where none is given; ``...`` where one has to be given.
        sentence: what it does.
    """

    kind: Any
    default: Any
    sentence: str = ""


Parameters = dict[str, Parameter]

#: parameters that the runner fills in
FILLED = {
    "dataset": {"name", "image_size", "seed"},
    "scenario": {"name", "test_labels", "domains", "seed"},
    "backbone": {"name", "seed"},
    "evaluation": {"test", "n_classes", "home_classes", "listeners", "num_workers"},
    "strategy": {
        "model",
        "backbone",
        "n_classes",
        "multi_label",
        "n_tasks",
        "optimizer",
        "evaluator",
        "eval_every",
        "growing",
        "device",
        "seed",
    },
}
#: names that types in ``settings.json`` use
TYPES = {
    "typing": typing,
    "collections": collections,
    "pathlib": pathlib,
    **{bound.__name__: bound for bound in (Ge, Gt, Le)},
    "NoneType": type(None),
}


def described(thing: Any, without: Collection[str] = ()) -> Parameters:
    """Settings of a class or function, with their sentences.

    Args:
        thing: a class that declares settings, or a function whose docstring has ``Args``.
        without: names to leave out.
    """
    if hasattr(thing, "settings"):
        from cl_prompts.strategies.base.settings import sentences

        texts = sentences(thing)
        found = {
            # The value of a head, say, is known by the settings that are given to it.
            s.name: Parameter(s.kind, getattr(s.default, "explicit", s.default), texts[s.name])
            for s in thing.settings().values()
        }
    else:
        found = _of_signature(thing)
    return {name: parameter for name, parameter in found.items() if name not in without}


def _of_signature(function: Callable[..., Any]) -> Parameters:
    inner = inspect.unwrap(getattr(function, "func", function))  # a reader may be a partial
    # Its own constructor or an inherited one; object's takes nothing.
    target = inspect.unwrap(inner.__init__) if isinstance(inner, type) else inner  # type: ignore[misc]
    hints = {} if target is object.__init__ else get_type_hints(target, include_extras=True)
    texts = argument_sentences(inspect.getdoc(inner) or "")
    found: Parameters = {}
    for p in inspect.signature(function).parameters.values():
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            default = ... if p.default is p.empty else p.default
            found[p.name] = Parameter(hints.get(p.name, Any), default, texts.get(p.name, ""))
    return found


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


@cache
def _kind_of(text: str) -> Any:
    return eval(text, dict(TYPES))  # of the package's own settings.json


def _read(entries: Mapping[str, Mapping[str, Any]]) -> Parameters:
    """Inverse of :func:`stored`."""
    return {
        name: Parameter(_kind_of(e["type"]), e.get("default", ...), e["sentence"])
        for name, e in entries.items()
    }


def _merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> Parameters:
    """Settings that many things share, and those of one, which may say less of a shared one."""
    return _read({**shared, **{key: {**shared.get(key, {}), **own[key]} for key in own}})


def section_parameters(section: str, name: str = "") -> Parameters:
    """Settings of the section ``dataset``, ``scenario``, ``backbone`` or ``evaluation``.

    Args:
        section: its key in a recipe.
        name: of the data set or scenario, short or dotted.

    Raises:
        InputError: there is no such data set or scenario.
    """
    if section in ("backbone", "evaluation"):
        return _read(catalog()[section])
    if not is_dotted(name):
        kind = "data set" if section == "dataset" else section
        images = catalog()["images"] if section == "dataset" else {}
        return _merged(images, known_entry(f"{section}s", kind, name)["settings"])
    if section == "scenario":
        from cl_prompts.scenarios.registry import find_scenario

        return scenario_parameters(find_scenario(name).split)
    from cl_prompts.datasets.registry import find_dataset

    # Its function takes what it declares; images are checked whoever brings them.
    bad_images = catalog()["images"]["on_bad_image"]
    return {
        **_read({"on_bad_image": bad_images}),
        **described(find_dataset(name), FILLED["dataset"]),
    }


def scenario_parameters(split: Callable[..., Any]) -> Parameters:
    """Settings of a function that splits labels, which its first parameter takes."""
    found = described(split)
    labels = next(iter(found), "")
    return {key: p for key, p in found.items() if key not in {labels, *FILLED["scenario"]}}


def strategy_parameters(strategy: str) -> Parameters:
    """Settings of a strategy."""
    name = canonical_name(strategy).partition("@")[0]
    if is_dotted(name):
        return described(strategy_class(name), FILLED["strategy"])
    entry = catalog()["strategies"][name]
    shared = {k: own for k, own in catalog()["training"].items() if k not in entry["without"]}
    return _merged(shared, entry["settings"])


def common_parameters() -> Parameters:
    """Settings that all strategies share, but for those that a strategy withdraws."""
    return _read(catalog()["training"])


def own_plugins(strategy: str) -> dict[str, dict[str, Any]]:
    """Plugins that a strategy has of itself, by name, with the settings that it gives them."""
    name = canonical_name(strategy).partition("@")[0]
    if is_dotted(name):
        return plugins_of(strategy_class(name))
    return dict(catalog()["strategies"][name]["plugins"])


def plugins_of(kind: Any) -> dict[str, dict[str, Any]]:
    """Plugins that a class of strategies has of itself."""
    names = {entry.class_name: name for name, entry in PLUGINS.items()}
    found = {}
    for plugin in kind.own_plugins:
        own = type(plugin)
        name = names.get(own.__name__, f"{own.__module__}:{own.__qualname__}")
        found[name] = plain(plugin.explicit)
    return found


def plugin_parameters(name: str) -> Parameters:
    """Settings of a plugin.

    Raises:
        InputError: there is no such plugin.
    """
    if is_dotted(name):
        return described(plugin_class(name))
    return _read(known_entry("plugins", "plugin", name)["settings"])


def plugin_needs(name: str) -> str:
    """The setting of strategies without which a plugin is of no use; empty for none."""
    if is_dotted(name):
        return str(getattr(plugin_class(name), "needs", ""))
    return str(known_entry("plugins", "plugin", name)["needs"])


def head_parameters() -> Parameters:
    """Settings of a head."""
    return _read(catalog()["head"])


def form_parameters(name: str) -> Parameters:
    """Settings of a form of prompts.

    Raises:
        InputError: there is no such form.
    """
    return _read(known_entry("prompt_forms", "form of prompts", name))


def known_entry(group: str, kind: str, name: str) -> Any:
    """The entry of a name in a group of ``settings.json``.

    Raises:
        InputError: there is none; ``kind`` says what it would be.
    """
    if name not in catalog()[group]:
        raise unknown(kind, name, catalog()[group])
    return catalog()[group][name]


def filled_parameters(strategy: str) -> set[str]:
    """Parameters of a strategy that the runner fills in."""
    return set(strategy_class(strategy).settings()) & FILLED["strategy"]
