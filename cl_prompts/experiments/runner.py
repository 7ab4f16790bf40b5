"""Runs executed: checked, trained task by task, evaluated and recorded in a run folder."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.building import Builder, Parts
from cl_prompts.experiments.checkpointing import CheckpointClock
from cl_prompts.experiments.identity import identity_of
from cl_prompts.experiments.interruption import Stopped, StopRequest, stop_requests
from cl_prompts.experiments.names import label_of
from cl_prompts.experiments.plans import Plan, PlannedRun, describe, unfinished_plan
from cl_prompts.experiments.run_folder import RunFolder, new_path
from cl_prompts.experiments.settings import Settings
from cl_prompts.experiments.summary import results_of, summary_of
from cl_prompts.experiments.tracking import ProgressLine, Tracker


def run_all(
    plan: Sequence[Settings], *, out: Path, console: Console, command: str
) -> Iterator[Path]:
    """Check all runs, then execute one after the other; yield the folder of each finished run.

    The plan is written above the run folders, so that :func:`resume` can finish it.

    Raises:
        InputError: a run cannot be built; none has been started then.
        RunError: a fault during a run.
    """
    builder = Builder()
    for remark in builder.check(plan)[1]:
        console.print(f"note: {remark}", highlight=False, soft_wrap=True)
    runs = [PlannedRun(new_path(out, settings), settings) for settings in plan]
    planned = Plan(command, tuple(runs))
    if len(runs) > 1:
        planned.write(out / plan[0].recipe)
    yield from _finish(planned, builder, console)


def resume(path: Path, *, console: Console) -> Iterator[Path]:
    """Continue an unfinished run at its last checkpoint, or finish all runs of a plan.

    Args:
        path: folder of a run, or folder that holds a plan.
        console: where progress is drawn.

    Yields:
        the folder of each run that is finished then.

    Raises:
        InputError: there is nothing to resume, or a run cannot be built.
        RunError: a fault during a run.
    """
    if (path / "config.yaml").is_file() or not list(path.glob("plan-*.json")):
        yield _resume_run(path, Builder(), console)
        return
    plan = unfinished_plan(path)
    console.print(f"{path}: {describe(plan.runs)}", highlight=False, soft_wrap=True)
    yield from _finish(plan, Builder(), console)


def _finish(plan: Plan, builder: Builder, console: Console) -> Iterator[Path]:
    """Execute the runs of a plan that are not finished; yield the folders of all."""
    for run in plan.runs:
        if run.state == "unfinished":
            _resume_run(run.folder, builder, console)
        elif run.state == "missing":
            parts = builder.build(run.settings)
            folder = RunFolder.create(run.folder, run.settings, plan.command)
            execute(parts, folder, console=console)
            del parts
        # Strategy and plugins refer to each other, and hold the cached images of the data set.
        gc.collect()
        yield run.folder


def _resume_run(path: Path, builder: Builder, console: Console) -> Path:
    folder, settings = RunFolder.resume(path)
    try:
        parts = builder.build(settings)
    except InputError:
        folder.close()
        raise
    execute(parts, folder, console=console)
    return path


def execute(parts: Parts, folder: RunFolder, *, console: Console) -> None:
    """Train, evaluate and record one run; the folder is valid however it ends."""
    run = TaskLoop(parts, folder)
    try:
        records = run.restore()
    except BaseException:
        folder.close()  # no step was made: the folder stays as it is
        raise
    for remark in folder.remarks:
        console.print(f"note: {remark}", highlight=False, soft_wrap=True)
    with _recorded_end(run), stop_requests() as request:
        start = parts.strategy.samples_seen
        names = list(parts.data.classes)
        tracker = Tracker(folder, parts.anytime, start=start)
        if records is not None:
            tracker.load_state_dict(records, parts.strategy.device)
        label = f"{label_of(parts.settings.strategy)} seed {parts.settings.seed}"
        line = ProgressLine(label, run.total, parts.anytime, console, start=start)
        # In front of Avalanche's own plugins: the clock has to stay last.
        position = parts.strategy.plugins.index(parts.anytime) + 1
        parts.strategy.plugins[position:position] = [tracker, line]
        try:
            with line.bar:
                tracker.show_stream(json.loads(parts.split.to_json()), names)
                run.train(tracker, request)
            if parts.data.multi_label:
                tracker.show_examples(parts.strategy.model, parts.data.test, names)
            tracker.finish(results_of(parts), flat_settings(parts.settings), names)
        finally:
            tracker.close()
        run.write_summary("finished")


class TaskLoop:
    """Training of one run, task after task, with checkpoints inside of tasks and after each.

    Args:
        parts: of the run.
        folder: of the run.

    Attributes:
        total: stream samples of the whole run, epochs included.
        tasks_done: tasks trained so far.
    """

    def __init__(self, parts: Parts, folder: RunFolder) -> None:
        """Start the clock and reset the counters."""
        self.parts = parts
        self.folder = folder
        self._identity: dict[str, Any] = {}
        self.tasks_done = 0
        self.total = parts.strategy.train_epochs * _stream_length(parts)
        self._counter = parts.strategy.model.backbone.counter
        self._counter.reset()
        self._started = time.perf_counter()
        self._earlier_seconds = 0.0
        if parts.strategy.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(parts.strategy.device)

    def restore(self) -> dict[str, Any] | None:
        """Continue from the last checkpoint, or start; return the state of the records.

        Raises:
            InputError: the checkpoint is damaged, or that of another run.
        """
        parts = self.parts
        self._identity = identity_of(parts)
        self.folder.claim(self._identity)
        state = self.folder.load_checkpoint()
        if state is None:
            self.folder.write_text("stream.json", parts.split.to_json())
            self.write_summary("running")
            return None
        self.folder.keep_stream(parts.split.to_json())
        self.tasks_done = state["tasks_done"]
        self._earlier_seconds = state["seconds"]
        strategy = parts.strategy
        begun = self.tasks_done + (state["strategy"]["place"] is not None)
        # A strategy of the whole stream replays nothing.
        tasks = [] if strategy.whole_stream else range(begun)
        strategy.load_state_dict(
            state["strategy"], [parts.benchmark.train_stream[i] for i in tasks]
        )
        for name, count in state["counter"].items():
            setattr(self._counter, name, count)
        parts.anytime.load_state_dict(state["anytime"], strategy)
        parts.data.train.load_state_dict(state["augmentation"])
        torch.set_rng_state(state["torch"])
        if self.tasks_done:
            # Perhaps the run was stopped between its checkpoint and this file.
            self.folder.export(parts.strategy.model)
        self.write_summary("running")
        records: dict[str, Any] = state["records"]
        return records

    def train(self, tracker: Tracker, request: StopRequest) -> None:
        """Train on the tasks that are left; a strategy of the whole stream trains once.

        Raises:
            Stopped: the state is saved, as ``request`` asked for an end.
        """
        strategy = self.parts.strategy
        tasks: list[Any] = list(self.parts.benchmark.train_stream)
        if strategy.whole_stream:
            tasks = [tasks]
        every = self.parts.settings.checkpoint_every
        clock = CheckpointClock(every, samples=strategy.samples_seen)

        def between_batches() -> None:
            if request.number is not None or clock.due(strategy.samples_seen):
                start = time.perf_counter()
                self._save(tracker)
                clock.saved(strategy.samples_seen, time.perf_counter() - start)
            self._stop(request)

        strategy.between_batches = between_batches
        workers = self.parts.settings.num_workers
        for task in tasks[self.tasks_done :]:
            strategy.train(task, eval_streams=[], num_workers=workers)
            self.tasks_done += 1
            self._save(tracker)
            self.folder.export(strategy.model)
            self._stop(request)

    def _stop(self, request: StopRequest) -> None:
        if request.number is not None:
            raise Stopped(
                f"stopped after {self.parts.strategy.samples_seen} samples; continue with:"
                f" cl-prompts run --resume {self.folder.path}",
                request.number,
            )

    def _save(self, tracker: Tracker) -> None:
        parts = self.parts
        counter = self._counter
        self.folder.save_checkpoint(
            {
                "tasks_done": self.tasks_done,
                "seconds": self.seconds(),
                "counter": {n: getattr(counter, n) for n in ("images", "blocks", "macs")},
                "strategy": parts.strategy.state_dict(),
                "anytime": parts.anytime.state_dict(),
                "augmentation": parts.data.train.state_dict(),
                "records": tracker.state_dict(),
                "torch": torch.get_rng_state(),
            }
        )
        self.write_summary("running")

    def seconds(self) -> float:
        """Wall time spent on this run, also before it was resumed."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def macs(self) -> dict[str, float]:
        """Multiply-accumulates of the backbone in training and evaluation, and test images."""
        evaluator = self.parts.anytime.evaluator
        return {
            "train": self._counter.macs - evaluator.macs,
            "evaluation": evaluator.macs,
            "evaluated": evaluator.images,
        }

    def write_summary(self, status: str, error: str | None = None) -> None:
        """Write ``summary.json``, which is valid at every moment of a run."""
        summary = summary_of(
            self.parts,
            seconds=self.seconds(),
            macs=self.macs(),
            command=self.folder.command(),
            identity=self._identity,
            with_results=status != "running",
        )
        content = {"status": status, "error": error, **summary}
        if status == "running":
            self.folder.write_json("summary.json", content)
        else:
            self.folder.write_end(content)

    def end(self, status: str, error: str) -> str:
        """Write that the run has not come to its end, where that can be written at all.

        Returns:
            The error, and that it could not be written.
        """
        try:
            self.write_summary(status, error)
        except RunError as second:
            return error if str(second) in error else f"{error}; moreover {second}"
        return error


def _stream_length(parts: Parts) -> int:
    """Samples of the stream; an image of several tasks counts in each that it is trained in."""
    tasks = parts.split.tasks
    if parts.strategy.whole_stream:
        return len(np.unique(np.concatenate(tasks)))
    return sum(map(len, tasks))


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Settings on one level with dotted keys, for TensorBoard."""
    flat: dict[str, Any] = {
        "strategy": settings.strategy,
        "seed": settings.seed,
        "stream_seed": settings.stream_seed,
    }
    for section in ("dataset", "scenario", "backbone", "evaluation", "options"):
        flat.update({f"{section}.{k}": v for k, v in getattr(settings, section).items()})
    return flat


@contextmanager
def _recorded_end(run: TaskLoop) -> Iterator[None]:
    """Write how a run ended into its summary, and release the folder."""
    try:
        yield
    except Stopped as error:
        run.end("interrupted", f"stopped by signal {error.number}")
        raise
    except KeyboardInterrupt as error:
        run.end("interrupted", "stopped by the user")
        raise KeyboardInterrupt(
            f"stopped; continue with: cl-prompts run --resume {run.folder.path}"
        ) from error
    except (RunError, OSError) as error:
        sentence = _sentence_of(error)
        told = run.end("failed", sentence)
        raise RunError(f"{told} (run folder {run.folder.path})") from error
    except BaseException as error:
        run.end("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        run.folder.close()


def _sentence_of(error: RunError | OSError) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}"
    # A loader process wraps it in its traceback, whose last line is the sentence.
    return str(error).strip().splitlines()[-1].rpartition(f"{RunError.__name__}: ")[2]
