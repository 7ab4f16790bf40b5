"""Runs that learn on: further images, of known and of new classes, into the model of a finished
run.

The new run goes on from the last checkpoint of its parent, in a folder of its own, as if the
streams of both had been one. Nothing of the parent changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cl_prompts.backbones.fingerprint import state_hash, weights_hash
from cl_prompts.checks import shown
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.datasets.joined import JoinedDataSet, copies_across
from cl_prompts.datasets.registry import DATASETS, crop_of
from cl_prompts.errors import InputError, typed
from cl_prompts.experiments.recipes.settings import Settings, runs_of
from cl_prompts.experiments.recipes.values import GROUPS, flat
from cl_prompts.experiments.results.comparable import conditions_of, options_of
from cl_prompts.experiments.run_folder.checkpoint import (
    CHECKPOINT_FILE,
    PREVIOUS_FILE,
    Checkpoints,
)
from cl_prompts.experiments.run_folder.checksums import IMAGES_FILE, READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.files import FolderFiles
from cl_prompts.experiments.run_folder.folder import settings_of
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, changes, settings_identity
from cl_prompts.experiments.run_folder.runs import Run, collect
from cl_prompts.own_code import Trust
from cl_prompts.reading import sha256
from cl_prompts.strategies import make_plugins
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation
from cl_prompts.training.seeds import seeded

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.building import Parts


#: settings of the parent's data set that hold for further images, too
_ALIKE = ("augment", "cache", "cache_gb", "crop")
#: bytes of the name of a run; file systems take 255
_NAME = 200


def finished_run(folder: Path) -> Run:
    """The finished run of a folder, with its checksums compared.

    Raises:
        InputError: there is none, or more than one.
    """
    runs = collect([folder])
    if len(runs) > 1:
        raise InputError(f"{folder} holds {len(runs)} runs: name the folder of one")
    (run,) = runs
    if not run.finished:
        raise InputError(
            f"the run in {run.folder} is {run.summary['status']}: finish it with cl-prompts run"
            f" --resume {typed(run.folder)}"
        )
    return run


def settings_of_child(
    folder: Path,
    dataset: Mapping[str, Any],
    n_classes: int,
    name: str,
    overrides: Sequence[str] = (),
    trust_code: Trust = False,
) -> Settings:
    """Settings of a run that learns on from a finished one.

    Those of the parent, on another data set, whose images come in one task unless ``scenario`` is
    among the overrides.

    Args:
        folder: of the parent.
        dataset: the section of the new images.
        n_classes: classes that they show.
        name: of the images, for the new run's folder.
        overrides: ``key=value`` texts, as for a recipe.
        trust_code: dotted names in the parent's settings that may be imported.

    Raises:
        InputError: no finished run, or a setting that does not exist or cannot change.
    """
    run = finished_run(folder)
    settings = settings_of(run.folder, trust_code)
    settings.check_sending(trust_code)
    if run.whole_stream:
        raise InputError(
            f"{settings.strategy} learns all of a stream at once and nothing later: run it on all"
            " images"
        )
    boundaries = bool(run.stream.get("boundaries"))
    scenario = one_task(n_classes, multi_label=run.multi_label, boundaries=boundaries)
    # A parent that learned by domain learns on by domain: the new images are one more.
    if run.summary.get("domain_names"):
        scenario = {"name": "domain_incremental", "announced": boundaries}
        if dataset["name"] == "folder":  # one that holds folders of classes is a domain itself
            dataset = {"domains": name, **dataset}
    # An argument of a function of one's own that is called so may mean anything.
    kept = _ALIKE if settings.dataset["name"] in DATASETS else ()
    alike = {key: settings.dataset[key] for key in kept if key in settings.dataset}
    if kept:
        alike["crop"] = _crop_like(settings, dataset["name"])
    recipe: dict[str, Any] = {
        "dataset": {**alike, **dataset},
        "scenario": scenario,
        "backbone": settings.backbone,
        "evaluation": settings.evaluation,
        "strategies": {settings.strategy: settings.options},
        "run": [settings.strategy],
        "seeds": [settings.seed],
        "stream_seed": settings.stream_seed,
        "device": settings.device,
        "num_workers": settings.num_workers,
        "checkpoint_every": settings.checkpoint_every,
        "tracker": settings.tracker,
        "keep_images": settings.keep_images,
    }
    # The word stands for the statistics of the images that it was learned on, not of the new ones.
    if settings.backbone["normalisation"] == "dataset":
        recipe["backbone"] = {**settings.backbone, "normalisation": _statistics(settings)}
    # The same checks as for any recipe, and then what may not change.
    runs = runs_of(deepcopy(recipe), name, overrides)  # overrides change it in place
    (child, *more) = runs
    if more or child.strategy != settings.strategy:
        raise InputError(
            f"a run learns on with its own strategy, {settings.strategy}, and one seed: leave out"
            " strategy= and further seeds"
        )
    if child.seed != settings.seed:
        raise InputError(
            f"a run learns on with the seed of its parent, {settings.seed}: for another one learn"
            " on from a run with that seed"
        )
    # Another name is refused with the place of the images.
    if kept and child.dataset["name"] == dataset["name"]:
        now, before = (crop_of(it.dataset["name"], it.dataset["crop"]) for it in (child, settings))
        if now != before:
            raise _cannot_change("dataset.crop", now, before)
    child.recipe = _name_of(settings.recipe, name)
    for key, value in child.backbone.items():
        # Weights may have moved; they are compared by content.
        if key != "weights" and value != recipe["backbone"][key]:
            raise _cannot_change(f"backbone.{key}", value, recipe["backbone"][key])
    child.parent = _parent(run, settings)
    return child


def _name_of(parent: str, images: str) -> str:
    """Name of what a run on these images is made by; of a long chain its first and last letters, so
    that a folder can be called so."""
    whole = f"{parent}+{images}".encode()
    if len(whole) <= _NAME:
        return whole.decode()
    first, last = whole[: _NAME // 2], whole[-(_NAME // 2) :]
    return "...".join(part.decode(errors="ignore") for part in (first, last))


def _crop_like(settings: Settings, name: str) -> str | None:
    """The crop by which images of a registered data set become squares as those of a run do, since
    a model predicts for images that are cut in one way."""
    wanted = crop_of(settings.dataset["name"], settings.dataset["crop"])
    return None if crop_of(name) == wanted else wanted


def _statistics(settings: Settings) -> list[list[float]]:
    """Mean and standard deviation of a run's data set."""
    known = DATASETS.get(settings.dataset["name"])
    if known is None:
        raise InputError(
            "the run normalises images by the statistics of a data set of one's own, which further"
            " images do not have: nothing can learn on from it, but from a run with"
            " normalisation=[[MEANS],[DEVIATIONS]]"
        )
    return [list(known.mean), list(known.std)]


def _cannot_change(name: str, value: Any, before: Any) -> InputError:
    return InputError(
        f"{name} is {shown(value)}, and the model was made with {shown(before)}, which cannot"
        " change: leave it out"
    )


def _parent(run: Run, settings: Settings) -> dict[str, Any]:
    """The section ``parent`` of a run that goes on from a finished one."""
    size = [run.summary["n_classes"], run.summary["n_tasks"]]
    return {
        "run": str(run.folder.resolve()),
        "sha256": digest_of(run.folder),
        "sizes": [*settings.parent.get("sizes", []), size],
        "code": settings.own_code(),
        "renamed": {},
        "removed": [],
        "settings": _made_with(run),
    }


def _made_with(run: Run) -> str:
    """SHA-256 of how a run and its ancestors were trained, whatever their seeds and places."""
    made = [conditions_of(run), options_of(run)]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def is_edited(settings: Settings) -> bool:
    """Whether a run differs from its parent in its classes alone, and brings no images."""
    return bool(settings.parent and (settings.parent["renamed"] or settings.parent["removed"]))


def with_new_names(data: DataSet, settings: Settings) -> DataSet:
    """The parent's data, with the class names of an edited run."""
    renamed = settings.parent["renamed"]
    return replace(data, classes=tuple(renamed.get(name, name) for name in data.classes))


def one_task(n_classes: int, *, multi_label: bool, boundaries: bool) -> dict[str, Any]:
    """The scenario of a single task that announces itself, or does not."""
    if multi_label and boundaries:
        return {"name": "mlcil", "protocol": f"B{n_classes}-C1"}
    names = {(False, False): "si_blurry", (True, False): "si_blurry_multi_label"}
    return {"name": names.get((multi_label, boundaries), "class_incremental"), "n_tasks": 1}


def digest_of(folder: Path) -> str:
    """SHA-256 of a finished run's ``SHA256SUMS``, which stands for all of its files.

    Raises:
        InputError: the run has none.
    """
    file = folder / SUMS_FILE
    if not file.is_file():
        raise InputError(f"{folder} holds no {SUMS_FILE}: nothing can learn on from it")
    return sha256(file)


def parent_of(settings: Settings) -> Settings:
    """Settings of the run that another one goes on from.

    Raises:
        InputError: it is gone, or was changed.
    """
    folder = Path(settings.parent["run"])
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"the run that this one goes on from is not in {folder} any more: bring it back, or"
            f" move it to {Path(*folder.parts[-3:])} in the folder of runs that holds this one"
        )
    if digest_of(folder) != settings.parent["sha256"]:
        raise InputError(f"{folder} is not the run that this one goes on from, or was changed")
    check_sums(folder, [*READ, IMAGES_FILE, CHECKPOINT_FILE, PREVIOUS_FILE])
    return settings_of(folder, settings.parent["code"])


def images_gone(folder: Path, data: DataSet, rows: Sequence[int]) -> InputError:
    """Images that a run replays, by row of its data, are gone."""
    return InputError(
        f"{len(rows)} images that the run in {folder} replays are gone, or have another content,"
        f" the first is {data.train.files[rows[0]]}: bring them back"
    )


class Descent:
    """The way from a new strategy to one that has learned what the parent of a run has.

    Args:
        settings: of the run.
        n_classes: classes of the run, those of its ancestors included.
        n_tasks: tasks likewise.

    Raises:
        InputError: sizes of ancestors that do not grow to those of the run.

    >>> Descent(Settings("digits", "ncm", 1, 1, "cpu", None), n_classes=10, n_tasks=5).first
    (10, 5)
    """

    def __init__(self, settings: Settings, n_classes: int, n_tasks: int) -> None:
        sizes = settings.parent.get("sizes", [])
        self._sizes = [(classes, tasks) for classes, tasks in (*sizes, (n_classes, n_tasks))]
        for before, after in pairwise(self._sizes):
            if before[0] > after[0] or before[1] > after[1]:
                raise InputError(
                    f"parent.sizes is {shown(sizes)}: classes and tasks must grow to those of the"
                    f" run, {n_classes} and {n_tasks}"
                )
        self._settings = settings
        self._run = Path(settings.parent["run"]) if settings.parent else None

    @property
    def first(self) -> tuple[int, int]:
        """Classes and tasks that the strategy is made for, before it grows."""
        return self._sizes[0]

    def grow(self, strategy: OnlineStrategy, *, to_parent: bool = False) -> None:
        """Let a strategy that was just made grow as its ancestors did, up to the parent or on to
        the run itself."""
        steps = list(pairwise(self._sizes))
        for before, after in steps[:-1] if to_parent else steps:
            strategy.grow(after[0] - before[0], after[1] - before[1])

    def grow_last(self, strategy: OnlineStrategy) -> None:
        """Let a strategy of the parent's size grow to that of the run."""
        before, after = self._sizes[-2:]
        strategy.grow(after[0] - before[0], after[1] - before[1])

    def take_over(
        self, strategy: OnlineStrategy, anytime: AnytimeEvaluation, data: DataSet
    ) -> tuple[dict[str, Any], Mapping[str, Any], str | None]:
        """Let a strategy that was just made grow to the parent's size, and read its last
        checkpoint.

        Args:
            strategy: of the run.
            anytime: evaluation of the run, whose test set is another one than the parent's.
            data: of the run.

        Returns:
            State of the checkpoint, what its metrics.csv was, and a remark, if it is an older one
            since the last one is damaged.

        Raises:
            InputError: there is no checkpoint, or the parent's data have changed.
        """
        assert self._run is not None
        parent = parent_of(self._settings)
        _check_model(strategy, self._settings.options, parent.options)
        # A state fits only a strategy of its size, and of the same history of growth.
        self.grow(strategy, to_parent=True)
        found, remark = Checkpoints(self._run).load()
        if found is None:
            raise InputError(f"{self._run} holds no checkpoint: nothing can learn on from it")
        made = FolderFiles(self._run).read_json(IDENTITY_FILE)
        now_made = settings_identity(parent) | {"backbone": weights_hash(strategy.model.backbone)}
        del now_made["source"]  # a later source may learn on, unless the version changed
        for change in changes(made, now_made):
            raise InputError(f"nothing can learn on from the run in {self._run}: {change}")
        known = made["data"]
        if is_edited(self._settings):
            # Names of classes are what such a run changes.
            now = {**data.fingerprint(), "classes": known.get("classes")}
        else:
            assert isinstance(data, JoinedDataSet)
            now = data.before.fingerprint()
            if data.gone:
                raise images_gone(self._run, data.before, data.gone)
        moved = fingerprint_change(known, now)
        if moved is not None:
            raise InputError(
                f"the data of the run in {self._run} changed: {moved}: bring them back"
            )
        for name, state in found.state["strategy"]["plugins"]:
            if name == type(anytime).__name__:
                # What the parent has cached is of its own test images.
                empty = anytime.evaluator.state_dict(strategy.model)
                work = {key: state["evaluator"][key] for key in ("images", "macs")}
                state["evaluator"] = {**empty, **work}
        if self._settings.options["period"] != parent.options["period"]:
            # Another period begins anew, at its own first multiple that is still to come.
            counters = found.state["strategy"]["registered"]
            period = strategy.period or 0
            counters["next_period"] = period and (counters["samples_seen"] // period + 1) * period
        if remark is not None:
            remark += (
                ", which is trained on what followed anew; the scores before are those of its state"
            )
        return found.state, found.metrics, remark

    def evaluated(self, parts: Parts) -> dict[str, Any]:
        """Content of ``before.json``: what the parent's model scores on all test images that count
        at the end of the run, in all, by class that it knows and by domain. Images of new
        classes count as wrong; where an image can have several labels, they count as images that
        show none of the classes that it knows."""
        strategy, anytime = parts.strategy, parts.anytime
        evaluator = anytime.evaluator
        evaluator.device = strategy.device
        # Test images of domains that have not begun yet count here as well.
        shown = evaluator.shown
        if shown is not None:
            evaluator.shown = torch.ones(len(shown), dtype=torch.bool)
        # Images of classes to come count: before and after are of the same ones.
        seen = strategy.model.seen.cpu()
        coming = parts.split.visible[strategy.clock.train_exp_counter :].any(axis=0)
        counting = seen | torch.from_numpy(coming)
        found = evaluator.evaluate(strategy.model, seen, counting=counting)
        by_domain = {name: v for name, v in anytime.by_domain(found).items() if v == v}
        evaluator.shown = shown
        known = (found.by_class.isnan().logical_not() & seen).tolist()
        by_class = zip(known, found.by_class.tolist(), strict=True)
        return {
            "run": str(self._run),
            "samples_seen": strategy.samples_seen,
            "score": found.accuracy,
            "by_class": [value if there else None for there, value in by_class],
            **({"by_domain": by_domain} if by_domain else {}),
        }


def _check_model(
    strategy: OnlineStrategy, mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    """Refuse options of which another model would be made, or another replay buffer: a state that
    fits by its shapes would be taken for what it is not."""
    changed = [name for name in mine if mine[name] != theirs.get(name, mine[name])]
    before = _made(strategy, theirs) if changed else ""
    if not changed or _made(strategy, mine) == before:
        return
    # Named is an option that makes another model by itself, if there is one.
    alone = (name for name in changed if _made(strategy, {**theirs, name: mine[name]}) != before)
    name = next(alone, changed[0])
    now, then = (dict(flat({name: options[name]}, GROUPS["options"])) for options in (mine, theirs))
    key = next(key for key in {**now, **then} if now.get(key) != then.get(key))
    raise _cannot_change(key, now.get(key, mine[name]), then.get(key, theirs[name]))


def _made(strategy: OnlineStrategy, options: Mapping[str, Any]) -> str:
    """SHA-256 of the model that these options make, with its first values and all that its parts
    are set to, and of the size of the replay buffer."""
    plugins = make_plugins(options["plugins"])
    with seeded(strategy.seed):
        new = type(strategy)(**{**strategy.given, **options, "plugins": plugins})
    found = hashlib.sha256(repr((new.buffer.size, new.model.backbone.read_out)).encode())
    for name, part in new.model.named_modules():
        if name.startswith(("backbone", "compiled")):
            continue
        texts = [(key, repr(value)) for key, value in vars(part).items() if key[0] != "_"]
        # An object without a text of its own says nothing but where it lies.
        own = [(key, text) for key, text in texts if " at 0x" not in text]
        tensors = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        values = state_hash({str(place): value for place, value in enumerate(tensors)})
        found.update(repr((name, type(part).__name__, own, values)).encode())
    return found.hexdigest()


def _taken_over(parts: Parts) -> list[str]:
    """Let the strategy of a run that was just built take over what the parent has learned.

    Returns:
        warnings.
    """
    state, _, remark = parts.descent.take_over(parts.strategy, parts.anytime, parts.data)
    begun = state["tasks_done"] + (state["strategy"]["place"] is not None)
    tasks = parts.benchmark.train_stream[:begun]
    parts.strategy.load_state_dict(state["strategy"], tasks)
    return [] if remark is None else [f"warning: {remark}"]


def what_grows(parts: Parts) -> list[str]:
    """Sentences on what a run would learn, and which tensors of the model would grow.

    Args:
        parts: of the run; its strategy takes over what the parent has learned.

    Raises:
        InputError: see :meth:`Descent.take_over`, or the state does not fit the run's settings.
    """
    data = parts.data
    assert isinstance(data, JoinedDataSet)
    lines = _taken_over(parts)
    before = {
        name: list(value.shape) for name, value in parts.strategy.model.learned_state().items()
    }
    # Now, as the run itself would before its first new image.
    parts.descent.grow_last(parts.strategy)
    after = {
        name: list(value.shape) for name, value in parts.strategy.model.learned_state().items()
    }
    images = f"{len(data.later.train)} training and {len(data.later.test)} test images"
    lines += [
        f"further images: {images} of {len(data.later.classes)} classes",
        f"classes: {len(data.before.classes)} -> {len(data.classes)}, new:"
        f" {', '.join(data.new_classes) or 'none'}",
        *copies_across(data),
    ]
    lines += [
        f"{name}: {before.get(name, [])} -> {shape}"
        for name, shape in after.items()
        if shape != before.get(name)
    ]
    return lines
