"""Show the progress of runs: bars on a terminal, else a line a minute; and a line at each end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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


class _Run(Watcher):
    """Watcher of a run on a display."""

    def __init__(self, display: Display, label: str) -> None:
        self.display = display
        self.label = label
        self.bar = display.add_task(escape(label), total=None, score="")
        self.line_at = display.get_time()

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        display = self.display
        score = "" if a_auc is None else f", A_AUC {100 * a_auc:.1f}"
        display.update(self.bar, completed=samples, total=total, score=score)
        if display.disable and display.get_time() - self.line_at >= SECONDS_PER_LINE:
            self.line_at = display.get_time()
            # Never rounded up to 100.
            share = f"{100 * samples // max(1, total)} %"
            left = next(one for one in display.tasks if one.id == self.bar).time_remaining
            words = "" if left is None else f", about {in_words(left)} left"
            print_line(display.console, f"{self.label}, {share}{score}{words}")


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
        what: what runs, for the lines.

    >>> with Display(Console(), 1) as display:
    ...     watcher = display.begin(1, "ncm seed 1")
    ...     watcher.advance(64, 64, 0.5)
    ...     display.end(1, "finished")
    run 1 of 1, ncm seed 1, finished
    """

    def __init__(
        self,
        console: Console,
        n_runs: int,
        clock: Callable[[], float] = time.monotonic,
        what: str = "run",
    ) -> None:
        super().__init__(
            *(TextColumn("{task.description}"), BarColumn(24)),
            *(TextColumn("{task.percentage:.0f}%{task.fields[score]}"), TimeRemainingColumn()),
            console=console,
            transient=True,
            disable=not console.is_terminal or console.quiet,
            get_time=clock,
            speed_estimate_period=600,
        )
        self.n_runs, self.what = n_runs, what
        self._runs: dict[int, _Run] = {}

    def begin(self, number: int, label: str) -> Watcher:
        """Add a run that starts or resumes."""
        label = f"{self.what} {number} of {self.n_runs}, {one_sentence(label)}"
        self._runs[number] = _Run(self, label)
        return self._runs[number]

    def end(self, number: int, how: str) -> None:
        """Show the end of a run: how it finished, "stopped" or "failed: WHY"."""
        run = self._runs.pop(number)
        self.remove_task(run.bar)
        print_line(self.console, f"{run.label}, {how}")
