"""Runs built from settings: data, stream, backbone and strategy, checked before any training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cl_prompts.backbones.devices import check_precision, lacks_bf16, pick_device
from cl_prompts.backbones.pixels import check_pixels
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.bad_images import OnBadImage, Progress, check_images, handle_bad_images
from cl_prompts.datasets.catalog import check_folder
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.fingerprint import all_seeded
from cl_prompts.datasets.joined import JoinedDataSet, joined
from cl_prompts.datasets.registry import (
    DATASETS,
    DataSet,
    DataSetEntry,
    dataset_of_function,
    dataset_options,
    find_dataset,
    load_dataset,
)
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.names import is_dotted, label_of
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.recipes.signatures import filled_parameters
from cl_prompts.experiments.run_folder.checkpoint import encode
from cl_prompts.experiments.run_folder.identity import BATCHWISE
from cl_prompts.experiments.runner.kept_images import (
    check_keeping,
    copies_for,
    recorded_data,
    recorded_gone,
)
from cl_prompts.experiments.runner.learning_on import (
    Descent,
    images_gone,
    is_edited,
    parent_of,
    with_new_names,
)
from cl_prompts.experiments.runner.measuring import (
    UNMEASURED,
    chosen_workers,
    cores,
    settled,
    takes_one_thread,
    threads_remark,
)
from cl_prompts.experiments.runner.memory import check_memory, fitting
from cl_prompts.experiments.tracking.boards import board_class
from cl_prompts.experiments.tracking.progress import in_words
from cl_prompts.models.ridge import RidgeStatistics
from cl_prompts.scenarios import benchmark_from_split
from cl_prompts.scenarios.domain_incremental import DomainSplit, missing_lines, one_domain
from cl_prompts.scenarios.joined import joined_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.registry import SCENARIOS, find_scenario
from cl_prompts.strategies import STRATEGIES, make_plugins, plugin_class, strategy_class
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.base.state import with_state
from cl_prompts.strategies.base.stream import check_recurring
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation
from cl_prompts.training.seeds import seed_globals

#: of a CPU core, for a ridge regression on 2,000 features (benchmarks/solves.py)
SECONDS_AT_2000 = 0.1


@dataclass
class Parts:
    """Parts of a run, built from its settings; in these nothing is left to be chosen."""

    settings: Settings
    data: DataSet
    split: Any
    benchmark: Any
    strategy: OnlineStrategy
    anytime: AnytimeEvaluation
    descent: Descent
    notes: Sequence[str] = ()


class StreamInfo(NamedTuple):
    """Facts on data and stream on which a strategy's construction depends."""

    n_classes: int
    multi_label: bool
    n_tasks: int
    boundaries: bool


class Builder:
    """Builder of runs.

    Runs whose settings of the backbone agree share one backbone, and the files of a data set are
    checked once.

    Args:
        progress: called with the number of image files opened so far, and of all.
        quick: open no image file.

    >>> from cl_prompts.experiments.recipes.settings import plan
    >>> (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    >>> print(Builder().build(settings).data)
    digits: 10 classes, 1442 training and 355 test images
    """

    def __init__(self, progress: Progress | None = None, *, quick: bool = False) -> None:
        """Start without any backbone or data set."""
        self._progress = progress
        self._quick = quick
        self._backbones: dict[str, FrozenViT] = {}
        self._bad: dict[str, dict[str, str]] = {}
        self._measured: dict[str, tuple[int, list[str]]] = {}

    def build(self, settings: Settings) -> Parts:
        """All parts of a run.

        Raises:
            InputError: a setting is out of range, or two do not fit together.
        """
        settings, notes = settled(settings)
        if settings.tracker is not None:
            board_class(settings.tracker)
        # Models draw their first parameters from torch's global generator, and code from outside
        # whatever it likes.
        seed_globals(settings.seed)
        data = self._data(settings)
        check_keeping(settings, data)
        backbone = self.backbone(settings, data)
        if is_dotted(settings.dataset["name"]):
            # A test image, since looking at a training image would draw an augmentation.
            first = data.test[0][0][None]
            check_pixels(first, backbone.image_size, normalised=not backbone.normalises)
        split = split_of(settings, data)
        kind = strategy_class(settings.strategy)
        # Statistics are taken of images as tests show them, unless every view is to count.
        plain = kind.plain_images and not settings.options.get("augmented_views")
        train = data.train.plain() if plain else data.train
        benchmark = benchmark_from_split(train, data.test, split)
        evaluation = dict(settings.evaluation)
        if kind.whole_stream:
            # All data come at once, so there is no curve over samples: only the end is measured.
            evaluation["every"] = None
        anytime = AnytimeEvaluation(
            data.test,
            n_classes=len(data.classes),
            home_classes=home_classes_of(split),
            **evaluation,
        )
        # A run that learns on is made in the size of its first ancestor, and grows as they did.
        descent = Descent(settings, len(data.classes), split.n_tasks)
        n_classes, n_tasks = descent.first
        info = StreamInfo(n_classes, data.multi_label, n_tasks, split.boundaries)
        options = options_on(train, settings)
        if is_dotted(settings.dataset["name"]) and options.get("views") is not None:
            check_recurring(train)
        strategy = make_strategy(settings, backbone, info, options, plugins=[anytime])
        announced = _boundaries_announced(settings, split)
        strategy.check_announced(announced=announced)
        _check_state(strategy)
        check_memory(
            f"strategy {label_of(settings.strategy)}",
            strategy,
            n_train=len(data.train),
            n_test=len(data.test),
            n_tasks=split.n_tasks,
            ends=announced or strategy.period is not None,
        )
        workers, said = self._workers(settings, train, strategy)
        anytime.evaluator.num_workers = workers
        settings = replace(settings, num_workers=workers)
        notes = [*notes, *said]
        return Parts(settings, data, split, benchmark, strategy, anytime, descent, notes)

    def _workers(
        self, settings: Settings, train: ImageSet, strategy: OnlineStrategy
    ) -> tuple[int, list[str]]:
        """Loader processes of a run, as asked for or chosen, and a sentence on the choice."""
        if settings.num_workers is not None or self._quick:
            return settings.num_workers or 0, []
        if settings.dataset.get("on_bad_image") == "defer" or is_dotted(settings.dataset["name"]):
            # An image cannot be read, or draws what the run is to draw.
            most = min(UNMEASURED, cores() - 1)
            return (max(1, most) if strategy.device.type == "cuda" else 0), []
        key = json.dumps([settings.dataset, settings.backbone, strategy.train_mb_size], default=str)
        if key not in self._measured:
            self._measured[key] = chosen_workers(
                train, strategy.model.backbone, strategy.train_mb_size
            )
        return self._measured[key]

    def check(self, plan: Sequence[Settings]) -> tuple[Parts, list[str]]:
        """Build one of the runs that differ in nothing but seeds, which do not change what can be
        wrong.

        Returns:
            The parts of the last one, and remarks on all of them.

        Raises:
            InputError: a run cannot be built.
        """
        found: dict[str, None] = {}
        different = {repr(replace(run, seed=0, stream_seed=0)): run for run in plan}
        for settings in different.values():
            parts = self.build(settings)
            found.update(dict.fromkeys(remarks(parts)))
        return parts, list(found)

    def backbone(self, settings: Settings, data: DataSet | None = None) -> FrozenViT:
        """The backbone of a run.

        Args:
            settings: of the run.
            data: of the run; None to load them where they alone say how images are normalised.

        Raises:
            InputError: it cannot be built.
        """
        normalisation = _normalisation(settings, data)
        if normalisation is None:
            normalisation = _normalisation(settings, self.data(settings))
        return self._backbone(settings, normalisation)

    def data(self, settings: Settings) -> DataSet:
        """The data set of a run, at the image size of its backbone, as the run itself makes it: a
        function of one's own may draw from global generators, which stay as they are.

        Raises:
            InputError: it is not there, or cannot be used.
        """
        with all_seeded(settings.seed):
            return self._data(settings)

    def _data(self, settings: Settings) -> DataSet:
        """The data set of a run; what its function draws from global generators is drawn."""
        if not settings.parent:
            return self._own_data(settings)
        folder = Path(settings.parent["run"])
        before = self._past_data(parent_of(settings), folder)
        moved, gone = copies_for(folder, before)
        if is_edited(settings):
            if gone:
                raise images_gone(folder, before, gone)
            return with_new_names(replace(before, train=before.train.reading(moved)), settings)
        # Images of the ancestors first, so that their rows stay what they were.
        both = joined(before, self._own_data(settings))
        return replace(both, train=both.train.reading(moved), gone=gone)

    def _past_data(self, settings: Settings, folder: Path) -> DataSet:
        """The data set of a finished run, as far as it is recorded in its folder."""
        if not settings.parent:
            return self._recorded(settings, folder)
        above = Path(settings.parent["run"])
        before = self._past_data(parent_of(settings), above)
        if is_edited(settings):
            return with_new_names(before, settings)
        return replace(joined(before, self._recorded(settings, folder)), gone=recorded_gone(folder))

    def _recorded(self, settings: Settings, folder: Path) -> DataSet:
        """The images that a finished run brought itself."""
        image_size = self._backbone(settings, _normalisation(settings) or "none").image_size
        return recorded_data(folder, settings, image_size) or self._own_data(settings)

    def _own_data(self, settings: Settings) -> DataSet:
        """The data set that the settings name, without those of ancestors."""
        entry = find_dataset(settings.dataset["name"])
        if isinstance(entry, DataSetEntry):  # said before weights are looked for
            root = settings.dataset.get("root")
            fetched = bool(settings.dataset.get("download"))
            check_folder(settings.dataset["name"], entry, root, download=fetched)
        image_size = self._backbone(settings, _normalisation(settings) or "none").image_size
        name, arguments = settings.section("dataset")
        # A function of one's own may have other files for each seed.
        key = json.dumps([name, arguments, settings.seed if is_dotted(name) else None])
        on_bad_image: OnBadImage = arguments.pop("on_bad_image")
        embedded = isinstance(entry, DataSetEntry) and not entry.layout
        if embedded and pick_device(settings.device).type == "cpu":
            # Small images of one size: augmented by the batch they are the same, and made sooner.
            arguments["augment_on"] = "device"
        made: dict[str, Any] = {"image_size": image_size, "seed": settings.seed}
        if is_dotted(name):
            if "on_bad_image" in dataset_options(name):  # it looks at images itself, too
                arguments["on_bad_image"] = on_bad_image
            data = dataset_of_function(name, arguments, **made)
        else:
            data = load_dataset(name, on_bad_image="defer", **made, **arguments)
        # Opening all files takes minutes: once for all runs that share them.
        if self._quick or on_bad_image == "defer":
            return data
        if key not in self._bad:
            self._bad[key] = check_images(data, self._progress)
        return handle_bad_images(data, self._bad[key], on_bad_image)

    def _backbone(self, settings: Settings, normalisation: Any) -> FrozenViT:
        name, arguments = settled(settings)[0].section("backbone")
        arguments["normalisation"] = normalisation
        # Random weights are each seed's own; all others are shared by runs of all seeds.
        seed = settings.seed if arguments.get("weights") == "random" else 0
        key = json.dumps([name, arguments, seed])
        if key not in self._backbones:
            check_precision(arguments["precision"], pick_device(settings.device))
            with fitting(f"backbone {name}"):
                self._backbones[key] = create_backbone(name, seed=settings.seed, **arguments)
        return self._backbones[key]


def _normalisation(settings: Settings, data: DataSet | None = None) -> Any:
    """Mean and standard deviation, or the word in the settings that stands for them; None where a
    data set of one's own has them, which says so only once it is made."""
    wanted = settings.backbone["normalisation"]
    if wanted != "dataset":
        return wanted
    known = DATASETS.get(settings.dataset["name"]) or data
    return None if known is None else [list(known.mean), list(known.std)]


def split_of(settings: Settings, data: DataSet) -> Any:
    """Stream of a run: the training samples of each task, those of its ancestors first.

    The function of the scenario is called with the training labels, with the run's ``stream_seed``
    as ``seed``, the labels of the test set as ``test_labels`` and the domains of the training
    images as ``domains``, if it declares them, and with the settings of the section ``scenario``.

    Raises:
        InputError: the scenario does not fit the data set.
    """
    if is_edited(settings):
        # Where classes alone were renamed or removed, the stream is that of the parent.
        return split_of(parent_of(settings), data)
    if isinstance(data, JoinedDataSet):
        first = split_of(parent_of(settings), data.before)
        later = _later_split(settings, data.later)
        both = joined_split(first, later, data.train.targets, data.columns)
        if isinstance(both, MultiLabelSplit):
            both = both.with_test_labels(data.test.targets)
        return both
    name, arguments = settings.section("scenario")
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
    train = data.train
    return scenario.make(train.targets, data.test.targets, train.domains, **arguments)


def _later_split(settings: Settings, data: DataSet) -> Any:
    """The stream of the images that a run which learns on brings itself."""
    name, arguments = settings.section("scenario")
    # One new domain is a task; a stream of its own would need two.
    if name == "domain_incremental" and len(data.domains) == 1:
        (domain,) = data.domains
        announced = arguments["announced"]
        return one_domain(
            data.train.targets, domain, announced=announced, seed=settings.stream_seed
        )
    return split_of(replace(settings, parent={}), data)


def home_classes_of(split: Any) -> list[list[int]] | None:
    """Classes that have their home in each task of a blurry stream; None where classes have no
    home, or occur in no other task."""
    if not any(getattr(split, "blurry_classes", ())):
        return None
    pairs = zip(split.disjoint_classes, split.blurry_classes, strict=True)
    return [[*disjoint, *blurry] for disjoint, blurry in pairs]


def options_on(train: ImageSet, settings: Settings) -> dict[str, Any]:
    """Options of a run's strategy on training images: without augmentation a sample has one view,
    and what is frozen is computed once."""
    options = dict(settings.options)
    if train.is_plain and options.get("views") is None:
        options["views"] = 1
    return options


def make_strategy(
    settings: Settings,
    backbone: FrozenViT,
    info: StreamInfo,
    options: Mapping[str, Any],
    plugins: Sequence[Any] = (),
) -> OnlineStrategy:
    """The strategy of a run, before any training.

    Args:
        settings, backbone, info: of the run.
        options: of the strategy, in the place of those in ``settings``.
        plugins: of the strategy.

    Raises:
        InputError: a setting is out of range, or the method does not fit the data.
    """
    options = dict(options)
    with fitting(f"strategy {label_of(settings.strategy)}"):
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


def _data_arguments(settings: Settings, info: StreamInfo) -> dict[str, Any]:
    """Data-dependent constructor arguments: ``multi_label``, and ``n_tasks`` where boundaries are
    announced."""
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
    if "n_tasks" in accepted and _boundaries_announced(settings, info):
        arguments["n_tasks"] = info.n_tasks
    return arguments


def _boundaries_announced(settings: Settings, stream: Any) -> bool:
    boundaries = settings.options.get("boundaries")
    return bool(stream.boundaries if boundaries is None else boundaries)


def stateless_plugins(parts: Parts) -> list[str]:
    """Names of the plugins whose state, if they have any, is no part of a checkpoint."""
    named = parts.settings.options.get("plugins") or {}
    kinds = tuple(map(plugin_class, named))
    given = [plugin for plugin in parts.strategy.plugins if isinstance(plugin, kinds)]
    kept = with_state(given)
    return [type(plugin).__name__ for plugin in given if plugin not in kept]


def _check_state(strategy: OnlineStrategy) -> None:
    """Refuse state of own code that no checkpoint can hold, before there is one to write."""
    owners = [(type(strategy), strategy.state)]
    owners += [(type(plugin), plugin) for plugin in with_state(strategy.plugins)]
    for kind, owner in owners:
        try:
            encode(owner.state_dict())
        except (TypeError, RuntimeError) as error:
            raise InputError(f"the state of {kind.__name__} cannot be saved: {error}") from error


def remarks(parts: Parts) -> list[str]:
    """Sentences on settings that are valid but have no effect on this stream, on classes that a
    domain lacks, and on weights that are not the published ones."""
    strategy = parts.strategy
    name = label_of(parts.settings.strategy)
    samples = sum(map(len, parts.split.tasks))
    trained = samples * strategy.train_epochs
    found = [*parts.notes]
    # Most methods keep the hook of their base, which is nothing of their own.
    acts_at_task_ends = type(strategy).finish_task not in (
        OnlineStrategy.finish_task,
        PromptStrategy.finish_task,
    ) or any(_acts_at_task_ends(plugin) for plugin in strategy.plugins)
    periodic = acts_at_task_ends and not _boundaries_announced(parts.settings, parts.split)
    if periodic and strategy.period is not None and strategy.period > trained:
        found.append(
            f"{name} acts every {strategy.period} samples, and the stream has {trained}: set"
            f" {name}.period below that"
        )
    if periodic and strategy.period is None:
        found += [
            f"{name}: {type(plugin).__name__} acts at task ends alone, and this stream announces"
            f" none: set {name}.period, in samples"
            for plugin in strategy.plugins
            # A teacher that is copied after every batch needs no task.
            if hasattr(plugin, "end_of_task") and getattr(plugin, "teacher_from", "") != "batch"
        ]
    if not parts.data.multi_label:
        tasks = [np.asarray(parts.data.train.targets)[task] for task in parts.split.tasks]
        announced = _boundaries_announced(parts.settings, parts.split)
        found += [f"{name}: {it}" for it in strategy.remarks_on(tasks, announced=announced)]
    found += [
        f"{name}: {plugin} has no state_dict and load_state_dict: what it remembers is lost where"
        " the run is resumed"
        for plugin in stateless_plugins(parts)
    ]
    found += _long_solutions(parts, samples)
    if isinstance(parts.split, DomainSplit):
        found += missing_lines(parts.split, parts.data.classes)
    if strategy.buffer.size >= samples:
        found.append(
            f"the buffer of {name} has room for {strategy.buffer.size} samples, and the stream has"
            f" {samples}: no sample is ever replaced"
        )
    backbone = parts.settings.backbone
    if not strategy.model.backbone.published and backbone["weights"] != "random":
        found.append(
            f"the weights {backbone['weights']} are not the published weights of"
            f" {backbone['name']}: numbers of published tables may not come out with them"
        )
    if backbone["precision"] == "bf16" and lacks_bf16(pick_device(parts.settings.device)):
        found.append(
            "this processor has no instructions for bf16 (AVX-512-bf16 or AMX): precision=fp32 is"
            " several times as fast"
        )
    if not takes_one_thread(parts.settings):
        found += threads_remark(strategy.model.backbone, strategy.train_mb_size)
    own_head = strategy.settings().get("head")
    if own_head is not None and (unread := strategy.head.unread(own_head.default)):
        found.append(
            f"the head of {name} makes no use of {', '.join(unread)}: they belong to another kind"
            " or input"
        )
    if strategy.head.input == "aligned" and strategy.head.alignment != "streamed":
        found.append(
            f"the features of {name} are aligned batch by batch: its predictions depend on batch"
            " mates"
        )
    found += [
        f"{name} has {setting}={word}: its predictions depend on batch mates"
        for setting, word in BATCHWISE.items()
        if getattr(strategy, setting, None) == word
    ]
    if strategy.head.input != "raw" and strategy.model.backbone.trainable:
        found.append(
            f"{name} trains the ViT under a head with input={strategy.head.input}: features move,"
            " and the statistics lag behind them"
        )
    return found


def _long_solutions(parts: Parts, samples: int) -> list[str]:
    """A sentence on ridge regressions whose solutions take a CPU minutes, in which a run shows no
    progress."""
    strategy = parts.strategy
    head = getattr(strategy.model, "head", None)
    sums = getattr(head, "statistics", None)
    if not isinstance(sums, RidgeStatistics) or strategy.device.type != "cpu":
        return []
    every = parts.settings.evaluation["every"]
    evaluations = parts.split.n_tasks + (samples // every if every else 0)
    # Choosing a ridge solves once for each candidate.
    chosen = len(getattr(strategy, "candidates", ())) if getattr(strategy, "held_out", 0) else 0
    solutions = evaluations + chosen * parts.split.n_tasks
    # The time of a solution grows with the cube of the features.
    seconds = solutions * SECONDS_AT_2000 * (sums.size / 2000) ** 3
    if seconds < 120:
        return []
    return [
        f"{label_of(parts.settings.strategy)} solves for {sums.size:,} features about"
        f" {solutions} times, which takes some {in_words(seconds)} of a CPU core: a tenth of"
        " the features takes a thousandth of that"
    ]


def _acts_at_task_ends(plugin: Any) -> bool:
    return hasattr(plugin, "end_of_task") or hasattr(plugin, "start_of_period")
