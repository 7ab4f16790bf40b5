"""Search for good settings with Optuna, on a stream that is not reported."""

from __future__ import annotations

import hashlib
import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cl_prompts.errors import InputError, RunError, say
from cl_prompts.experiments.recipes.grid import essence, grid
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.objective import OBJECTIVES, SearchOptions
from cl_prompts.experiments.sweeps.search_space import SearchSpace
from cl_prompts.experiments.sweeps.sweep import Sweep, list_faults, stopped
from cl_prompts.experiments.sweeps.sweep_ledger import SweptRun
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
        runs: one for each seed.
        values: of the objective, by seed; None where a run failed, or has no such number.
    """

    number: int
    settings: list[str]
    runs: list[SweptRun] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    @property
    def value(self) -> float | None:
        """Mean of the objective over the seeds."""
        known = [value for value in self.values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(self.values) else None


@dataclass
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
        faults: trial and label of a run that failed -> why.
        stopped: number of the signal that ended the search early, if one did.

    Raises:
        InputError: there is nothing to choose, a seed is one of the reported ones, a value or
            an end of a range cannot be built, or their runs cannot have the objective.
    """

    recipe: str
    texts: Sequence[str]
    options: SearchOptions
    _: KW_ONLY
    out: Path
    console: Console
    how: Launching
    command: str = ""

    def __post_init__(self) -> None:
        """Check everything before the first trial."""
        self._optuna = extra("optuna", "optuna", "--sampler")
        self.space = SearchSpace.of(self.texts)
        self.trials: list[Trial] = []
        self.faults: dict[str, str] = {}
        self.stopped: int | None = None
        ends = [run for end in self.space.ends for run in self._runs(end)]
        self._check_effects()
        self._check_seeds(self.space.ends[0])
        if len({run.strategy for run in ends}) > 1:
            raise InputError("a search is for one strategy: add strategy=NAME")
        parts, _ = Builder().check(ends)
        self.options.check(
            multi_label=parts.data.multi_label,
            every=parts.anytime.every,
            whole_stream=parts.strategy.whole_stream,
        )
        self._label = ends[0].recipe

    @property
    def best(self) -> Trial | None:
        """The best trial, of equal ones the first; None if none has a value."""
        values = [(trial.value, trial) for trial in self.trials if trial.value is not None]
        pick = max if self.options.direction == "maximize" else min
        return pick(values, key=lambda pair: pair[0], default=(None, None))[1]

    @property
    def path(self) -> Path:
        """The table of trials."""
        options = {**asdict(self.options), "trials": None}
        to_json = self._optuna.distributions.distribution_to_json
        axes = {key: to_json(axis) for key, axis in self.space.axes.items()}
        # Without the number of trials, so that the same search can be given more of them.
        identity = repr((self.space.fixed, axes, options))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return self.out / self._label / f"search-{self.options.objective}-{digest}.csv"

    def command_for_seeds(self, trial: Trial) -> str:
        """The command that runs chosen settings with the seeds to report."""
        out = [] if self.out == Path("runs") else ["--out", str(self.out)]
        settings = [*self.space.fixed, *trial.settings, *self.space.seeds]
        return shlex.join(["cl-prompts", "sweep", self.recipe, *settings, *out])

    def execute(self) -> None:
        """Try settings, until there are enough trials or a signal comes; write the table.

        Raises:
            InputError: a trial is finished without a value of the objective, and none has one.
        """
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        study = self._optuna.create_study(sampler=self._sampler(), direction=self.options.direction)
        while len(self.trials) < self.options.trials and self.stopped is None:
            # As many as run at once: the sampler learns only from finished trials.
            n = min(self.how.jobs or 1, self.options.trials - len(self.trials))
            asked = [study.ask(dict(self.space.axes)) for _ in range(n)]
            trials = [
                Trial(number, self.space.written(one.params))
                for number, one in enumerate(asked, len(self.trials) + 1)
            ]
            self._try(trials)
            if self.stopped is not None:
                return
            for one, trial in zip(asked, trials, strict=True):
                # A trial without a value teaches the sampler nothing.
                failed = self._optuna.trial.TrialState.FAIL if trial.value is None else None
                study.tell(one, trial.value, state=failed)
            self.trials += trials
            self._write()
            for trial in trials:
                print_line(self.console, self._line(trial))
            if self.best is None:
                self._refuse_undefined(trials)

    def conclude(self) -> None:
        """Print the best settings, and list the runs that failed.

        Raises:
            Stopped: a signal came.
            RunError: no trial has a value, or a run failed.
        """
        list_faults(self.faults.items())
        n = self.options.trials
        if self.stopped is not None:
            raise stopped(n - len(self.trials), f"{n} trials", self.stopped)
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

    def _sampler(self) -> Any:
        samplers = self._optuna.samplers
        kinds = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}
        return kinds[self.options.sampler](seed=_SAMPLER_SEED)

    def _runs(self, chosen: Sequence[str]) -> list[Settings]:
        """Runs of chosen settings, one for each seed of the search."""
        texts = [*self.space.fixed, *chosen]
        return [
            run
            for seed in self.options.seeds
            for run in plan(self.recipe, [*texts, f"seed={seed}", f"stream_seed={seed}"])
        ]

    def _check_effects(self) -> None:
        """Refuse an axis that chooses nothing."""
        for key, pair in self.space.pairs.items():
            one, other = ([essence(asdict(run)) for run in self._runs(end)] for end in pair)
            if one == other:
                raise InputError(
                    f"{key} has no effect here: another setting, as one for the strategy alone, is"
                    " in its place, so leave out one of them"
                )

    def _check_seeds(self, chosen: Sequence[str]) -> None:
        """Refuse to choose on streams that are reported."""
        reported = grid(self.recipe, [*self.space.fixed, *chosen, *self.space.seeds])
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
        of_trials = {
            run.to_yaml(): (trial, run)
            for trial, runs in zip(trials, planned, strict=True)
            for run in runs
        }
        # Two trials may have come to the same settings, whose runs are made once.
        distinct = [run for _, run in of_trials.values()]
        sweep = Sweep(distinct, self.out, console=self.console, how=self.how, command=self.command)
        sweep.execute()
        self.stopped = sweep.stopped
        swept = dict(zip(of_trials, sweep.runs, strict=True))
        for text, run in swept.items():
            if run.fault is not None:
                self.faults[f"trial {of_trials[text][0].number}, {run.label}"] = run.fault
        for trial, runs in zip(trials, planned, strict=True):
            trial.runs = [swept[run.to_yaml()] for run in runs]
            trial.values = [self._value(run) for run in trial.runs]

    def _refuse_undefined(self, trials: Sequence[Trial]) -> None:
        """Try no other settings where all runs of a trial are finished without the objective."""
        for trial in trials:
            finished = all(run.planned.state == "finished" for run in trial.runs)
            if finished and set(trial.values) == {None}:
                summary = _summary(trial.runs[0])
                found = [key for key, col in OBJECTIVES.items() if col.value(summary) is not None]
                raise InputError(
                    f"trial {trial.number} is finished without a value of {self.options.objective},"
                    f" so the search ends: give --objective one of {', '.join(found)}"
                )

    def _value(self, run: SweptRun) -> float | None:
        if run.planned.state != "finished":
            return None
        value = OBJECTIVES[self.options.objective].value(_summary(run))
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
            folders = " ".join(str(run.folder) for run in trial.runs)
            rows.append([trial.number, *chosen, trial.value, *trial.values, folders])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self.path, [f"{files.csv_text(rows)}\n".encode()])


def _summary(run: SweptRun) -> dict[str, Any]:
    return files.FolderFiles(run.planned.folder).read_json("summary.json")
