"""Grids of a sweep, and labels of runs."""

from dataclasses import replace

from cl_prompts.experiments.recipes.run_config import labels_of_runs, plan
from cl_prompts.experiments.run_folder.identity import changes, settings_identity
from cl_prompts.experiments.sweeps.grid import grid


def test_every_combination_is_a_run() -> None:
    runs = grid("digits", ["strategy=er,mvp", "seed=1-2,7", "lr=1e-3,1e-2", "n_tasks=2,5"])
    assert len(runs) == 2 * 3 * 2 * 2
    found = {(r.strategy, r.seed, r.options["lr"], r.scenario["n_tasks"]) for r in runs}
    assert len(found) == len(runs)
    assert [run.seed for run in runs[:4]] == [1, 2, 7, 1]
    assert {r.options["lr"] for r in runs} == {1e-3, 1e-2}


def test_a_key_of_one_strategy_repeats_no_run_of_others() -> None:
    runs = grid("digits", ["strategy=er,ncm", "seed=1", "er.buffer_size=10,20"])
    assert [run.strategy for run in runs] == ["er", "ncm", "er"]


def test_streams_are_repeated_by_their_seeds() -> None:
    runs = grid("digits", ["strategy=ncm", "seed=4", "stream_seed=1,2"])
    assert [(run.seed, run.stream_seed) for run in runs] == [(4, 1), (4, 2)]
    assert labels_of_runs(runs) == ["ncm seed 4 (stream 1)", "ncm seed 4 (stream 2)"]
    (run,) = grid("digits", ["strategy=ncm", "seed=4", "stream_seed=null"])
    assert run.stream_seed == 4


def test_labels_say_what_differs() -> None:
    runs = grid("digits", ["strategy=er", "seed=1", "scenario=si_blurry,disjoint", "lr=1e-3,1e-2"])
    assert labels_of_runs(runs) == [
        "er scenario=si_blurry lr=0.001 seed 1",
        "er scenario=si_blurry lr=0.01 seed 1",
        "er scenario=disjoint lr=0.001 seed 1",
        "er scenario=disjoint lr=0.01 seed 1",
    ]


def test_names_that_end_alike_are_written_whole() -> None:
    (run,) = plan("digits", ["strategy=ncm", "seed=1"])
    runs = [replace(run, strategy=f"{module}:Mine") for module in ("one", "two")]
    assert labels_of_runs(runs) == ["one:Mine seed 1", "two:Mine seed 1"]


def test_the_order_of_plugins_counts_and_cannot_change_before_a_resume() -> None:
    pair = ["self_regulation", "slow_heads"]
    texts = [f"[{','.join(names)}]" for names in (pair, pair[::-1])]
    runs = grid("digits", ["strategy=linear_probe", "seed=1", f"plugins={','.join(texts)}"])
    assert [list(run.options["plugins"]) for run in runs] == [pair, pair[::-1]]
    first, second = map(settings_identity, runs)
    assert [*changes(first, first)] == []
    (sentence,) = changes(first, second)
    assert "options.plugins" in sentence


def test_runs_with_and_without_a_plugin_have_labels_of_their_own() -> None:
    runs = grid("digits", ["strategy=l2p", "seed=1", "plugins=null,self_regulation"])
    assert labels_of_runs(runs) == ["l2p plugins=none seed 1", "l2p plugins=self_regulation seed 1"]
