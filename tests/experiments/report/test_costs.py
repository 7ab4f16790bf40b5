"""Scores against cost, over budgets."""

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.report import charts as costs
from cl_prompts.experiments.report.page import write_report
from cl_prompts.experiments.results.comparison import notes_of
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.results.metrics import BYTES, COMPUTE, METRICS
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 1, "n_classes": 2}
A_AUC = METRICS[False][0]
#: (budget, spent, A_AUC) by strategy
FOUND = {
    "mvp": [(1.0, 0.9, 0.5), (4.0, 3.9, 0.8)],
    "linear_probe": [(1.0, 0.7, 0.6), (4.0, 2.0, 0.7)],
}


@pytest.fixture
def budgets(tmp_path: Path) -> Path:
    for strategy, points in FOUND.items():
        for number, (budget, spent, a_auc) in enumerate(points):
            for seed in (1, 2):
                fake_run(
                    tmp_path / "budgets",
                    strategy,
                    seed,
                    time=f"20250101-00000{number}",
                    settings={"plugins": {"budget": {"passes": budget}}},
                    results={"a_auc": a_auc + 0.02 * seed - 0.03, "a_last": a_auc},
                    budget={"spent": spent, "share": 1.0},
                    memory={"samples": 0, "numbers": 0, "bytes": 100 * len(strategy)},
                    **SMALL,
                )
    fake_run(tmp_path / "budgets", **SMALL)  # without a budget
    return tmp_path / "budgets"


def test_budgets_divide_tables_which_one_chart_joins(budgets: Path) -> None:
    parts = groups(collect([budgets]))
    assert sorted(part.title for part in parts) == [
        "digits (budget=1.0)",
        "digits (budget=4.0)",
        "digits (budget=unset)",
    ]
    (alike,) = costs.budgets_of(parts)
    assert list(alike) == [1.0, 4.0]
    bands = costs.against(COMPUTE, A_AUC, [*alike.values()])
    assert bands["mvp"].x.tolist() == [0.9, 3.9]
    assert bands["mvp"].middle.tolist() == pytest.approx([0.5, 0.8])
    assert bands["mvp"].half.tolist() == pytest.approx([0.02 / 2**0.5] * 2)
    assert costs.front(bands) == {"linear_probe": [0.7, 2.0], "mvp": [3.9]}
    stored = costs.against(BYTES, A_AUC, [*alike.values()])
    assert stored["mvp"].x.tolist() == [300, 300]


def test_a_method_above_its_budget_is_named(tmp_path: Path) -> None:
    for strategy, spent in {"mvp": 1.27, "linear_probe": 1.004}.items():
        options = {"plugins": {"budget": {"passes": 1.0}}}
        budget = {"spent": spent, "share": 1.0}
        fake_run(tmp_path, strategy, settings=options, budget=budget, **SMALL)
    (group,) = groups(collect([tmp_path]))
    (note,) = [note for note in notes_of(group) if "budget" in note]
    assert note == "mvp spent 1.27 F an image, above its budget of 1 F."


@pytest.mark.usefixtures("pages")
def test_the_report_says_who_leads_at_each_budget(budgets: Path, tmp_path: Path) -> None:
    page = write_report([budgets]).read_text()
    assert "At 1 F an image linear_probe leads (A_AUC 60.0 %)." in page
    assert "At 4 F an image mvp leads (A_AUC 80.0 %)." in page
    assert "On the Pareto front: linear_probe at 0.70 and 2.00 F, mvp at 3.90 F." in page
    for score, cost in (("A_AUC", COMPUTE), ("A_last", COMPUTE), ("A_last", BYTES)):
        assert f"digits: {score} against {cost.title}. Rings" in page
    for number, (memory, a_auc) in enumerate([(100_000, 0.5), (1_500_000, 0.8)]):
        fake_run(
            tmp_path / "memory",
            time=f"20250101-00000{number}",
            changes={"memory": memory},
            results={"a_auc": a_auc, "a_last": a_auc},
            memory={"samples": 9, "numbers": 0, "bytes": memory - 50},
            **SMALL,
        )
    page = write_report([tmp_path / "memory"]).read_text()
    assert "At 100,000 bytes mvp leads (A_AUC 50.0 %). At 1,500,000 bytes mvp leads" in page
    assert "On the Pareto front: mvp at 99,950 and 1,499,950 bytes." in page
    assert f"digits: A_AUC against {BYTES.title}. Rings" in page
