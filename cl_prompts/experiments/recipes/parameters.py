"""Parameters that recipes can set, with types and defaults, and validation of given values.

Parameters of this package come from ``settings.json``, those of user code from signatures.
"""

import collections.abc
import inspect
import pathlib
import re
import typing
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from cl_prompts.catalog import catalog
from cl_prompts.checks import fits, is_one_name, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.values import Arguments, as_list, by_name, merged, plain
from cl_prompts.strategies import PLUGINS, plugin_class, strategy_class
from cl_prompts.user_code import is_dotted, keywords


class Parameter(NamedTuple):
    """Parameter of a function or class.

    Attributes:
        kind: its type.
        default: its default; ``...`` if it is required.
        sentence: its description.
    """

    kind: object
    default: Any
    sentence: str = ""


Parameters = dict[str, Parameter]

#: parameters that the runner fills in
FILLED = {
    "dataset": {"name", "image_size", "seed", "known"},
    "scenario": {"name", "domains", "seed"},
    "backbone": {"name", "seed"},
    "label_noise": {"name", "kind"},
    "evaluation": {"test", "n_classes", "home_classes", "listeners", "num_workers"},
    "strategy": {
        *("backbone", "n_classes", "multi_label", "n_tasks"),
        *("evaluator", "eval_every", "device", "seed"),
    },
}
#: names that types in ``settings.json`` use
TYPES = {
    "typing": typing,
    "collections": collections,
    "pathlib": pathlib,
    **{bound.__name__: bound for bound in (Ge, Gt, Le, Lt, MultipleOf)},
    "NoneType": type(None),
}
#: settings of a strategy that contain further settings -> the kind of these
NESTED = {"head": "head", "prompt_form": "prompt_form", "plugins": "plugin"}
#: kind of thing that recipes name -> its list in ``settings.json``
LISTS = {
    "strategy": "strategies",
    "plugin": "plugins",
    "prompt_form": "prompt_forms",
    "scenario": "scenarios",
    "dataset": "datasets",
}
#: kinds of which user code may be named
CODE = ("strategy", "plugin", "scenario", "dataset")
_WORDS = {"prompt_form": "prompt form", "dataset": "data set"}


def described(thing: Any, without: Collection[str] = ()) -> Parameters:
    """Read the parameters of a class or function, with their descriptions.

    Args:
        thing: a subclass of ``Settings``, or a function whose docstring has ``Args``.
        without: names to leave out.
    """
    if hasattr(thing, "settings"):
        from cl_prompts.strategies.base.settings import sentences

        texts = sentences(thing)
        # The default of a head, say, is an object: recipes write the settings given to it.
        found = {
            name: (setting.annotation, getattr(setting.default, "explicit", setting.default))
            for name, setting in thing.settings().items()
        }
        if getattr(thing, "own_plugins", ()):
            found["plugins"] = (found["plugins"][0], _plugins_of(thing))
    else:
        inner = getattr(thing, "func", thing)  # a reader may be a partial
        texts = argument_sentences(inspect.getdoc(inner) or "")
        found = keywords(thing, set())
    return {
        name: Parameter(*own, texts.get(name, ""))
        for name, own in found.items()
        if name not in without
    }


def _plugins_of(kind: Any) -> Arguments:
    """The plugins that a strategy class always has, with their settings."""
    names = {class_name: name for name, class_name in PLUGINS.items()}
    kinds = {type(plugin): plain(plugin.explicit) for plugin in kind.own_plugins}
    return {
        names.get(own.__name__, f"{own.__module__}:{own.__qualname__}"): settings
        for own, settings in kinds.items()
    }


def argument_sentences(doc: str) -> dict[str, str]:
    """Read the descriptions of arguments from the ``Args`` of a docstring.

    >>> argument_sentences("Sum.\\n\\nArgs:\\n    a, b: what to\\n        add.\\n\\nRaises: no")
    {'a': 'what to add.', 'b': 'what to add.'}
    """
    _, _, below = doc.partition("Args:\n")
    # The block ends at the first line without indent.
    block = re.split(r"\n(?=\S)", below)[0]
    found: dict[str, str] = {}
    # An entry is indented by four spaces, its further lines by more.
    for entry in re.split(r"\n(?= {4}\w)", f"\n{block}"):
        names, colon, sentence = entry.strip().partition(": ")
        if colon:
            text = " ".join(sentence.split())
            found.update((name.strip(), text) for name in names.split(","))
    return found


@cache
def _kind_of(text: str) -> object:
    return eval(text, dict(TYPES))  # of the package's own settings.json


def parameters(kind: str, name: str = "") -> Parameters:
    """Return the parameters of a section, or of a thing that recipes name.

    Args:
        kind: one of ``CODE`` or "prompt_form"; or, whatever the name, "backbone", "label_noise",
            "evaluation", "head", or "training" for the settings that strategies share.
        name: short, or dotted for the kinds in ``CODE``.

    Raises:
        InputError: an unknown name.
    """
    if kind == "strategy":
        name = strategy_name(name).partition("@")[0]
    if kind in CODE and is_dotted(name):
        return _of_code(kind, name)
    entry = entry_of(kind, name) if kind in LISTS else {"settings": catalog()[kind]}
    own, shared = entry["settings"], catalog().get(entry.get("shared", ""), {})
    found = {}
    for key in {**shared, **own}:
        if key not in entry.get("without", ()):
            said = {**shared.get(key, {}), **own.get(key, {})}
            default = said.get("default", ...)
            found[key] = Parameter(_kind_of(said["type"]), default, said["sentence"])
    return found


def strategy_name(name: str) -> str:
    """Return the name of a strategy, perhaps with a variant: ``NAME@VARIANT``.

    Raises:
        InputError: an unknown name, or a variant that cannot be a part of a folder's name.
    """
    base, at, variant = name.partition("@")
    if at and (":" in variant or not is_one_name(variant)):
        raise InputError(
            f"strategy {shown(name)} has no usable variant: write one name after the @, without"
            " colons and folders"
        )
    if not is_dotted(base):
        entry_of("strategy", base)
    return name


def entry_of(kind: str, name: str) -> Any:
    """Return the entry of a short name in ``settings.json``.

    Raises:
        InputError: an unknown name.
    """
    entries = catalog()[LISTS[kind]]
    if name not in entries:
        raise unknown(_WORDS.get(kind, kind), name, entries)
    return entries[name]


def _of_code(kind: str, name: str) -> Parameters:
    """Parameters of user code."""
    if kind == "strategy":
        return described(strategy_class(name), FILLED["strategy"])
    if kind == "plugin":
        return described(plugin_class(name))
    if kind == "scenario":
        from cl_prompts.scenarios.registry import find_scenario

        return scenario_parameters(find_scenario(name).split)
    from cl_prompts.datasets.registry import find_dataset

    own = described(find_dataset(name), FILLED["dataset"])
    # Images are checked whoever reads them.
    return {"on_bad_image": parameters("dataset", "folder")["on_bad_image"], **own}


def scenario_parameters(split: Callable[..., object]) -> Parameters:
    """Return the parameters of a function that splits labels, its first argument."""
    return described(partial(split, None), FILLED["scenario"])


def needed_by(plugin: str) -> str:
    """Return the setting of strategies that a plugin needs; empty for none."""
    if is_dotted(plugin):
        return str(getattr(plugin_class(plugin), "needs", ""))
    return str(entry_of("plugin", plugin)["needs"])


def strategy_options(strategy: str, given: Arguments) -> Arguments:
    """Validate the settings of a strategy, and fill in defaults.

    Args:
        strategy: short or dotted name.
        given: its settings, also those within its head, prompt form and plugins.

    Raises:
        InputError: an unknown name or setting, or a value of the wrong type.
    """
    owner = f"strategy {strategy}"
    accepted = parameters("strategy", strategy)
    inner = {key: accepted.pop(key) for key in NESTED if key in accepted}
    found = validated(owner, accepted, {k: v for k, v in given.items() if k not in inner})
    for key, parameter in inner.items():
        asked = merged(parameter.default or {}, by_name(key, given.get(key)))
        if key == "head":
            found[key] = validated(f"head of {owner}", parameters(key), asked)
            continue
        found[key] = {
            name: validated(f"{name} of {owner}", parameters(NESTED[key], name), own)
            for name, own in asked.items()
        }
    return found


def validated(where: str, accepted: Parameters, given: Arguments) -> Arguments:
    """Validate settings and fill in defaults.

    Args:
        where: owner of the settings, for messages ("strategy mvp").
        accepted: parameters of the owner.
        given: settings by name.

    Returns:
        all settings as plain data.

    Raises:
        InputError: an unknown setting, a value of the wrong type, or a missing required one.
    """
    for key in given:
        if key not in accepted:
            raise unknown(f"key of {where}", str(key), accepted)
    found = {}
    for key, (kind, default, _) in accepted.items():
        if key not in given and default is ...:
            raise InputError(f"{where} has no {key}: add {key}=VALUE")
        found[key] = plain(_fitting(where, key, given[key], kind) if key in given else default)
    return found


def _fitting(where: str, key: str, value: object, kind: object) -> object:
    """Check a value; a text ``a,b`` becomes a list where only a list fits."""
    try:
        return fits(key, value, kind, of=where)
    except InputError as error:
        if isinstance(value, str):
            with suppress(InputError):
                return fits(key, as_list(value), kind)
        if isinstance(value, str) and ("," in value or ".." in value):
            raise InputError(f"{error}. To compare several values, use cl-prompts sweep") from error
        raise
