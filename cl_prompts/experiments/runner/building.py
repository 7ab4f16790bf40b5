"""Build runs from settings: data, stream, backbone and strategy, checked before any training."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cl_prompts.backbones.devices import check_precision, cores, pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.checks import sha256
from cl_prompts.datasets import registry
from cl_prompts.datasets.bad_images import OnBadImage, Progress, check_images, handle_bad_images
from cl_prompts.datasets.catalog import folder_of
from cl_prompts.datasets.classes import labels_in, relabel
from cl_prompts.datasets.combined import JoinedDataSet, joined
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.label_noise import LabelNoise
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import Parent, RunConfig
from cl_prompts.experiments.run_folder.files import READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.folder import CHECKPOINT_FILE
from cl_prompts.experiments.run_folder.plans import settings_of
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.trained.card import make_strategy
from cl_prompts.scenarios import benchmark_from_split
from cl_prompts.scenarios.joined import joined_split
from cl_prompts.scenarios.registry import SCENARIOS, find_scenario
from cl_prompts.scenarios.split import BaseSplit, Split
from cl_prompts.seeds import seed_globals, seeded
from cl_prompts.strategies import strategy_class
from cl_prompts.strategies.base.prototype import PrototypeStrategy
from cl_prompts.strategies.base.state import buffer_within
from cl_prompts.strategies.evaluation.anytime import AnytimeEvaluation
from cl_prompts.strategies.evaluation.feature_sample import FeatureSample
from cl_prompts.user_code import extra, is_dotted

#: loader processes for a run on a GPU; a run on the CPU needs the cores itself
_LOADERS = 8


class Resources:
    """Backbones and image checks shared by the runs of a command.

    Args:
        progress: called with the number of image files opened so far, and of all.
        quick: do not open image files.
    """

    def __init__(self, progress: Progress | None = None, *, quick: bool = False) -> None:
        self._progress = progress
        self._quick = quick
        self._backbones: dict[str, FrozenViT] = {}
        self._bad: dict[str, dict[ImageFile, str]] = {}

    def backbone(self, settings: RunConfig, data: DataSet | None = None) -> FrozenViT:
        """Return the backbone of a run; runs with equal backbone settings share it.

        Args:
            settings: settings of the run.
            data: the data set, if it is loaded; it may define the normalisation.

        Raises:
            InputError: the backbone cannot be built.
        """
        known = _normalisation(settings, data)
        return self._backbone(settings, known or _normalisation(settings, self.data(settings)))

    def _backbone(self, settings: RunConfig, normalisation: object) -> FrozenViT:
        name, arguments = settings.section("backbone")
        arguments["normalisation"] = normalisation
        # Each seed draws its own random weights; all seeds share other weights.
        seed = settings.seed if arguments.get("weights") == "random" else 0
        key = json.dumps([name, arguments, seed])
        if key not in self._backbones:
            check_precision(arguments["precision"], pick_device(settings.device))
            self._backbones[key] = create_backbone(name, seed=settings.seed, **arguments)
        return self._backbones[key]

    def data(self, settings: RunConfig) -> DataSet:
        """Return the data set of a run, at the image size of its backbone.

        Global random generators do not change.

        Raises:
            InputError: the data set cannot be used.
        """
        with seeded(settings.seed):
            if settings.parent is None:
                return self._own_data(settings)
            # Images of the ancestors first: their rows must not change.
            before = self.data(parent_of(settings.parent))
            return joined(before, self._own_data(settings, before.classes))

    def _own_data(self, settings: RunConfig, known: Sequence[str] = ()) -> DataSet:
        name, arguments = settings.section("dataset")
        if not is_dotted(name):  # before weights are read, which takes seconds
            folder_of(name, arguments.get("root"), download=arguments.get("download", False))
        image_size = self._backbone(settings, _normalisation(settings) or "none").image_size
        # A user's function may return other files for each seed.
        key = json.dumps([name, arguments, settings.seed if is_dotted(name) else None])
        on_bad_image: OnBadImage = arguments.pop("on_bad_image")
        made: dict[str, Any] = {"image_size": image_size, "seed": settings.seed}
        if is_dotted(name):
            # The function checks images itself.
            if "on_bad_image" in registry.dataset_options(name):
                arguments["on_bad_image"] = on_bad_image
            data = registry.dataset_of_function(name, arguments, **made)
        else:
            made |= {"on_bad_image": "defer", "known": known}
            data = registry.load_dataset(name, **made, **arguments)
        if not (self._quick or on_bad_image == "defer" or not data.files):
            # Opening all files takes minutes: do it once for all runs that share them.
            if key not in self._bad:
                self._bad[key] = check_images(data, self._progress)
            data = handle_bad_images(data, self._bad[key], on_bad_image)
        noise = noise_of(settings)
        if noise is None:
            return data
        return replace(data, train=noise.apply(data.train, data.classes, settings.stream_seed))


def noise_of(settings: RunConfig) -> LabelNoise | None:
    """Return the label noise of a run; None for clean labels."""
    if not settings.label_noise:
        return None
    kind, arguments = settings.section("label_noise")
    return LabelNoise(kind, **arguments)


def build_run(settings: RunConfig, resources: Resources | None = None) -> Run:
    """Build a run from its settings.

    Args:
        settings: settings of the run.
        resources: backbones and image checks to share with other runs.

    Raises:
        InputError: a setting is out of range or does not fit the others.

    >>> from cl_prompts.experiments import plan
    >>> (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    >>> print(build_run(settings).data)
    digits: 10 classes, 1442 training and 355 test images
    """
    resources = resources or Resources()
    if settings.tracker is not None:
        extra("wandb", "wandb", "tracker=wandb")
    if settings.num_workers is None:
        on_gpu = pick_device(settings.device).type == "cuda"
        workers = max(1, min(_LOADERS, cores() - 1)) if on_gpu else 0
        settings = replace(settings, num_workers=workers)
    kind = strategy_class(settings.strategy)
    once = issubclass(kind, PrototypeStrategy) and not settings.options.get("augmented_views")
    data = resources.data(settings)
    backbone = resources.backbone(settings, data)
    split = split_of(settings, data)
    # Closed-form statistics need each image once, without augmentation.
    plain = kind.plain_images and not settings.options.get("augmented_views")
    train = data.train.plain() if plain else data.train
    benchmark = benchmark_from_split(train, data.test, split)
    anytime = _evaluation(settings, data, split)
    sample = FeatureSample() if once else None
    # A continual run starts at the size of its first ancestor and grows as they did.
    own = (len(data.classes), split.n_tasks)
    first = own if settings.parent is None else tuple(settings.parent.first)
    boundaries = settings.options.get("boundaries")
    announced = bool(split.boundaries if boundaries is None else boundaries)
    options = dict(settings.options)
    if train.is_plain:
        options["one_view"] = True  # so that frozen features are computed once
    made = partial(
        make_strategy,
        settings.strategy,
        backbone=backbone,
        n_classes=first[0],
        multi_label=data.multi_label,
        n_tasks=first[1] if announced else None,
        device=settings.device,
        seed=settings.seed,
        plugins=[anytime] if sample is None else [anytime, sample],
    )
    # Models, and user code, draw their initial parameters from the global generators.
    seed_globals(settings.seed)
    strategy = made(options=options)
    ours = (anytime, sample, strategy.budget)
    if settings.memory and (size := buffer_within(settings.memory, strategy, ours)):
        seed_globals(settings.seed)
        strategy = made(options={**options, "buffer_size": size})
    strategy.check_announced(announced=announced)
    return Run(settings, data, split, benchmark, strategy, anytime, sample, first, announced)


def parent_of(parent: Parent) -> RunConfig:
    """Return the settings of the run that another one continues.

    Raises:
        InputError: it is gone, or was changed.
    """
    folder = Path(parent.run)
    if not (folder / SUMS_FILE).is_file() or sha256(folder / SUMS_FILE) != parent.sha256:
        raise InputError(
            f"the parent of this run, {folder}, is missing or was changed: restore that folder"
        )
    check_sums(folder, [*READ, CHECKPOINT_FILE])
    return settings_of(folder, parent.code)


def check_plan(plan: Sequence[RunConfig], resources: Resources) -> tuple[Run, list[str]]:
    """Build one run of each group that differs only in seeds and class orders.

    Returns:
        The last built run, and the warnings of all.

    Raises:
        InputError: a run cannot be built.
    """
    found: dict[str, None] = {}
    different = {}
    for run in plan:
        drawn = isinstance(run.scenario.get("class_order"), int)
        scenario = {**run.scenario, "class_order": 1} if drawn else run.scenario
        alike = replace(run, seed=0, stream_seed=0, scenario=scenario)
        different[repr(alike)] = run
    for settings in different.values():
        built = build_run(settings, resources)
        noise = noise_of(settings)
        own = built.data.later if isinstance(built.data, JoinedDataSet) else built.data
        notes = [] if noise is None else [noise.says(own)]
        found.update(dict.fromkeys([*notes, *built.warnings()]))
    return built, list(found)


def split_of(settings: RunConfig, data: DataSet) -> BaseSplit:
    """Return the stream of a run: the training samples of each task, ancestors first.

    The function of the scenario receives the training labels and the settings of the section
    ``scenario``. It also receives ``stream_seed`` as ``seed`` and the domains of the training
    images as ``domains``, if it declares them.

    Raises:
        InputError: the scenario does not fit the data set.
    """
    name, arguments = settings.section("scenario")
    if isinstance(data, JoinedDataSet):
        assert settings.parent is not None
        first = split_of(parent_of(settings.parent), data.before)
        later = split_of(replace(settings, parent=None), data.later)
        columns = [data.columns[label] for label in labels_in(data.later.train.targets)]
        return joined_split(first, later, data.train.targets, columns)
    scenario = find_scenario(name)
    if scenario.multi_label != data.multi_label:
        fitting = [n for n, known in SCENARIOS.items() if known.multi_label == data.multi_label]
        has = "several classes per image" if data.multi_label else "one class per image"
        raise InputError(
            f"scenario {name!r} does not fit data set {data.name!r}, which has {has}: use"
            f" {' or '.join(fitting)}"
        )
    if "seed" in scenario.parameters:
        arguments["seed"] = settings.stream_seed
    targets = data.train.targets
    # Known classes of a continual run may have test images alone.
    _, labels = relabel(targets, labels_in(targets), len(data.classes))
    return scenario.make(labels, data.train.domains, **arguments)


def _evaluation(settings: RunConfig, data: DataSet, split: BaseSplit) -> AnytimeEvaluation:
    evaluation = dict(settings.evaluation)
    if strategy_class(settings.strategy).whole_stream:
        # There is no curve over samples: only the end is evaluated.
        evaluation["every"] = None
    home_classes = None
    # Only in blurry streams do classes have a home task and occur in others, too.
    if isinstance(split, Split) and any(split.blurry_classes):
        pairs = zip(split.disjoint_classes, split.blurry_classes, strict=True)
        home_classes = [[*disjoint, *blurry] for disjoint, blurry in pairs]
    return AnytimeEvaluation(
        data.test,
        n_classes=len(data.classes),
        home_classes=home_classes,
        num_workers=settings.num_workers or 0,
        **evaluation,
    )


def _normalisation(settings: RunConfig, data: DataSet | None = None) -> object:
    """Return means and deviations, or the name of a fixed pair.

    None if only the data set, which is a user's function and not loaded yet, defines them.
    """
    wanted = settings.backbone["normalisation"]
    if wanted != "dataset":
        return wanted
    known = registry.DATASETS.get(settings.dataset["name"]) or data
    return None if known is None else [list(known.mean), list(known.std)]
