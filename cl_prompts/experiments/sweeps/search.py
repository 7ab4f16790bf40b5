"""Search for settings with Optuna, on streams that are not reported."""

import hashlib
import json
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from cl_prompts.errors import InputError, RunError, unknown
from cl_prompts.experiments.executors.launching import Launching
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.results.metrics import BY_NAME, METRICS, Metric
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.plans import state_of
from cl_prompts.experiments.sweeps.grid import SearchSpace, grid
from cl_prompts.experiments.tracking.progress import print_line
from cl_prompts.user_code import extra

#: seed of the sampler, so that equal searches choose equal settings
_SAMPLER_SEED = 0


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search.

    Attributes:
        sampler: Optuna's tree-structured Parzen estimator, or random.
        trials: number of settings to try.
        objective: number of ``summary.json`` to optimise.
        seeds: of runs and streams; the objective is the mean over them. They are not reported.
        on: what is searched on: "halves", a seeded half of the classes, the other one is reported;
            a recipe with another data set; None: the data set that is reported.
    """

    sampler: Literal["tpe", "random"] = "tpe"
    trials: int = 20
    objective: str = "a_auc"
    seeds: tuple[int, ...] = (1000,)
    on: str | None = None

    def metric(self, *, multi_label: bool, every: int | None) -> Metric:
        """Return the metric to optimise.

        Args:
            multi_label: whether an image may have several labels.
            every: samples between anytime points; None for none.

        Raises:
            InputError: the runs do not have it.
        """
        metrics = (*METRICS[multi_label], *BY_NAME[multi_label])
        known = {metric.key: metric for metric in metrics if metric.best is not None}
        if every is None:
            known = {key: known[key] for key in known.keys() - {"a_auc", "forgetting_anytime"}}
        if self.objective not in known:
            raise unknown("--objective of these runs", self.objective, known)
        return known[self.objective]


def halves(classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings that keep one half of the classes, drawn by a fixed seed, and the other.

    >>> halves(["ant", "bee", "cat", "dog", "eel"])
    (['dataset.classes=["cat", "eel"]'], ['dataset.classes=["ant", "bee", "dog"]'])
    """
    drawn = np.random.default_rng(_SAMPLER_SEED).permutation(len(classes)).tolist()
    parts = (sorted(drawn[: len(classes) // 2]), sorted(drawn[len(classes) // 2 :]))
    first, second = (json.dumps([classes[row] for row in part]) for part in parts)
    return [f"dataset.classes={first}"], [f"dataset.classes={second}"]


class Search:
    """Search for the best settings of one strategy on streams that are not reported.

    ``how.jobs`` trials are chosen together and executed; then the sampler receives their values.
    The sampler has a fixed seed, and finished runs are not repeated, so the same search continues
    an interrupted one.

    Args:
        recipe: of the package or a YAML file.
        texts: settings; those with a range or several values are searched.
        options: objective, sampler, trials and seeds.
        out: parent of the recipes' folders.
        console: where progress is shown.
        how: where runs are executed, and how many at a time.
        command: as typed.

    Attributes:
        study: Optuna study; trials have the objective by seed and the run folders as user
            attributes.
        faults: trial, label and error of each failed run.

    Raises:
        InputError: nothing to choose, a seed that is reported, invalid values, or an objective that
            the runs do not have.
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
        self.space = SearchSpace.of(texts)
        self.options = options
        self.faults: list[tuple[str, Exception]] = []
        self._recipe = recipe
        self._tuned: tuple[str, list[str]] = (recipe, [])
        self._judged: list[str] = []
        self._out = out
        self._console = console
        self._jobs = how.jobs or 1
        reported = grid(recipe, [*self.space.fixed, *self.space.ends[0], *self.space.seeds])
        taken = {seed for run in reported for seed in (run.seed, run.stream_seed)}
        if taken.intersection(options.seeds):
            raise InputError(
                f"--search-seed {min(taken.intersection(options.seeds))} is among the reported"
                " seeds, on which chosen settings would look too good: give another seed"
            )
        ends = [run for end in self.space.ends for run in self._runs(end)]
        if len({run.strategy for run in ends}) > 1:
            raise InputError("a search is for one strategy: add strategy=NAME")
        self._label = ends[0].recipe
        # Imports that take seconds come after the check of names and keys.
        from cl_prompts.experiments.runner.building import Resources, check_plan
        from cl_prompts.experiments.sweeps.sweep import Sweep

        self._sweep = partial(Sweep, out=out, console=console, how=how, command=command)
        optuna = extra("optuna", "optuna", "--sampler")
        resources = Resources()
        built, _ = check_plan(ends, resources)
        if options.on == "halves":
            tuned, self._judged = halves(built.data.classes)
            self._tuned = (recipe, tuned)
            # The printed command must run, too.
            judged = [run for end in self.space.ends for run in self._runs(end, judged=True)]
            check_plan(judged, resources)
        elif options.on is not None:
            self._tuned = (options.on, [])
        if options.on is not None:
            ends = [run for end in self.space.ends for run in self._runs(end)]
            built, _ = check_plan(ends, resources)
        self._metric = options.metric(multi_label=built.data.multi_label, every=built.anytime.every)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        sampler = kinds[options.sampler](seed=_SAMPLER_SEED)
        direction = "maximize" if self._metric.best is max else "minimize"
        self.study = optuna.create_study(sampler=sampler, direction=direction)

    @property
    def path(self) -> Path:
        """The table of trials."""
        # Without the number of trials, so that a search can be extended.
        options = replace(self.options, trials=0)
        identity = repr((self.space.fixed, sorted(map(repr, self.space.axes.items())), options))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return self._out / self._label / f"search-{self.options.objective}-{digest}.csv"

    def execute(self) -> None:
        """Execute the trials and write their table."""
        while left := self.options.trials - len(self.study.trials):
            # The sampler receives values of finished trials only.
            n = min(self._jobs, left)
            asked = [self.study.ask(dict(self.space.axes)) for _ in range(n)]
            self._try(asked)
            self._write()
            for trial in self.study.trials[-n:]:
                chosen = " ".join(self.space.written(trial.params))
                value = "undefined" if trial.value is None else f"{100 * trial.value:.1f}"
                text = f"trial {trial.number + 1} of {self.options.trials}, {chosen}"
                print_line(self._console, f"{text}, {self._metric.name} {value}")

    def conclude(self) -> None:
        """Print the best settings; raise ``RunError`` without any value or after a failed run."""
        from cl_prompts.experiments.runner.running import list_faults

        list_faults(self.faults)
        print("\n".join(self.lines()))
        if self.faults:
            raise RunError(
                f"{len(self.faults)} runs of the search failed. Repeat the command to retry them"
            )

    def lines(self) -> list[str]:
        """Return lines on the table, the best settings and the command for the reported seeds.

        Raises:
            RunError: no trial has a value.
        """
        name = self.options.objective
        try:
            best = self.study.best_trial
        except ValueError as error:
            raise RunError(f"no trial has a value of {name}: see {self.path}") from error
        chosen = self.space.written(best.params)
        out = [] if self._out == Path("runs") else ["--out", str(self._out)]
        where = {None: "these images", "halves": "the other half of the classes"}
        tried = f"{where.get(self.options.on, self.options.on)}, {self.options.trials} trials"
        tuned_on = f"tuned_on={tried}, {self._spent():,.0f} F"
        settings = [*self.space.fixed, *self._judged, *chosen, *self.space.seeds, tuned_on]
        return [
            f"trials: {self.path}",
            f"best: trial {best.number + 1}, {' '.join(chosen)}, {name} {100 * best.value:.2f}"
            f" on seed {', '.join(map(str, self.options.seeds))}",
            "for the seeds to report: "
            + shlex.join(["cl-prompts", "sweep", self._recipe, *settings, *out]),
        ]

    def _runs(self, chosen: Sequence[str], *, judged: bool = False) -> list[RunConfig]:
        recipe, tuned = (self._recipe, self._judged) if judged else self._tuned
        texts = [*self.space.fixed, *tuned, *chosen]
        return [
            run
            for seed in self.options.seeds
            for run in plan(recipe, [*texts, f"seed={seed}", f"stream_seed={seed}"])
        ]

    def _spent(self) -> float:
        """Return what the distinct runs of all trials cost, in F without backward passes."""
        made = {folder for trial in self.study.trials for folder in trial.user_attrs["folders"]}
        finished = [folder for folder in map(Path, made) if state_of(folder) == "finished"]
        summaries = [files.read_json(folder / "summary.json") for folder in finished]
        return sum(one["forward_passes"]["train"] * one["samples_seen"] for one in summaries)

    def _try(self, asked: Sequence[Any]) -> None:
        """Execute the unfinished runs of trials, and tell the sampler their values."""
        planned = [self._runs(self.space.written(trial.params)) for trial in asked]
        # Trials with equal settings share their runs.
        distinct = {run.to_yaml(): run for runs in planned for run in runs}
        sweep = self._sweep(list(distinct.values()))
        folders = dict(zip(distinct, sweep.execute(), strict=True))
        numbers = ", ".join(str(trial.number + 1) for trial in asked)
        self.faults += [(f"trial {numbers}, {label}", fault) for label, fault in sweep.faults]
        for trial, runs in zip(asked, planned, strict=True):
            made = [folders[run.to_yaml()] for run in runs]
            values = list(map(self._value, made))
            trial.set_user_attr("values", values)
            trial.set_user_attr("folders", list(map(str, made)))
            known = [value for value in values if value is not None]
            # Without a value a trial has failed, and the sampler ignores it.
            self.study.tell(trial, statistics.fmean(known) if known == values else None)

    def _value(self, folder: Path) -> float | None:
        if state_of(folder) != "finished":
            return None
        return self._metric.value(files.read_json(folder / "summary.json"))

    def _write(self) -> None:
        name = self.options.objective
        of_seeds = [f"{name} of seed {seed}" for seed in self.options.seeds]
        rows: list[list[object]] = [["trial", *self.space.axes, name, *of_seeds, "runs"]]
        for trial in self.study.trials:
            chosen = [text.partition("=")[2] for text in self.space.written(trial.params)]
            by_seed, folders = trial.user_attrs["values"], trial.user_attrs["folders"]
            rows.append([trial.number + 1, *chosen, trial.value, *by_seed, " ".join(folders)])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self.path, [f"{files.csv_text(rows)}\n".encode()])
