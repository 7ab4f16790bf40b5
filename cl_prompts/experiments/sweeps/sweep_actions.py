"""What ``cl-prompts sweep`` does, but for the table at its end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.grid import grid
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.search import Search, conclusion
from cl_prompts.experiments.sweeps.search_aim import Aim
from cl_prompts.experiments.sweeps.sweep import Sweep


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
        recipe: label of its recipe.
        folders: of the finished runs.
        n_runs: of the sweep.
        faults: label of a run that failed -> why.
        stopped: number of the signal that ended it early, if one did.
    """

    recipe: str
    folders: list[Path]
    n_runs: int
    faults: Mapping[str, str | None]
    stopped: int | None

    def tell(self) -> None:
        """List what failed.

        Raises:
            Stopped: a signal came.
            RunError: a run failed.
        """
        _list(self.faults)
        if self.stopped is not None:
            left = self.n_runs - len(self.folders)
            raise Stopped(
                f"stopped, with {left} of {self.n_runs} runs to go; the same command goes on",
                self.stopped,
            )
        if self.faults:
            raise RunError(
                f"{len(self.faults)} of {self.n_runs} runs failed; the same command tries them"
                " again"
            )


def sweep(args: argparse.Namespace, console: Console) -> Outcome:
    """Run all combinations of settings that are not finished yet.

    Raises:
        InputError: they make no sense, or a library is missing.
    """
    for option in ("trials", "objective", "search_seed"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option.replace('_', '-')} is for a search: add --sampler tpe")
    how = _how(args)
    runs = grid(args.recipe, args.settings)
    sweep = Sweep(runs, args.out, console=console, how=how, command=args.command_line)
    sweep.check()
    sweep.execute()
    faults = {run.label: run.fault for run in sweep.failed}
    return Outcome(runs[0].recipe, sweep.finished, len(runs), faults, sweep.stopped)


def search(args: argparse.Namespace, console: Console) -> None:
    """Search for good settings, and print the best ones.

    Raises:
        InputError: what is asked for makes no sense, or a library is missing.
        Stopped: a signal came.
        RunError: a run failed.
    """
    search = Search(
        args.recipe,
        args.settings,
        Aim.of(args.sampler, args.trials, args.objective, args.search_seed),
        out=args.out,
        console=console,
        how=_how(args),
        command=args.command_line,
    )
    search.execute()
    _list(search.faults)
    if search.stopped is not None:
        n = search.aim.trials
        left = n - len(search.trials)
        sentence = f"stopped, with {left} of {n} trials to go; the same command goes on"
        raise Stopped(sentence, search.stopped)
    for line in conclusion(search):
        print(line)
    if search.faults:
        raise RunError(
            f"{len(search.faults)} runs of the search failed; the same command tries them again"
        )


def _how(args: argparse.Namespace) -> Launching:
    how = Launching(args.launcher, args.jobs, args.cpus, args.gpus)
    how.check_installed()
    return how


def _list(faults: Mapping[str, str | None]) -> None:
    for label, fault in faults.items():
        print(f"failed: {label}: {fault}", file=sys.stderr)
