"""Recipes resolved into runs: every setting checked, every default filled in.

The sections ``dataset``, ``scenario`` and ``backbone`` hold arguments of the functions that make
these things, ``evaluation`` those of anytime evaluation, ``training`` those that all strategies
share, and ``strategies`` maps each strategy to its own. Their types and defaults are read from the
signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from cl_prompts.checks import is_one_name, shown, whole_number
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.recipes.overrides import TOP, override, running_strategies
from cl_prompts.experiments.recipes.recipe_files import (
    SECTIONS,
    Recipe,
    load_recipe,
    over,
    recipe_label,
)
from cl_prompts.experiments.recipes.signatures import section_parameters
from cl_prompts.experiments.recipes.validation import strategy_options, validated
from cl_prompts.experiments.recipes.values import (
    as_seed,
    as_seeds,
    by_name,
    in_one_line,
    plain,
    yaml_of,
    yaml_text,
)
from cl_prompts.own_code import Trust, check_trust

#: loader processes that one run may have
MOST_WORKERS = 256
#: settings outside of sections: the type of each, and what it should be
_KINDS: dict[str, tuple[Any, str]] = {
    "device": (str, "a name such as cpu"),
    "tracker": (str | None, "a name such as wandb"),
}
_KNOWN = (*SECTIONS, "training", "strategies", "run", *TOP)


@dataclass
class Settings:
    """One run, fully resolved.

    Attributes:
        recipe: name of the recipe.
        strategy: short or dotted name.
        seed: of the run.
        stream_seed: of the stream.
        device: "auto" or a device of torch.
        num_workers: loader processes; None: chosen by device and source of the images.
        checkpoint_every: stream samples between two checkpoints; None: so that they take at most
            2 % of the time.
        tracker: board beside TensorBoard, "wandb" or a dotted name; None for none.
        dataset, scenario, backbone: ``name`` and arguments of each.
        evaluation: arguments of anytime evaluation.
        options: arguments of the strategy.
        parent: of a run that learns on: the finished run that it goes on from, see
            :mod:`cl_prompts.experiments.runner.learning_on`; empty for a run of its own.
    """

    recipe: str
    strategy: str
    seed: int
    stream_seed: int
    device: str
    num_workers: int | None
    checkpoint_every: int | None = None
    tracker: str | None = None
    dataset: dict[str, Any] = field(default_factory=dict)
    scenario: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    parent: dict[str, Any] = field(default_factory=dict)

    def to_yaml(self) -> str:
        """Content of ``config.yaml``."""
        values = plain(asdict(self))
        # Left out at their defaults, as in the folders of versions that did not have them.
        for key in ("parent", "tracker"):
            if not values[key] or values[key] == "fail":
                del values[key]
        return yaml_text(values)

    def own_code(self) -> list[str]:
        """Dotted names of what the numbers are made with, also before settings are checked."""
        names = [self.strategy, *by_name("plugins", _entry(self.options, "plugins"))]
        names += [_entry(section, "name") for section in (self.dataset, self.scenario)]
        code = _entry(self.parent, "code")
        names += code if isinstance(code, list) else []
        return [str(name) for name in names if is_dotted(str(name))]

    def imported(self) -> list[str]:
        """All dotted names, that of a tracker among them."""
        return [*self.own_code(), *(name for name in [str(self.tracker)] if is_dotted(name))]

    @classmethod
    def from_yaml(cls, text: str, *, trust_code: Trust = False) -> Settings:
        """Inverse of :meth:`to_yaml`.

        Args:
            text: content of ``config.yaml``, maybe of somebody else.
            trust_code: dotted names in it that may be imported.

        Raises:
            InputError: the text is damaged, or names other code.
        """
        what = "these are not the settings of a run"
        try:
            values = yaml_of(text)
            if not isinstance(values, dict):
                raise TypeError("they map no settings to values")
            settings = cls(**values)
        except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{what}: {in_one_line(error)}") from error
        # Before anything of it is looked up, since a look-up of a dotted name imports it.
        check_trust(settings.imported(), trust_code)
        return settings.checked()

    @classmethod
    def of_folder(cls, text: str, *, trust_code: Trust = False) -> Settings:
        """Settings that a run folder or plan names, maybe of somebody else: nothing is fetched from
        the network for them.

        Args:
            text: content of ``config.yaml``.
            trust_code: dotted names in it that may be imported.

        Raises:
            InputError: as :meth:`from_yaml`, or weights that are not on this machine.
        """
        from cl_prompts.backbones.weights import check_at_hand  # loads PyTorch

        settings = cls.from_yaml(text, trust_code=trust_code)
        if settings.dataset.get("download"):
            settings.dataset["download"] = False
        name = settings.backbone["name"]
        if not isinstance(name, str):
            raise InputError(f"backbone.name is {shown(name)}: it should be a text")
        check_at_hand(name, settings.backbone["weights"])
        return settings

    def checked(self) -> Settings:
        """The same settings, if they could have come from a recipe.

        Raises:
            InputError: unknown or missing settings, or values of the wrong type.
        """
        for key in ("recipe", "strategy"):
            if not isinstance(getattr(self, key), str):
                raise InputError(f"{key} is {shown(getattr(self, key))}: it should be a text")
        if not is_one_name(self.recipe):
            raise InputError(f"recipe is {shown(self.recipe)}: it should be a name without folders")
        for key in (*SECTIONS, "options"):
            section = getattr(self, key)
            if not isinstance(section, dict) or not all(isinstance(name, str) for name in section):
                raise InputError(f"{key} is {shown(section)}: it should map names to values")
        sections: dict[str, Any] = {
            section: _resolved(section, getattr(self, section)) for section in SECTIONS
        }
        return Settings(
            recipe=self.recipe,
            strategy=self.strategy,
            seed=as_seed("seed", self.seed),
            stream_seed=as_seed("stream_seed", self.stream_seed),
            # As of a recipe that has this strategy alone, and says nothing of all.
            options=strategy_options(
                {"training": {}, "strategies": {self.strategy: self.options}}, self.strategy, ()
            ),
            parent=_parent(self.parent),
            **_around(vars(self)),
            **sections,
        )

    def section(self, name: str) -> tuple[str, dict[str, Any]]:
        """Name and arguments of ``dataset``, ``scenario`` or ``backbone``."""
        values = dict(getattr(self, name))
        return values.pop("name"), values


def plan(name: str, overrides: Sequence[str] = ()) -> list[Settings]:
    """All runs of a recipe: every strategy that runs, with every seed.

    >>> runs = plan("digits", ["strategy=er,ncm", "seed=1", "n_tasks=4"])
    >>> [(run.strategy, run.scenario["n_tasks"]) for run in runs]
    [('er', 4), ('ncm', 4)]

    Args:
        name: recipe of the package or a YAML file.
        overrides: ``key=value`` texts, see
            :func:`~cl_prompts.experiments.recipes.overrides.override`. ``strategy=`` chooses
            among all strategies; one without settings in the recipe has its defaults.
            ``seed=`` takes ranges such as ``1-5``.

    Raises:
        InputError: unknown recipe or key, or a value of the wrong type.
    """
    recipe = load_recipe(name)
    for key in recipe:
        if key not in _KNOWN:
            raise unknown(f"section of recipe {name}", str(key), _KNOWN)
    runs = runs_of(recipe, recipe_label(name), overrides)
    return runs


def runs_of(recipe: Recipe, name: str, overrides: Sequence[str] = ()) -> list[Settings]:
    """All runs of a recipe that was read; see :func:`plan`.

    Args:
        recipe: its sections.
        name: of the recipe.
        overrides: ``key=value`` texts.
    """
    recipe = over({"strategies": {}, "run": [], "training": {}, "evaluation": {}, **TOP}, recipe)
    override(recipe, overrides)
    strategies = running_strategies(recipe)
    if not strategies:
        raise InputError(f"recipe {name} names no strategy: add strategy=mvp")
    sections: dict[str, Any] = {
        section: _resolved(section, recipe.get(section) or {}) for section in SECTIONS
    }
    options = {name: strategy_options(recipe, name, strategies) for name in strategies}
    seeds = as_seeds("seed", recipe["seeds"])
    stream_seed = recipe["stream_seed"]
    around = _around(recipe)
    runs = [
        Settings(
            recipe=name,
            strategy=strategy,
            seed=seed,
            stream_seed=seed if stream_seed is None else as_seed("stream_seed", stream_seed),
            options=options[strategy],
            **around,
            **sections,
        )
        for strategy in strategies
        for seed in seeds
    ]
    # Runs share no mapping: a change to one would be one to all.
    return [deepcopy(run) for run in runs]


#: entries of ``parent``, and the type of each
_PARENT = {
    "run": str,
    "sha256": str,
    "first": list,
    "code": list,
    "settings": str,
}


def _parent(given: Any) -> dict[str, Any]:
    """The section ``parent``, checked."""
    known = {key: type(value) for key, value in given.items()} if isinstance(given, dict) else None
    if known not in ({}, _PARENT):
        raise InputError(f"parent is {shown(given)}: it should hold {', '.join(_PARENT)}")
    return dict(given)


def _entry(section: Any, key: str) -> Any:
    """Value under a key; None where there is none."""
    return section.get(key) if isinstance(section, Mapping) else None


def _resolved(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A section with its defaults; ``name`` first where it chooses among things."""
    if section == "evaluation":
        return validated(section, section_parameters(section), given)
    values = dict(given)
    name = values.pop("name", None)
    if name is None:
        raise InputError(f"the recipe's section {section!r} has no name: add {section}=NAME")
    accepted = section_parameters(section, str(name))
    return {"name": name, **validated(section, accepted, values)}


def _around(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings outside of sections, but for seeds, checked; whether there is such a tracker is seen
    when a run is built."""
    found = {key: values[key] for key in TOP if key not in ("seeds", "stream_seed")}
    for key, (kind, words) in _KINDS.items():
        if not isinstance(found[key], kind):
            raise InputError(f"{key} is {shown(found[key])}: it should be {words}")
    for key, bounds in (("num_workers", (0, MOST_WORKERS)), ("checkpoint_every", ())):
        if found[key] is not None:
            found[key] = whole_number(key, found[key], *bounds)
    return found
