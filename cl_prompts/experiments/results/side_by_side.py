"""Settings side by side: runs divided by the values of one setting, and which tables stand beside
each other.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.values import BY_NAME, flat
from cl_prompts.experiments.results.comparable import Conditions, options_of
from cl_prompts.experiments.results.sections import (
    Section,
    differences,
    in_short,
    sections,
    strategy_names,
    untaken,
)
from cl_prompts.experiments.run_folder.runs import Run

_CHOICES = ("dataset", "scenario", "backbone")
#: what is measured of a section, and differs where one of its settings does
_FOLLOWING = {
    "dataset": {"data", "stream"},
    "scenario": {"stream"},
    "backbone": {"backbone"},
}


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
    """Runs divided into tables, those that differ in ``key`` alone beside each other.

    Args:
        runs: of any kind; those that are not finished do not count.
        key: a setting, dotted (``scenario.blurry_percent``) or bare; "dataset", "scenario",
            "backbone" or "recipe"; None for no division.

    Raises:
        InputError: no run has that setting, or two settings have that name.
    """
    if key is None:
        return [Group(s.title, s.reference, s.differs, {"": s}) for s in sections(runs)]
    place = _place(runs, key)
    names = strategy_names(runs)
    by_value: dict[str, list[Run]] = defaultdict(list)
    for run, value in zip(runs, _values(runs, place), strict=True):
        by_value[value].append(run)
    found: dict[tuple[frozenset[tuple[str, str]], int], dict[str, Section]] = defaultdict(dict)
    for value, members in by_value.items():
        # Tables of one value may agree in all conditions and differ in streams alone: the n-th of
        # a value stands beside the n-th of the others.
        met: dict[frozenset[tuple[str, str]], int] = defaultdict(int)
        for section in sections(members, names):
            rest = frozenset(_rest(section.conditions, place).items())
            label = f"{key.rpartition('.')[2]}={value}"
            found[rest, met[rest]][label] = section
            met[rest] += 1
    groups: list[Group] = []
    for (rest, _), beside in found.items():
        words = tuple(differences(dict(rest), dict(next(iter(found))[0])))
        title = _title(beside, place)
        title = untaken(
            f"{title}: {in_short(words)}" if words else title, [group.title for group in groups]
        )
        against = groups[0].title if words else ""
        groups.append(Group(title, against, words, beside, _varied(beside, place)))
    return groups


def _title(beside: Mapping[str, Section], place: str) -> str:
    """The recipes; where these stand side by side, what tells each table from others of it, too."""
    if place == "recipe":
        return ", ".join(section.title for section in beside.values())
    names = (str(run.summary["recipe"]) for section in beside.values() for run in section.runs)
    return ", ".join(dict.fromkeys(names))


def _varied(beside: Mapping[str, Section], place: str) -> dict[str, list[str]]:
    """Settings but for one in which rows of one label differ; see :class:`Group`."""
    asked = f"{place.removeprefix('options.')}."
    found = {}
    for label in dict.fromkeys(row for section in beside.values() for row in section.groups):
        groups = [section.groups.get(label) for section in beside.values()]
        options = [options_of(runs[0]) for runs in groups if runs]
        differing = [
            key
            for key in sorted(set().union(*options))
            if len(set(map(methodcaller("get", key), options))) > 1
            and not f"{key.removeprefix('content of ')}.".startswith(asked)
        ]
        if differing:
            found[label] = differing
    return found


def _place(runs: Sequence[Run], key: str) -> str:
    """Full name of a setting."""
    if key in ("seed", "stream_seed", "strategy"):
        raise InputError(f"{key} is what a table compares or repeats: choose another setting")
    if key == "recipe":
        return key
    if key in _CHOICES:
        key = f"{key}.name"
    known = dict.fromkeys(name for run in runs for name in _settings(run))
    if key in known:
        return key
    named = [name for name in known if name.rpartition(".")[2] == key]
    if not named:
        raise unknown("setting of these runs", key, known)
    if len(named) > 1:
        raise InputError(f"{key} could mean {' or '.join(named)}: write one of these")
    return named[0]


def _settings(run: Run) -> dict[str, Any]:
    """Settings by dotted name, and the names of plugins and forms of prompts."""
    options = run.config.get("options") or {}
    named = {
        f"options.{key}": ", ".join(options[key]) or "none"
        for key in BY_NAME
        if isinstance(options.get(key), Mapping)
    }
    return {**dict(flat(run.config)), **named}


def _values(runs: Sequence[Run], place: str) -> list[str]:
    """Value of a setting in each run as recipes write it; "unset" where a run has no such setting.

    Values that differ have texts that differ: names of one's own that end alike are written whole.
    """
    texts = []
    for run in runs:
        values = {**_settings(run), "recipe": str(run.summary["recipe"])}
        texts.append(json.dumps(values[place]) if place in values else "")
    words = {text: _word(text) for text in texts}
    alike = Counter(words.values())
    return [words[text] if alike[words[text]] == 1 else text or "unset" for text in texts]


def _word(text: str) -> str:
    value = json.loads(text) if text else "unset"
    return label_of(value) if isinstance(value, str) else text


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
