"""TensorBoard of a run agrees with its metrics.csv."""

import re
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.results.history import curve_of, usage_matrix
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.run_folder.runs import collect
from cl_prompts.experiments.runner.building import Resources
from cl_prompts.experiments.runner.task_loop import complete
from cl_prompts.experiments.tracking.progress import Watcher
from tests.experiments.commands import PROBE, rows, summary
from tests.few_images import few_images

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tensorboard.md"

#: tag -> metric and scope
TAGS = {
    "accuracy/anytime": ["anytime_accuracy", "seen"],
    "accuracy/task_end": ["task_end_accuracy", "seen"],
    "task_accuracy/task_1": ["task_end_accuracy", "task:1"],
    "loss/train": ["loss", "train"],
    "forgetting": ["forgetting", "seen"],
}


def test_scalars_are_those_of_the_files_and_documented(mvp_run: Path) -> None:
    events = EventAccumulator(str(mvp_run)).Reload()
    shown = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    for tag, place in TAGS.items():
        written = [(int(r[0]), float(r[3])) for r in rows(mvp_run) if r[1:3] == place]
        assert written
        assert [event.step for event in shown[tag]] == [samples for samples, _ in written]
        values = [value for _, value in written]
        assert [event.value for event in shown[tag]] == pytest.approx(values, abs=1e-6)
    for name, value in summary(mvp_run)["results"].items():
        if value is not None:
            assert shown[f"final/{name}"][-1].value == pytest.approx(value, abs=1e-6)
    tags_of_page = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    patterns = [re.sub(r"<\w+>", "[a-z0-9_]+", re.escape(tag)) for tag in tags_of_page]
    assert not [tag for tag in shown if not any(re.fullmatch(p, tag) for p in patterns)]


def test_one_a_auc_in_the_progress_line_the_table_and_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The stream does not end at an anytime point: its end is a point of its own.
    assert main(["run", "digits", *PROBE, "every=30", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out.splitlines()
    (folder,) = (file.parent for file in tmp_path.rglob("summary.json"))
    auc = summary(folder)["results"]["a_auc"]
    (line,) = (
        line for line in told if line.startswith("run 1 of 1, linear_probe seed 3, finished")
    )
    assert line.endswith(f", A_AUC {100 * auc:.1f}")
    (run,) = collect([folder])
    (group,) = groups([run])
    assert group.table()["linear_probe"][0].text == f"{100 * auc:.1f}"
    points = [float(r[3]) for r in rows(folder) if r[1:3] == ["anytime_accuracy", "seen"]]
    end = [float(r[3]) for r in rows(folder) if r[1:3] == ["task_end_accuracy", "seen"]][-1]
    assert auc == pytest.approx(sum([*points, end]) / (len(points) + 1), abs=1e-6)
    assert [value for _, value in curve_of(run)] == pytest.approx([*points, end])
    scalars = EventAccumulator(str(folder)).Reload().Scalars("accuracy/a_auc")
    assert scalars[-1].value == pytest.approx(auc, abs=1e-6)


def test_domains_are_in_files_and_in_tensorboard(tmp_path: Path) -> None:
    (settings,) = plan("digit_domains", ["strategy=ncm", "seed=1", "evaluation.every=10"])
    folder = tmp_path / "run"
    with few_images():
        complete(PlannedRun(folder, settings), Watcher(), Resources())
    said = summary(folder)
    order = ["upright", "rotated", "inverted", "blurred"]
    assert said["domain_names"] == order
    found = [row for row in rows(folder) if row[2].startswith("domain:")]
    ends = [row for row in found if row[1] == "task_end_accuracy"]
    expected = [f"domain:{name}" for n in range(1, 5) for name in sorted(order[:n])]
    assert [row[2] for row in ends] == expected
    anytime = {row[2] for row in found if row[1] == "anytime_accuracy"}
    assert anytime == {f"domain:{name}" for name in order}
    last = {row[2].partition(":")[2]: float(row[3]) for row in ends[-4:]}
    assert said["results"]["a_last_by_task"] == pytest.approx(np.mean(list(last.values())))
    logger = EventAccumulator(str(folder)).Reload()
    for name, value in last.items():
        assert logger.Scalars(f"domain_accuracy/{name}")[-1].value == pytest.approx(value)
    assert len(logger.Scalars("domain_accuracy/blurred")) == 1


def test_a_run_writes_what_is_inside(mvp_run: Path) -> None:
    (found,) = collect([mvp_run])
    ends = found.summary["task_ends"]
    usage = usage_matrix(found)
    assert [samples for samples, _ in found.metrics["prompt_usage"]["prompt:0"]] == ends
    assert usage.sum() > 0
