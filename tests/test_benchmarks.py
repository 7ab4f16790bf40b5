"""The scripts in benchmarks/: they run, and their arithmetic is right."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.backbones import create_backbone

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Any:
    """A script as a module, with its command line."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_exponent_is_the_slope_of_the_upper_half(monkeypatch: pytest.MonkeyPatch) -> None:
    exponent = load("scale", monkeypatch).exponent
    assert exponent([10, 100, 1000], [99.0, 1e-3, 0.1]) == pytest.approx(2)
    assert exponent([1, 2, 4, 8], [7.0, 5.0, 3.0, 6.0]) == pytest.approx(1)
    assert math.isnan(exponent([10], [1.0]))
    assert math.isnan(exponent([10, 20], [1.0, 0.0]))


@pytest.mark.slow
def test_every_axis_has_work_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for axis in load("scale", monkeypatch).AXES.values():
        axis.work(8)()


@pytest.mark.slow
def test_growth_is_measured_printed_stored_and_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = ["--axis", "labels=100,1000", "--axis", "lanes=1,2"]
    files = ["--json", tmp_path / "a.json", "--plot", tmp_path / "a.png"]
    load("scale", monkeypatch, *axes, "--rounds", 1, *files).main()
    rows = json.loads((tmp_path / "a.json").read_text())
    assert [(row["axis"], row["sizes"]) for row in rows] == [
        ("labels", [100, 1000]),
        ("lanes", [1, 2]),
    ]
    assert all(min(row["seconds"]) > 0 and len(row["mib"]) == 2 for row in rows)
    assert "| labels | 100, 1,000 |" in capsys.readouterr().out
    assert (tmp_path / "a.png").stat().st_size > 0


def test_unit_and_contenders_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = load("cost", monkeypatch)
    order: list[tuple[str, str]] = []

    class Fake:
        def __init__(self, name: str, seconds: float) -> None:
            self.name = name
            self.seconds = seconds

        def prepare(self, method: str) -> list[str]:
            return [f"{method}: step"]

        def time(self, label: str) -> float:
            order.append((self.name, label))
            return 1.0 if label == "unit" else self.seconds

        def count(self, label: str) -> float:
            return 2.0

    (row,) = cost.rows(Fake("here", 3.0), [Fake("there", 6.0)], ["mvp"], 7)
    step = "mvp: step"
    unit = ("here", "unit")
    assert order == [unit, *7 * [("here", step), unit, ("there", step), unit]]
    assert row["median"] == row["least"] == row["most"] == 3
    assert (row["of counted"], row["against"]["median"], row["ratio"]["median"]) == (1.5, 6, 0.5)
    printed = " ".join(cost.line(row).split())
    assert printed == "mvp: step 3.00 3.00 to 3.00 2.00 1.50 6.00 6.00 to 6.00 0.50 0.50 to 0.50"


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER.parent / ".git").exists(), reason="no repository")
def test_costs_are_measured_beside_another_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = ["--backbone", "glyph_vit_tiny", "--batch", 2, "--rounds", 2]
    small += ["--threads", torch.get_num_threads(), "--only", "slda", "--against", "HEAD"]
    load("cost", monkeypatch, *small, "--json", tmp_path / "cost.json").main()
    found = json.loads((tmp_path / "cost.json").read_text())
    assert {"processor", "flags", "threads", "load", "torch", "precision"} <= set(found)
    labels = [f"slda: {kind}" for kind in ("training step", "inference", "inference, cached")]
    assert [row["label"] for row in found["rows"]] == labels
    printed = capfd.readouterr().out
    assert all(label in printed for label in labels)
    step = found["rows"][0]
    assert 0 < step["counted"] < 1
    assert step["least"] <= step["median"] <= step["most"]
    assert {"against", "ratio"} <= set(step)


def test_images_a_second_are_counted_work_over_what_a_gpu_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 10 TFLOP/s, half of them reached, are 2.5e12 multiply-accumulates a second.
    estimate = load("estimate", monkeypatch)
    assert estimate.images_per_second(1e9, peak=10.0, utilisation=0.5) == pytest.approx(2500)
    small = ["--backbone", "glyph_vit_tiny", "--batch", 2, "--only", "slda", "--peak", 1]
    small += ["--launch", 5, "--view", 2, "--pixels", 32]
    load("estimate", monkeypatch, *small, "--json", tmp_path / "a.json").main()
    printed = capsys.readouterr().out
    assert "estimated, not measured: 0.4 of 1 TFLOP/s" in printed
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    forwards = row["inference"]["F"]
    assert 0.8 < forwards < 1.0  # of the last block only the class token
    macs = forwards * create_backbone("glyph_vit_tiny").forward_macs
    assert row["inference"]["images per second"] == pytest.approx(0.4e12 / (2 * macs))
    assert row["inference, cached"]["images per second"] is None
    step = row["training step"]
    rate = step["images per second"]
    # Launches of 5 us and views of 2 ms; bytes of three channels.
    assert step["batch"] == pytest.approx(step["kernels"] * 5e-6 * rate)
    assert step["bytes per second"] == pytest.approx(rate * 3 * 32**2)
    assert step["loaders"] == pytest.approx(2e-3 * rate)
    assert step["kernels"] > 100
    with pytest.raises(SystemExit):
        load("estimate", monkeypatch, "--peak", 0).main()


def test_all_ways_to_solve_a_ridge_predict_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load("solves", monkeypatch).compared(features=60, classes=3, more=5, rounds=2)
    assert list(found) == ["cholesky", "gradients", "refined", "woodbury"]
    assert all(differ == 0 for _, _, differ in found.values())


def test_make_bench_takes_a_device_and_ends_with_images_a_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    makefile = (FOLDER.parent / "Makefile").read_text()
    assert "benchmarks/cost.py --device $(DEVICE) $(ARGS)" in makefile
    small = ["--backbone", "glyph_vit_tiny", "--batch", 2, "--rounds", 1, "--only", "slda"]
    small += ["--threads", torch.get_num_threads(), "--device", "cpu", "--precision", "tf32"]
    load("cost", monkeypatch, *small, "--json", tmp_path / "cost.json").main()
    torch.set_float32_matmul_precision("highest")
    found = json.loads((tmp_path / "cost.json").read_text())
    assert (found["device"], found["precision"], found["gpu"]) == ("cpu", "tf32", None)
    assert found["images per second"] > 0
    assert "the unit: " in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_reuse_of_frozen_work_saves_passes_and_changes_no_accuracy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--backbone", "glyph_vit_tiny", "--image-size", 32, "--samples", 64, "--test", 24]
    small += ["--classes", 8, "--evaluations", 2, "--precision", "fp32"]
    load("protocol", monkeypatch, *small, "--json", tmp_path / "protocol.json").main()
    found = json.loads((tmp_path / "protocol.json").read_text())
    assert {"processor", "load", "threads", "samples"} <= set(found)
    none, evaluation, both = found["rows"]
    assert [row["reuse"] for row in found["rows"]] == ["none", "evaluation", "evaluation, training"]
    assert none["forwards"] > evaluation["forwards"] > both["forwards"]
    # Three updates on each of the 64 images: two of their three first stages are at hand.
    assert 0.6 * 2 * 64 < evaluation["forwards"] - both["forwards"] < 2 * 64
    assert none["a_auc"] == evaluation["a_auc"] == both["a_auc"]
    assert {row["evaluations"] for row in found["rows"]} == {2}
    assert capsys.readouterr().out.count("| fp32 |") == 3


def test_known_images_are_below_a_threshold_of_their_own_as_often_as_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = load("unknown", monkeypatch)
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(200, generator=generator)
    of_known, of_unknown = script.below(0.2, known, torch.tensor([-9.0, -8.0, 9.0, 8.0]))
    assert of_known == pytest.approx(0.2, abs=0.02)
    assert of_unknown == 0.5
    monkeypatch.setattr(script, "scores", lambda method, seed: (0.5, known, known - 9))
    lines = list(script.rows(["ncm"], [1, 2]))
    assert len({line.count(" | ") for line in (lines[0], lines[2])}) == 1
    assert lines[2].startswith("| ncm | 50.0 ± 0.0 | ")
    assert lines[2].endswith("| 100.0 ± 0.0 |")


def test_an_image_is_put_through_the_backbone_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    def compute(images: torch.Tensor) -> torch.Tensor:
        shown.append(len(images))
        return images.flatten(1)[:, :2]

    remembered = load("solved", monkeypatch).Remembered(compute, {})
    images = torch.rand(4, 3, 2, 2)
    first, both = remembered(images[:2]), remembered(images[[1, 3, 0]])
    assert shown == [2, 1]
    assert torch.equal(first, images[:2].flatten(1)[:, :2])
    assert torch.equal(both, images[[1, 3, 0]].flatten(1)[:, :2])


def test_the_table_of_solved_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "NCM": ({1: 50.0, 2: 60.0}, {1: 9.0, 2: 9.0}),
        "LDA": ({1: 53.0, 2: 62.0}, {1: 9.5, 2: 8.0}),
    }
    lines = list(load("solved", monkeypatch).table(found, "NCM"))
    assert lines[-2] == "| NCM | 55.0 ± 7.1 | 9.0 ± 0.0 | - | - |"
    # gaps 3 and 2, and 0.5 and -1; t(0.975, 1) = 12.7
    assert lines[-1] == "| LDA | 57.5 ± 6.4 | 8.8 ± 1.1 | +2.5 [-3.9, +8.9] | -0.2 [-9.8, +9.3] |"
