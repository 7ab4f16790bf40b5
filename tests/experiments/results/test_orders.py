"""Class orders as draws of a table."""

from pathlib import Path
from typing import Any

from cl_prompts.experiments.results.comparison import notes_of
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 1, "n_classes": 2}
#: A_AUC by strategy, seed and order
FOUND = {
    ("mvp", 1): {1: 0.6, 2: 0.8, 3: 0.4},
    ("mvp", 2): {1: 0.8, 2: 0.8, 3: 0.2},
    ("linear_probe", 1): {1: 0.5, 2: 0.3, 3: 0.7},
}


def test_rows_are_paired_by_seed_and_order(tmp_path: Path) -> None:
    for (strategy, seed), values in FOUND.items():
        for i, (order, value) in enumerate(values.items()):
            given: dict[str, Any] = {
                "changes": {"scenario.class_order": order},
                "results": {"a_auc": value, "a_last": value / 2},
                "identity": {"stream": str(order)},
            }
            fake_run(tmp_path, strategy, seed, time=f"2025010{seed}-12000{i}", **given, **SMALL)
    fake_run(tmp_path, "mvp", 1, time="20260101-120000", **SMALL)
    ordered, plain = groups(collect([tmp_path]))
    assert len(ordered.runs) == 9
    assert not any("order" in note for note in notes_of(plain))
    assert any("class order" in note for note in notes_of(ordered))
    assert "1, order 2" in ordered.seeds["mvp"]
    # Paired by seed and order: three orders of one seed.
    gap = ordered.choose("linear_probe").table()["mvp"][0].difference
    assert gap.pairs == 3
