"""Completion of command lines in shells, as a script of fixed words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined

from cl_prompts import __version__
from cl_prompts.checks import one_of
from cl_prompts.experiments.cli.arguments import command_options
from cl_prompts.experiments.cli.listing import SHOWN, lists
from cl_prompts.experiments.recipes.overrides import TOP
from cl_prompts.experiments.recipes.recipe_files import NAMED
from cl_prompts.experiments.recipes.signatures import (
    common_parameters,
    parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.results.comparison_text import Format
from cl_prompts.experiments.sweeps.launching import Kind
from cl_prompts.experiments.sweeps.objective import OBJECTIVES, Sampler
from cl_prompts.strategies import PLUGINS, plugin_outline
from cl_prompts.strategies.base.outlines import outlined

Shell = Literal["bash", "zsh", "fish"]


def completion_script(shell: str) -> str:
    """The script that a shell reads: commands, options, recipes, settings and their values.

    All words are those of this version of the package: nothing is looked up while one types.

    Raises:
        InputError: there is no script for that shell.
    """
    one_of("shell", shell, Shell)
    templates = Environment(
        loader=PackageLoader("cl_prompts.experiments.cli"),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    core = templates.get_template("completion.sh").render(_words()).rstrip("\n")
    return templates.get_template(f"completion.{shell}").render(core=core, version=__version__)


def _words() -> dict[str, object]:
    """Words that the scripts complete, as texts divided by spaces."""
    known = {kind: [name for name in names if name != "..."] for kind, names in lists().items()}
    options = command_options()
    groups: dict[str, Collection[str]] = {
        "backbone": section_parameters("backbone"),
        "evaluation": section_parameters("evaluation"),
        "training": common_parameters(),
        **{name: strategy_parameters(name) for name in known["strategies"]},
    }
    for section in ("scenario", "dataset"):
        groups[section] = {
            key for name in known[f"{section}s"] for key in section_parameters(section, name)
        }
    bare = {*TOP, *NAMED, "seed", "strategy"}.union(*groups.values())
    dotted = [f"{group}.{key}" for group, keys in groups.items() for key in keys]
    for key, inner in _nested().items():
        owners = [f"{name}." for name in known["strategies"] if key in groups[name]]
        dotted += [f"{owner}{path}" for owner in ("", *owners) for path in inner]
    # Options that take the next word as their value, which is then no setting.
    valued = {name for found in options.values() for name, value in found.items() if value}
    return {
        **{kind: " ".join(names) for kind, names in known.items()},
        "commands": " ".join(options),
        "options": {command: " ".join(found) for command, found in options.items()},
        "valued": " | ".join(sorted(valued)),
        "keys": _keys(bare),
        "dotted_keys": _keys(dotted),
        "shown": " ".join(("recipe", *SHOWN)),
        "lists": " ".join(known),
        "shells": " ".join(get_args(Shell)),
        "option_values": {
            "--launcher": " ".join(get_args(Kind)),
            "--sampler": " ".join(get_args(Sampler)),
            "--objective": " ".join(OBJECTIVES),
            "--format": " ".join(get_args(Format)),
        },
        "key_values": {
            "strategy | strategies": " ".join(known["strategies"]),
            "plugins": " ".join(known["plugins"]),
            "scenario | scenario.name": " ".join(known["scenarios"]),
            "dataset | dataset.name": " ".join(known["datasets"]),
            "backbone | backbone.name": " ".join(known["backbones"]),
            "device": "auto cpu cuda",
        },
    }


def _nested() -> dict[str, list[str]]:
    """Settings that hold further ones -> the paths of these, as keys write them."""
    found = outlined("cl_prompts.strategies.base.prompt_form", "PROMPT_FORMS")
    forms = {f"prompt_form.{name}": form for name, form in found.items()}
    plugins = {name: plugin_outline(name) for name in PLUGINS}
    parts: dict[str, dict[str, Any]] = {
        "head": {"head": outlined("cl_prompts.strategies.base.head", "Head")},
        "prompt_form": forms,
        "plugins": plugins,
    }
    return {
        key: [f"{path}.{name}" for path, kind in kinds.items() for name in parameters(kind)]
        for key, kinds in parts.items()
    }


def _keys(names: Iterable[str]) -> str:
    return " ".join(f"{name}=" for name in sorted(names))
