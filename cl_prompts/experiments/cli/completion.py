"""Shell completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import shtab

from cl_prompts.catalog import catalog
from cl_prompts.experiments.cli.arguments import parser_of
from cl_prompts.experiments.cli.listing import SHOWN, lists
from cl_prompts.experiments.recipes.recipe_files import NAMED, recipe_names


def completion_script(commands: Sequence[Callable[..., None]], shell: str) -> str:
    """Return a shell script that completes commands, options, recipes and keys."""
    parser, choices = parser_of(commands)
    known = catalog()
    groups = [known[group] for group in ("backbone", "evaluation", "training", "images")]
    for kind in ("strategies", "scenarios", "datasets"):
        groups += [entry["settings"] for entry in known[kind].values()]
    words = {
        "recipe": list(recipe_names()),
        "settings": [f"{key}=" for key in sorted({*NAMED, "strategy", "seed"}.union(*groups))],
        "shown": [*SHOWN, *recipe_names()],
        "listed": [*lists(), "runs"],
    }
    for command in choices.choices.values():
        for action in command._actions:  # noqa: SLF001 - argparse has no other list of them
            if action.dest in words:
                action.choices = words[action.dest]
    script: str = shtab.complete(parser, shell)
    return script
