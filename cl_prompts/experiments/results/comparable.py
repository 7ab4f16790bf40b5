"""Conditions under which runs share a table or a row.

A table holds finished runs of equal identity, see
:mod:`cl_prompts.experiments.run_folder.identity`, but for the code of the package. Strategy and
options divide its rows, and means are over seeds.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from cl_prompts.checks import doubled
from cl_prompts.errors import short
from cl_prompts.experiments.recipes.run_config import BUDGET
from cl_prompts.experiments.recipes.values import BY_NAME, written
from cl_prompts.experiments.run_folder.runs import RunRecord

Conditions = Mapping[str, Any]

#: the training of the ancestors divides rows, as options do
_ANCESTORS = "parent.settings"
#: what a table compares, and a setting that changes no other number
_COMPARED = (
    *("strategy", "seed", "stream_seed", "parent.sha256", _ANCESTORS),
    "evaluation.prequential",
)
#: entries of environment.json whose differences are noted below a table
_ENVIRONMENT = ("cl_prompts", "torch", "torchvision", "timm", "avalanche", "numpy", "device")
_SHOWN = 12  # digits of a hash
_MAX_LENGTH = 60  # of a value in words


def conditions_of(run: RunRecord) -> Conditions:
    """Return the conditions that runs of one table share.

    Returns:
        Values by setting, such as ``evaluation.every``, and by part of the identity.
        :func:`tables` compares what seeds draw.
    """
    identity = run.identity
    settings = _settings(run, of_strategy=False)
    found = {key: value for key, value in settings.items() if key not in _COMPARED}
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


def _settings(run: RunRecord, *, of_strategy: bool) -> dict[str, object]:
    """Settings of the strategy, or all others, with hashes of the files and code that they name."""
    settings = {
        "budget" if key == BUDGET else key: value for key, value in run.identity["settings"].items()
    }
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
    return [table for members in by_conditions.values() for table in _by_draw(members)]


def _by_draw(runs: list[RunRecord]) -> list[tuple[Conditions, list[RunRecord]]]:
    conditions = conditions_of(runs[0])
    draws: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for run in runs:
        draws[run.identity["stream"], run.identity["backbone"]].append(run)
    if doubled(seeds for part in draws.values() for seeds in {run.seeds for run in part}) is None:
        return [(conditions, runs)]
    return [
        ({**conditions, "stream": stream, "backbone": backbone}, part)
        for (stream, backbone), part in draws.items()
    ]


def differing(given: Sequence[Mapping[str, str]], named: Collection[str] = ()) -> list[list[str]]:
    """Write, for each mapping, the values in which mappings differ; long ones shortened.

    Args:
        given: values by name.
        named: values that are written even if all mappings have the same.

    >>> differing([{"lr": "1", "seed": "1"}, {"lr": "2", "seed": "1"}, {}])
    [['lr=1'], ['lr=2'], ['lr=unset']]
    """
    met: dict[str, set[str]] = defaultdict(set)
    for one in given:
        for key, value in one.items():
            met[key].add(value)
    keys = sorted(key for key, values in met.items() if len(values) > 1 or key in named)
    return [[f"{key}={short(one.get(key, 'unset'), _MAX_LENGTH)}" for key in keys] for one in given]


def environment_notes(runs: Sequence[RunRecord]) -> list[str]:
    """Return a sentence on differing libraries and devices."""
    made = [run.environment for run in runs]
    # A run may be resumed in another environment.
    made += [{**one, **changed} for one in made for changed in one.get("resumed_with", ())]
    shown = [{key: str(one.get(key, "unknown")) for key in _ENVIRONMENT} for one in made]
    words = sorted({word for words in differing(shown) for word in words})
    return [f"Runs have different environments: {', '.join(words)}."] if words else []
