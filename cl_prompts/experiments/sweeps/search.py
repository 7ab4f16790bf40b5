"""Search for good settings with Optuna, on a stream that is not reported."""

from __future__ import annotations

import hashlib
import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cl_prompts.errors import InputError, RunError, say
from cl_prompts.experiments.recipes.grid import grid
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.plans import state_of
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.executors import Launching
from cl_prompts.experiments.runner.running import list_faults
from cl_prompts.experiments.sweeps.objective import OBJECTIVES, SearchOptions
from cl_prompts.experiments.sweeps.search_space import SearchSpace
from cl_prompts.experiments.sweeps.sweep import Sweep
from cl_prompts.experiments.tracking.progress import print_line
from cl_prompts.own_code import extra

#: of the sampler: the same search chooses the same settings
_SAMPLER_SEED = 0


@dataclass
class Trial:
    """Settings that were tried.

    Attributes:
        number: from 1.
        settings: chosen, as ``key=value`` texts.
        folders: of its runs, one for each seed.
        values: of the objective, by seed; None where a run failed, or has no such number.
    """

    number: int
    settings: list[str]
    folders: list[Path] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    @property
    def value(self) -> float | None:
        """Mean of the objective over the seeds."""
        known = [value for value in self.values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(self.values) else None


class Search:
    """Search for the settings of one strategy that are best on streams kept for that.

    Trials are made ``how.jobs`` at a time: all of these are chosen, then executed, and the sampler
    learns all their values. The sampler has a seed, so that the same search makes the same choices;
    its runs that are finished already are not made again, and nothing but their folders is kept.

    Args:
        recipe: of the package or a YAML file.
        texts: settings; those with a range or several values are searched.
        options: objective, sampler, trials and seeds.
        out: parent of the recipes' folders.
        console: where progress is shown.
        how: where runs are executed, and how many at a time.
        command: as typed.

    Attributes:
        trials: so far.
        faults: trial and label of each run that failed, and why.

    Raises:
        InputError: there is nothing to choose, a seed is one of the reported ones, a value or
            an end of a range cannot be built, or their runs cannot have the objective.
    """

    def __init__(
        self,
        recipe: str,
        texts: Sequence[str],
        options: SearchOptions,
        *,
        out: Path,
        console: Console,
        how: Launching,
        command: str = "",
    ) -> None:
        """Check everything before the first trial."""
        self._optuna = extra("optuna", "optuna", "--sampler")
        self.space = SearchSpace.of(texts)
        self.options = options
        self.trials: list[Trial] = []
        self.faults: list[tuple[str, Exception]] = []
        self._recipe = recipe
        self._out = out
        self._console = console
        self._how = how
        self._command = command
        self._check_seeds()
        ends = [run for end in self.space.ends for run in self._runs(end)]
        if len({run.strategy for run in ends}) > 1:
            raise InputError("a search is for one strategy: add strategy=NAME")
        self._label = ends[0].recipe
        parts, _ = Builder().check(ends)
        options.check(multi_label=parts.data.multi_label, every=parts.anytime.every)

    @property
    def best(self) -> Trial | None:
        """The best trial, of equal ones the first; None if none has a value."""
        values = [(trial.value, trial) for trial in self.trials if trial.value is not None]
        pick = max if self.options.direction == "maximize" else min
        return pick(values, key=lambda pair: pair[0], default=(None, None))[1]

    @property
    def path(self) -> Path:
        """The table of trials."""
        # Without the number of trials, so that the same search can be given more of them.
        options = {**asdict(self.options), "trials": None}
        identity = repr((self.space.fixed, sorted(map(repr, self.space.axes.items())), options))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return self._out / self._label / f"search-{self.options.objective}-{digest}.csv"

    def command_for_seeds(self, trial: Trial) -> str:
        """The command that runs chosen settings with the seeds to report."""
        out = [] if self._out == Path("runs") else ["--out", str(self._out)]
        settings = [*self.space.fixed, *trial.settings, *self.space.seeds]
        return shlex.join(["cl-prompts", "sweep", self._recipe, *settings, *out])

    def execute(self) -> None:
        """Try settings, until there are enough trials; write the table.

        Raises:
            Stopped: a signal came.
        """
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        samplers = self._optuna.samplers
        kinds = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}
        sampler = kinds[self.options.sampler](seed=_SAMPLER_SEED)
        study = self._optuna.create_study(sampler=sampler, direction=self.options.direction)
        while len(self.trials) < self.options.trials:
            # As many as run at once: the sampler learns only from finished trials.
            n = min(self._how.jobs or 1, self.options.trials - len(self.trials))
            asked = [study.ask(dict(self.space.axes)) for _ in range(n)]
            first = len(self.trials) + 1
            trials = [
                Trial(number, self.space.written(one.params))
                for number, one in enumerate(asked, first)
            ]
            self._try(trials)
            for one, trial in zip(asked, trials, strict=True):
                # A trial without a value teaches the sampler nothing.
                failed = self._optuna.trial.TrialState.FAIL if trial.value is None else None
                study.tell(one, trial.value, state=failed)
            self.trials += trials
            self._write()
            for trial in trials:
                print_line(self._console, self._line(trial))

    def conclude(self) -> None:
        """Print the best settings, and list the runs that failed.

        Raises:
            RunError: no trial has a value, or a run failed.
        """
        list_faults(self.faults)
        say("\n".join(self.lines()))
        if self.faults:
            raise RunError(
                f"{len(self.faults)} runs of the search failed; the same command tries them again"
            )

    def lines(self) -> list[str]:
        """The table, the best settings and the command for the seeds to report, a line each.

        Raises:
            RunError: no trial has a value.
        """
        best = self.best
        name = self.options.objective
        if best is None or best.value is None:
            raise RunError(f"no trial has a value of {name}: see {self.path}")
        seeds = ", ".join(map(str, self.options.seeds))
        return [
            f"trials: {self.path}",
            f"best: trial {best.number}, {' '.join(best.settings)}, {name} {100 * best.value:.2f}"
            f" on seed {seeds}",
            f"for the seeds to report: {self.command_for_seeds(best)}",
        ]

    def _runs(self, chosen: Sequence[str]) -> list[Settings]:
        """Runs of chosen settings, one for each seed of the search."""
        texts = [*self.space.fixed, *chosen]
        return [
            run
            for seed in self.options.seeds
            for run in plan(self._recipe, [*texts, f"seed={seed}", f"stream_seed={seed}"])
        ]

    def _check_seeds(self) -> None:
        """Refuse to choose on streams that are reported."""
        texts = [*self.space.fixed, *self.space.ends[0], *self.space.seeds]
        reported = grid(self._recipe, texts)
        taken = {run.seed for run in reported} | {run.stream_seed for run in reported}
        for seed in self.options.seeds:
            if seed in taken:
                raise InputError(
                    f"--search-seed {seed} is among the seeds to report: settings chosen on a"
                    " stream are better on it than they are, so give another one"
                )

    def _try(self, trials: Sequence[Trial]) -> None:
        """Execute the runs of trials that are not finished, and read the objective of each."""
        planned = [self._runs(trial.settings) for trial in trials]
        # Two trials may have come to the same settings, whose runs are made once.
        distinct = {run.to_yaml(): run for runs in planned for run in runs}
        sweep = Sweep(
            list(distinct.values()),
            self._out,
            console=self._console,
            how=self._how,
            command=self._command,
        )
        folders = dict(zip(distinct, sweep.execute(), strict=True))
        numbers = ", ".join(str(trial.number) for trial in trials)
        self.faults += [(f"trial {numbers}, {label}", fault) for label, fault in sweep.faults]
        for trial, runs in zip(trials, planned, strict=True):
            trial.folders = [folders[run.to_yaml()] for run in runs]
            trial.values = list(map(self._value, trial.folders))

    def _value(self, folder: Path) -> float | None:
        if state_of(folder) != "finished":
            return None
        summary = files.FolderFiles(folder).read_json("summary.json")
        value = OBJECTIVES[self.options.objective].value(summary)
        return None if value is None or not math.isfinite(value) else value

    def _line(self, trial: Trial) -> str:
        best = self.best
        title = OBJECTIVES[self.options.objective].title.removesuffix("\u00a0%")
        line = f"trial {trial.number} of {self.options.trials}, {' '.join(trial.settings)}, {title}"
        if trial.value is None or best is None or best.value is None:
            return f"{line} undefined"
        so_far = f"best so far {100 * best.value:.1f} of trial {best.number}"
        return f"{line} {100 * trial.value:.1f} ({so_far})"

    def _write(self) -> None:
        """Write the table of trials: chosen settings, objective by seed and on average, folders."""
        of_seeds = [f"{self.options.objective} of seed {seed}" for seed in self.options.seeds]
        axes = [*self.space.axes, self.options.objective]
        rows: list[list[Any]] = [["trial", *axes, *of_seeds, "runs"]]
        for trial in self.trials:
            chosen = [setting.partition("=")[2] for setting in trial.settings]
            folders = " ".join(map(str, trial.folders))
            rows.append([trial.number, *chosen, trial.value, *trial.values, folders])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self.path, [f"{files.csv_text(rows)}\n".encode()])
