"""Settings side by side: runs divided by the values of one setting, and which tables stand beside
each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.results.comparable import Conditions
from cl_prompts.experiments.results.sections import Section, differences, in_short, sections
from cl_prompts.experiments.run_folder.identity import with_implied
from cl_prompts.experiments.run_folder.runs import Run

_CHOICES = ("dataset", "scenario", "backbone")
#: what is measured of a section, and differs where one of its settings does
_FOLLOWING = {
    "dataset": {"data", "class_names", "n_classes", "n_tasks", "image_size", "stream"},
    "scenario": {"n_tasks", "stream"},
    "backbone": {"backbone_hash", "image_size"},
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
    """

    title: str
    against: str
    differs: tuple[str, ...]
    sections: Mapping[str, Section]


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
    by_value: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_value[_value(run, place)].append(run)
    found: dict[tuple[frozenset[tuple[str, str]], int], dict[str, Section]] = defaultdict(dict)
    for value, members in by_value.items():
        # Tables of one value may agree in all conditions and differ in streams alone: the n-th of
        # a value stands beside the n-th of the others.
        met: dict[frozenset[tuple[str, str]], int] = defaultdict(int)
        for section in sections(members):
            rest = frozenset(_rest(section.conditions, place).items())
            label = f"{key.rpartition('.')[2]}={value}"
            found[rest, met[rest]][label] = section
            met[rest] += 1
    groups: list[Group] = []
    for (rest, _), beside in found.items():
        words = tuple(differences(dict(rest), dict(next(iter(found))[0])))
        title = _recipes(beside)
        against = groups[0].title if words else ""
        groups.append(
            Group(f"{title}: {in_short(words)}" if words else title, against, words, beside)
        )
    return groups


def _recipes(beside: Mapping[str, Section]) -> str:
    names = (str(run.summary["recipe"]) for section in beside.values() for run in section.runs)
    return ", ".join(dict.fromkeys(names))


def _place(runs: Sequence[Run], key: str) -> str:
    """Full name of a setting."""
    if key in ("seed", "stream_seed", "strategy"):
        raise InputError(f"{key} is what a table compares or repeats: choose another setting")
    if key == "recipe":
        return key
    if key in _CHOICES:
        key = f"{key}.name"
    known = dict.fromkeys(name for run in runs for name, _ in flat(run.config))
    if key in known:
        return key
    named = [name for name in known if name.rpartition(".")[2] == key]
    if not named:
        raise unknown("setting of these runs", key, known)
    if len(named) > 1:
        raise InputError(f"{key} could mean {' or '.join(named)}: write one of these")
    return named[0]


def _value(run: Run, place: str) -> str:
    """Value of a setting as recipes write it; "unset" where a run has no such setting."""
    if place == "recipe":
        return str(run.summary["recipe"])
    values = with_implied(flat(run.config))
    if place not in values:
        return "unset"
    value = values[place]
    return label_of(value) if isinstance(value, str) else json.dumps(value)


def _rest(conditions: Conditions, place: str) -> dict[str, str]:
    """Conditions without a setting and what follows from it."""
    # Two recipes may differ in everything but the measure.
    if place == "recipe":
        return {"multi_label": conditions["multi_label"]}
    section, _, name = place.rpartition(".")
    dropped = _FOLLOWING.get(section, set()) | {place, name}
    return {
        key: value
        for key, value in conditions.items()
        # Another data set, scenario or backbone has settings of its own.
        if key not in dropped and not (name == "name" and key.startswith(f"{section}."))
    }
