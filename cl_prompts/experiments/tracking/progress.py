"""Progress of runs: bars on a terminal, elsewhere a plain line a minute, and a line at each end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from cl_prompts.errors import one_sentence

SECONDS_PER_LINE = 60.0


def print_line(console: Console, text: str) -> None:
    """Print a line as it is."""
    # Rich would colour and break names of folders, and take brackets in them for marks.
    console.print(text, highlight=False, soft_wrap=True, markup=False)


class Watcher(Protocol):
    """Receiver of the progress of a run."""

    def note(self, sentence: str) -> None:
        """Take a warning about the run."""

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        """Take its progress: stream samples seen so far and in all, and A_AUC, if it has one.

        The first call says where this process begins, before any sample is trained on.
        """


@dataclass
class _Run:
    """A run under way: its bar, when it began, and how far it was then and is now."""

    label: str
    bar: TaskID
    began: float
    line_at: float
    start: int | None = None
    samples: int = 0
    total: int = 0
    score: str = ""

    def left(self, now: float) -> str:
        """Time that is left at the pace of this process."""
        trained = self.samples - (self.start or 0)
        if trained <= 0:
            return ""
        seconds = (now - self.began) * (self.total - self.samples) / trained
        return f"about {in_words(seconds)} left"


def in_words(seconds: float) -> str:
    """A time in words.

    >>> in_words(41.3), in_words(240), in_words(9000)
    ('41 s', '4 min', '2.5 h')
    """
    # Before rounding would write 60 s or 60 min.
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


class Display:
    """Display of runs under way.

    Args:
        console: where lines and bars go.
        n_runs: runs in all.
        clock: seconds.

    >>> with Display(Console(), 1) as display, display.run(1, "ncm seed 1") as watcher:
    ...     watcher.advance(0, 64, None)
    ...     watcher.advance(64, 64, 0.5)
    run 1 of 1, ncm seed 1, finished after 0 s, A_AUC 50.0
    """

    def __init__(
        self, console: Console, n_runs: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self.n_runs = n_runs
        self.clock = clock
        self._runs: dict[int, _Run] = {}
        about = TextColumn("{task.fields[about]}")
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(24),
            TaskProgressColumn(),
            about,
            console=console,
            transient=True,
            disable=not console.is_terminal or console.quiet,
        )

    def __enter__(self) -> Display:
        """Begin to show."""
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the bars; the lines stay."""
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        print_line(self.console, text)

    def begin(self, number: int, label: str) -> None:
        """Take a run that begins, or continues."""
        now = self.clock()
        label = f"run {number} of {self.n_runs}, {one_sentence(label)}"
        bar = self._bars.add_task(escape(label), total=None, about="")
        self._runs[number] = _Run(label, bar, began=now, line_at=now)

    def advance(self, number: int, samples: int, total: int, a_auc: float | None) -> None:
        """Take the progress of a run; see :meth:`Watcher.advance`."""
        run = self._runs[number]
        now = self.clock()
        # Time that is left is reckoned from the first sample, not from loading and compiling.
        if run.start is None:
            run.start, run.began = samples, now
        run.samples, run.total = samples, total
        run.score = "" if a_auc is None else f"A_AUC {100 * a_auc:.1f}"
        about = ", ".join(filter(None, [run.score, run.left(now)]))
        self._bars.update(run.bar, completed=samples, total=total, about=about)
        if self._bars.disable and now - run.line_at >= SECONDS_PER_LINE:
            run.line_at = now
            # Not rounded up to 100.
            share = f"{100 * samples // total} %" if total else ""
            self.say(", ".join(filter(None, [run.label, share, about])))

    def end(self, number: int, how: str) -> None:
        """Take the end of a run: "finished", "stopped" or "failed: WHY"."""
        run = self._runs.pop(number)
        self._bars.remove_task(run.bar)
        if how == "finished" and run.total:
            how = f"finished after {in_words(self.clock() - run.began)}"
            how += f", {run.score}" * bool(run.score)
        self.say(f"{run.label}, {how}")

    @contextmanager
    def run(self, number: int, label: str) -> Iterator[Watcher]:
        """Show one run of this process, from its begin to its end."""
        self.begin(number, label)
        how = "failed"
        try:
            yield _Numbered(self, number)
            how = "finished"
        except KeyboardInterrupt:
            how = "stopped"
            raise
        finally:
            self.end(number, how)


@dataclass(frozen=True)
class _Numbered:
    """Watcher of one run of a display."""

    display: Display
    number: int

    def note(self, sentence: str) -> None:
        self.display.say(f"note: {sentence}")

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        self.display.advance(self.number, samples, total, a_auc)
