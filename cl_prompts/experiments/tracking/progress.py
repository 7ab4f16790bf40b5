"""Progress of runs: a live table on a terminal, and elsewhere one plain line a minute and at each
end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cl_prompts.errors import one_sentence, printable, unbroken

Clock = Callable[[], float]
SECONDS_PER_LINE = 60.0
_BAR = 24  # columns
_STILL = 10.0  # seconds without a batch, from which on they are said


def print_line(console: Console, text: str) -> None:
    """Print a line as it is, but for what a terminal would obey and for line breaks of names."""
    # Rich would colour and break names of folders, and take brackets in them for marks.
    console.print(unbroken(printable(text)), highlight=False, soft_wrap=True, markup=False)


class Watcher(Protocol):
    """Receiver of the progress of a run."""

    def note(self, sentence: str) -> None:
        """Take a remark on the run."""

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        """Take its progress: stream samples seen so far and in all, and A_AUC, if it has one.

        The first call says where this process begins, before any sample is trained on.
        """


@dataclass
class RunProgress:
    """A run under way.

    Attributes:
        number: of the run, from 1.
        label: of the run.
        line_at: time of its last plain line.
        began: time at which this process began to train.
        moved: time of its last batch.
        start: samples seen by then.
        samples: seen by now.
        total: stream samples of the whole run.
        a_auc: so far; None for none.

    >>> run = RunProgress(7, "mvp seed 2", 0.0, samples=61, total=100, a_auc=0.633)
    >>> print(run.line(30, now=366.0))
    run 7 of 30, mvp seed 2, 61 %, A_AUC so far 63.3, about 4 min left
    """

    number: int
    label: str
    line_at: float
    began: float = 0.0
    moved: float = 0.0
    start: int = 0
    samples: int = 0
    total: int = 0
    a_auc: float | None = None

    @property
    def share(self) -> str:
        """Percentage done, not rounded up to 100."""
        return f"{100 * self.samples // self.total} %" if self.total else "starting"

    @property
    def score(self) -> str:
        """A_AUC in percent; empty for none."""
        return "" if self.a_auc is None else f"{100 * self.a_auc:.1f}"

    def left(self, now: float) -> str:
        """Time that is left at the pace of this process; empty before there is one."""
        trained = self.samples - self.start
        if trained <= 0:
            return ""
        seconds = (now - self.began) * (self.total - self.samples) / trained
        return f"about {in_words(seconds)} left"

    def still(self, now: float) -> str:
        """How long it has worked since its last batch, as where a method solves or evaluates; empty
        where that is not long."""
        waited = now - self.moved
        return f"{in_words(waited)} at work between batches" if waited > _STILL else ""

    def line(self, n_runs: int, now: float) -> str:
        """One line on the run."""
        score = f"A_AUC so far {self.score}" if self.score else ""
        parts = [f"run {self.number} of {n_runs}", self.label, self.share, score, self.left(now)]
        return ", ".join(filter(None, parts))

    def ended(self, n_runs: int, now: float, how: str) -> str:
        """The last line on the run."""
        if how == "finished":
            how = f"finished after {in_words(now - self.began)}" if self.total else how
            how += f", A_AUC {self.score}" if self.score else ""
        return f"run {self.number} of {n_runs}, {self.label}, {how}"


def in_words(seconds: float) -> str:
    """A time in words.

    >>> in_words(41.3), in_words(240), in_words(9000)
    ('41 s', '4 min', '2.5 h')
    """
    # Before rounding would write 60 s or 60 min.
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3570:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Display:
    """Display of runs under way, in plain lines.

    Every end has a line, and so has every run under way once a minute.

    Args:
        console: where lines go.
        n_runs: runs in all.
        clock: seconds.

    >>> with Display(Console(), 1) as display, display.run(1, "ncm seed 1") as watcher:
    ...     watcher.advance(0, 64, None)
    ...     watcher.advance(64, 64, 0.5)
    run 1 of 1, ncm seed 1, finished after 0 s, A_AUC 50.0
    """

    def __init__(self, console: Console, n_runs: int, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.n_runs = n_runs
        self.clock = clock
        self.running: dict[int, RunProgress] = {}
        self.n_ended = 0

    def __enter__(self) -> Display:
        """Begin to show."""
        return self

    def __exit__(self, *error: object) -> None:
        """End."""

    def say(self, text: str) -> None:
        """Print a line."""
        print_line(self.console, text)

    def begin(self, number: int, label: str) -> None:
        """Take a run that begins, or goes on."""
        now = self.clock()
        # It may hold the text of a setting, and rich leaves some characters out of a table.
        label = one_sentence(label)
        self.running[number] = RunProgress(number, label, line_at=now, began=now, moved=now)

    def advance(self, number: int, samples: int, total: int, a_auc: float | None) -> None:
        """Take the progress of a run; see :meth:`Watcher.advance`."""
        run = self.running[number]
        now = self.clock()
        # Time that is left is reckoned from the first sample, not from loading and compiling.
        if not run.total:
            run.began = now
            run.start = samples
        run.moved = now
        run.samples = samples
        run.total = total
        run.a_auc = a_auc
        self.show(run, now)

    def show(self, run: RunProgress, now: float) -> None:
        """Print a line on a run that has had none for a minute."""
        if now - run.line_at >= SECONDS_PER_LINE:
            run.line_at = now
            self.say(run.line(self.n_runs, now))

    def end(self, number: int, how: str) -> None:
        """Take the end of a run: "finished", "stopped" or "failed: WHY"."""
        run = self.running.pop(number)
        self.n_ended += 1
        self.say(run.ended(self.n_runs, self.clock(), how))

    def take_back(self, number: int, why: str) -> None:
        """Take a run that will begin again."""
        run = self.running.pop(number)
        self.say(run.ended(self.n_runs, self.clock(), why))

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


class LiveDisplay(Display):
    """A table of the runs under way at the bottom of a terminal, and above it a line for each
    end."""

    def __init__(self, console: Console, n_runs: int, clock: Clock = time.monotonic) -> None:
        super().__init__(console, n_runs, clock)
        self._live = Live(
            console=console, get_renderable=self.table, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Display:
        """Show the table."""
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the table; the lines stay."""
        self._live.stop()

    def show(self, run: RunProgress, now: float) -> None:
        """Leave it to the table, which is drawn twice a second."""

    def table(self) -> RenderableType:
        """The table as it is now."""
        rows = Table.grid(padding=(0, 2))
        now = self.clock()
        # A copy, since the table is drawn by a thread of its own.
        for run in list(self.running.values()):
            # Without a total the bar pulses.
            bar = ProgressBar(total=run.total or None, completed=run.samples, width=_BAR)
            score = f"A_AUC {run.score}" if run.score else ""
            ahead = run.still(now) if run.total else ""
            cells = (run.share, score, ahead or run.left(now))
            rows.add_row(str(run.number), Text(run.label), bar, *cells)
        waiting = self.n_runs - self.n_ended - len(self.running)
        counts = f"{self.n_runs} runs: {self.n_ended} ended, {len(self.running)} under way"
        return Group(rows, Text(f"{counts}, {waiting} waiting", style="dim"))


@dataclass(frozen=True)
class _Numbered:
    """Watcher of one run of a display."""

    display: Display
    number: int

    def note(self, sentence: str) -> None:
        self.display.say(f"note: {sentence}")

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        self.display.advance(self.number, samples, total, a_auc)


def display_on(console: Console, n_runs: int, *, n_ended: int = 0) -> Display:
    """The display that fits a console: live on a terminal, lines in a pipe or a log."""
    live = console.is_terminal and not console.quiet
    display = (LiveDisplay if live else Display)(console, n_runs)
    display.n_ended = n_ended
    return display
