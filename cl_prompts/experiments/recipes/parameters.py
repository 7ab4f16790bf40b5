"""Parameters that recipes can set, with types and defaults, and validation of given values.

Parameters of this package come from ``settings.json``, those of user code from signatures.
"""

from __future__ import annotations

import collections.abc
import inspect
import pathlib
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from annotated_types import Ge, Gt, Le

from cl_prompts.catalog import catalog
from cl_prompts.checks import fits, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.values import as_list, by_name, merged, plain
from cl_prompts.strategies import PLUGINS, canonical_name, plugin_class, strategy_class
from cl_prompts.user_code import is_dotted


class Parameter(NamedTuple):
    """Parameter of a function or class.

    Attributes:
        kind: its type.
        default: its default; ``...`` if it is required.
        sentence: its description.
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
#: settings of a strategy that contain further settings -> their group in ``settings.json``
NESTED = {"head": "head", "prompt_form": "prompt_forms", "plugins": "plugins"}


def described(thing: Any, without: Collection[str] = ()) -> Parameters:
    """Read the parameters of a class or function, with their descriptions.

    Args:
        thing: a subclass of ``Settings``, or a function whose docstring has ``Args``.
        without: names to leave out.
    """
    if hasattr(thing, "settings"):
        from cl_prompts.strategies.base.settings import sentences

        texts = sentences(thing)
        found = {
            # The default of a head, say, is an object: recipes write the settings given to it.
            s.name: Parameter(s.kind, getattr(s.default, "explicit", s.default), texts[s.name])
            for s in thing.settings().values()
        }
    else:
        found = _of_signature(thing)
    return {name: parameter for name, parameter in found.items() if name not in without}


def _of_signature(function: Callable[..., Any]) -> Parameters:
    inner = inspect.unwrap(getattr(function, "func", function))  # a reader may be a partial
    # object's constructor has no parameters.
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
def _kind_of(text: str) -> Any:
    return eval(text, dict(TYPES))  # of the package's own settings.json


def _read(own: Mapping[str, Any], shared: Mapping[str, Any] | None = None) -> Parameters:
    """Read entries of ``settings.json``, which may change parts of the ``shared`` ones."""
    below = shared or {}
    entries = {**below, **{key: {**below.get(key, {}), **entry} for key, entry in own.items()}}
    return {
        name: Parameter(_kind_of(e["type"]), e.get("default", ...), e["sentence"])
        for name, e in entries.items()
    }


def _entry(group: str, kind: str, name: str) -> Any:
    if name not in catalog()[group]:
        raise unknown(kind, name, catalog()[group])
    return catalog()[group][name]


def section_parameters(section: str, name: str = "") -> Parameters:
    """Return the parameters of a section.

    Args:
        section: "dataset", "scenario", "backbone", "evaluation", "head", or "training" for the
            settings that strategies share.
        name: data set or scenario, short or dotted.

    Raises:
        InputError: an unknown data set or scenario.
    """
    if section not in ("dataset", "scenario"):
        return _read(catalog()[section])
    if not is_dotted(name):
        kind = "data set" if section == "dataset" else section
        images = catalog()["images"] if section == "dataset" else None
        return _read(_entry(f"{section}s", kind, name)["settings"], images)
    if section == "scenario":
        from cl_prompts.scenarios.registry import find_scenario

        return scenario_parameters(find_scenario(name).split)
    from cl_prompts.datasets.registry import find_dataset

    # Images are checked whoever reads them.
    bad_images = {"on_bad_image": catalog()["images"]["on_bad_image"]}
    return {**_read(bad_images), **described(find_dataset(name), FILLED["dataset"])}


def scenario_parameters(split: Callable[..., Any]) -> Parameters:
    """Return the parameters of a function that splits labels, its first argument."""
    found = described(split)
    labels = next(iter(found), "")
    return {key: p for key, p in found.items() if key not in {labels, *FILLED["scenario"]}}


def strategy_parameters(strategy: str) -> Parameters:
    """Return the parameters of a strategy."""
    name = canonical_name(strategy).partition("@")[0]
    if is_dotted(name):
        return described(strategy_class(name), FILLED["strategy"])
    entry = catalog()["strategies"][name]
    shared = {k: own for k, own in catalog()["training"].items() if k not in entry["without"]}
    return _read(entry["settings"], shared)


def nested_parameters(key: str, name: str) -> Parameters:
    """Return the parameters of a plugin (``key`` "plugins") or prompt form ("prompt_form").

    Raises:
        InputError: an unknown name.
    """
    if key == "prompt_form":
        return _read(_entry(NESTED[key], "prompt form", name))
    if is_dotted(name):
        return described(plugin_class(name))
    return _read(_entry(NESTED[key], "plugin", name)["settings"])


def plugins_of(kind: Any) -> dict[str, dict[str, Any]]:
    """Return the plugins that a strategy class always has, with their settings."""
    names = {entry.class_name: name for name, entry in PLUGINS.items()}
    found = {}
    for plugin in kind.own_plugins:
        own = type(plugin)
        name = names.get(own.__name__, f"{own.__module__}:{own.__qualname__}")
        found[name] = plain(plugin.explicit)
    return found


def _needed_by(plugin: str) -> str:
    """The setting of strategies that a plugin needs; empty for none."""
    if is_dotted(plugin):
        return str(getattr(plugin_class(plugin), "needs", ""))
    return str(_entry("plugins", "plugin", plugin)["needs"])


def filled_parameters(strategy: str) -> set[str]:
    """Return the parameters of a strategy that the runner fills in."""
    return set(strategy_class(strategy).settings()) & FILLED["strategy"]


def strategy_options(
    recipe: Mapping[str, Any], strategy: str, running: Sequence[str]
) -> dict[str, Any]:
    """Resolve the arguments of a strategy: shared settings, its own, and defaults.

    Args:
        recipe: sections of the recipe.
        strategy: short or dotted name.
        running: the strategies that run.

    Raises:
        InputError: an unknown variant, setting or plugin, or a value of the wrong type.
    """
    accepted = strategy_parameters(strategy)
    # Prototypes, for example, have no head to train.
    without = set(catalog()["training"]) - set(accepted)
    shared = {key: value for key, value in recipe["training"].items() if key not in without}
    if "plugins" in shared:
        shared["plugins"] = _usable_plugins(shared["plugins"], accepted, running)
    own = recipe["strategies"]
    base, at, _ = strategy.partition("@")
    if at and strategy not in own:
        raise unknown(f"variant of {base}", strategy, [k for k in own if k.startswith(f"{base}@")])
    for name in dict.fromkeys((base, strategy)):  # a variant's settings replace its strategy's
        shared = merged(shared, own.get(name, {}))
    flat = validated(
        f"strategy {strategy}",
        {key: accepted[key] for key in accepted if key not in NESTED},
        {key: value for key, value in shared.items() if not (key in NESTED and key in accepted)},
    )
    return {**flat, **nested_options(strategy, accepted, shared)}


def _usable_plugins(
    given: Any, accepted: Mapping[str, Any], running: Sequence[str]
) -> dict[str, Any]:
    """Shared plugins without those that only other strategies of the run can use."""
    of_run = {key for name in running for key in strategy_parameters(name)}
    # A plugin that no strategy of the run can use stays, and is refused with a reason.
    missing = of_run - set(accepted)
    plugins = by_name("plugins", given)
    return {name: own for name, own in plugins.items() if _needed_by(name) not in missing}


def nested_options(strategy: str, accepted: Parameters, given: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve head, prompt form and plugins of a strategy.

    Args:
        strategy: short or dotted name.
        accepted: parameters of the strategy.
        given: settings of the strategy.

    Raises:
        InputError: an unknown name or setting, or a value of the wrong type.
    """
    found: dict[str, Any] = {}
    for key in (key for key in NESTED if key in accepted):
        where = f"{key} of strategy {strategy}"
        if key == "head":
            below = accepted[key].default or {}
            found[key] = validated(where, section_parameters(key), given.get(key), below)
            continue
        own: Mapping[str, Any] = {}
        if key == "plugins":
            name = canonical_name(strategy).partition("@")[0]
            entry = catalog()["strategies"].get(name)
            own = entry["plugins"] if entry else plugins_of(strategy_class(name))
        found[key] = {
            name: validated(
                f"{name} of strategy {strategy}",
                nested_parameters(key, name),
                settings,
                own.get(name),
            )
            for name, settings in {**dict.fromkeys(own), **by_name(where, given.get(key))}.items()
        }
    return found


def validated(
    where: str, accepted: Parameters, given: Any, below: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Validate settings and fill in defaults.

    Args:
        where: owner of the settings, for messages ("strategy mvp").
        accepted: parameters of the owner.
        given: settings by name; None for none.
        below: settings that ``given`` replaces.

    Returns:
        all settings as plain data.

    Raises:
        InputError: an unknown setting, a value of the wrong type, or a missing required one.
    """
    if not (given is None or isinstance(given, Mapping)):
        first = next(iter(accepted))
        raise InputError(f"{where} is {shown(given)}. Give settings by name, such as {first}=...")
    values = {**(below or {}), **(given or {})}
    for key in values:
        if key not in accepted:
            raise unknown(f"key of {where}", str(key), accepted)
    found = {}
    for key, (kind, default, _) in accepted.items():
        if key not in values and default is ...:
            raise InputError(f"{where} has no {key}: add {key}=VALUE")
        found[key] = plain(_fitting(where, key, values[key], kind) if key in values else default)
    return found


def _fitting(where: str, key: str, value: Any, kind: Any) -> Any:
    """Check a value; a text ``a,b`` becomes a list where only a list fits."""
    try:
        return fits(key, value, kind, of=where)
    except InputError:
        if isinstance(value, str):
            with suppress(InputError):
                return fits(key, as_list(value), kind)
        raise
