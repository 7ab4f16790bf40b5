"""Comparisons as Markdown, LaTeX, CSV and JSON."""

import csv
import io
import json
from pathlib import Path

import pytest

from cl_prompts.experiments.results.comparison import Table, compare, markdown_text, written
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

AHEAD = {"mvp": (0.8, 0.7, 0.9), "linear_probe": (0.7, 0.61, 0.79)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    root = tmp_path_factory.mktemp("runs")
    for strategy, values in AHEAD.items():
        for seed, value in enumerate(values, start=1):
            fake_run(root, strategy, seed, results={"a_auc": value, "a_last": 0.5})
    chosen = {"metrics": ["a_auc", "a_last"], "rows": ["mvp", "linear_probe"]}
    return compare([root], reference="linear_probe", **chosen)


def test_markdown_has_bold_means_and_differences(tables: list[Table]) -> None:
    text = written(tables)
    assert "| strategy | seeds | A_AUC % ↑ | A_last % ↑ |\n" in text
    assert "| mvp | 3 | **80.0 ± 10.0** | 50.0 ± 0.0 |\n" in text
    assert "| linear_probe | 3 | 70.0 ± 9.0 | 50.0 ± 0.0 |" in text  # equal: neither leads
    assert "| mvp | 3 | 321 | 2.00 | 0.95 | 1,290 numbers, 27,000 trained |" in text
    assert "## digits: difference from linear_probe in points\n" in text
    assert "| mvp | 3 | **+10.0 [+7.5, +12.5], p = 0.003** |" in text
    assert "| +0.0 [+0.0, +0.0], p = 1.000 |" in text


def test_latex_has_booktabs_and_escapes(tables: list[Table]) -> None:
    text = written(tables, "latex")
    assert r"mvp & 3 & \textbf{80.0 $\pm$ 10.0} & 50.0 $\pm$ 0.0 \\" in text
    assert text.count(r"\bottomrule") == 3
    assert all(
        line.startswith("%") or "%" not in line.replace(r"\%", "") for line in text.split("\n")
    )


def test_json_and_csv_hold_the_same_unrounded_numbers(tables: list[Table]) -> None:
    first, *others = json.loads(written(tables, "json"))
    assert (first["strategy"], first["metric"], len(others)) == ("mvp", "a_auc", 3)
    assert first["mean"] == pytest.approx(0.8)
    assert first["std"] == pytest.approx(0.1)
    assert (first["best"], first["difference_pairs"]) == (True, 3)
    assert first["difference_p"] == pytest.approx(0.003312, abs=1e-4)
    lines = list(csv.DictReader(io.StringIO(written(tables, "csv"))))
    assert len(lines) == 2 * 2
    line = next(line for line in lines if line["strategy"] == "mvp")
    assert float(line["difference_mean"]) == first["difference_mean"]
    assert line["significant"] == "True"
    reference = next(line for line in lines if line["strategy"] == "linear_probe")
    assert reference["difference_mean"] == ""


def test_no_dictionary_is_printed(tmp_path: Path) -> None:
    for settings, time in (({}, "01"), ({"plugins": {"self_regulation": {}}}, "02")):
        fake_run(tmp_path, "mvp", settings=settings, time=f"20250101-0000{time}")
    part = {"images": 70, "labels": "b", "contents": "d"}
    data = {"data": {"classes": "digits", "training": part, "test": {**part, "images": 9}}}
    fake_run(tmp_path, "linear_probe", identity=data)
    text = written(compare([tmp_path]))
    assert "{" not in text
    assert "| mvp (plugins=self_regulation) |" in text
    assert "## digits (data=70 + 9 images " in text
    assert "## digits (data=60 + 60 images " in text


def test_a_column_of_dashes_alone_is_left_out(tmp_path: Path) -> None:
    memory = {"samples": 0, "numbers": 0}
    for strategy, auc in (("mvp", 0.5), ("linear_probe", None)):
        results = {"a_auc": auc, "a_last": 0.5, "forgetting": 0.1}
        fake_run(tmp_path, strategy, results=results, memory=memory, trainable_parameters=0)
    text = written(compare([tmp_path]))
    assert "| strategy | seeds | A_AUC % ↑ | A_last % ↑ | forgetting % ↓ |" in text
    assert "| linear_probe | 1 | - | 50.0 | 10.0 |" in text  # the rows differ
    assert "| strategy | seeds | A_last % ↑ | forgetting % ↓ |" in text  # their differences
    assert "| F train | F eval |\n" in text  # nothing is stored


def test_names_are_text_in_every_format(tmp_path: Path) -> None:
    recipe = "x\n\\input{passwd}\u2028<script>a|b[c](javascript:d)"
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed, recipe=recipe, name="own:=mine\n\\input{a}")
        fake_run(tmp_path, "linear_probe", seed, recipe=recipe)
    tables = compare([tmp_path])
    latex = written(tables, "latex")
    assert "\\input" not in "\n".join(line.partition("%")[0] for line in latex.splitlines())
    assert "=mine\n\\textbackslash{}input\\{a\\}" in latex
    markdown = written(tables)
    assert "&lt;script>a\\|b[c]\\(javascript:d)" in markdown
    assert "<script" not in markdown
    assert markdown_text("~d~ $e$ `y` *z*") == r"\~d\~ \$e\$ \`y\` \*z\*"


def test_a_user_metric_is_compared_without_a_best_row(tmp_path: Path) -> None:
    for seed in (1, 2):
        for strategy, value in (("mvp", 0.5), ("linear_probe", 0.25)):
            results = {"worst_class": value + seed / 100}
            fake_run(tmp_path, strategy, seed, own_scores=["worst_class"], results=results)
    (group,) = groups(collect([tmp_path]))
    assert "worst_class" in [metric.name for metric in group.metrics]
    text = written(compare([tmp_path]), "markdown")
    assert "| worst_class % |" in text
    assert "51.5 ± 0.7 |" in text
    assert "+25.0 [" in text
    (table,) = compare([tmp_path], metrics=["worst_class"])
    assert [cell.best for (cell,) in table.group.table(table.metrics).values()] == [False, False]
