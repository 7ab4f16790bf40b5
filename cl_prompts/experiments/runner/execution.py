"""Runs executed: checked, trained task by task, evaluated and recorded in a run folder."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder.checksums import CONFIDENCE_FILE
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.parts import Parts
from cl_prompts.experiments.runner.process import its_threads, takes_one_thread
from cl_prompts.experiments.runner.signals import StopRequest, stop_requests
from cl_prompts.experiments.runner.summary import results_of
from cl_prompts.experiments.runner.task_loop import TaskLoop
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.experiments.tracking.tracker import ProgressLine, Tracker


def complete(
    run: PlannedRun,
    builder: Builder,
    watcher: Watcher,
    command: str,
) -> None:
    """Execute a run that is missing, or continue it at its last checkpoint.

    Args:
        run: to finish; left as it is if it is finished.
        builder: of its parts.
        watcher: of its progress.
        command: what was typed to make it.

    Raises:
        InputError: the run cannot be built or resumed.
        RunError: a fault during the run.
        Interrupted: a signal came.
    """
    state = run.state
    if state == "finished":  # its process may have died as it was about to say so
        return
    with its_threads(one=takes_one_thread(run.settings)):
        if state == "unfinished":
            # Code that the user named for this run, and no other that the folder may name.
            folder, settings = RunFolder.resume(run.folder, run.settings.imported())
            with folder.closed_on_error():
                parts = builder.build(settings)
        else:
            parts = builder.take_ready() or builder.build(run.settings)
        with stop_requests() as request:
            if state == "missing":
                identity = identity_of(parts)
                folder = RunFolder.create(run.folder, parts.settings, identity, command)
            execute(parts, folder, request=request, watcher=watcher)
    del parts
    # Strategy and plugins refer to each other, and hold the cached images of the data set.
    gc.collect()


def execute(parts: Parts, folder: RunFolder, *, request: StopRequest, watcher: Watcher) -> None:
    """Train, evaluate and record one run; the folder is valid however it ends."""
    run = TaskLoop(parts, folder)
    with folder.closed_on_error():  # no step was made: the folder stays as it is
        records = run.restore()
    for remark in folder.remarks:
        watcher.note(remark)
    with _recorded_end(run):
        tracker = _tracked(run, records, watcher)
        names = list(parts.data.classes)
        try:
            run.train(tracker, request)
            tracker.show_stream(json.loads(parts.split.to_json()), names)
            tracker.finish(parts.strategy.model, results_of(parts), names)
        finally:
            tracker.close()
            parts.anytime.evaluator.close()
            parts.strategy.replay.close()
        # Test images were never trained on, so the last evaluation was one of held-out images.
        held_out = parts.anytime.evaluator.confidence
        folder.write_json(CONFIDENCE_FILE, {"log_odds": held_out.sort().values.tolist()})
        run.write_summary("finished")
        parts.strategy.feature_cache.clear()
    request.obey()


def _tracked(run: TaskLoop, records: dict[str, Any] | None, watcher: Watcher) -> Tracker:
    parts = run.parts
    strategy = parts.strategy
    tracker = Tracker(run.folder, parts.anytime, parts.settings, start=strategy.samples_seen)
    if records is not None:
        tracker.restore_records(records, strategy.device)
    line = ProgressLine(run.total, parts.anytime, watcher)
    line.tell(strategy.samples_seen)
    # In front of Avalanche's own plugins: the clock has to stay last.
    position = strategy.plugins.index(parts.anytime) + 1
    strategy.plugins[position:position] = [tracker, line]
    return tracker


@contextmanager
def _recorded_end(run: TaskLoop) -> Iterator[None]:
    """Write how a run ended into its summary, and release the folder."""
    try:
        yield
    except KeyboardInterrupt as error:
        number = getattr(error, "number", None)
        by = "the user" if number is None else f"signal {number}"
        run.end("interrupted", f"stopped by {by}")
        raise
    except (RunError, InputError, OSError) as error:
        # A frame of the traceback may hold a loader, which would end as in CachedEvaluator.close().
        traceback.clear_frames(error.__traceback__)
        sentence = _sentence_of(error)
        run.end("failed", sentence)
        raise RunError(f"{sentence} (run folder {run.folder.path})") from error
    except BaseException as error:
        run.end("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        run.folder.close()


def _sentence_of(error: Exception) -> str:
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}"
    return str(error)
