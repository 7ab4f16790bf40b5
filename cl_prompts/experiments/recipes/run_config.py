"""Recipes resolved into runs, with every setting validated and every default filled in.

The sections ``dataset``, ``scenario`` and ``backbone`` hold arguments of functions, ``evaluation``
those of anytime evaluation, ``training`` the settings that strategies share. ``strategies`` maps
each strategy to its own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal, get_type_hints

import yaml
from annotated_types import Ge, Le

from cl_prompts.catalog import catalog
from cl_prompts.checks import Count, fits, is_one_name, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes import values
from cl_prompts.experiments.recipes.parameters import (
    needed_by,
    parameters,
    strategy_options,
    validated,
)
from cl_prompts.experiments.recipes.recipe_files import (
    SECTIONS,
    TOP,
    Recipe,
    load_recipe,
    override,
    recipe_label,
)
from cl_prompts.experiments.recipes.values import Arguments
from cl_prompts.user_code import Trust, check_trust, is_dotted, labels_of

SEEDS = ("seed", "stream_seed")
#: the option of a strategy that ``budget=`` sets; all rows of a table share it
BUDGET = "options.plugins.budget.passes"
_AROUND = ("device", "num_workers", "checkpoint_every", "tracker", "tuned_on", "memory")


@dataclass
class Parent:
    """Finished run that a continual run extends.

    Attributes:
        run: its folder.
        sha256: hash of its ``SHA256SUMS``.
        first: numbers of classes and tasks of the first ancestor, from which the model grows.
        code: dotted names in its settings.
        settings: hash of its training settings and those of its ancestors, without seeds and paths.
    """

    run: str
    sha256: str
    first: list[int]
    code: list[str]
    settings: str


@dataclass
class RunConfig:
    """Configuration of one run, fully resolved.

    Attributes:
        recipe: name of the recipe.
        strategy: short or dotted name.
        seed: of the run.
        stream_seed: of the stream.
        device: "auto" or a PyTorch device.
        num_workers: loader processes; None: chosen by device and source of the images.
        checkpoint_every: stream samples between checkpoints; None: as often as takes at most 2 % of
            the time.
        tracker: logger beside TensorBoard, or None.
        tuned_on: what a search for its settings scored, with trials and cost; None without one.
        memory: bytes that the strategy may store, which set ``buffer_size``; None: no limit.
        dataset, scenario, backbone: ``name`` and arguments of each.
        label_noise: the same for wrong training labels; empty without.
        evaluation: arguments of anytime evaluation.
        options: arguments of the strategy.
        parent: finished run that a continual run extends; None for another run.
    """

    recipe: str
    strategy: str
    seed: values.Seed
    stream_seed: values.Seed
    device: str
    num_workers: Annotated[int, Ge(0), Le(256)] | None
    checkpoint_every: Count | None = None
    tracker: Literal["wandb"] | None = None
    tuned_on: str | None = None
    memory: Count | None = None
    dataset: Arguments = field(default_factory=dict)
    scenario: Arguments = field(default_factory=dict)
    backbone: Arguments = field(default_factory=dict)
    label_noise: Arguments = field(default_factory=dict)
    evaluation: Arguments = field(default_factory=dict)
    options: Arguments = field(default_factory=dict)
    parent: Parent | None = None

    def to_yaml(self) -> str:
        """Return the content of ``config.yaml``."""
        return values.yaml_text(values.plain(asdict(self)))

    def user_code(self) -> list[str]:
        """Return the dotted names in the settings, which may be unchecked."""
        names: list[object] = [self.strategy, self.dataset.get("name"), self.scenario.get("name")]
        names += [*values.by_name("plugins", self.options.get("plugins"))]
        names += [] if self.parent is None else self.parent.code
        return [str(name) for name in names if is_dotted(str(name))]

    @classmethod
    def from_yaml(cls, text: str, *, trust_code: Trust = False) -> RunConfig:
        """Read ``config.yaml``.

        Args:
            text: its content, possibly of another user.
            trust_code: dotted names that may be imported.

        Raises:
            InputError: the text is damaged, or names other code.
        """
        from pydantic import TypeAdapter, ValidationError  # slow import

        try:
            settings = TypeAdapter(cls).validate_python(values.yaml_of(text))
        except (yaml.YAMLError, ValidationError) as error:
            raise InputError(f"this is not a run configuration: {error}") from error
        # Before any look-up, which imports dotted names.
        check_trust(settings.user_code(), trust_code)
        return settings.checked()

    def checked(self) -> RunConfig:
        """Return the same settings, validated as those of a recipe.

        Raises:
            InputError: unknown or missing settings, or values of the wrong type.
        """
        if not is_one_name(self.recipe):
            raise InputError(f"recipe is {shown(self.recipe)}: give a name without folders")
        kinds = get_type_hints(RunConfig, include_extras=True).items()
        found = {key: fits(key, getattr(self, key), kind) for key, kind in kinds}
        found |= {section: _resolved(section, found[section]) for section in SECTIONS}
        found["options"] = strategy_options(self.strategy, self.options)
        return RunConfig(**found)

    def section(self, name: str) -> tuple[str, Arguments]:
        """Return name and arguments of a section other than ``evaluation``."""
        arguments = dict(getattr(self, name))
        return arguments.pop("name"), arguments


def plan(name: str, overrides: Sequence[str] = ()) -> list[RunConfig]:
    """Resolve a recipe into runs: every strategy with every seed.

    >>> runs = plan("digits", ["strategy=er,ncm", "seed=1", "n_tasks=4"])
    >>> [(run.strategy, run.scenario["n_tasks"]) for run in runs]
    [('er', 4), ('ncm', 4)]

    Args:
        name: recipe of the package or a YAML file.
        overrides: ``key=value`` texts, see
            :func:`~cl_prompts.experiments.recipes.recipe_files.override`. ``strategy=`` chooses
            among all strategies, also those that the recipe does not name. ``seed=`` takes ranges
            such as ``1-5``. ``budget=0.5,1`` adds the plugin ``budget`` to each strategy, without
            the recipe's ``online_iter``.

    Raises:
        InputError: an unknown recipe or key, or a value of the wrong type.
    """
    return runs_of(load_recipe(name), recipe_label(name), overrides)


def runs_of(recipe: Recipe, name: str, overrides: Sequence[str] = ()) -> list[RunConfig]:
    """Resolve a loaded recipe into runs; see :func:`plan`.

    Args:
        recipe: its sections.
        name: of the recipe.
        overrides: ``key=value`` texts.
    """
    empty: Recipe = {"strategies": {}, "run": [], "training": {}, "evaluation": {}}
    # A copy, since settings are set in it.
    recipe = values.plain({**empty, **TOP, **recipe})
    override(recipe, overrides)
    strategies: list[str] = recipe["run"]
    if not strategies:
        raise InputError(f"recipe {name} names no strategy: add strategy=mvp")
    held = {key: recipe[key] for key in _AROUND}
    held["memory"] = values.as_bytes(held["memory"])
    held |= {section: recipe.get(section) or {} for section in SECTIONS}
    accepted_by = {name: parameters("strategy", name) for name in strategies}
    accepted = {key for own in accepted_by.values() for key in own}
    runs = []
    budgets, seeds = values.as_budgets(recipe["budget"]), values.as_seeds("seed", recipe["seeds"])
    for strategy, budget, seed in itertools.product(strategies, budgets, seeds):
        stream = seed if recipe["stream_seed"] is None else recipe["stream_seed"]
        options = _given(recipe, strategy, accepted)
        if budget is not None:
            plugins = values.by_name("plugins", options.get("plugins"))
            options["plugins"] = {**plugins, "budget": {"passes": budget}}
            # The budget replaces it; strategies may have another default.
            options |= {"online_iter": 1} if "online_iter" in accepted_by[strategy] else {}
        runs.append(RunConfig(name, strategy, seed, stream, **held, options=options).checked())
    return runs


def _given(recipe: Recipe, strategy: str, others: Collection[str]) -> Arguments:
    """Settings of a strategy in a recipe: shared ones, its own, those of its variant.

    Shared settings that only other strategies of the run can use are left out.
    """
    accepted = parameters("strategy", strategy)
    own = recipe["strategies"]
    base, at, _ = strategy.partition("@")
    if at and strategy not in own:
        raise unknown(f"variant of {base}", strategy, [k for k in own if k.startswith(f"{base}@")])
    # Prototypes, for example, have no head to train.
    left_out = {*catalog()["training"]} - {*accepted}
    found = {key: value for key, value in recipe["training"].items() if key not in left_out}
    # A plugin that no strategy of the run can use stays, and is refused with a reason.
    unusable = {*others} - {"", *accepted}
    plugins = found.pop("plugins", {}).items()
    used = {plugin: own for plugin, own in plugins if needed_by(plugin) not in unusable}
    found |= {"plugins": used} if plugins else {}
    for name in dict.fromkeys((base, strategy)):
        found = values.merged(found, own.get(name, {}))
    return found


def _resolved(section: str, given: Arguments) -> Arguments:
    """A section with its defaults, ``name`` first."""
    if section == "label_noise" and not given:
        return {}
    if section == "evaluation":
        return validated(section, parameters(section), given)
    arguments = dict(given)
    name = arguments.pop("name", None)
    if name is None:
        raise InputError(f"section {section!r} of the recipe has no name: add {section}=NAME")
    fits(f"{section}.name", name, str)
    return {"name": name, **validated(section, parameters(section, name), arguments)}


def labels_of_runs(runs: Sequence[RunConfig]) -> list[str]:
    """Label runs by strategy, the settings in which its runs differ, and seed.

    >>> runs = plan("digits", ["strategy=er,ncm", "seed=3"])
    >>> labels_of_runs([*runs, *plan("digits", ["strategy=er", "seed=3", "lr=0.1"])])
    ['er lr=0.005 seed 3', 'ncm seed 3', 'er lr=0.1 seed 3']
    """
    names = labels_of(run.strategy for run in runs)
    met: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        for key, value in held_settings(run).items():
            met[run.strategy, key].add(values.written(value))
    labels = []
    for run in runs:
        texts = [names[run.strategy]]
        for key, value in held_settings(run).items():
            if len(met[run.strategy, key]) > 1 and key not in SEEDS:
                name = "budget" if key == BUDGET else key
                name = name.removeprefix("options.").removesuffix(".name")
                texts.append(f"{name}={values.written(value)}")
        stream = "" if run.stream_seed == run.seed else f" (stream {run.stream_seed})"
        labels.append(" ".join([*texts, f"seed {run.seed}{stream}"]))
    return labels


def held_settings(run: RunConfig) -> Arguments:
    """Return a run's settings by dotted name, and the names of its plugins and prompt forms."""
    held = dict(values.flat(values.plain(asdict(run))))
    for key in values.BY_NAME:
        held[f"options.{key}"] = ",".join(run.options.get(key) or ()) or "none"
    return held
