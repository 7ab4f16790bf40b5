"""Execute runs: train task by task, evaluate and record in a run folder."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cl_prompts.backbones.devices import threads
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.executors.signals import StopRequest, stop_requests
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.run_folder.plans import PlannedRun, settings_of
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.model_of_run import write_model
from cl_prompts.experiments.runner.run import Run, takes_one_thread
from cl_prompts.experiments.runner.task_loop import TaskLoop
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.experiments.tracking.tracker import Tracker


def complete(
    planned: PlannedRun,
    watcher: Watcher,
    resources: Resources,
    built: Run | None = None,
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
        settings = settings_of(planned.folder, settings.imported())
    with threads(one=takes_one_thread(settings)):
        if built is None:
            built = build_run(settings, resources)
        place, command = planned.folder, planned.command
        with (
            stop_requests() as request,
            RunFolder.opened(place, built.settings, identity_of(built), command) as folder,
        ):
            execute(built, folder, request=request, watcher=watcher)
    del built
    # Strategy and plugins refer to each other, and hold the cached images of the data set.
    gc.collect()


def execute(
    run: Run,
    folder: RunFolder,
    *,
    request: StopRequest,
    watcher: Watcher,
) -> None:
    """Train, evaluate and record one run; the folder stays valid however it ends.

    Args:
        run: the built run.
        folder: its folder.
        request: set by signals.
        watcher: receiver of its progress.
    """
    loop = TaskLoop(run, folder)
    records = loop.restore()  # before the first step the summary does not change
    for warning in folder.warnings:
        watcher.note(warning)
    with _recorded_end(loop):
        tracker = _attach_tracker(loop, records, watcher)
        try:
            loop.train(tracker, request)
            names = list(run.data.classes)
            tracker.finish(run.strategy.model, run.split.plain(), run.results(), names)
        finally:
            tracker.close()
            run.anytime.evaluator.close()
            run.strategy.replay.close()
        write_model(run, folder.path)
        loop.write_summary("finished", order_free=run.order_free())
        run.strategy.feature_cache.clear()
    request.obey()


def _attach_tracker(loop: TaskLoop, records: dict[str, Any] | None, watcher: Watcher) -> Tracker:
    run, strategy = loop.run, loop.run.strategy
    start = strategy.samples_seen
    tracker = Tracker(
        loop.folder, run.anytime, run.settings, watcher, total=loop.total, start=start
    )
    if records is not None:
        tracker.restore_records(records, strategy.device)
    # In front of Avalanche's own plugins: its clock must stay last.
    at = strategy.plugins.index(run.anytime) + 1
    strategy.plugins = [*strategy.plugins[:at], tracker, *strategy.plugins[at:]]
    return tracker


@contextmanager
def _recorded_end(loop: TaskLoop) -> Iterator[None]:
    """Write into the summary how the run ended."""
    try:
        yield
    except KeyboardInterrupt as error:
        number = getattr(error, "number", None)
        by = "the user" if number is None else f"signal {number}"
        loop.end("interrupted", f"stopped by {by}")
        raise
    except (RunError, InputError, OSError) as error:
        # A frame of the traceback may hold a loader, which would end as in CachedEvaluator.close().
        traceback.clear_frames(error.__traceback__)
        sentence = str(error)
        if isinstance(error, OSError):
            where = "" if error.filename is None else f"{error.filename}: "
            sentence = f"{where}{error.strerror or error}"
        loop.end("failed", sentence)
        raise RunError(f"{sentence} (run folder {loop.folder.path})") from error
    except BaseException as error:
        loop.end("failed", f"{type(error).__name__}: {error}")
        raise
