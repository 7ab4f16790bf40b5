"""Training of one run, task after task, with checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from cl_prompts.backbones.cost import Counts, PassCounter
from cl_prompts.errors import RunError
from cl_prompts.experiments.run_folder.checksums import BEFORE_FILE
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.runner.lineage import (
    grow_beyond_parent,
    grow_to,
    grow_to_parent,
    scores_before,
)
from cl_prompts.experiments.runner.parts import Parts
from cl_prompts.experiments.runner.process import reset_peak_memory
from cl_prompts.experiments.runner.signals import Interrupted, StopRequest
from cl_prompts.experiments.runner.summary import summary_of
from cl_prompts.experiments.tracking.tracker import Tracker
from cl_prompts.training.seeds import global_states, set_global_states

#: greatest share of a run's time that its checkpoints take, where no interval is given
SHARE = 0.02
#: tasks of a run that are each followed by a checkpoint, however short they are
EACH = 100


class CheckpointClock:
    """Judge of whether a checkpoint is due between two stream batches.

    With an interval it is due after so many stream samples. Without one the interval adapts: as the
    last checkpoint took t seconds, the next is due t / 0.02 seconds later, at the earliest after
    two seconds. Checkpoints do not change what a run computes.

    Args:
        every: stream samples between two checkpoints; None to adapt.
        samples: stream samples at the last one.
        clock: seconds, from any start.

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
        """Whether to save, after so many stream samples."""
        if self.every is not None:
            return samples - self._samples >= self.every
        return self._clock() - self._last >= self._pause

    def due_after_task(self, samples: int, tasks: int) -> bool:
        """Whether to save after a task, the ``tasks``-th: always after the first :data:`EACH`."""
        # A state grows with the tasks behind it, so many of them would take too much time.
        return tasks <= EACH or self.due(samples)

    def saved(self, samples: int, seconds: float) -> None:
        """Note that a checkpoint was written, and how long that took."""
        self._samples = samples
        self._last = self._clock()
        self._pause = max(2.0, seconds / SHARE)


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
        self.parts = parts
        self.folder = folder
        self.tasks_done = 0
        self._before: dict[str, Any] | None = None
        self._earlier_remarks = [str(text) for text in folder.summary().get("remarks") or []]
        self.total = parts.strategy.train_epochs * _stream_length(parts)
        self._counter.reset()
        self._started = time.perf_counter()
        self._earlier_seconds = 0.0
        reset_peak_memory(parts.strategy.device)

    @property
    def _counter(self) -> PassCounter:
        counter: PassCounter = self.parts.strategy.model.backbone.counter
        return counter

    def restore(self) -> dict[str, Any] | None:
        """Continue from the last checkpoint, or start; return the state of the records.

        Raises:
            InputError: the checkpoint is damaged, or that of another run.
        """
        parts = self.parts
        # Before the checkpoint is read: a run of other data or weights must not resume from it.
        self.folder.check(identity_of(parts))
        state = self.folder.load_checkpoint()
        if state is not None:
            grow_to(parts.strategy, parts.settings, len(parts.data.classes), parts.split.n_tasks)
            self._go_on_from(state)
            self._before = state.get("before")
        elif parts.settings.parent:
            self._go_on_from_parent()
        if self._before is not None:
            # The parent may have trained for another number of epochs.
            own = sum(map(len, parts.split.tasks[self._before["n_tasks"] :]))
            self.total = self._before["samples_seen"] + parts.strategy.train_epochs * own
        self.folder.write_text("stream.json", parts.split.to_json())
        if self._before is not None:
            self.folder.write_json(BEFORE_FILE, self._before)
        if self.tasks_done:
            # Perhaps the run was stopped between its checkpoint and this file.
            self.folder.export(parts.strategy.model)
        self.write_summary("running")
        return None if state is None else state["records"]

    def _go_on_from(self, state: dict[str, Any]) -> None:
        parts = self.parts
        strategy = parts.strategy
        self.tasks_done = state["tasks_done"]
        self._earlier_seconds = state["seconds"]
        begun = self.tasks_done + (state["strategy"]["place"] is not None)
        # A strategy of the whole stream replays nothing.
        tasks = [] if strategy.whole_stream else range(begun)
        strategy.load_state_dict(
            state["strategy"], [parts.benchmark.train_stream[i] for i in tasks]
        )
        self._counter.reset(Counts(*[state["counter"][name] for name in Counts._fields]))
        parts.data.train.load_state_dict(state["augmentation"])
        set_global_states(state)

    def _go_on_from_parent(self) -> None:
        parts = self.parts
        strategy = parts.strategy
        # Noted here, since the parent's state brings rates of its own.
        own = [{**group, "params": None} for group in strategy.optimizer.param_groups]
        found = grow_to_parent(parts)
        self._go_on_from(found.state)
        self.folder.continue_metrics(found.metrics, Path(parts.settings.parent["run"]))
        grow_beyond_parent(parts)
        # Rates, decay and the like are those of this run's settings.
        for group, values in zip(strategy.optimizer.param_groups, own, strict=True):
            parameters = group["params"]
            group.clear()
            group.update({**values, "params": parameters})
        self._before = scores_before(parts)

    def train(self, tracker: Tracker, request: StopRequest) -> None:
        """Train on the tasks that are left; a strategy of the whole stream trains once.

        Raises:
            Interrupted: the state is saved, as ``request`` asked for an end.
        """
        strategy = self.parts.strategy
        tasks: list[Any] = list(self.parts.benchmark.train_stream)
        if strategy.whole_stream:
            tasks = [tasks]
        every = self.parts.settings.checkpoint_every
        clock = CheckpointClock(every, samples=strategy.samples_seen)

        def save(*, after_task: bool = False) -> None:
            start = time.perf_counter()
            self._save(tracker)
            # How long it took decides when the next is due, so that saving stays a small share.
            clock.saved(strategy.samples_seen, time.perf_counter() - start)
            if after_task:
                self.folder.export(strategy.model)

        def save_or_stop(*, due: bool, after_task: bool = False) -> None:
            number = request.number  # read once: a signal may come at any moment
            if due or number is not None:
                save(after_task=after_task)
            self._stop(number)

        self._stop(request.number)
        strategy.between_batches = lambda: save_or_stop(due=clock.due(strategy.samples_seen))
        workers = self.parts.settings.num_workers
        for task in tasks[self.tasks_done :]:
            strategy.train(task, eval_streams=[], num_workers=workers)
            self.tasks_done += 1
            last = self.tasks_done == len(tasks)
            due = last or clock.due_after_task(strategy.samples_seen, self.tasks_done)
            save_or_stop(due=due, after_task=True)

    @property
    def continuation(self) -> str:
        """Command that resumes this run."""
        trust = " --trust-code" if self.parts.settings.imported() else ""
        return f"cl-prompts run --resume {quote(str(self.folder.path))}{trust}"

    def _stop(self, number: int | None) -> None:
        if number is not None:
            raise Interrupted(
                f"stopped after {self.parts.strategy.samples_seen} samples; continue with:"
                f" {self.continuation}",
                number,
            )

    def _save(self, tracker: Tracker) -> None:
        parts = self.parts
        state = {
            "tasks_done": self.tasks_done,
            "seconds": self.seconds(),
            "before": self._before,
            "counter": self._counter.counts()._asdict(),
            "strategy": parts.strategy.state_dict(),
            "augmentation": parts.data.train.state_dict(),
            "records": tracker.records(),
            # For data, plugins and models from outside, which may draw from them.
            **global_states(),
        }
        self.folder.save_checkpoint(state)
        self.write_summary("running")

    def seconds(self) -> float:
        """Wall time spent on this run, also before it was resumed."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def write_summary(self, status: str, error: str | None = None) -> None:
        """Write ``summary.json``, which is valid at every moment of a run."""
        summary = summary_of(
            self.parts,
            seconds=self.seconds(),
            command=self.folder.command(),
            with_results=status != "running",
        )
        remarks = list(dict.fromkeys([*self._earlier_remarks, *self.folder.remarks]))
        content = {"status": status, "error": error, "remarks": remarks, **summary}
        if status == "running":
            self.folder.write_json("summary.json", content)
        else:
            self.folder.write_end(content)

    def end(self, status: str, error: str) -> None:
        """Write that the run has not come to its end, where anything can be written at all."""
        with suppress(RunError):
            self.write_summary(status, error)


def _stream_length(parts: Parts) -> int:
    """Samples of the stream; an image of several tasks counts in each that it is trained in."""
    tasks = parts.split.tasks
    if parts.strategy.whole_stream:
        return len(np.unique(np.concatenate(tasks)))
    return sum(map(len, tasks))
