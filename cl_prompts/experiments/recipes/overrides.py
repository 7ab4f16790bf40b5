"""Settings from the command line: ``key=value`` texts, each put where its key belongs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cl_prompts.catalog import catalog
from cl_prompts.checks import shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.recipe_files import NAMED, SECTIONS, Recipe, kept, running
from cl_prompts.experiments.recipes.signatures import (
    common_parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.recipes.validation import NESTED
from cl_prompts.experiments.recipes.values import BY_NAME, as_list, by_name, parsed
from cl_prompts.strategies import PLUGINS, STRATEGIES, canonical_name
from cl_prompts.strategies.base.settings import RENAMED, unknown_setting

#: usual names of settings that are called otherwise here
_MEANT = {
    "batch_size": "train_mb_size, for training, or evaluation.batch_size",
    "epochs": "train_epochs",
    "learning_rate": "lr",
    "mem_size": "buffer_size",
    "memory_size": "buffer_size",
}
#: top-level keys with their defaults
TOP: dict[str, Any] = {
    "seeds": [1],
    "stream_seed": None,
    "device": "auto",
    "num_workers": None,
    "checkpoint_every": None,
    "tracker": None,
    "keep_images": False,
    "on_missing": "fail",
}
_RUN = ("strategy", "strategies", "run")


def override(recipe: Recipe, texts: Sequence[str]) -> None:
    """Change a recipe in place.

    Args:
        recipe: with all its sections.
        texts: ``key=value``. A key is dotted (``scenario.n_tasks``, ``mvp.lr``,
            ``mvp.head.input``, ``mvp.self_regulation.kind`` of a plugin), or bare where only one
            section has it. Settings that all strategies share are set for each of them.
            ``dataset=``, ``scenario=`` and ``backbone=`` set the name; ``strategy=`` and ``seed=``
            take lists, ``seed=`` also ranges such as ``1-5``. Of a key given twice the last counts.

    Raises:
        InputError: a key or name that does not exist, or one that could mean two settings.
    """
    pairs = [_pair(text) for text in texts]
    # First the choices that decide which keys exist.
    for key, value in pairs:
        if key in _RUN:
            recipe["run"] = running(key, value)
        elif key in ("seed", "seeds"):
            recipe["seeds"] = as_list(value)
        elif key in TOP:
            recipe[key] = value
        elif key.removesuffix(".name") in NAMED:
            _choose(recipe, key.removesuffix(".name"), value)
    keys = _Keys.of(recipe)
    found = [(*keys.find(key), value) for key, value in pairs if not _is_choice(key)]
    # What is set for one strategy stands over what is set for all, a part over the whole.
    found.sort(key=lambda entry: (entry[0] in keys.strategies, len(entry[1])))
    for place, path, value in found:
        _set(recipe, place, path, value)


def _is_choice(key: str) -> bool:
    """Whether a key decides which other keys exist, or belongs to no section."""
    return key in (*_RUN, "seed", "seeds", *TOP) or key.removesuffix(".name") in NAMED


def running_strategies(recipe: Recipe) -> list[str]:
    """Names of the strategies that a recipe runs."""
    run: list[str] = recipe["run"]
    return list(recipe["strategies"]) if run == ["all"] else run


def _pair(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        hint = f": write strategy={text}" if text in STRATEGIES else ""
        raise InputError(f"{shown(text)} is not of the form key=value{hint}")
    return key.strip(), parsed(value)


def _choose(recipe: Recipe, section: str, name: Any) -> None:
    if not isinstance(name, str):
        raise InputError(f"{section} is {shown(name)}: it should be a name")
    recipe[section] = {**kept(section, recipe.get(section) or {}, name), "name": name}


def _set(recipe: Recipe, place: str, path: Sequence[str], value: Any) -> None:
    # A running strategy without settings in the recipe gets its first one here.
    if place not in recipe["strategies"] and place in running_strategies(recipe):
        recipe["strategies"][place] = {}
    settings = recipe["strategies"].get(place)
    _put(recipe.setdefault(place, {}) if settings is None else settings, path, value)
    # Said last, and of all strategies: it replaces what the recipe says of one.
    if place == "training":
        for settings in recipe["strategies"].values():
            _drop(settings, path)


def _put(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a setting, or one within it."""
    first, *rest = path
    if rest:
        inner = settings.get(first)
        inner = by_name(first, inner) if first in BY_NAME or inner is None else inner
        if not isinstance(inner, dict):
            raise InputError(f"{first} is {shown(inner)}: it has no {rest[0]}")
        # A copy: the recipe that is laid below may be shared.
        settings[first] = dict(inner)
        _put(settings[first], rest, value)
    else:
        settings[first] = by_name(first, value) if first in BY_NAME else value


def _drop(settings: dict[str, Any], path: Sequence[str]) -> None:
    """Remove a setting, or one within it, where it is there."""
    first, *rest = path
    if not rest:
        settings.pop(first, None)
    elif isinstance(settings.get(first), dict):
        settings[first] = dict(settings[first])
        _drop(settings[first], rest)


@dataclass(frozen=True)
class _Keys:
    """Keys that a recipe accepts.

    Attributes:
        scenario: name of its scenario, "" for none.
        sections: keys of each section.
        training: keys that all strategies share, of use to one that runs.
        strategies: keys of each strategy that runs.
    """

    scenario: str
    sections: dict[str, set[str]]
    training: set[str]
    strategies: dict[str, set[str]]

    @classmethod
    def of(cls, recipe: Recipe) -> _Keys:
        strategies = {name: set(strategy_parameters(name)) for name in running_strategies(recipe)}
        # A shared setting that no strategy of this run has would change nothing, so it is unknown.
        used: set[str] = set().union(*strategies.values())
        names = {section: str((recipe.get(section) or {}).get("name", "")) for section in SECTIONS}
        return cls(
            names["scenario"],
            {section: set(_section_keys(section, name)) for section, name in names.items()},
            set(common_parameters()) & used,
            strategies,
        )

    def find(self, key: str) -> tuple[str, list[str]]:
        """Section or strategy that a key belongs to, and the path of the setting in it."""
        dots = [i for i, character in enumerate(key) if character == "."]
        # The longest name first, since a module of one's own has dots in its name.
        for dot in reversed(dots):
            head = key[:dot]
            place = self._named(head)
            if place is not None:
                rest = key[dot + 1 :]
                # "ewc" is a plugin, and also another name of EWC++, which has it.
                mine = head not in PLUGINS or rest.partition(".")[0] in self.strategies[place]
                return place, self._path(place, rest if mine else key)
        first = key.partition(".")[0]
        if _is_plugin(key):
            for name, keys in self.strategies.items():
                if first in keys:
                    either = f"{label_of(name)}.{key} or plugins.{key}"
                    raise InputError(f"key {key!r} could mean {either}: write one of them")
            return "training", self._path("training", key)
        if dots and first not in NESTED:
            raise self._no_section(key)
        place = self.bare(first)
        return place, self._path(place, key)

    def _groups(self) -> dict[str, set[str]]:
        return {**self.sections, "training": self.training, **self.strategies}

    def _path(self, place: str, key: str) -> list[str]:
        """Path of a setting in a section or strategy."""
        known = self._groups()[place]
        settable = place == "training" or place in self.strategies
        # A strategy of one's own may have a setting that is called as a plugin is.
        own = key.partition(".")[0] in known and not key.startswith("plugins.")
        key = key.removeprefix("plugins.")
        if settable and _is_plugin(key) and not own:
            # Dots in front of a colon are those of a module.
            module, colon, rest = key.rpartition(":")
            name, _, leaf = rest.partition(".")
            return ["plugins", f"{module}{colon}{name}", *([leaf] if leaf else [])]
        first, dot, rest = key.partition(".")
        if first not in known or (dot and first not in NESTED):
            name = first if first in RENAMED else key
            raise unknown_setting(label_of(place), name, known, "key")
        return key.split(".")

    def _named(self, head: str) -> str | None:
        """Section or running strategy of a name, a short label or an alias; None of neither."""
        if head in self._groups():
            return head
        labelled = [name for name in self.strategies if label_of(name) == head]
        if len(labelled) > 1:
            raise InputError(
                f"{head!r} could mean {' or '.join(labelled)}: write one of them in full"
            )
        if labelled:
            return labelled[0]
        try:
            name = canonical_name(head)
        except InputError:
            return None
        return name if name in self.strategies else None

    def _no_section(self, key: str) -> InputError:
        """The error for a key whose section does not exist, or does not run."""
        dots = [i for i, character in enumerate(key) if character == "."]
        # The longest beginning first, since the name of a module holds dots as well.
        for dot in reversed(dots):
            try:
                canonical_name(key[:dot])
            except InputError:
                continue
            return InputError(
                f"{key} is of a strategy that does not run: add strategy={key[:dot]}, or leave it"
                " out"
            )
        known = [*self.sections, "training", *map(label_of, self.strategies)]
        return unknown("section", key[: dots[-1]], known)

    def bare(self, key: str) -> str:
        """Section or strategy that the key belongs to."""
        if key in _MEANT and key not in self.training:
            raise InputError(f"key {key!r} is not clear: write {_MEANT[key]}")
        matches = [section for section, keys in self.sections.items() if key in keys]
        if key in self.training:
            matches.append("training")
        # A strategy accepts what all share, too: only keys of its own count.
        matches = matches or [name for name, keys in self.strategies.items() if key in keys]
        # Variants take what is said of their strategy.
        matches = [m for m in matches if "@" not in m or m.partition("@")[0] not in matches]
        if len(matches) > 1:
            choices = " or ".join(f"{label_of(match)}.{key}" for match in matches)
            raise InputError(f"key {key!r} could mean {choices}: write one of them")
        if not matches and key in RENAMED:
            raise InputError(f"there is no {key} any more: it is {RENAMED[key]}")
        if not matches:
            raise self._elsewhere(key) or unknown("key", key, self._everything())
        return matches[0]

    def _elsewhere(self, key: str) -> InputError | None:
        """The error for a key of another scenario or strategy; None for an unknown one."""
        scenarios = catalog()["scenarios"]
        owners = [name for name in scenarios if key in section_parameters("scenario", name)]
        where = f"scenario {self.scenario!r}"
        if not owners:
            owners = [name for name in STRATEGIES if key in strategy_parameters(name)]
            where = ", ".join(map(label_of, self.strategies))
        if not owners:
            return None
        return InputError(f"unknown key {key!r} of {where}: it belongs to {', '.join(owners)}")

    def _everything(self) -> Iterator[str]:
        yield from (*TOP, "seed", "strategy", *NAMED)
        for keys in (*self.sections.values(), self.training, *self.strategies.values()):
            yield from keys


def _section_keys(section: str, name: str) -> Sequence[str]:
    """Keys of a section; none of a scenario or data set without a name."""
    if section in ("scenario", "dataset") and not name:
        return ()
    return list(section_parameters(section, name))


def _is_plugin(key: str) -> bool:
    """Whether a key is of a plugin, by its short or dotted name."""
    return key.partition(".")[0] in PLUGINS or ":" in key
