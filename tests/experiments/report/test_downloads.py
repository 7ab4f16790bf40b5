"""Tables as CSV inside the page."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from urllib.parse import unquote

from cl_prompts.experiments.report.downloads import csv_uri, difference_rows, results_rows
from cl_prompts.experiments.results.columns import at
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run


def test_files_hold_every_number_unrounded(tmp_path: Path) -> None:
    for strategy in ("joint", "mvp"):
        for seed in (1, 2):
            fake_run(tmp_path, strategy, seed)
    (section,) = sections(collect([tmp_path]))
    counts = {"joint": 2, "mvp": 2}
    head, joint, mvp = results_rows(section.columns, section.table(), counts)
    assert len({len(head), len(joint), len(mvp)}) == 1
    found = dict(zip(head, mvp, strict=True))
    values = section.values(at("results", "a_auc"))["mvp"]
    assert found["a_auc_mean"] == statistics.mean(values)
    assert found["a_auc_sd"] == statistics.stdev(values)
    assert (found["strategy"], found["seeds"], found["a_auc_n"]) == ("mvp", 2, 2)
    assert dict(zip(head, joint, strict=True))["a_auc_mean"] is None
    assert "F_train_mean" in head


def test_differences_keep_their_intervals(tmp_path: Path) -> None:
    for strategy in ("linear_probe", "mvp"):
        for seed in (1, 2):
            fake_run(tmp_path, strategy, seed)
    (section,) = sections(collect([tmp_path]))
    column = section.columns[0]
    table = section.table([column], reference="linear_probe")
    head, reference, mvp = difference_rows([column], table)
    assert reference == ["linear_probe", *[""] * 6]
    found = dict(zip(head, mvp, strict=True))
    gap = table["mvp"][0].difference
    assert gap is not None
    assert (found["a_auc_low"], found["a_auc_seeds"]) == (gap.low, 2)


def test_an_address_is_read_back() -> None:
    rows = [["a", 'b "c", <d>'], ["é\n", "1.5"]]
    start, _, text = csv_uri(rows).partition(",")
    assert start == "data:text/csv;charset=utf-8"
    assert not set(text) & set("\"<> \n'")
    assert list(csv.reader(unquote(text).splitlines(keepends=True))) == rows
