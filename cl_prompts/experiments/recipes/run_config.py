"""Recipes resolved into runs: every setting checked, every default filled in.

The sections ``dataset``, ``scenario`` and ``backbone`` hold arguments of the functions that make
these things, ``evaluation`` those of anytime evaluation, ``training`` those that all strategies
share, and ``strategies`` maps each strategy to its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, get_type_hints

import yaml
from annotated_types import Ge, Le

from cl_prompts.checks import Count, fits, is_one_name, shown
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
    Seed,
    as_seeds,
    by_name,
    in_one_line,
    plain,
    yaml_of,
    yaml_text,
)
from cl_prompts.own_code import Trust, check_trust

_KNOWN = (*SECTIONS, "training", "strategies", "run", *TOP)
#: entries of ``parent``, and the type of each
_PARENT = {"run": str, "sha256": str, "first": list, "code": list, "settings": str}


@dataclass
class RunConfig:
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
        tracker: logger beside TensorBoard, "wandb" or a dotted name; None for none.
        dataset, scenario, backbone: ``name`` and arguments of each.
        evaluation: arguments of anytime evaluation.
        options: arguments of the strategy.
        parent: of a run that learns on: the finished run that it goes on from, see
            :mod:`cl_prompts.experiments.runner.lineage`; empty for a run of its own.
    """

    recipe: str
    strategy: str
    seed: Seed
    stream_seed: Seed
    device: str
    num_workers: Annotated[int, Ge(0), Le(256)] | None
    checkpoint_every: Count | None = None
    tracker: str | None = None
    dataset: dict[str, Any] = field(default_factory=dict)
    scenario: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    parent: dict[str, Any] = field(default_factory=dict)

    def to_yaml(self) -> str:
        """Content of ``config.yaml``."""
        return yaml_text(plain(asdict(self)))

    def own_code(self) -> list[str]:
        """Dotted names of what the numbers are made with, also before settings are checked."""
        names: list[Any] = [self.strategy, *by_name("plugins", self.options.get("plugins"))]
        names += [section.get("name") for section in (self.dataset, self.scenario)]
        names += self.parent.get("code", [])
        return [str(name) for name in names if is_dotted(str(name))]

    def imported(self) -> list[str]:
        """All dotted names, that of a tracker among them."""
        return [*self.own_code(), *(name for name in [str(self.tracker)] if is_dotted(name))]

    @classmethod
    def from_yaml(cls, text: str, *, trust_code: Trust = False) -> RunConfig:
        """Inverse of :meth:`to_yaml`.

        Args:
            text: content of ``config.yaml``, maybe of somebody else.
            trust_code: dotted names in it that may be imported.

        Raises:
            InputError: the text is damaged, or names other code.
        """
        try:
            settings = cls(**fits("the text", yaml_of(text), dict[str, Any]))
        except (yaml.YAMLError, TypeError, InputError) as error:
            raise InputError(
                f"these are not the settings of a run: {in_one_line(error)}"
            ) from error
        for key, kind in _kinds().items():
            fits(key, getattr(settings, key), kind)
        parent = settings.parent
        if {key: type(value) for key, value in parent.items()} not in ({}, _PARENT):
            raise InputError(f"parent is {shown(parent)}: it should hold {', '.join(_PARENT)}")
        # Before anything of it is looked up, since a look-up of a dotted name imports it.
        check_trust(settings.imported(), trust_code)
        return settings.checked()

    @classmethod
    def of_folder(cls, text: str, *, trust_code: Trust = False) -> RunConfig:
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
        name = fits("backbone.name", settings.backbone["name"], str)
        check_at_hand(name, settings.backbone["weights"])
        return settings

    def checked(self) -> RunConfig:
        """The same settings, if they could have come from a recipe.

        Raises:
            InputError: unknown or missing settings, or values of the wrong type.
        """
        if not is_one_name(self.recipe):
            raise InputError(f"recipe is {shown(self.recipe)}: it should be a name without folders")
        # As of a recipe that has this strategy alone, and says nothing of all.
        alone = {"training": {}, "strategies": {self.strategy: self.options}}
        found = {section: _resolved(section, getattr(self, section)) for section in SECTIONS}
        found["options"] = strategy_options(alone, self.strategy, ())
        return RunConfig(**{**vars(self), **found})

    def section(self, name: str) -> tuple[str, dict[str, Any]]:
        """Name and arguments of ``dataset``, ``scenario`` or ``backbone``."""
        values = dict(getattr(self, name))
        return values.pop("name"), values


@cache
def _kinds() -> dict[str, Any]:
    """The type of each field of :class:`RunConfig`."""
    return get_type_hints(RunConfig, include_extras=True)


def plan(name: str, overrides: Sequence[str] = ()) -> list[RunConfig]:
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
    return runs_of(recipe, recipe_label(name), overrides)


def runs_of(recipe: Recipe, name: str, overrides: Sequence[str] = ()) -> list[RunConfig]:
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
    around = {"device", "num_workers", "checkpoint_every", "tracker"}
    found = {key: fits(key, recipe[key], _kinds()[key]) for key in around}
    found |= {section: _resolved(section, recipe.get(section) or {}) for section in SECTIONS}
    stream_seed = fits("stream_seed", recipe["stream_seed"], Seed | None)
    options = {strategy: strategy_options(recipe, strategy, strategies) for strategy in strategies}
    runs = []
    for strategy in strategies:
        for seed in as_seeds("seed", recipe["seeds"]):
            seeds: dict[str, Any] = {
                "seed": seed,
                "stream_seed": seed if stream_seed is None else stream_seed,
            }
            run = RunConfig(name, strategy, options=options[strategy], **seeds, **found)
            # Runs share no mapping: a change to one would be one to all.
            runs.append(deepcopy(run))
    return runs


def _resolved(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A section with its defaults; ``name`` first where it chooses among things."""
    if section == "evaluation":
        return validated(section, section_parameters(section), given)
    values = dict(given)
    name = values.pop("name", None)
    if name is None:
        raise InputError(f"the recipe's section {section!r} has no name: add {section}=NAME")
    return {"name": name, **validated(section, section_parameters(section, str(name)), values)}
