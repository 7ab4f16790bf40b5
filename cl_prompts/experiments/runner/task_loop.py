"""Train one run task after task, with checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from shlex import quote
from typing import Any

import numpy as np

from cl_prompts.backbones.cost import Counts, PassCounter
from cl_prompts.backbones.devices import reset_peak_memory
from cl_prompts.experiments.executors.signals import Interrupted, StopRequest
from cl_prompts.experiments.recipes.run_config import Parent
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.checksums import BEFORE_FILE
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.runner.lineage import (
    grow_to,
    grow_to_parent,
    scores_before,
    sizes_of_parent,
)
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.tracking.tracker import Tracker
from cl_prompts.seeds import global_states, set_global_states

#: largest share of a run's time spent on checkpoints, where no interval is set
SHARE = 0.02


class CheckpointClock:
    """Timing of checkpoints between stream batches.

    With an interval, a checkpoint is due after that many stream samples. Without one the interval
    adapts: if the last checkpoint took t seconds, the next is due t / 0.02 seconds later, but not
    before two seconds have passed. Checkpoints do not change what a run computes.

    Args:
        every: stream samples between two checkpoints; None to adapt.
        samples: stream samples at the last checkpoint.
        clock: returns seconds since any fixed time.

    Example:
        >>> clock = CheckpointClock(100)
        >>> clock.due(64), clock.due(128)
        (False, True)
    """

    def __init__(
        self,
        every: int | None = None,
        *,
        samples: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.every = every
        self._samples = samples
        self._clock = clock
        self._last = clock()
        self._pause = 2.0

    def due(self, samples: int) -> bool:
        """Return whether to save after ``samples`` stream samples."""
        if self.every is not None:
            return samples - self._samples >= self.every
        return self._clock() - self._last >= self._pause

    def saved(self, samples: int, seconds: float) -> None:
        """Record that a checkpoint was written and how long that took."""
        self._samples = samples
        self._last = self._clock()
        self._pause = max(2.0, seconds / SHARE)


class TaskLoop:
    """Training of one run, with checkpoints within and after tasks.

    Args:
        run: the built run.
        folder: its run folder.

    Attributes:
        total: stream samples of the whole run, epochs included.
        tasks_done: tasks trained so far.
    """

    def __init__(self, run: Run, folder: RunFolder) -> None:
        self.run = run
        self.folder = folder
        self.tasks_done = 0
        self._before: dict[str, Any] | None = None
        self._earlier_warnings = [str(text) for text in folder.summary().get("warnings") or []]
        tasks = run.split.tasks
        # A strategy of the whole stream counts an image of several tasks once.
        once = run.strategy.whole_stream
        samples = len(np.unique(np.concatenate(tasks))) if once else sum(map(len, tasks))
        self.total = run.strategy.train_epochs * samples
        self._counter: PassCounter = run.strategy.model.backbone.counter
        self._counter.reset()
        self._started = time.perf_counter()
        self._earlier_seconds = 0.0
        reset_peak_memory(run.strategy.device)

    def restore(self) -> dict[str, Any] | None:
        """Restore the last checkpoint, if there is one; return the state of the records.

        Raises:
            InputError: no checkpoint is intact.
        """
        run = self.run
        state = self.folder.load_checkpoint()
        if state is not None:
            grow_to(run.strategy, run.settings, len(run.data.classes), run.split.n_tasks)
            self._restore_state(state)
            self._before = state.get("before")
        elif run.settings.parent is not None:
            self._restore_parent(run.settings.parent)
        if self._before is not None:
            # The parent may have trained for another number of epochs.
            own = sum(map(len, run.split.tasks[self._before["n_tasks"] :]))
            self.total = self._before["samples_seen"] + run.strategy.train_epochs * own
        path = self.folder.path
        files.replace(path / "stream.json", [json.dumps(run.split.plain()).encode()])
        files.write_arrays(path / "stream.npz", *run.split.tasks)
        if self._before is not None:
            files.write_json(path / BEFORE_FILE, self._before)
        self.write_summary("running")
        return None if state is None else state["records"]

    def _restore_state(self, state: dict[str, Any]) -> None:
        run = self.run
        strategy = run.strategy
        self.tasks_done = state["tasks_done"]
        self._earlier_seconds = state["seconds"]
        begun = self.tasks_done + (state["strategy"]["place"] is not None)
        # A strategy of the whole stream replays nothing.
        tasks = [] if strategy.whole_stream else range(begun)
        strategy.load_state_dict(state["strategy"], [run.benchmark.train_stream[i] for i in tasks])
        self._counter.reset(Counts(*[state["counter"][name] for name in Counts._fields]))
        set_global_states(state)

    def _restore_parent(self, parent: Parent) -> None:
        run = self.run
        strategy = run.strategy
        # The parent's state overwrites them.
        own = [{**group, "params": None} for group in strategy.optimizer.param_groups]
        state = grow_to_parent(run, parent)
        self._restore_state(state)
        self.folder.restore_metrics(state)
        classes, tasks = sizes_of_parent(parent)
        strategy.grow(len(run.data.classes) - classes, run.split.n_tasks - tasks)
        # Learning rates, weight decay and so on are set by this run.
        for group, values in zip(strategy.optimizer.param_groups, own, strict=True):
            parameters = group["params"]
            group.clear()
            group.update({**values, "params": parameters})
        self._before = scores_before(run, parent)

    def train(self, tracker: Tracker, request: StopRequest) -> None:
        """Train on the remaining tasks; a strategy of the whole stream trains once.

        Raises:
            Interrupted: ``request`` asked to stop; the state is saved.
        """
        strategy = self.run.strategy
        tasks: list[Any] = list(self.run.benchmark.train_stream)
        if strategy.whole_stream:
            tasks = [tasks]
        every = self.run.settings.checkpoint_every
        clock = CheckpointClock(every, samples=strategy.samples_seen)

        def save_or_stop(*, due: bool) -> None:
            number = request.number  # read once: a signal may come at any time
            if due or number is not None:
                start = time.perf_counter()
                self._save(tracker)
                clock.saved(strategy.samples_seen, time.perf_counter() - start)
            if number is not None:
                seen = f"stopped after {strategy.samples_seen} samples"
                raise Interrupted(f"{seen}; continue with: {self.continuation}", number)

        save_or_stop(due=False)
        strategy.between_batches = lambda: save_or_stop(due=clock.due(strategy.samples_seen))
        workers = self.run.settings.num_workers
        for task in tasks[self.tasks_done :]:
            strategy.train(task, eval_streams=[], num_workers=workers)
            self.tasks_done += 1
            last = self.tasks_done == len(tasks)
            save_or_stop(due=last or clock.due(strategy.samples_seen))

    @property
    def continuation(self) -> str:
        """The command that resumes this run."""
        trust = " --trust-code" if self.run.settings.imported() else ""
        return f"cl-prompts run --resume {quote(str(self.folder.path))}{trust}"

    def _save(self, tracker: Tracker) -> None:
        run = self.run
        state = {
            "tasks_done": self.tasks_done,
            "seconds": self.seconds(),
            "before": self._before,
            "counter": self._counter.counts()._asdict(),
            "strategy": run.strategy.state_dict(),
            "records": tracker.records(),
            # User code may draw from the global generators.
            **global_states(),
        }
        self.folder.save_checkpoint(state)
        self.write_summary("running")

    def seconds(self) -> float:
        """Return the wall time of this run, including earlier processes."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def write_summary(self, status: str, error: str | None = None, **more: Any) -> None:
        """Write ``summary.json``, with further entries; it is valid throughout a run."""
        summary = self.run.summary(
            seconds=self.seconds(),
            command=self.folder.command,
            ended=status != "running",
        )
        warnings = list(dict.fromkeys([*self._earlier_warnings, *self.folder.warnings]))
        content = {"status": status, "error": error, "warnings": warnings, **summary, **more}
        if status == "finished":
            self.folder.write_end(content)
        else:
            files.write_json(self.folder.path / "summary.json", content)

    def end(self, status: str, error: str) -> None:
        """Record how the run ended early, unless the disk is full or read-only."""
        with suppress(OSError):
            self.write_summary(status, error)
