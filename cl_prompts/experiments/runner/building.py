"""Runs built from settings: data, stream, backbone and strategy, checked before any training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from cl_prompts.backbones.devices import check_precision, pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.bad_images import OnBadImage, Progress, check_images, handle_bad_images
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.fingerprint import all_seeded
from cl_prompts.datasets.joined import joined
from cl_prompts.datasets.registry import (
    DATASETS,
    DataSet,
    dataset_of_function,
    dataset_options,
    load_dataset,
)
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.parameters import filled_parameters
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.runner.lineage import first_size, parent_of
from cl_prompts.experiments.runner.parts import Parts
from cl_prompts.experiments.runner.process import loader_processes
from cl_prompts.experiments.runner.remarks import remarks
from cl_prompts.experiments.runner.streams import home_classes_of, split_of
from cl_prompts.experiments.tracking.loggers import board_class
from cl_prompts.scenarios import benchmark_from_split
from cl_prompts.strategies import STRATEGIES, make_plugins, strategy_class
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation
from cl_prompts.training.seeds import seed_globals
from cl_prompts.user_code import is_dotted


class StreamInfo(NamedTuple):
    """Facts on data and stream on which a strategy's construction depends."""

    n_classes: int
    multi_label: bool
    n_tasks: int
    boundaries: bool


class Builder:
    """Builder of runs.

    Runs with equal settings of the backbone share it; the files of a data set are checked once.

    Args:
        progress: called with the number of image files opened so far, and of all.
        quick: open no image file.

    Attributes:
        ready: parts of a run that was checked and is executed next; a run is built once.

    >>> from cl_prompts.experiments.recipes.run_config import plan
    >>> (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    >>> print(Builder().build(settings).data)
    digits: 10 classes, 1442 training and 355 test images
    """

    def __init__(self, progress: Progress | None = None, *, quick: bool = False) -> None:
        self.ready: Parts | None = None
        self._progress = progress
        self._quick = quick
        self._backbones: dict[str, FrozenViT] = {}
        self._bad: dict[str, dict[str, str]] = {}

    def build(self, settings: RunConfig) -> Parts:
        """All parts of a run; raises ``InputError`` for a setting that is out of range or does not
        fit the others."""
        if settings.tracker is not None:
            board_class(settings.tracker)
        workers = settings.num_workers
        if workers is None:
            workers = loader_processes(pick_device(settings.device))
            settings = replace(settings, num_workers=workers)
        # Models draw their first parameters from torch's global generator, and code from outside
        # whatever it likes.
        seed_globals(settings.seed)
        data = self._data(settings)
        backbone = self.backbone(settings, data)
        split = split_of(settings, data)
        kind = strategy_class(settings.strategy)
        # Statistics are taken of images as tests show them, unless every view is to count.
        plain = kind.plain_images and not settings.options.get("augmented_views")
        train = data.train.plain() if plain else data.train
        benchmark = benchmark_from_split(train, data.test, split)
        anytime = _evaluation(settings, data, split)
        anytime.evaluator.num_workers = workers
        # A run that learns on is made in the size of its first ancestor, and grows as they did.
        n_classes, n_tasks = first_size(settings, len(data.classes), split.n_tasks)
        info = StreamInfo(n_classes, data.multi_label, n_tasks, split.boundaries)
        options = options_on(train, settings)
        strategy = make_strategy(settings, backbone, info, options, plugins=[anytime])
        strategy.check_announced(announced=boundaries_announced(settings, split))
        return Parts(settings, data, split, benchmark, strategy, anytime)

    def take_ready(self) -> Parts | None:
        """Parts that are ready, which train only once."""
        ready, self.ready = self.ready, None
        return ready

    def check(self, plan: Sequence[RunConfig]) -> tuple[Parts, list[str]]:
        """Build one of the runs that differ in nothing but seeds; return the parts of the last one,
        and remarks on all. Raises ``InputError`` if a run cannot be built."""
        found: dict[str, None] = {}
        different = {repr(replace(run, seed=0, stream_seed=0)): run for run in plan}
        for settings in different.values():
            parts = self.build(settings)
            announced = boundaries_announced(settings, parts.split)
            found.update(dict.fromkeys(remarks(parts, announced=announced)))
        return parts, list(found)

    def backbone(self, settings: RunConfig, data: DataSet | None = None) -> FrozenViT:
        """The backbone of a run, whose data are loaded where they alone say how images are
        normalised. Raises ``InputError`` if it cannot be built."""
        normalisation = _normalisation(settings, data)
        if normalisation is None:
            normalisation = _normalisation(settings, self.data(settings))
        return self._backbone(settings, normalisation)

    def data(self, settings: RunConfig) -> DataSet:
        """The data set of a run, at the image size of its backbone, as the run itself makes it;
        global generators stay as they are. Raises ``InputError`` if it cannot be used."""
        with all_seeded(settings.seed):
            return self._data(settings)

    def _data(self, settings: RunConfig) -> DataSet:
        if settings.parent:
            # Images of the ancestors first, so that their rows stay what they were.
            return joined(self._data(parent_of(settings)), self._own_data(settings))
        return self._own_data(settings)

    def _own_data(self, settings: RunConfig) -> DataSet:
        image_size = self._backbone(settings, _normalisation(settings) or "none").image_size
        name, arguments = settings.section("dataset")
        # A function of one's own may have other files for each seed.
        key = json.dumps([name, arguments, settings.seed if is_dotted(name) else None])
        on_bad_image: OnBadImage = arguments.pop("on_bad_image")
        made: dict[str, Any] = {"image_size": image_size, "seed": settings.seed}
        if is_dotted(name):
            if "on_bad_image" in dataset_options(name):  # it looks at images itself, too
                arguments["on_bad_image"] = on_bad_image
            data = dataset_of_function(name, arguments, **made)
        else:
            data = load_dataset(name, on_bad_image="defer", **made, **arguments)
        # Opening all files takes minutes: once for all runs that share them.
        if self._quick or on_bad_image == "defer" or not data.files:
            return data
        if key not in self._bad:
            self._bad[key] = check_images(data, self._progress)
        return handle_bad_images(data, self._bad[key], on_bad_image)

    def _backbone(self, settings: RunConfig, normalisation: Any) -> FrozenViT:
        name, arguments = settings.section("backbone")
        arguments["normalisation"] = normalisation
        # Random weights are each seed's own; all others are shared by runs of all seeds.
        seed = settings.seed if arguments.get("weights") == "random" else 0
        key = json.dumps([name, arguments, seed])
        if key not in self._backbones:
            check_precision(arguments["precision"], pick_device(settings.device))
            self._backbones[key] = create_backbone(name, seed=settings.seed, **arguments)
        return self._backbones[key]


def _evaluation(settings: RunConfig, data: DataSet, split: Any) -> AnytimeEvaluation:
    evaluation = dict(settings.evaluation)
    if strategy_class(settings.strategy).whole_stream:
        # All data come at once, so there is no curve over samples: only the end is measured.
        evaluation["every"] = None
    return AnytimeEvaluation(
        data.test,
        n_classes=len(data.classes),
        home_classes=home_classes_of(split),
        **evaluation,
    )


def _normalisation(settings: RunConfig, data: DataSet | None = None) -> Any:
    """Mean and standard deviation, or the word in the settings that stands for them; None where a
    data set of one's own has them, which says so only once it is made."""
    wanted = settings.backbone["normalisation"]
    if wanted != "dataset":
        return wanted
    known = DATASETS.get(settings.dataset["name"]) or data
    return None if known is None else [list(known.mean), list(known.std)]


def options_on(train: ImageSet, settings: RunConfig) -> dict[str, Any]:
    """Options of a run's strategy on training images: without augmentation a sample has one view,
    and what is frozen is computed once."""
    options = dict(settings.options)
    if train.is_plain and options.get("views") is None:
        options["views"] = 1
    return options


def make_strategy(
    settings: RunConfig,
    backbone: FrozenViT,
    info: StreamInfo,
    options: Mapping[str, Any],
    plugins: Sequence[Any] = (),
) -> OnlineStrategy:
    """The strategy of a run, before any training.

    Args:
        options: of the strategy, in the place of those in ``settings``.

    Raises:
        InputError: a setting is out of range, or the method does not fit the data.
    """
    options = dict(options)
    return strategy_class(settings.strategy)(
        backbone=backbone,
        n_classes=info.n_classes,
        device=settings.device,
        evaluator=None,
        plugins=[*plugins, *make_plugins(options.pop("plugins"))],
        seed=settings.seed,
        **_data_arguments(settings, info),
        **options,
    )


def _data_arguments(settings: RunConfig, info: StreamInfo) -> dict[str, Any]:
    accepted = filled_parameters(settings.strategy)
    arguments: dict[str, Any] = {}
    if info.multi_label and "multi_label" not in accepted:
        able = [name for name in STRATEGIES if "multi_label" in filled_parameters(name)]
        raise InputError(
            f"strategy {settings.strategy!r} is defined for one class per image, and data set"
            f" {settings.dataset['name']!r} has several: use {', '.join(able)}"
        )
    if "multi_label" in accepted:
        arguments["multi_label"] = info.multi_label
    if "n_tasks" in accepted and boundaries_announced(settings, info):
        arguments["n_tasks"] = info.n_tasks
    return arguments


def boundaries_announced(settings: RunConfig, stream: Any) -> bool:
    """Whether a strategy gets to know where the tasks of a stream end."""
    boundaries = settings.options.get("boundaries")
    return bool(stream.boundaries if boundaries is None else boundaries)
