"""Runs that were made already, looked up by their settings."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from cl_prompts import __version__
from cl_prompts.experiments.recipes.grid import essence
from cl_prompts.experiments.recipes.values import Loader, in_one_line
from cl_prompts.experiments.run_folder.folder import FORMAT
from cl_prompts.experiments.run_folder.plans import state_of


def made_runs(above: Path) -> tuple[dict[str, Path], list[str]]:
    """Run folders of this version of the package, by the essence of their settings.

    Args:
        above: folder of a recipe; its run folders lie two levels below it.

    Returns:
        Of folders with equal settings the newest finished one, or else the newest; and a sentence
        for each folder that cannot be read.
    """
    if not above.is_dir():
        return {}, []
    found: dict[str, tuple[tuple[bool, str], Path]] = {}
    notes: list[str] = []
    for folder in sorted(file.parent for file in above.glob("*/*/config.yaml")):
        try:
            about = json.loads((folder / "environment.json").read_text())
            config = yaml.load((folder / "config.yaml").read_text(), Loader=Loader)
            same = (about["format"], about["cl_prompts"]) == (FORMAT, __version__)
            key = essence(config)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            notes.append(f"{folder} is left alone, since it cannot be read ({in_one_line(error)})")
            continue
        age = (state_of(folder) == "finished", str(about.get("time", "")))
        if same and (key not in found or age >= found[key][0]):
            found[key] = (age, folder)
    return {key: folder for key, (_, folder) in found.items()}, notes
