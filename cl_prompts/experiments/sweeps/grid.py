"""Grids: ``lr=1e-3,1e-2 seed=1-5`` expanded into runs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.recipes.values import as_seeds, divided, parsed, plain

#: settings that do not change the numbers of a run
HOW = ("device", "num_workers", "checkpoint_every", "tracker")
#: keys whose lists a recipe itself expands
EXPANDED = ("strategy", "strategies", "run", "seed", "seeds", "orders")
_MOST = 10_000  # runs of one sweep
_NUMBER = r"[-+]?[\d.]*\d(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"{_NUMBER}\s*\.\.\s*{_NUMBER}", re.IGNORECASE)


def grid(recipe: str, texts: Sequence[str] = ()) -> list[RunConfig]:
    """Resolve a sweep into runs: each combination of values, with every strategy and seed.

    >>> runs = grid("digits", ["strategy=er", "seed=1-2", "lr=1e-3,1e-2"])
    >>> [(run.options["lr"], run.seed) for run in runs]
    [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]

    Args:
        recipe: of the package or a YAML file.
        texts: ``key=value`` as in :func:`~cl_prompts.experiments.recipes.run_config.plan`. Commas
            outside of brackets divide values, so a list is written ``[1,2]``. ``seed`` and
            ``stream_seed`` take ranges such as ``1-5``.

    Returns:
        Distinct runs in the order of the combinations, the last key changing first.

    Raises:
        InputError: a combination that ``plan`` refuses, more than 10,000 runs, or several values of
            a key that does not change the numbers.
    """
    found: dict[str, RunConfig] = {}
    for combination in itertools.product(*map(_axis, texts)):
        for run in plan(recipe, combination):
            # 0.1 and 1e-1 make one run, and so do values of a key that a strategy does not use.
            found.setdefault(json.dumps(plain(asdict(run))), run)
        if len(found) > _MOST:
            raise InputError(f"this sweep has more than {_MOST:,} runs: divide it")
    return list(found.values())


def _axis(text: str) -> list[str]:
    """Expand a ``key=value`` text with several values into one text for each."""
    key, sign, value = text.partition("=")
    name = key.strip()
    if not sign or name in EXPANDED:
        return [text]
    if name == "stream_seed":
        given = parsed(value)
        return [text] if given is None else [f"{name}={seed}" for seed in as_seeds(name, given)]
    if _RANGE.fullmatch(value.strip()):
        raise InputError(
            f"{name} has the range {shown(value)}, which needs a search: add --sampler tpe, or give"
            " single values, such as lr=1e-3,1e-2"
        )
    values = list(divided(value))
    if len(values) > 1 and name in HOW:
        raise InputError(f"{name} is {shown(value)} and does not change the numbers: give one")
    return [f"{name}={part}" for part in values]
