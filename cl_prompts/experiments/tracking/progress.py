"""Show the progress of runs: bars on a terminal, else a line a minute; and a line at each end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from cl_prompts.errors import one_sentence

SECONDS_PER_LINE = 60.0


def print_line(console: Console, text: str) -> None:
    """Print a line without markup."""
    # Rich would color and break folder names, and read brackets in them as markup.
    console.print(text, highlight=False, soft_wrap=True, markup=False)


class Watcher:
    """Receiver of the progress of a run; this one does nothing."""

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        """Receive stream samples seen, stream samples in all, and A_AUC if it is defined.

        The first call comes before training, with the samples of earlier processes.
        """


@dataclass
class _Run(Watcher):
    """Watcher of a run on a display: its bar, start time, and progress."""

    display: Display
    label: str
    bar: TaskID
    began: float
    line_at: float
    start: int | None = None
    total: int = 0
    score: str = ""

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        now = self.display.clock()
        # The remaining time does not count loading and compiling.
        if self.start is None:
            self.start, self.began = samples, now
        self.total = total
        self.score = "" if a_auc is None else f"A_AUC {100 * a_auc:.1f}"
        about = [self.score] if self.score else []
        if samples > self.start:
            seconds = (now - self.began) * (total - samples) / (samples - self.start)
            about.append(f"about {in_words(seconds)} left")
        display = self.display
        display.update(self.bar, completed=samples, total=total, about=", ".join(about))
        if display.disable and now - self.line_at >= SECONDS_PER_LINE:
            self.line_at = now
            # Never rounded up to 100.
            share = [f"{100 * samples // total} %"] if total else []
            display.say(", ".join([self.label, *share, *about]))


def in_words(seconds: float) -> str:
    """Return a duration in words.

    >>> in_words(41.3), in_words(240), in_words(9000)
    ('41 s', '4 min', '2.5 h')
    """
    # Rounding must not give 60 s or 60 min.
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


class Display(Progress):
    """Display of running runs.

    Args:
        console: console for lines and bars.
        n_runs: total number of runs.
        clock: returns seconds.

    >>> with Display(Console(), 1) as display, display.run(1, "ncm seed 1") as watcher:
    ...     watcher.advance(0, 64, None)
    ...     watcher.advance(64, 64, 0.5)
    run 1 of 1, ncm seed 1, finished after 0 s, A_AUC 50.0
    """

    def __init__(
        self, console: Console, n_runs: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        texts = (TextColumn("{task.description}"), TextColumn("{task.fields[about]}"))
        super().__init__(
            *(texts[0], BarColumn(24), TaskProgressColumn(), texts[1]),
            console=console,
            transient=True,
            disable=not console.is_terminal or console.quiet,
        )
        self.n_runs = n_runs
        self.clock = clock
        self._runs: dict[int, _Run] = {}

    def say(self, text: str) -> None:
        """Print a line."""
        print_line(self.console, text)

    def begin(self, number: int, label: str) -> Watcher:
        """Add a run that starts or resumes."""
        now = self.clock()
        label = f"run {number} of {self.n_runs}, {one_sentence(label)}"
        bar = self.add_task(escape(label), total=None, about="")
        self._runs[number] = _Run(self, label, bar, began=now, line_at=now)
        return self._runs[number]

    def end(self, number: int, how: str) -> None:
        """Show the end of a run: "finished", "stopped" or "failed: WHY"."""
        run = self._runs.pop(number)
        self.remove_task(run.bar)
        if how == "finished" and run.total:
            how = f"finished after {in_words(self.clock() - run.began)}"
            how += f", {run.score}" * bool(run.score)
        self.say(f"{run.label}, {how}")

    @contextmanager
    def run(self, number: int, label: str) -> Iterator[Watcher]:
        """Show one run of this process."""
        watcher = self.begin(number, label)
        how = "failed"
        try:
            yield watcher
            how = "finished"
        except KeyboardInterrupt:
            how = "stopped"
            raise
        finally:
            self.end(number, how)
