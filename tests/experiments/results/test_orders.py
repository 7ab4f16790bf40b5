"""Ranges over class orders."""

from pathlib import Path
from typing import Any

from cl_prompts.experiments.cli.outcomes import tables
from cl_prompts.experiments.results.comparison import orders
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


def test_a_row_shows_its_worst_mean_and_best_order(tmp_path: Path) -> None:
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
    assert len(orders(plain).lines) == 1
    _, probe, mvp = ([cell.text for cell in line] for line in orders(ordered).lines)
    # Means over the seeds at each order.
    assert mvp[1:3] == ["3", "30.0 (order 3) / 60.0 / 80.0 (order 2)"]
    of_probe = ["30.0 (order 2) / 50.0 / 70.0 (order 3)", "15.0 (order 2) / 25.0 / 35.0 (order 3)"]
    assert probe[2:] == of_probe
    assert "1, order 2" in ordered.seeds["mvp"]
    # Paired by seed and order: three orders of one seed.
    gap = ordered.choose("linear_probe").table()["mvp"][0].difference
    assert gap.pairs == 3
    assert [len(getattr(one, "columns", ())) for one in tables([tmp_path])][1] == 4
