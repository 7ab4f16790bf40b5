"""Recipe files: YAML read into sections and merged over the recipe that they extend."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from cl_prompts.catalog import catalog
from cl_prompts.checks import is_one_name, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.parameters import CODE, LISTS, NESTED, parameters, strategy_name
from cl_prompts.experiments.recipes.values import Arguments, as_list, by_name, merged, yaml_of
from cl_prompts.user_code import check_trust, is_dotted

_HERE = Path(__file__).parent
#: sections that name one thing and hold its arguments
NAMED = ("dataset", "scenario", "backbone")
SECTIONS = (*NAMED, "evaluation")
#: sections, and keys beside them
Recipe = Arguments
#: top-level keys with their defaults
TOP: Recipe = {
    "seeds": [1],
    "stream_seed": None,
    "budget": None,
    "memory": None,
    "device": "auto",
    "num_workers": None,
    "checkpoint_every": None,
    "tracker": None,
    "tuned_on": None,
}
_KNOWN = (*SECTIONS, "training", "strategies", "run", "extends", *TOP)


def recipe_names() -> dict[str, str]:
    """Return the recipes of the package: name -> first line of their description."""
    files = sorted(_HERE.glob("*.yaml"))
    return {file.stem: file.read_text().splitlines()[1].removeprefix("# ") for file in files}


def recipe_label(name: str) -> str:
    """Return the name of a recipe in tables and folders.

    >>> recipe_label("mine/quick.yaml"), recipe_label("...yaml")
    ('quick', 'recipe')
    """
    return Path(name).stem.strip(".") or "recipe"


def recipe_text(name: str) -> str:
    """Read the YAML of a recipe of the package, or of a file.

    Raises:
        InputError: an unknown name.
        OSError: the file cannot be read.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            # Some editors write a byte order mark.
            return Path(name).read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            near = map(str, Path(name).parent.glob("*.y*ml"))
            raise unknown("recipe file", name, near) from error
        except UnicodeDecodeError as error:
            raise InputError(f"recipe {name} is not UTF-8: save it as UTF-8") from error
    file = _HERE / f"{name}.yaml"
    if is_one_name(name) and file.is_file():
        return file.read_text(encoding="utf-8")
    if "=" in name:
        raise InputError(f"the recipe is missing: write digits {shown(name)[1:-1]}, for example")
    if Path(name).is_dir():
        raise InputError(f"{name} is a folder: write a recipe for it with cl-prompts init {name}")
    if Path(f"{name}.yaml").is_file():
        raise InputError(f"unknown recipe {name!r}: did you mean '{name}.yaml'?")
    for kind in CODE:
        if name in catalog()[LISTS[kind]]:
            raise InputError(f"{name!r} is a {kind}, not a recipe: cl-prompts show {kind} {name}")
    raise unknown("recipe", name, recipe_names())


def load_recipe(name: str) -> Recipe:
    """Load a recipe, merged over the recipe that it ``extends``.

    ``strategies`` maps strategies to their settings, and ``run`` lists the strategies to run. The
    default of ``run`` is the recipe's own strategies; without any, ``run`` of the extended recipe.

    Raises:
        InputError: an unknown name, invalid YAML, or a section of the wrong form.
    """
    recipe: Recipe = {}
    for sections in reversed(_files(name)):
        for section in {"dataset", "scenario"} & recipe.keys():
            # Settings that the replacement of a data set or scenario does not have are dropped.
            if other := sections.get(section, {}).get("name"):
                recipe[section] = kept(section, recipe[section], str(other))
        recipe = merged(recipe, sections)
    return recipe


def check_recipe_code(name: str, overrides: Sequence[str], trust_code: bool) -> None:
    """Refuse a recipe that names user code, unless the code is trusted or typed as well.

    Raises:
        InputError: it would import other code.
    """
    code: list[str] = []
    # Before the recipes are merged, which imports data sets and scenarios.
    for sections in _files(name):
        strategies = sections.get("strategies", {})
        names = [sections.get(key, {}).get("name") for key in ("dataset", "scenario")]
        names += [*sections.get("run", ()), *strategies]
        for settings in (sections.get("training", {}), *strategies.values()):
            names += settings.get("plugins", ())
        code += [str(found) for found in names if is_dotted(str(found))]
    # Whole names: who types "mine:Method" did not type "e:Me".
    text = " ".join(overrides)
    typed = [found for found in code if re.search(rf"(?<![\w.]){re.escape(found)}(?!\w)", text)]
    try:
        check_trust(code, trust_code or typed)
    except InputError as error:
        raise InputError(f"recipe {name} cannot be used: {error}") from error


def _files(name: str) -> list[Recipe]:
    """Sections of a recipe's file, then of those that it extends."""
    sections = _sections(name)
    lower = sections.pop("extends", None)
    return [sections] if lower is None else [sections, *_files(str(lower))]


def _sections(name: str) -> Recipe:
    """Sections of one file, each a mapping; strategies by name."""
    try:
        recipe = yaml_of(recipe_text(name))
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise InputError(
            f"recipe {name} has no sections: map dataset, scenario, backbone and strategies to"
            " settings"
        )
    for key in recipe:
        if key not in _KNOWN:
            raise unknown(f"section of recipe {name}", str(key), _KNOWN)
    for section in (*SECTIONS, "training"):
        if section in recipe:
            recipe[section] = _settings(f"section {section!r} of recipe {name}", recipe[section])
    if "strategies" in recipe:
        given = by_name(f"section 'strategies' of recipe {name}", recipe["strategies"])
        recipe["strategies"] = {
            strategy_name(strategy): _settings(f"strategy {strategy} of recipe {name}", own)
            for strategy, own in given.items()
        }
        recipe.setdefault("run", list(recipe["strategies"]))
    if "run" in recipe:
        recipe["run"] = running(f"run of recipe {name}", recipe["run"])
    return recipe


def _settings(what: str, value: object) -> Arguments:
    """Settings by key; a text stands for a name, None for no settings."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict | None):
        raise InputError(f"{what} is {shown(value)}: it should map settings to values")
    # Mappings, which merge over others.
    return {key: by_name(key, own) if key in NESTED else own for key, own in (value or {}).items()}


def running(key: str, value: object) -> list[str]:
    """Return the names of strategies to run; ``["all"]`` stands for all with settings.

    Raises:
        InputError: no name, or an unknown strategy.
    """
    names = as_list(value)
    if not names or not all(isinstance(name, str) and "=" not in name for name in names):
        raise InputError(f"{key} is {shown(value)}: give a name, or several as a,b")
    if names == ["all"]:
        return names
    return list(dict.fromkeys(map(strategy_name, names)))


def kept(section: str, settings: Arguments, name: str) -> Arguments:
    """Return the settings of a section that ``name`` has as well.

    Raises:
        InputError: an unknown data set or scenario.
    """
    accepted = settings if section == "backbone" else parameters(section, name)
    return {key: value for key, value in settings.items() if key in accepted}
