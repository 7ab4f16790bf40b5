"""A search chooses on streams that are not reported, and goes on where it stopped."""

from __future__ import annotations

import csv
import io
import json
import math
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.runner.interruption import Stopped
from cl_prompts.experiments.sweeps import search as searching
from cl_prompts.experiments.sweeps.launching import Launching
from cl_prompts.experiments.sweeps.objective import SearchOptions
from cl_prompts.experiments.sweeps.search import Search, Trial
from cl_prompts.experiments.sweeps.sweep_ledger import SweptRun

needs_optuna = pytest.mark.skipif(
    find_spec("optuna") is None, reason="Optuna is not installed: pip install optuna"
)
SPACE = ["strategy=linear_probe", "lr=1e-4..1e-1", "n_tasks=2,5"]
Score = Callable[[Settings], float | None]


class PretendedSweep:
    """A sweep whose runs have made-up scores; None is a failure."""

    score: Score
    executed: list[list[Settings]]

    def __init__(self, settings: list[Settings], out: Path, **how: Any) -> None:
        self.runs = [SweptRun(n, f"run {n}", run) for n, run in enumerate(settings, 1)]
        self.out = out
        self.stopped = None

    def execute(self) -> None:
        self.executed.append([run.settings for run in self.runs])
        for run in self.runs:
            value = type(self).score(run.settings)
            if value is None:
                run.fault = "it broke"
                continue
            rate = run.settings.options["lr"]
            name = f"{rate}-{run.settings.scenario['n_tasks']}-{run.settings.seed}"
            run.folder = self.out / name
            run.folder.mkdir(parents=True, exist_ok=True)
            (run.folder / "config.yaml").touch()
            results = {"a_auc": value, "forgetting": value}
            summary = {"status": "finished", "results": results}
            (run.folder / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> type[PretendedSweep]:
    """Scores that are best at a rate of 0.01 and five tasks."""

    def score(run: Settings) -> float:
        distance = abs(math.log10(run.options["lr"]) + 2)
        return 0.9 - 0.1 * distance - 0.2 * (run.scenario["n_tasks"] == 2)

    monkeypatch.setattr(searching, "Sweep", PretendedSweep)
    monkeypatch.setattr(PretendedSweep, "score", staticmethod(score), raising=False)
    monkeypatch.setattr(PretendedSweep, "executed", [], raising=False)
    return PretendedSweep


def made(
    out: Path, options: SearchOptions, texts: list[str] = SPACE, jobs: int | None = None
) -> Search:
    console = Console(file=io.StringIO(), width=200)
    return Search("digits", texts, options, out=out, console=console, how=Launching(jobs=jobs))


@pytest.mark.slow
@needs_optuna
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_finds_what_is_best_and_repeats_itself(
    sampler: Any, tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    search = made(tmp_path, SearchOptions(sampler, trials=16))
    search.execute()
    best = search.best
    assert best is not None
    assert best.settings[1] == "n_tasks=5"
    assert best.value == max(trial.value or 0 for trial in search.trials)
    assert 0.002 < float(best.settings[0].removeprefix("lr=")) < 0.05
    # Each run is on the stream kept for the search.
    assert {(run.seed, run.stream_seed) for runs in swept.executed for run in runs} == {
        (1000, 1000)
    }
    again = made(tmp_path, SearchOptions(sampler, trials=17))
    again.execute()
    assert [t.settings for t in again.trials[:16]] == [t.settings for t in search.trials]
    assert again.path == search.path


@needs_optuna
def test_the_line_of_a_trial_has_values_in_brackets(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    classes = "dataset.classes=[0,1,2,3,4],[5,6,7,8,9]"
    search = made(tmp_path, SearchOptions("random", trials=1), [*SPACE, classes])
    search.execute()
    (trial,) = search.trials
    assert any("[" in setting for setting in trial.settings)
    assert f"trial 1 of 1, {' '.join(trial.settings)}, " in search.console.file.getvalue()


@needs_optuna
def test_the_table_and_the_command_for_the_seeds_to_report(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    options = SearchOptions(trials=3, objective="forgetting", seeds=(8, 9))
    search = made(tmp_path, options, [*SPACE, "seed=1-3"], jobs=2)
    search.execute()
    assert [len(runs) for runs in swept.executed] == [4, 2]
    rows = list(csv.reader(search.path.open()))
    assert rows[0][:4] == ["trial", "lr", "n_tasks", "forgetting"]
    assert rows[0][4:] == ["forgetting of seed 8", "forgetting of seed 9", "runs"]
    least = min(rows[1:], key=lambda row: float(row[3]))
    chosen = f"lr={least[1]} n_tasks={least[2]}"
    lines = search.lines()
    assert lines[1].startswith(f"best: trial {least[0]}, {chosen}, forgetting ")
    assert lines[1].endswith(" on seed 8, 9")
    assert lines[2] == (
        f"for the seeds to report: cl-prompts sweep digits strategy=linear_probe {chosen} seed=1-3"
        f" --out {tmp_path}"
    )


@needs_optuna
def test_a_trial_that_fails_stops_no_other(
    tmp_path: Path, swept: type[PretendedSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = swept.score

    def score(run: Settings) -> float | None:
        return None if run.scenario["n_tasks"] == 2 else whole(run)

    monkeypatch.setattr(swept, "score", staticmethod(score))
    search = made(tmp_path, SearchOptions("random", trials=8))
    search.execute()
    failed = [trial for trial in search.trials if trial.value is None]
    assert 0 < len(failed) < 8
    assert all("n_tasks=2" in trial.settings for trial in failed)
    assert search.faults == {f"trial {trial.number}, run 1": "it broke" for trial in failed}
    monkeypatch.setattr(swept, "score", staticmethod(lambda run: None))
    search = made(tmp_path, SearchOptions("random", trials=2))
    search.execute()
    with pytest.raises(RunError, match="no trial has a value of a_auc"):
        search.lines()


def test_a_trial_has_a_value_if_every_seed_has_one() -> None:
    assert Trial(1, ["lr=1"], values=[0.25, 0.75]).value == 0.5
    assert Trial(2, ["lr=1"], values=[0.25, None]).value is None
    assert Trial(3, ["lr=1"]).value is None


@needs_optuna
def test_a_signal_ends_a_search_without_the_trial_under_way(
    tmp_path: Path, swept: type[PretendedSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(swept):  # type: ignore[valid-type, misc]
        def execute(self) -> None:
            super().execute()
            self.stopped = signal.SIGTERM if len(self.executed) == 2 else None

    monkeypatch.setattr(searching, "Sweep", Stopping)
    search = made(tmp_path, SearchOptions(trials=5))
    search.execute()
    assert [trial.number for trial in search.trials] == [1]
    with pytest.raises(Stopped, match="stopped, with 4 of 5 trials to go") as told:
        search.conclude()
    assert told.value.exit_code == 143


@needs_optuna
@pytest.mark.parametrize(
    ("seeds", "texts", "says"),
    [
        ((1,), SPACE, "--search-seed 1 is among the seeds to report"),
        ((1000,), [*SPACE, "seed=999-1001"], "--search-seed 1000 is among the seeds to report"),
        ((7,), [*SPACE, "stream_seed=7"], "--search-seed 7 is among the seeds to report"),
        ((7,), [*SPACE, "stream_seed=5,7"], "--search-seed 7 is among the seeds to report"),
        ((7,), [*SPACE, "every=null"], "--objective a_auc is undefined without anytime points"),
        ((7,), ["strategy=ncm,linear_probe", "n_tasks=2,5"], "a search is for one strategy"),
        ((7,), [*SPACE[:2], "n_tasks=5..20"], "n_tasks must be a whole number from 1 to 10"),
        ((7,), [*SPACE[:2], "n_tasks=2,50,5"], "n_tasks must be a whole number from 1 to 10"),
        ((7,), [*SPACE[:2], "pool_sise=5..20"], "unknown key 'pool_sise'"),
        ((7,), SPACE[:1], "a search has nothing to choose"),
        ((7,), [*SPACE[:2], "linear_probe.lr=0.5"], "lr has no effect here"),
        ((7,), [*SPACE, SPACE[1]], "is given twice"),
        ((7,), [*SPACE, "lr=0.1", "lr=1e-3..1e-1"], "lr is given twice"),
    ],
)
def test_what_would_mislead_is_refused_before_any_trial(
    seeds: tuple[int, ...],
    texts: list[str],
    says: str,
    tmp_path: Path,
    swept: type[PretendedSweep],
) -> None:
    with pytest.raises(InputError) as told:
        made(tmp_path, SearchOptions(seeds=seeds), texts)
    assert says in str(told.value)
    assert not swept.executed


@needs_optuna
def test_several_stream_seeds_may_be_reported(tmp_path: Path, swept: type[PretendedSweep]) -> None:
    search = made(tmp_path, SearchOptions(trials=1), [*SPACE, "stream_seed=1,2"])
    search.execute()
    assert " stream_seed=1,2 " in search.lines()[-1]


@needs_optuna
def test_a_search_ends_at_a_trial_that_is_finished_without_the_objective(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    search = made(tmp_path, SearchOptions(trials=5, objective="bwt"))
    with pytest.raises(
        InputError, match=r"trial 1 .* value of bwt, .* --objective one of a_auc, forgetting$"
    ):
        search.execute()
    assert len(swept.executed) == 1
    assert search.path.is_file()
