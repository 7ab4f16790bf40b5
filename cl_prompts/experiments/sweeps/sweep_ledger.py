"""Runs of a sweep that wait, and what becomes of those that are executed, wherever that is."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.sweeps.sweep_worker import Advanced, Ended, Job, Message, Noted
from cl_prompts.experiments.tracking.progress import Display

#: times that a run goes on whose process was killed or stopped
RESUMES = 2
_NOT_BEGUN = Path("not begun")


@dataclass
class SweptRun:
    """One run of a sweep.

    Attributes:
        number: from 1.
        label: short name.
        settings: of the run.
        folder: of the run; None before it begins.
        fault: why it failed.
        kills: times that its process was killed or stopped.
    """

    number: int
    label: str
    settings: Settings
    folder: Path | None = None
    fault: str | None = None
    kills: int = 0

    @property
    def planned(self) -> PlannedRun:
        """The run and its folder."""
        return PlannedRun(self.folder or _NOT_BEGUN, self.settings)


class Ledger:
    """The runs of a sweep that wait, and what is done about each that begins, ends or dies.

    Args:
        runs: to execute, in this order.
        display: where progress is shown.
        make_job: called with a run that is about to be executed.

    Attributes:
        waiting: runs that nobody executes.
        stopped: number of the signal that ended the sweep early; None for none.
    """

    def __init__(
        self,
        runs: Sequence[SweptRun],
        display: Display,
        make_job: Callable[[SweptRun], Job],
    ) -> None:
        """All runs wait."""
        self.waiting = deque(runs)
        self.stopped: int | None = None
        self._display = display
        self._make_job = make_job

    def begin(self) -> tuple[SweptRun, Job]:
        """Take the first run that waits, to be executed now."""
        run = self.waiting.popleft()
        self._display.begin(run.number, run.label)
        return run, self._make_job(run)

    def say(self, text: str) -> None:
        """Print a line."""
        self._display.say(text)

    def stop(self, number: int) -> None:
        """Begin no further run, since a signal asks for an end."""
        self.stopped = number
        self.waiting.clear()

    def hear(self, run: SweptRun, message: Message) -> None:
        """Take what a run under way says."""
        if isinstance(message, Advanced):
            self._display.advance(run.number, message.samples, message.total, message.a_auc)
        elif isinstance(message, Noted):
            self.say(f"note: {run.label}: {message.sentence}")
        else:
            self._end(run, message)

    def _end(self, run: SweptRun, ended: Ended) -> None:
        if ended.traceback:
            print(ended.traceback, file=sys.stderr)
        if ended.fault is None:
            self._display.end(run.number, "finished")
        elif ended.stopped:
            # Where the sweep goes on, whoever runs the machine has stopped this run alone.
            self.bury(run, ended.fault)
        else:
            run.fault = ended.fault
            self._display.end(run.number, f"failed: {ended.fault}")

    def bury(self, run: SweptRun, how: str) -> None:
        """Let a run whose process died, or was stopped, go on in another one, a few times.

        Args:
            run: whose process died.
            how: it died, such as "killed by SIGKILL" or "stopped by signal 15".
        """
        run.kills += 1
        if self.stopped is not None:
            self._display.end(run.number, "stopped")
        elif run.kills <= RESUMES:
            self._display.take_back(
                run.number, f"its process was {how}, and the run goes on in another one"
            )
            self.waiting.appendleft(run)
        else:
            run.fault = f"its process was {how}, at attempt {run.kills}"
            self._display.end(run.number, f"failed: {run.fault}")
