"""Conditions under which runs share a table or a row.

A table holds finished runs of equal identity, see
:mod:`cl_prompts.experiments.run_folder.identity`, but for the code of the package. Strategy and
options divide its rows, and means are over seeds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cl_prompts.checks import doubled
from cl_prompts.experiments.recipes.values import BY_NAME, written
from cl_prompts.experiments.run_folder.runs import RunRecord

Conditions = Mapping[str, Any]

_COMPARED = ("strategy", "seed", "stream_seed", "order", "parent.sha256")
#: the training of the ancestors divides rows, as options do
_ANCESTORS = "parent.settings"
#: entries of environment.json whose differences are noted below a table
_ENVIRONMENT = ("cl_prompts", "torch", "torchvision", "timm", "avalanche", "numpy", "device")
_SHOWN = 12  # digits of a hash


def conditions_of(run: RunRecord) -> Conditions:
    """Return the conditions that runs of one table share.

    Returns:
        Values by setting, such as ``evaluation.every``, and by part of the identity.
        :func:`tables` compares what seeds draw.
    """
    identity = run.identity
    found = _settings(run, of_strategy=False)
    for key in (*_COMPARED, _ANCESTORS):
        found.pop(key, None)
    if run.order:
        found["scenario.class_order"] = "several"
    found["NUMBERS"] = identity.get("numbers")
    found["multi_label"] = run.multi_label
    found["data"] = identity["data"]
    random = run.summary.get("weights") == "random"
    found["backbone"] = "drawn by the seed" if random else identity["backbone"]
    return found


def options_of(run: RunRecord) -> dict[str, str]:
    """Return what divides the rows of a strategy.

    These are its options, hashes of the files and code that they name, and the training of the
    run's ancestors.
    """
    found = {key: written(value) for key, value in _settings(run, of_strategy=True).items()}
    for key in BY_NAME:
        names = [name.split(".")[1] for name in found if name.startswith(f"{key}.")]
        found[key] = ", ".join(dict.fromkeys(names)) or "none"
    if _ANCESTORS in run.identity["settings"]:
        found[_ANCESTORS] = run.identity["settings"][_ANCESTORS][:_SHOWN]
    return found


def _settings(run: RunRecord, *, of_strategy: bool) -> dict[str, Any]:
    """Settings of the strategy, or all others, with hashes of the files and code that they name."""
    settings = run.identity["settings"]
    digests = run.identity["files"].items()
    files = {f"{key} (content)": digest[:_SHOWN] for key, digest in digests}
    found = {
        key.removeprefix("options."): value
        for key, value in {**settings, **files}.items()
        if (key.partition(".")[0] == "options") is of_strategy
    }
    for name, digest in run.identity["code"].items():
        # Other user code makes data and stream.
        if (name not in (settings["dataset.name"], settings["scenario.name"])) is of_strategy:
            found[f"source of {name}"] = digest[:_SHOWN]
    return found


def tables(runs: Iterable[RunRecord]) -> list[tuple[Conditions, list[RunRecord]]]:
    """Divide finished runs into tables with shared conditions.

    Runs of equal seeds must have equal streams and weights. Where they differ, such as under
    another version of a library, each draw has its own table.
    """
    by_conditions: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        if run.finished:
            by_conditions[json.dumps(conditions_of(run), sort_keys=True)].append(run)
    found: list[tuple[Conditions, list[RunRecord]]] = []
    for members in by_conditions.values():
        conditions = conditions_of(members[0])
        by_draw: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
        for run in members:
            by_draw[run.identity["stream"], run.identity["backbone"]].append(run)
        draws = {(run.seeds, run.identity["stream"], run.identity["backbone"]) for run in members}
        if doubled(seeds for seeds, *_ in draws) is None:
            found.append((conditions, members))
            continue
        for (stream, backbone), part in by_draw.items():
            found.append(({**conditions, "stream": stream, "backbone": backbone}, part))
    return found


def notes_on(runs: Sequence[RunRecord]) -> list[str]:
    """Note runs by which a search chose settings, and differing libraries and devices."""
    notes = []
    searched = [run for run in runs if " --sampler" in str(run.summary.get("command"))]
    if 0 < len(searched) < len(runs):
        seeds = ", ".join(dict.fromkeys(run.seeds for run in searched))
        notes = [
            f"A search chose settings by the runs of seed {seeds}, so their scores are too high:"
            " leave them out."
        ]
    # A run may be resumed in another environment.
    made = [run.environment for run in runs]
    made += [{**one, **changed} for one in made for changed in one.get("resumed_with", ())]
    values = {key: sorted({str(one.get(key, "unknown")) for one in made}) for key in _ENVIRONMENT}
    differing = [f"{key} {', '.join(met)}" for key, met in values.items() if len(met) > 1]
    if differing:
        notes.append(f"Runs have different environments: {'; '.join(differing)}.")
    return notes
