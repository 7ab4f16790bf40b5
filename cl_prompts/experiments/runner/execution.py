"""Runs executed: checked, trained task by task, evaluated and recorded in a run folder."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from cl_prompts.errors import InputError, RunError, typed
from cl_prompts.experiments.recipes.grid import differing_settings, labels_of_runs
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder.checksums import CONFIDENCE_FILE
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.run_folder.plans import (
    Plan,
    PlannedRun,
    describe,
    new_path,
    unfinished_plan,
)
from cl_prompts.experiments.runner.building import Builder, Parts
from cl_prompts.experiments.runner.interruption import StopRequest, stop_requests, stop_says
from cl_prompts.experiments.runner.kept_images import record_images
from cl_prompts.experiments.runner.process import its_threads, takes_one_thread
from cl_prompts.experiments.runner.summary import results_of
from cl_prompts.experiments.runner.task_loop import TaskLoop
from cl_prompts.experiments.tracking.boards import compared_settings
from cl_prompts.experiments.tracking.progress import Watcher, display_on, print_line
from cl_prompts.experiments.tracking.tracker import ProgressLine, Tracker

#: executes the runs of a plan elsewhere and gives the folders of the finished ones; or None, where
#: this process is to execute them
Elsewhere = Callable[[Plan, Console], Iterator[Path] | None]


def run_all(
    plan: Sequence[Settings],
    *,
    out: Path,
    console: Console,
    command: str,
    elsewhere: Elsewhere | None = None,
) -> Iterator[Path]:
    """Check all runs, then execute them; yield the folder of each finished run.

    The plan is written above the run folders, so that :func:`resume` can finish it.

    Args:
        plan: settings of the runs.
        out: parent of the recipes' folders.
        console: where progress is drawn.
        command: as typed.
        elsewhere: see :data:`Elsewhere`; by default one run after the other, in this process.

    Raises:
        InputError: a run cannot be built; none has been started then.
        RunError: a fault during a run.
        Stopped: a signal came.
    """
    builder = Builder()
    # All are built before the first one trains: a mistake in the last shows now, not tomorrow.
    with its_threads(one=all(map(takes_one_thread, plan))):
        parts, remarks = builder.check(plan)
    for remark in remarks:
        print_line(console, f"note: {remark}")
    if len(plan) == 1:
        builder.ready = parts
    del parts
    runs = [PlannedRun(new_path(out, settings), settings) for settings in plan]
    planned = Plan(command, tuple(runs))
    above = out / plan[0].recipe
    if len(runs) > 1:
        planned.write(above)
    try:
        above_them = above if len(runs) > 1 else None
        yield from _finish(planned, above_them, builder, console, elsewhere)
    finally:
        if len(runs) == 1 and runs[0].state == "missing":
            with suppress(OSError):
                runs[0].folder.rmdir()  # unless it holds anything


def resume(
    path: Path,
    *,
    console: Console,
    trust_code: bool = False,
    elsewhere: Elsewhere | None = None,
) -> Iterator[Path]:
    """Continue an unfinished run at its last checkpoint, or finish all runs of a plan.

    Args:
        path: folder of a run, or folder that holds a plan.
        console: where progress is drawn.
        trust_code: whether code that the folder names may be imported.
        elsewhere: as for :func:`run_all`.

    Yields:
        the folder of each run that is finished then.

    Raises:
        InputError: there is nothing to resume, it names code, or a run cannot be built.
        RunError: a fault during a run.
        Stopped: a signal came.
    """
    if (path / "config.yaml").is_file() or not list(path.glob("plan-*.json")):
        folder, settings = RunFolder.resume(path, trust_code)
        (label,) = labels_of_runs([settings])
        run = PlannedRun(path, settings)
        with (
            stop_says(lambda: _way_on([run])),
            display_on(console, 1) as display,
            display.run(1, label) as watcher,
        ):
            _continue(folder, settings, Builder(), watcher)
        yield path
        return
    plan = unfinished_plan(path, trust_code)
    print_line(console, f"{path}: {describe(plan.runs)}")
    yield from _finish(plan, path, Builder(), console, elsewhere)


def _finish(
    plan: Plan,
    above: Path | None,
    builder: Builder,
    console: Console,
    elsewhere: Elsewhere | None,
) -> Iterator[Path]:
    """Execute the runs of a plan that are not finished; yield the folders of all."""
    folders = None if elsewhere is None else elsewhere(plan, console)
    if folders is not None:
        with stop_says(lambda: _way_on(plan.runs, above)):
            yield from folders
        return
    runs = [run.settings for run in plan.runs]
    varied = differing_settings(runs)
    with stop_says(lambda: _way_on(plan.runs, above)), display_on(console, len(runs)) as display:
        for number, (run, label) in enumerate(zip(plan.runs, labels_of_runs(runs), strict=True), 1):
            if run.state != "finished":
                with display.run(number, label) as watcher:
                    complete(run, builder, watcher, plan.command, varied)
            yield run.folder


def _way_on(runs: Sequence[PlannedRun], above: Path | None = None) -> str:
    """How to go on after a stop between two runs, or before a run trains or after it.

    Args:
        runs: of the command.
        above: folder of their plan; None for one run without a plan.
    """
    place = typed(runs[0].folder if above is None else above)
    states = {run.state for run in runs}
    if states == {"finished"}:
        return f"stopped before the report was made, which this does: cl-prompts report {place}"
    if above is None and states == {"missing"}:
        return "stopped before the run was begun"
    trust = " --trust-code" if any(run.settings.to_trust() for run in runs) else ""
    return f"stopped; continue with: cl-prompts run --resume {place}{trust}"


def complete(
    run: PlannedRun,
    builder: Builder,
    watcher: Watcher,
    command: str,
    varied: Sequence[str] = (),
) -> None:
    """Execute a run that is missing, or continue it at its last checkpoint; a finished one is left
    as it is.

    Args:
        run: to finish.
        builder: of its parts.
        watcher: of its progress.
        command: what was typed to make it.
        varied: settings in which the runs of that command differ.

    Raises:
        InputError: the run cannot be built or resumed.
        RunError: a fault during the run.
        Stopped: a signal came.
    """
    if run.state == "finished":  # its process may have died as it was about to say so
        return
    if run.state == "unfinished":
        # Code that the user named for this run, and no other that the folder may name.
        found = RunFolder.resume(run.folder, run.settings.to_trust())
        _continue(*found, builder, watcher)
    else:
        with its_threads(one=takes_one_thread(run.settings)):
            parts = builder.take_ready() or builder.build(run.settings)
            with stop_requests() as request:
                identity = identity_of(parts)
                folder = RunFolder.create(run.folder, parts.settings, identity, command, varied)
                execute(parts, folder, request=request, watcher=watcher)
            del parts
    # Strategy and plugins refer to each other, and hold the cached images of the data set.
    gc.collect()


def _continue(folder: RunFolder, settings: Settings, builder: Builder, watcher: Watcher) -> None:
    """Execute what is left of a run that was begun."""
    with its_threads(one=takes_one_thread(settings)):
        with folder.closed_on_error():
            parts = builder.build(settings)
        with stop_requests() as request:
            execute(parts, folder, request=request, watcher=watcher)


def execute(parts: Parts, folder: RunFolder, *, request: StopRequest, watcher: Watcher) -> None:
    """Train, evaluate and record one run; the folder is valid however it ends.

    A request for an end is met before the training, between two batches of it, and when the run is
    finished.
    """
    run = TaskLoop(parts, folder)
    with folder.closed_on_error():  # no step was made: the folder stays as it is
        records = run.restore()
    for remark in folder.remarks:
        watcher.note(remark)
    with _recorded_end(run):
        tracker = _tracked(run, records, watcher)
        names = list(parts.data.classes)
        try:
            tracker.show_stream(json.loads(parts.split.to_json()), names)
            before = len(folder.remarks)
            run.train(tracker, request)
            for remark in folder.remarks[before:]:
                watcher.note(remark)
            if parts.data.multi_label:
                tracker.show_examples(parts.strategy.model, parts.data.test, names)
            tracker.finish(
                parts.strategy.model,
                results_of(parts),
                compared_settings(parts.settings, folder.varied()),
                names,
            )
        finally:
            tracker.close()
            parts.anytime.evaluator.close()
            parts.strategy.replay.close()
        # Test images were never trained on, so the last evaluation was one of held-out images.
        held_out = parts.anytime.evaluator.confidence
        folder.write_json(CONFIDENCE_FILE, {"log_odds": held_out.sort().values.tolist()})
        record_images(parts, folder)
        run.write_summary("finished")
        cache = parts.strategy.feature_cache
        if parts.settings.options.get("views") is not None:
            watcher.note(_cache_summary(cache.reused, cache.computed))
        cache.clear()
    request.obey()


def _cache_summary(reused: int, computed: int) -> str:
    """Share of views whose frozen features were cached, in words.

    >>> _cache_summary(4500, 1500)
    'frozen work of 4,500 of 6,000 views was at hand'
    """
    return f"frozen work of {reused:,} of {reused + computed:,} views was at hand"


def _tracked(run: TaskLoop, records: dict[str, Any] | None, watcher: Watcher) -> Tracker:
    """Tracker and progress line of a run, joined to its strategy."""
    parts = run.parts
    strategy = parts.strategy
    tracker = Tracker(
        run.folder,
        parts.anytime,
        parts.settings,
        start=strategy.samples_seen,
        total=run.total,
        n_tasks=1 if strategy.whole_stream else parts.split.n_tasks,
        batch_size=strategy.train_mb_size,
    )
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
        sentence = run.end("failed", _sentence_of(error))
        raise RunError(f"{sentence} (run folder {run.folder.path})") from error
    except BaseException as error:
        run.end("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        run.folder.close()


def _sentence_of(error: Exception) -> str:
    """Error in one line."""
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}"
    return str(error)
