"""Settings side by side: runs divided by the values of one setting, and which tables stand beside
each other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.results.comparable import Conditions, options_of
from cl_prompts.experiments.results.sections import (
    Section,
    differences,
    differing_options,
    in_short,
    sections,
    strategy_names,
    untaken,
)
from cl_prompts.experiments.run_folder.runs import Run

#: what is measured of a section, and differs where one of its settings does
_FOLLOWING = {"dataset": {"data", "stream"}, "scenario": {"stream"}, "backbone": {"backbone"}}


@dataclass(frozen=True)
class Group:
    """Tables side by side: alike in everything but one setting.

    Attributes:
        title: heading.
        against: title of the group that ``differs`` refers to.
        differs: what distinguishes it from that group, in words.
        sections: by the value of the setting, as ``key=value``; one under "" where no setting was
            asked for.
        varied: other settings of the strategy in which a row differs between sections, by its
            label; only rows that do.
    """

    title: str
    against: str
    differs: tuple[str, ...]
    sections: Mapping[str, Section]
    varied: Mapping[str, Sequence[str]] = field(default_factory=dict)


def side_by_side(runs: Sequence[Run], key: str | None = None) -> list[Group]:
    """Finished runs divided into tables, those that differ in ``key`` alone beside each other.

    Args:
        runs: finished ones.
        key: a setting, dotted (``scenario.blurry_percent``) or bare; "dataset", "scenario",
            "backbone" or "recipe"; None for no division.

    Raises:
        InputError: no run has that setting, or two settings have that name.
    """
    if key is None:
        return [Group(s.title, s.reference, s.differs, {"": s}) for s in sections(runs)]
    place = _place(runs, key)
    by_value: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_value[_value(run, place)].append(run)
    names = strategy_names(runs)
    beside: dict[tuple[str, int], dict[str, Section]] = defaultdict(dict)
    for value, members in by_value.items():
        met: dict[str, int] = defaultdict(int)
        for section in sections(members, names):
            rest = json.dumps(_rest(section.conditions, place), sort_keys=True)
            # Tables of one value may differ in streams alone: the n-th of a value stands beside the
            # n-th of the others.
            beside[rest, met[rest]][f"{key.rpartition('.')[2]}={_word(value, by_value)}"] = section
            met[rest] += 1
    groups: list[Group] = []
    for (rest, _), found in beside.items():
        words = tuple(differences(json.loads(rest), json.loads(next(iter(beside))[0])))
        title = _title(found, place) + (f": {in_short(words)}" if words else "")
        title = untaken(title, [group.title for group in groups])
        against = groups[0].title if words else ""
        groups.append(Group(title, against, words, found, _varied(found, place)))
    return groups


def _place(runs: Sequence[Run], key: str) -> str:
    """Full name of a setting."""
    if key in ("seed", "stream_seed", "strategy"):
        raise InputError(f"{key} is what a table compares or repeats: choose another setting")
    known = dict.fromkeys(name for run in runs for name in run.identity["settings"])
    if key == "recipe" or key in known:
        return key
    if f"{key}.name" in known:
        return f"{key}.name"
    named = [name for name in known if name.rpartition(".")[2] == key]
    if not named:
        raise unknown("setting of these runs", key, known)
    if len(named) > 1:
        raise InputError(f"{key} could mean {' or '.join(named)}: write one of these")
    return named[0]


def _value(run: Run, place: str) -> str:
    """Value of a setting as JSON; "" where a run has no such setting."""
    settings = {**run.identity["settings"], "recipe": run.summary["recipe"]}
    return json.dumps(settings[place]) if place in settings else ""


def _word(value: str, values: Mapping[str, Any]) -> str:
    """A value as recipes write it; names of one's own that end alike are written whole."""
    words = {text: label_of(json.loads(text)) if text[:1] == '"' else text for text in values}
    alike = list(words.values()).count(words[value]) > 1
    return (value if alike else words[value]) or "unset"


def _rest(conditions: Conditions, place: str) -> dict[str, str]:
    """Conditions without a setting and what follows from it."""
    # Two recipes may differ in everything but the measure.
    if place == "recipe":
        return {"multi_label": conditions["multi_label"]}
    section, _, name = place.rpartition(".")
    dropped = _FOLLOWING.get(section, set()) | {place}
    return {
        key: value
        for key, value in conditions.items()
        # Another data set, scenario or backbone has settings of its own.
        if key not in dropped and not (name == "name" and key.startswith(f"{section}."))
    }


def _title(beside: Mapping[str, Section], place: str) -> str:
    """The recipes; where these stand side by side, what tells each table from others of it, too."""
    if place == "recipe":
        return ", ".join(section.title for section in beside.values())
    runs = [run for section in beside.values() for run in section.runs]
    return ", ".join(dict.fromkeys(str(run.summary["recipe"]) for run in runs))


def _varied(beside: Mapping[str, Section], place: str) -> dict[str, list[str]]:
    """Settings but for one in which rows of one label differ; see :class:`Group`."""
    asked = place.removeprefix("options.")
    found = {}
    for label in dict.fromkeys(row for section in beside.values() for row in section.groups):
        groups = [section.groups[label] for section in beside.values() if label in section.groups]
        keys = differing_options([options_of(runs[0]) for runs in groups])
        found[label] = [key for key in keys if asked not in (key, key.rpartition(".")[0])]
    return {label: keys for label, keys in found.items() if keys}
