"""Sweeps in words: ``lr=1e-3,1e-2 seed=1-5`` expanded into runs, and the labels of these."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.recipe_files import NAMED
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.recipes.values import BY_NAME, as_seeds, flat, parsed, plain

#: settings that say where a run is computed, or how often it is saved, but enter no number of it
HOW = ("device", "num_workers", "checkpoint_every", "tracker")
#: keys whose lists a recipe itself expands
EXPANDED = ("strategy", "strategies", "run", "seed", "seeds")
SEEDS = ("seed", "stream_seed")
_MOST = 10_000  # runs of one sweep
_NUMBER = r"[-+]?[\d.]*\d(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"{_NUMBER}\s*\.\.\s*{_NUMBER}", re.IGNORECASE)


def grid(recipe: str, texts: Sequence[str] = ()) -> list[RunConfig]:
    """All runs of a sweep: each combination of the values given, with every strategy and seed.

    >>> runs = grid("digits", ["strategy=er", "seed=1-2", "lr=1e-3,1e-2"])
    >>> [(run.options["lr"], run.seed) for run in runs]
    [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]

    Args:
        recipe: of the package or a YAML file.
        texts: ``key=value`` as :func:`~cl_prompts.experiments.recipes.run_config.plan` takes them;
            commas divide the values of any key, but not inside brackets, so that a value that is a
            list is written ``[1,2]``. ``seed`` and ``stream_seed`` take ranges such as ``1-5``.

    Returns:
        Runs in the order of the combinations, the last key changing first; of equal ones, such as
        those of a strategy that has no use for a key, the first.

    Raises:
        InputError: a combination that ``plan`` refuses, more than 10,000 runs, or several values of
            a key that changes no number.
    """
    found: dict[str, RunConfig] = {}
    for combination in itertools.product(*map(_axis, texts)):
        for run in plan(recipe, combination):
            # Values written in two ways, as 0.1 and 1e-1, make one run.
            found.setdefault(json.dumps(plain(asdict(run))), run)
        if len(found) > _MOST:
            raise InputError(f"this sweep has more than {_MOST:,} runs: divide it")
    return list(found.values())


def _axis(text: str) -> list[str]:
    """The texts ``key=value`` that a text with several values stands for."""
    key, sign, value = text.partition("=")
    name = key.strip()
    # The recipe expands these itself: several strategies and seeds are one plan.
    if not sign or name in EXPANDED:
        return [text]
    if name == "stream_seed":
        given = parsed(value)
        return [text] if given is None else [f"{name}={seed}" for seed in as_seeds(name, given)]
    if _RANGE.fullmatch(value.strip()):
        raise InputError(
            f"{name} has a range, {shown(value)}, which only a search takes: add --sampler tpe, or"
            " give the values to run, divided by commas"
        )
    values = list(divided(value))
    if len(values) > 1 and name in HOW:
        raise InputError(
            f"{name} has several values, {shown(value)}, and changes no number of a run: give one"
        )
    return [f"{name}={part}" for part in values]


def divided(text: str) -> Iterator[str]:
    """Parts of a text between the commas that stand outside of brackets.

    >>> list(divided("[1,2], [3]"))
    ['[1,2]', '[3]']
    """
    depth = begin = 0
    for place, letter in enumerate(text):
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            yield text[begin:place].strip()
            begin = place + 1
    yield text[begin:].strip()


def labels_of_runs(runs: Sequence[RunConfig]) -> list[str]:
    """A label for each run: strategy, settings in which runs of that strategy differ, and seed.

    >>> labels_of_runs(grid("digits", ["strategy=er,ncm", "seed=3", "er.lr=0.1,0.2"]))
    ['er lr=0.1 seed 3', 'ncm seed 3', 'er lr=0.2 seed 3']
    """
    alike = len({label_of(run.strategy) for run in runs}) < len({run.strategy for run in runs})
    differing: dict[str, list[str]] = {}
    labels = []
    for run in runs:
        if run.strategy not in differing:
            differing[run.strategy] = _differing(r for r in runs if r.strategy == run.strategy)
        held = held_settings(run)
        # Seeds end the label, whether they differ or not.
        names = short_names(k for k in differing[run.strategy] if k in held and k not in SEEDS)
        own = [f"{name}={_written(held[key])}" for key, name in names.items()]
        stream = "" if run.stream_seed == run.seed else f" (stream {run.stream_seed})"
        strategy = run.strategy if alike else label_of(run.strategy)
        labels.append(" ".join([strategy, *own, f"seed {run.seed}{stream}"]))
    return labels


def held_settings(run: RunConfig) -> dict[str, Any]:
    """Settings of a run by dotted name, and which plugins and forms of prompts it has."""
    held = dict(flat(plain(asdict(run))))
    for key in BY_NAME:
        held[f"options.{key}"] = ",".join(run.options.get(key) or ()) or "none"
    return held


def _differing(runs: Iterable[RunConfig]) -> list[str]:
    """Names of the settings in which runs differ."""
    met: dict[str, set[str]] = {}
    for run in runs:
        for key, value in held_settings(run).items():
            met.setdefault(key, set()).add(json.dumps(value, default=str))
    names = [key for key, found in met.items() if len(found) > 1]
    # Another data set has other settings throughout: its name says that.
    chosen = {section for section in NAMED if f"{section}.name" in names}
    return [k for k in names if k.partition(".")[0] not in chosen or k.endswith(".name")]


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Names of settings as one writes them, without their section where that is not needed.

    >>> list(short_names(["dataset.name", "options.lr", "a.kind", "b.kind"]).values())
    ['dataset', 'lr', 'a.kind', 'b.kind']
    """
    short = {}
    for key in keys:
        section, _, leaf = key.rpartition(".")
        short[key] = section if leaf == "name" and section in NAMED else leaf
    names = list(short.values())
    return {key: key if names.count(name) > 1 else name for key, name in short.items()}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
