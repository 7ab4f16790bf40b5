"""Runs settings: everything is built and checked first, then trained, task by task, into a run
folder."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from cl_prompts import scenarios, strategies
from cl_prompts.backbones.devices import check_precision, pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.registry import DATASETS, DataSet, load_dataset
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import RunFolder, new_path
from cl_prompts.experiments.settings import Settings
from cl_prompts.experiments.signatures import MULTI_LABEL_SCENARIOS, SCENARIOS, filled_parameters
from cl_prompts.experiments.tracking import ProgressLine, Tracker
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation


@dataclass
class Parts:
    """What a run is made of, built from its settings."""

    settings: Settings
    data: DataSet
    split: Any
    benchmark: Any
    strategy: OnlineStrategy
    anytime: AnytimeEvaluation


class Builder:
    """Builds runs, sharing the backbone between runs whose settings agree on it."""

    def __init__(self) -> None:
        self._backbones: dict[str, FrozenViT] = {}

    def backbone(self, settings: Settings) -> FrozenViT:
        """The frozen backbone of a run."""
        key = json.dumps(
            [settings.backbone, settings.dataset["name"], settings.seed if _random(settings) else 0]
        )
        if key not in self._backbones:
            name, arguments = settings.section("backbone")
            if arguments["normalisation"] == "dataset":
                entry = DATASETS[settings.dataset["name"]]
                arguments["normalisation"] = [list(entry.mean), list(entry.std)]
            check_precision(arguments["precision"], pick_device(settings.device))
            self._backbones[key] = create_backbone(name, seed=settings.seed, **arguments)
        return self._backbones[key]

    def build(self, settings: Settings) -> Parts:
        """Everything a run needs; raises ``InputError`` for whatever does not fit."""
        torch.manual_seed(settings.seed)
        backbone = self.backbone(settings)
        name, arguments = settings.section("dataset")
        data = load_dataset(name, image_size=backbone.image_size, seed=settings.seed, **arguments)
        split = _split(settings, data)
        benchmark = scenarios.benchmark_from_split(data.train, data.test, split)
        kind = strategies.strategy_class(settings.strategy)
        # The curve over samples has no meaning when all data come at once: only the end is measured
        # then.
        evaluation = {**settings.evaluation, **({"every": None} if kind.whole_stream else {})}
        anytime = AnytimeEvaluation(
            data.test, n_classes=len(data.classes), num_workers=settings.num_workers, **evaluation
        )
        strategy = kind(
            backbone=backbone,
            n_classes=len(data.classes),
            device=settings.device,
            evaluator=None,
            plugins=[anytime],
            seed=settings.seed,
            **_told(settings, data, split),
            **settings.options,
        )
        return Parts(settings, data, split, benchmark, strategy, anytime)

    def check(self, plan: Sequence[Settings]) -> tuple[Parts, list[str]]:
        """Build one run of each strategy, since seeds do not differ in what can be wrong; the last
        one's parts, and remarks."""
        found = []
        for settings in {s.strategy: s for s in plan}.values():
            parts = self.build(settings)
            found += remarks(parts)
        return parts, found


def _split(settings: Settings, data: DataSet) -> Any:
    """The stream of a run."""
    scenario, options = settings.section("scenario")
    several = scenario in MULTI_LABEL_SCENARIOS
    if several != data.multi_label:
        fitting = [
            name for name in SCENARIOS if (name in MULTI_LABEL_SCENARIOS) == data.multi_label
        ]
        has = "several classes per image" if data.multi_label else "one class per image"
        raise InputError(
            f"scenario {scenario!r} does not fit data set {data.name!r}, which has {has}: use"
            f" {' or '.join(fitting)}"
        )
    return SCENARIOS[scenario].make(
        data.train.targets, data.test.targets, seed=settings.stream_seed, **options
    )


def _told(settings: Settings, data: DataSet, split: Any) -> dict[str, Any]:
    """What the strategy is told about the data beside the number of classes; of tasks only where
    they are announced."""
    accepted, told = filled_parameters(settings.strategy), {}
    if data.multi_label and "multi_label" not in accepted:
        able = [name for name in strategies.STRATEGIES if "multi_label" in filled_parameters(name)]
        raise InputError(
            f"strategy {settings.strategy!r} is defined for one class per image, and data set"
            f" {data.name!r} has several: use {', '.join(able)}"
        )
    if "multi_label" in accepted:
        told["multi_label"] = data.multi_label
    if "n_tasks" in accepted and _announced(settings, split):
        told["n_tasks"] = split.n_tasks
    return told


def _announced(settings: Settings, split: Any) -> bool:
    """Whether the strategy learns of task boundaries."""
    boundaries = settings.options.get("boundaries")
    return bool(split.boundaries if boundaries is None else boundaries)


def remarks(parts: Parts) -> list[str]:
    """Settings that make sense and have no effect on this stream, one sentence each."""
    name, strategy, n = parts.settings.strategy, parts.strategy, sum(map(len, parts.split.tasks))
    trained, found = n * strategy.train_epochs, []
    acts = type(strategy).finish_task is not OnlineStrategy.finish_task and not _announced(
        parts.settings, parts.split
    )
    if acts and strategy.period is not None and strategy.period > trained:
        every = (
            f"{name} does something every {strategy.period} samples, and the stream has {trained}"
        )
        found.append(f"{every}: set {name}.period below that")
    if strategy.buffer.size >= n:
        room = f"{name} has room for {strategy.buffer.size} samples, and the stream has {n}"
        found.append(f"{room}: nothing is ever given up")
    return found


def _random(settings: Settings) -> bool:
    return settings.backbone.get("weights") == "random"


def run_all(
    plan: Sequence[Settings], *, out: Path, console: Console, command: str
) -> Iterator[Path]:
    """Check every run, then run one after the other; yields each finished run's folder."""
    builder = Builder()
    for remark in builder.check(plan)[1]:
        console.print(f"note: {remark}", highlight=False, soft_wrap=True)
    for settings in plan:
        parts = builder.build(settings)
        folder = RunFolder.create(new_path(out, settings), settings, command)
        execute(parts, folder, console=console)
        del parts
        # Strategy and plugins refer to each other, and hold the data set's cached images.
        gc.collect()
        yield folder.path


def resume(path: Path, *, console: Console) -> Path:
    """Continue an unfinished run at its last task boundary."""
    folder, settings = RunFolder.resume(path)
    try:
        parts = Builder().build(settings)
    except InputError:
        folder.close()
        raise
    execute(parts, folder, console=console)
    return path


def execute(parts: Parts, folder: RunFolder, *, console: Console) -> None:
    """Train, evaluate and record one run; the folder is valid however it ends."""
    run = _Run(parts, folder)
    with _status(run):
        run.restore()
        tracker = Tracker(folder, parts.anytime, start=parts.strategy.samples_seen)
        label = f"{parts.settings.strategy} seed {parts.settings.seed}"
        line = ProgressLine(
            label, run.total, parts.anytime, console, start=parts.strategy.samples_seen
        )
        # In front of Avalanche's own plugins: the clock has to stay last.
        position = parts.strategy.plugins.index(parts.anytime) + 1
        parts.strategy.plugins[position:position] = [tracker, line]
        try:
            with line.bar:
                tracker.show_stream(json.loads(parts.split.to_json()), list(parts.data.classes))
                run.train()
            if parts.data.multi_label:
                tracker.show_examples(
                    parts.strategy.model, parts.data.test, list(parts.data.classes)
                )
            tracker.finish(run.results(), run.flat_settings(), list(parts.data.classes))
        finally:
            tracker.close()
        run.write_summary("finished")


class _Run:
    """One run's loop over tasks, with checkpoints between them."""

    def __init__(self, parts: Parts, folder: RunFolder) -> None:
        self.parts, self.folder = parts, folder
        self.tasks_done, self.seconds_before = 0, 0.0
        self.started = time.perf_counter()
        self.counter = parts.strategy.model.backbone.counter
        self.macs_before = {"train": 0.0, "evaluation": 0.0, "evaluated": 0.0}
        self.counter.reset()
        if parts.strategy.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(parts.strategy.device)
        epochs = parts.strategy.train_epochs
        rows = parts.split.tasks
        # A strategy that sees all at once meets an image once, however many multi-label tasks it is
        # in.
        n = (
            len(np.unique(np.concatenate(rows)))
            if parts.strategy.whole_stream
            else sum(map(len, rows))
        )
        self.total = epochs * n

    def restore(self) -> None:
        """From the last checkpoint, or from the start."""
        parts, state = self.parts, self.folder.load_checkpoint()
        if state is None:
            self.folder.write_text("stream.json", parts.split.to_json())
            self.write_summary("running")
            return
        self.tasks_done, self.seconds_before = state["tasks_done"], state["seconds"]
        self.macs_before = state["macs"]
        done = [parts.benchmark.train_stream[i] for i in range(self.tasks_done)]
        parts.strategy.load_state_dict(state["strategy"], done)
        parts.anytime.load_state_dict(state["anytime"])
        parts.data.train.load_state_dict(state["augmentation"])
        torch.set_rng_state(state["torch"])
        self.write_summary("running")

    def train(self) -> None:
        """Task after task."""
        parts = self.parts
        stream = list(parts.benchmark.train_stream)
        if parts.strategy.whole_stream and self.tasks_done:
            return
        if parts.strategy.whole_stream:
            parts.strategy.train(stream, eval_streams=[], num_workers=parts.settings.num_workers)
            self._after_task(1)
            return
        for t in range(self.tasks_done, len(stream)):
            parts.strategy.train(stream[t], eval_streams=[], num_workers=parts.settings.num_workers)
            self._after_task(t + 1)

    def _after_task(self, done: int) -> None:
        self.tasks_done = done
        parts = self.parts
        self.folder.save_checkpoint(
            {
                "tasks_done": done,
                "seconds": self.seconds(),
                "macs": self.macs(),
                "strategy": parts.strategy.state_dict(),
                "anytime": parts.anytime.state_dict(),
                "augmentation": parts.data.train.state_dict(),
                "torch": torch.get_rng_state(),
            }
        )
        parts.strategy.save(str(self.folder.path / "learned.safetensors"))
        self.write_summary("running")

    def seconds(self) -> float:
        """Wall time spent on this run, also before it was resumed."""
        return self.seconds_before + time.perf_counter() - self.started

    def macs(self) -> dict[str, float]:
        """Multiply-accumulates of the backbone's forward passes."""
        evaluation = self.parts.anytime.evaluator.macs
        now = {
            "train": self.counter.macs - evaluation,
            "evaluation": evaluation,
            "evaluated": self.parts.anytime.evaluator.images,
        }
        return {k: self.macs_before[k] + v for k, v in now.items()}

    def results(self) -> dict[str, float | None]:
        """Final numbers; the anytime curve and forgetting do not exist for a strategy that sees
        everything at once."""
        results = dict(self.parts.anytime.results)
        if self.parts.strategy.whole_stream:
            # One end and no curve: what speaks of a course has no value.
            course = ("a_auc", "forgetting", "task_forgetting")
            results = {k: None if k.startswith(course) else v for k, v in results.items()}
        return results

    def flat_settings(self) -> dict[str, Any]:
        """Settings as one level, for TensorBoard."""
        settings = self.parts.settings
        flat: dict[str, Any] = {
            "strategy": settings.strategy,
            "seed": settings.seed,
            "stream_seed": settings.stream_seed,
        }
        for part in ("dataset", "scenario", "backbone", "evaluation", "options"):
            flat.update({f"{part}.{k}": v for k, v in getattr(settings, part).items()})
        return flat

    def write_summary(self, status: str, error: str | None = None) -> None:
        """``summary.json``: valid at every moment of a run."""
        parts, settings, seconds, macs = (
            self.parts,
            self.parts.settings,
            self.seconds(),
            self.macs(),
        )
        per_image, unit = (
            max(1, parts.strategy.samples_seen),
            parts.strategy.model.backbone.forward_macs,
        )
        self.folder.write_json(
            "summary.json",
            {
                "status": status,
                "error": error,
                "recipe": settings.recipe,
                "strategy": settings.strategy,
                "dataset": settings.dataset["name"],
                "scenario": settings.scenario["name"],
                "backbone": settings.backbone["name"],
                "weights": settings.backbone["weights"],
                "image_size": parts.strategy.model.backbone.image_size,
                "seed": settings.seed,
                "stream_seed": settings.stream_seed,
                "multi_label": parts.data.multi_label,
                "n_tasks": parts.split.n_tasks,
                "n_classes": len(parts.data.classes),
                "class_names": list(parts.data.classes),
                "samples": sum(parts.split.sizes),
                "samples_seen": parts.strategy.samples_seen,
                "whole_stream": parts.strategy.whole_stream,
                "task_ends": [e.samples_seen for e in parts.anytime.curve.task_ends],
                "results": self.results(),
                "trainable_parameters": parts.strategy.model.n_learned,
                "seconds": seconds,
                "images_per_second": parts.strategy.samples_seen / seconds,
                "peak_memory_mb": peak_memory_mb(parts.strategy.device),
                "forward_passes": {
                    "train": macs["train"] / unit / per_image,
                    "evaluation": macs["evaluation"] / unit / max(1, macs["evaluated"]),
                },
                "command": self.folder.command(),
            },
        )


@contextmanager
def _status(run: _Run) -> Iterator[None]:
    """Write how a run ended into its summary, and release the folder."""
    try:
        yield
    except KeyboardInterrupt as error:
        run.write_summary("interrupted", "stopped by the user")
        raise KeyboardInterrupt(
            f"stopped; go on with: cl-prompts run --resume {run.folder.path}"
        ) from error
    except RunError as error:
        # From a loader process it arrives wrapped in that process's traceback, whose last line is
        # the sentence.
        sentence = str(error).strip().splitlines()[-1].rpartition(f"{RunError.__name__}: ")[2]
        run.write_summary("failed", sentence)
        raise RunError(f"{sentence} (run folder {run.folder.path})") from error
    except BaseException as error:
        run.write_summary("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        run.folder.close()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory on the GPU, or of the process so far on the CPU, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
