"""Searches choose on streams that are not reported, and continue after a stop."""

import csv
import io
import json
import math
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.executors.launching import Launching
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder.identity import settings_identity
from cl_prompts.experiments.sweeps.grid import grid
from cl_prompts.experiments.sweeps.search import Search, SearchOptions

needs_optuna = pytest.mark.skipif(
    find_spec("optuna") is None, reason="Optuna is not installed: pip install optuna"
)
SPACE = ["strategy=linear_probe", "lr=1e-4..1e-1", "n_tasks=2,5"]
Score = Callable[[RunConfig], float | None]


class PretendedSweep:
    """A sweep whose runs have made-up scores; None is a failure."""

    score: Score
    executed: list[list[RunConfig]]

    def __init__(self, settings: list[RunConfig], out: Path, **how: Any) -> None:
        self.settings = settings
        self.out = out
        self.faults: list[tuple[str, Exception]] = []

    def execute(self) -> list[Path]:
        self.executed.append(self.settings)
        return [self._executed(run) for run in self.settings]

    def _executed(self, run: RunConfig) -> Path:
        folder = self.out / f"{run.options['lr']}-{run.scenario['n_tasks']}-{run.seed}"
        value = type(self).score(run)
        if value is None:
            self.faults.append((f"seed {run.seed}", RunError("it broke")))
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        results = {"a_auc": value, "forgetting": value}
        cost = {"forward_passes": {"train": 2.0}, "samples_seen": 500}
        summary = {"status": "finished", "results": results, **cost}
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> type[PretendedSweep]:
    """Scores that are best at a rate of 0.01 and five tasks."""

    def score(run: RunConfig) -> float:
        distance = abs(math.log10(run.options["lr"]) + 2)
        return 0.9 - 0.1 * distance - 0.2 * (run.scenario["n_tasks"] == 2)

    monkeypatch.setattr("cl_prompts.experiments.sweeps.sweep.Sweep", PretendedSweep)
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
def test_a_search_finds_the_best_settings_and_is_deterministic(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    search = made(tmp_path, SearchOptions("tpe", trials=16))
    search.execute()
    best = search.study.best_trial
    assert best.params["n_tasks"] == "5"
    assert best.value == max(trial.value for trial in search.study.trials)
    assert 0.002 < best.params["lr"] < 0.05
    # Each run is on the stream kept for the search.
    assert {(run.seed, run.stream_seed) for runs in swept.executed for run in runs} == {
        (1000, 1000)
    }
    again = made(tmp_path, SearchOptions("tpe", trials=17))
    again.execute()
    chosen = [[trial.params for trial in one.study.trials] for one in (search, again)]
    assert chosen[1][:16] == chosen[0]
    assert again.path == search.path


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
        f" 'tuned_on=these images, 3 trials, 6,000 F' --out {tmp_path}"
    )


@needs_optuna
def test_a_search_on_half_of_the_classes_reports_the_other(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    texts = ["strategy=linear_probe", "lr=1e-4..1e-1", "n_tasks=2,5", "seed=1"]
    search = made(tmp_path, SearchOptions(trials=2, on="halves"), texts)
    search.execute()
    (tuned,) = {tuple(run.dataset["classes"]) for runs in swept.executed for run in runs}
    command = shlex.split(search.lines()[2].partition(": cl-prompts sweep ")[2])
    (judged,) = grid(command[0], command[1:-2])
    assert len(tuned) == len(judged.dataset["classes"]) == 5
    assert {*tuned, *judged.dataset["classes"]} == set("0123456789")
    assert judged.tuned_on == "the other half of the classes, 2 trials, 2,000 F"
    # A note, no part of the identity.
    assert "tuned_on" not in settings_identity(judged)["settings"]


@needs_optuna
def test_both_halves_are_checked_before_any_trial(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    texts = ["strategy=linear_probe", "lr=1e-4..1e-1", "classes=7", "n_tasks=2,4", "seed=1"]
    with pytest.raises(InputError, match="n_tasks must be a whole number from 1 to 3"):
        made(tmp_path, SearchOptions(trials=2, on="halves"), texts)
    assert not swept.executed


@needs_optuna
def test_a_search_on_another_recipe_reports_the_first(
    tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("extends: digits\ndataset: {classes: 6}\n")
    search = made(tmp_path, SearchOptions(trials=2, on=str(other)), SPACE)
    search.execute()
    assert {run.dataset["classes"] for runs in swept.executed for run in runs} == {6}
    line = search.lines()[2]
    assert "cl-prompts sweep digits strategy=linear_probe lr=" in line
    assert f"'tuned_on={other}, 2 trials, 2,000 F'" in line


@needs_optuna
def test_a_failed_trial_does_not_stop_others(
    tmp_path: Path, swept: type[PretendedSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = swept.score

    def score(run: RunConfig) -> float | None:
        return None if run.scenario["n_tasks"] == 2 else whole(run)

    monkeypatch.setattr(swept, "score", staticmethod(score))
    search = made(tmp_path, SearchOptions("random", trials=8))
    search.execute()
    failed = [trial for trial in search.study.trials if trial.value is None]
    assert 0 < len(failed) < 8
    assert all(trial.params["n_tasks"] == "2" for trial in failed)
    labels = [f"trial {trial.number + 1}, seed 1000" for trial in failed]
    assert [(label, str(fault)) for label, fault in search.faults] == [
        (label, "it broke") for label in labels
    ]
    # A mean of some seeds does not count.
    monkeypatch.setattr(swept, "score", staticmethod(lambda run: 0.5 if run.seed == 8 else None))
    search = made(tmp_path / "again", SearchOptions("random", trials=2, seeds=(8, 9)))
    search.execute()
    assert [trial.user_attrs["values"] for trial in search.study.trials] == [[0.5, None]] * 2
    with pytest.raises(RunError, match="no trial has a value of a_auc"):
        search.lines()


@needs_optuna
@pytest.mark.parametrize(
    ("seeds", "texts", "says"),
    [
        ((1,), SPACE, "--search-seed 1 is among the reported seeds"),
        ((7,), [*SPACE, "stream_seed=5,7"], "--search-seed 7 is among the reported seeds"),
        ((7,), [*SPACE, "every=null"], "unknown --objective of these runs 'a_auc'"),
        ((7,), ["strategy=ncm,linear_probe", "n_tasks=2,5"], "a search is for one strategy"),
        ((7,), [*SPACE[:2], "n_tasks=5..20"], "n_tasks must be a whole number from 1 to 10"),
        ((7,), SPACE[:1], "a search needs settings to choose"),
    ],
)
def test_misleading_searches_are_refused_before_any_trial(
    seeds: tuple[int, ...], texts: list[str], says: str, tmp_path: Path, swept: type[PretendedSweep]
) -> None:
    with pytest.raises(InputError) as told:
        made(tmp_path, SearchOptions(seeds=seeds), texts)
    assert says in str(told.value)
    assert not swept.executed


@pytest.mark.parametrize(
    ("objective", "multi_label", "every", "known"),
    [
        ("map_avg", False, 100, False),
        ("a_avg", True, 100, False),
        ("a_auc", False, None, False),
        ("forgetting_anytime", False, None, False),
        ("a_auc", True, 100, True),
        ("a_last", False, None, True),
    ],
)
def test_an_undefined_objective_is_refused(
    objective: str, multi_label: bool, every: int | None, known: bool
) -> None:
    says = f"unknown --objective of these runs '{objective}'"
    with nullcontext() if known else pytest.raises(InputError, match=says):
        SearchOptions(objective=objective).metric(multi_label=multi_label, every=every)
