"""Execute one run in its folder: train task after task, with checkpoints, and record the end."""

import gc
import json
import time
import traceback
from contextlib import closing, suppress
from typing import Any

import numpy as np
from torch import Tensor

from cl_prompts.backbones.cost import PassCounter
from cl_prompts.backbones.devices import reset_peak_memory, threads
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.executors.signals import Interrupted, StopRequest, stop_requests
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.files import BEFORE_FILE
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.run_folder.plans import PlannedRun, settings_of
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.continuing import scores_before, state_of_parent
from cl_prompts.experiments.runner.model_of_run import write_model
from cl_prompts.experiments.runner.run import Run, takes_one_thread
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.experiments.tracking.tracker import Tracker
from cl_prompts.seeds import global_states, set_global_states
from cl_prompts.strategies.evaluation.memorised import memorised

#: largest share of a run's time spent on checkpoints, where no interval is set
SHARE = 0.02


def complete(
    planned: PlannedRun, watcher: Watcher, resources: Resources, built: Run | None = None
) -> None:
    """Execute a missing run, or resume an unfinished one from its last checkpoint.

    Args:
        planned: the run; nothing happens if it is finished.
        watcher: receiver of its progress.
        resources: backbones and image checks to share with other runs.
        built: the run, if it is built already.

    Raises:
        InputError: the run cannot be built or resumed.
        RunError: a fault during the run.
        Interrupted: a signal came.
    """
    state = planned.state
    if state == "finished":  # its process may have died just before it reported that
        return
    settings = planned.settings
    if state == "unfinished":
        # Import only the code that the user named, not other code named in the folder.
        settings = settings_of(planned.folder, settings.user_code())
    with threads(one=takes_one_thread(settings)):
        run = built or build_run(settings, resources)
        place, command = planned.folder, planned.command
        with (
            stop_requests() as request,
            RunFolder.opened(place, run.settings, identity_of(run), command) as folder,
        ):
            TaskLoop(run, folder).execute(request, watcher)
    del run, built
    # Strategy and plugins refer to each other, and hold the cached images of the data set.
    gc.collect()


class TaskLoop:
    """Training of one run, with checkpoints within and after tasks.

    With ``checkpoint_every``, a checkpoint is due after that many stream samples. Without it the
    interval adapts: if the last checkpoint took t seconds, the next is due t / 0.02 seconds later,
    but not before two seconds have passed. Checkpoints do not change what a run computes.

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
        self._room = run.first
        self._before: dict[str, Any] | None = None
        tasks = run.split.tasks
        # A strategy of the whole stream counts an image of several tasks once.
        once = run.strategy.whole_stream
        samples = len(np.unique(np.concatenate(tasks))) if once else sum(map(len, tasks))
        self.total = run.strategy.train_epochs * samples
        self._counter: PassCounter = run.strategy.model.backbone.counter
        self._counter.reset()
        self._started = time.perf_counter()
        self._earlier_seconds = 0.0
        # Samples and time of the last checkpoint, and seconds until the next.
        self._saved = (0, self._started, 2.0)
        reset_peak_memory(run.strategy.device)

    def execute(self, request: StopRequest, watcher: Watcher) -> None:
        """Train, evaluate and record the run; the folder stays valid however it ends.

        Args:
            request: set by signals.
            watcher: receiver of its progress.
        """
        run = self.run
        losses = self.restore()  # before the first step the summary does not change
        try:
            tracker = self.attach_tracker(losses, watcher)
            evaluator, replay = run.anytime.evaluator, run.strategy.replay
            with closing(replay), closing(evaluator), closing(tracker):
                self.train(tracker, request)
                if run.data.train.true is not None:
                    stream = (run.data.train.plain(), run.split.tasks, run.split.visible)
                    run.memorised = memorised(run.strategy, run.anytime, *stream)
                tracker.finish(run.results)
            write_model(run, self.folder.path)
            self.write_summary("finished")
        except KeyboardInterrupt as stop:
            self._end("interrupted", str(stop) or "stopped by the user")
            raise
        except (RunError, InputError, OSError) as error:
            # A frame may hold a loader, which would end as in CachedEvaluator.close().
            traceback.clear_frames(error.__traceback__)
            self._end("failed", str(error))
            raise RunError(f"{error} (run folder {self.folder.path})") from error
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {error}")
            raise
        run.strategy.feature_cache.clear()
        request.obey()

    def attach_tracker(self, losses: Tensor | None, watcher: Watcher) -> Tracker:
        """Return a tracker of the strategy; ``losses`` are those of the last checkpoint."""
        run, strategy = self.run, self.run.strategy
        start = strategy.samples_seen
        tracker = Tracker(
            self.folder, run.anytime, run.settings, watcher, total=self.total, start=start
        )
        if losses is not None:
            tracker.restore(losses, strategy.device)
        # In front of Avalanche's own plugins: its clock must stay last.
        at = strategy.plugins.index(run.anytime) + 1
        strategy.plugins = [*strategy.plugins[:at], tracker, *strategy.plugins[at:]]
        return tracker

    def restore(self) -> Tensor | None:
        """Restore the last checkpoint, if there is one; return its unwritten losses.

        Raises:
            InputError: the checkpoint is damaged.
        """
        run = self.run
        state = self.folder.load_checkpoint()
        if state is not None:
            self._grow(len(run.data.classes), run.split.n_tasks)
            self._restore_state(state)
            self._before = state["before"]
        elif run.settings.parent is not None:
            self._restore_parent()
        path = self.folder.path
        if self._before is not None:
            # The parent may have trained for another number of epochs.
            own = sum(map(len, run.split.tasks[self._before["n_tasks"] :]))
            self.total = self._before["samples_seen"] + run.strategy.train_epochs * own
            files.write_json(path / BEFORE_FILE, self._before)
        files.replace(path / "stream.json", [json.dumps(run.split.plain()).encode()])
        files.write_arrays(path / "stream.npz", *run.split.tasks)
        self.write_summary("running")
        return None if state is None else state["losses"]

    def _grow(self, n_classes: int, n_tasks: int) -> None:
        """Expand the strategy, which starts at the sizes of the first ancestor."""
        self.run.strategy.grow(n_classes - self._room[0], n_tasks - self._room[1])
        self._room = (n_classes, n_tasks)

    def _restore_state(self, state: dict[str, Any]) -> None:
        run = self.run
        strategy = run.strategy
        self.tasks_done = state["tasks_done"]
        self._earlier_seconds = state["seconds"]
        begun = self.tasks_done + (state["strategy"]["place"] is not None)
        # A strategy of the whole stream replays nothing.
        tasks = [] if strategy.whole_stream else range(begun)
        strategy.load_state_dict(state["strategy"], [run.benchmark.train_stream[i] for i in tasks])
        self._counter.reset(**state["counter"])
        set_global_states(state)

    def _restore_parent(self) -> None:
        run = self.run
        strategy = run.strategy
        # The parent's state overwrites them.
        own = [{**group, "params": None} for group in strategy.optimizer.param_groups]
        n_classes, state = state_of_parent(run)
        self._grow(n_classes, state["tasks_done"])
        self._restore_state(state)
        self.folder.restore_metrics(state)
        self._grow(len(run.data.classes), run.split.n_tasks)
        # Learning rates, weight decay and so on are set by this run.
        for group, values in zip(strategy.optimizer.param_groups, own, strict=True):
            parameters = group["params"]
            group.clear()
            group.update({**values, "params": parameters})
        self._before = scores_before(run, self.tasks_done)

    def train(self, tracker: Tracker, request: StopRequest) -> None:
        """Train on the remaining tasks; a strategy of the whole stream trains once.

        Raises:
            Interrupted: ``request`` asked to stop; the state is saved.
        """
        strategy = self.run.strategy
        tasks: list[object] = list(self.run.benchmark.train_stream)
        if strategy.whole_stream:
            tasks = [tasks]
        self._saved = (strategy.samples_seen, time.perf_counter(), 2.0)

        def save_or_stop(*, last: bool = False) -> None:
            number = request.number  # read once: a signal may come at any time
            if last or number is not None or self._due():
                self._save(tracker)
            if number is not None:
                raise Interrupted(number=number)

        save_or_stop()
        strategy.between_batches = save_or_stop
        workers = self.run.settings.num_workers
        for task in tasks[self.tasks_done :]:
            strategy.train(task, eval_streams=[], num_workers=workers)
            self.tasks_done += 1
            save_or_stop(last=self.tasks_done == len(tasks))

    def _due(self) -> bool:
        """Return whether to save now."""
        samples, at, pause = self._saved
        every = self.run.settings.checkpoint_every
        if every is not None:
            return self.run.strategy.samples_seen - samples >= every
        return time.perf_counter() - at >= pause

    def _save(self, tracker: Tracker) -> None:
        run = self.run
        begun = time.perf_counter()
        state = {
            "tasks_done": self.tasks_done,
            "seconds": self.seconds(),
            "before": self._before,
            "counter": self._counter.counts(),
            "strategy": run.strategy.state_dict(),
            "losses": tracker.unwritten(),
            # User code may draw from the global generators.
            **global_states(),
        }
        self.folder.save_checkpoint(state)
        self.write_summary("running")
        now = time.perf_counter()
        self._saved = (run.strategy.samples_seen, now, max(2.0, (now - begun) / SHARE))

    def seconds(self) -> float:
        """Return the wall time of this run, including earlier processes."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def write_summary(self, status: str, error: str | None = None) -> None:
        """Write ``summary.json``, which is valid throughout a run."""
        ended = status != "running"
        command = self.folder.command
        summary = self.run.summary(seconds=self.seconds(), command=command, ended=ended)
        content = {"status": status, "error": error, **summary}
        if status == "finished":
            self.folder.write_end(content)
        else:
            files.write_json(self.folder.path / "summary.json", content)

    def _end(self, status: str, error: str) -> None:
        """Record how the run ended early, unless the disk is full or read-only."""
        with suppress(OSError):
            self.write_summary(status, error)
