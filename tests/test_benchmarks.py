"""The scripts in benchmarks/: they run, and their arithmetic is right."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.backbones import create_backbone

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_the_table_of_solved_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "NCM": ({1: 50.0, 2: 60.0}, {1: 9.0, 2: 9.0}),
        "LDA": ({1: 53.0, 2: 62.0}, {1: 9.5, 2: 8.0}),
    }
    lines = list(load("solved", monkeypatch).table(found, "NCM"))
    assert lines[-2] == "| NCM | 55.0 ± 7.1 | 9.0 ± 0.0 | - | - |"
    # gaps 3 and 2, and 0.5 and -1; t(0.975, 1) = 12.7
    assert lines[-1] == "| LDA | 57.5 ± 6.4 | 8.8 ± 1.1 | +2.5 [-3.9, +8.9] | -0.2 [-9.8, +9.3] |"


def test_costs_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--backbone", "glyph_vit_tiny", "--batch", 2, "--rounds", 1, "--only", "slda"]
    small += ["--threads", torch.get_num_threads()]
    load("cost", monkeypatch, *small, "--json", tmp_path / "cost.json").main()
    found = json.loads((tmp_path / "cost.json").read_text())
    labels = [f"slda: {kind}" for kind in ("training step", "inference", "inference, cached")]
    assert [row["label"] for row in found["rows"]] == labels
    assert "the unit: " in capsys.readouterr().out.splitlines()[-1]
