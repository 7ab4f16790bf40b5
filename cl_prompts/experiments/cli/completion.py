"""Completion of command lines in shells."""

from __future__ import annotations

import shtab

from cl_prompts.catalog import catalog
from cl_prompts.checks import one_of
from cl_prompts.experiments.cli.arguments import parser_of
from cl_prompts.experiments.cli.listing import SHOWN, lists
from cl_prompts.experiments.recipes.recipe_files import NAMED, recipe_names


def completion_script(shell: str) -> str:
    """The script that a shell reads: commands, options, recipes and keys of settings.

    Raises:
        InputError: there is no script for that shell.
    """
    one_of("shell", shell, shtab.SUPPORTED_SHELLS)
    parser, commands = parser_of()
    words = {
        "recipe": list(recipe_names()),
        "settings": [f"{key}=" for key in sorted({*NAMED, "strategy", "seed", *_keys()})],
        "shown": [*SHOWN, *recipe_names()],
        "listed": list(lists()),
    }
    for command in commands.choices.values():
        for action in command._actions:  # noqa: SLF001 - argparse has no other list of them
            if action.dest in words and not action.option_strings:
                action.choices = words[action.dest]
    script: str = shtab.complete(parser, shell)
    return script


def _keys() -> set[str]:
    known = catalog()
    groups = [known["backbone"], known["evaluation"], known["training"], known["images"]]
    for kind in ("strategies", "scenarios", "datasets"):
        groups += [entry["settings"] for entry in known[kind].values()]
    return set().union(*groups)
