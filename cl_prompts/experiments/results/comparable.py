"""Which runs share a table, and which share a row.

A table groups finished runs by their identity, see
:mod:`cl_prompts.experiments.run_folder.identity`, without what a table compares: the strategy with
its options, which divide rows, and seeds, over which means are taken.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cl_prompts.experiments.recipes.values import parsed
from cl_prompts.experiments.run_folder.runs import RunRecord

Conditions = Mapping[str, str]

_COMPARED = ("strategy", "seed", "stream_seed", "parent.sha256")
#: how the ancestors of a run were trained divides rows, as options do
_ANCESTORS = "parent.settings"
#: parts of the identity that a seed may draw
_DRAWN = ("stream", "data", "backbone")
#: entries of environment.json that are named below a table where they differ
_ENVIRONMENT = ("torch", "torchvision", "timm", "avalanche", "numpy", "device", "git_revision")
#: in the command of a search
_SEARCH = " --sampler"
_SHOWN = 12  # digits of a hash


def conditions_of(run: RunRecord) -> Conditions:
    """Return all that another run must share to stand in the same table.

    Returns:
        Values as JSON texts, under the names of settings, such as ``evaluation.every``, and of
        parts of the identity. What the seed of a run draws is compared in :func:`tables`.
    """
    identity = run.identity
    found: dict[str, Any] = {
        key: value
        for key, value in identity["settings"].items()
        if key not in (*_COMPARED, _ANCESTORS) and not _of_strategy(key)
    }
    found.update({part: identity[part] for part in ("version", "source")})
    found["multi_label"] = run.multi_label
    found["data"] = _without_draws(identity["data"])
    random = run.summary.get("weights") == "random"
    found["backbone"] = "drawn by the seed" if random else identity["backbone"]
    for name, digest in identity["files"].items():
        if not _of_strategy(name):
            found[f"{name} (content)"] = digest
    for name in _shared_code(run):
        found[f"source of {name}"] = identity["code"][name]
    return {key: json.dumps(value) for key, value in found.items()}


def options_of(run: RunRecord) -> dict[str, str]:
    """Return what distinguishes a row from others of its strategy: options as recipes write them,
    contents of the files and code that they name, and how the ancestors were trained."""
    identity = run.identity
    found = {}
    for key, value in identity["settings"].items():
        if _of_strategy(key):
            found[key.removeprefix("options.")] = _written(value)
    for name, digest in identity["files"].items():
        if _of_strategy(name):
            found[f"content of {name.removeprefix('options.')}"] = digest[:_SHOWN]
    for name, digest in identity["code"].items():
        if name not in _shared_code(run):
            found[f"source of {name.partition(':')[0]}"] = digest[:_SHOWN]
    if _ANCESTORS in identity["settings"]:
        found[_ANCESTORS] = identity["settings"][_ANCESTORS][:_SHOWN]
    return found


def tables(runs: Iterable[RunRecord]) -> list[tuple[Conditions, list[RunRecord]]]:
    """Divide finished runs into tables, each with the conditions that its runs share.

    Equal seeds must have drawn equal streams, data and weights; where they did not, as under
    another version of a library, each draw has a table of its own.
    """
    by_conditions: dict[str, tuple[Conditions, list[RunRecord]]] = {}
    for run in runs:
        if run.finished:
            conditions = conditions_of(run)
            key = json.dumps(conditions, sort_keys=True)
            by_conditions.setdefault(key, (conditions, []))[1].append(run)
    found: list[tuple[Conditions, list[RunRecord]]] = []
    for conditions, members in by_conditions.values():
        found += [({**conditions, **drawn}, part) for drawn, part in _by_draws(members)]
    return found


def notes_on(runs: Iterable[RunRecord]) -> list[str]:
    """Say in which libraries and devices the runs of a table differ, and which runs a search used
    to choose settings."""
    runs = list(runs)
    notes = []
    searched = [run for run in runs if _SEARCH in str(run.summary.get("command"))]
    if 0 < len(searched) < len(runs):
        seeds = ", ".join(dict.fromkeys(run.seeds for run in searched))
        notes = [
            f"A search chose settings by the runs of seed {seeds}, on which they look better than"
            " they are: leave these runs out."
        ]
    differing = []
    for key in _ENVIRONMENT:
        values = {str(made.get(key, "unknown")) for run in runs for made in _environments(run)}
        if len(values) > 1:
            differing.append(f"{key} {', '.join(sorted(values))}")
    if differing:
        notes.append(f"These runs were made with different versions: {'; '.join(differing)}.")
    return notes


def _environments(run: RunRecord) -> Iterator[Mapping[str, Any]]:
    """The environment that a run was begun with, and those it was resumed with."""
    yield run.environment
    for changed in run.environment.get("resumed_with", ()):
        yield {**run.environment, **changed}


def _of_strategy(key: str) -> bool:
    return key == "options" or key.startswith("options.")


def _shared_code(run: RunRecord) -> list[str]:
    """The user's own code that makes data and stream."""
    settings = run.identity["settings"]
    names = (settings["dataset.name"], settings["scenario.name"])
    return [name for name in run.identity["code"] if name in names]


def _written(value: Any) -> str:
    """A value as recipes write it: a text in quotes where it reads like another value."""
    return value if isinstance(value, str) and parsed(value) == value else json.dumps(value)


def _without_draws(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A fingerprint without the contents that a seed has drawn."""
    if data.get("seed") is None:
        return data
    parts = {part: {**data[part], "contents": None} for part in ("training", "test")}
    return {**data, **parts, "seed": None}


def _by_draws(runs: Sequence[RunRecord]) -> Iterator[tuple[dict[str, str], list[RunRecord]]]:
    """Runs divided by what their seeds drew, where equal seeds drew differently."""
    by_seeds: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    by_draw: dict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for run in runs:
        drawn = tuple(json.dumps(run.identity[part], sort_keys=True) for part in _DRAWN)
        by_seeds[run.seeds].add(drawn)
        by_draw[drawn].append(run)
    if all(len(draws) == 1 for draws in by_seeds.values()):
        yield {}, list(runs)
        return
    for drawn, members in by_draw.items():
        yield dict(zip(_DRAWN, drawn, strict=True)), members
