"""Training of one run, task after task, with checkpoints."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import Counts
from cl_prompts.errors import RunError
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.runner.building import Parts
from cl_prompts.experiments.runner.checkpointing import CheckpointClock
from cl_prompts.experiments.runner.interruption import Stopped, StopRequest
from cl_prompts.experiments.runner.peak_memory import reset_peak_memory
from cl_prompts.experiments.runner.summary import summary_of
from cl_prompts.experiments.tracking.tracker import Tracker


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
        self._stopping: int | None = None
        self.total = parts.strategy.train_epochs * _stream_length(parts)
        self._counter = parts.strategy.model.backbone.counter
        self._counter.reset()
        self._started = time.perf_counter()
        self._earlier_seconds = 0.0
        reset_peak_memory(parts.strategy.device)

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
        self._counter.go_on_from(Counts(**state["counter"]))
        parts.anytime.load_state_dict(state["anytime"], strategy)
        parts.data.train.load_state_dict(state["augmentation"])
        torch.set_rng_state(state["torch"])
        if self.tasks_done:
            # Perhaps the run was stopped between its checkpoint and this file.
            self.folder.export(parts.strategy.model)
        self.write_summary("running")
        records: dict[str, Any] = state["records"]
        return records

    def train(self, tracker: Tracker | None, request: StopRequest) -> None:
        """Train on the tasks that are left; a strategy of the whole stream trains once.

        Args:
            tracker: of the records; None on ranks that keep none.
            request: for an end.

        Raises:
            Stopped: the state is saved, as ``request`` asked for an end.
        """
        strategy = self.parts.strategy
        tasks: list[Any] = list(self.parts.benchmark.train_stream)
        if strategy.whole_stream:
            tasks = [tasks]
        every = self.parts.settings.checkpoint_every
        clock = CheckpointClock(every, samples=strategy.samples_seen)

        def save() -> None:
            start = time.perf_counter()
            self._save(tracker)
            clock.saved(strategy.samples_seen, time.perf_counter() - start)

        def between_batches() -> None:
            if self._agreed(request, due=clock.due(strategy.samples_seen)):
                save()
            self._stop()

        strategy.between_batches = between_batches
        workers = self.parts.settings.num_workers
        for task in tasks[self.tasks_done :]:
            strategy.train(task, eval_streams=[], num_workers=workers)
            self.tasks_done += 1
            last = self.tasks_done == len(tasks)
            due = last or clock.due_after_task(strategy.samples_seen, self.tasks_done)
            if self._agreed(request, due=due):
                save()
                self.folder.export(strategy.model)
            self._stop()

    def _agreed(self, request: StopRequest, *, due: bool = False) -> bool:
        """Whether to save now, for the clock or an end; on all ranks, if it is so on one."""
        number, saves = ranks.highest(request.number or 0, int(due))
        self._stopping = number or None
        return bool(number or saves)

    def _stop(self) -> None:
        """End here if that was agreed; a signal that came since then is for the next time."""
        if self._stopping is not None:
            raise Stopped(
                f"stopped after {self.parts.strategy.samples_seen} samples; continue with:"
                f" cl-prompts run --resume {self.folder.path}",
                self._stopping,
            )

    def _save(self, tracker: Tracker | None) -> None:
        parts = self.parts
        counter = self._counter
        self.folder.save_checkpoint(
            {
                "tasks_done": self.tasks_done,
                "seconds": self.seconds(),
                "counter": counter.counts()._asdict(),
                "strategy": parts.strategy.state_dict(),
                "anytime": parts.anytime.state_dict(),
                "augmentation": parts.data.train.state_dict(),
                "records": {} if tracker is None else tracker.state_dict(),
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
