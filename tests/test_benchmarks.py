"""The scripts in benchmarks/: they run, and their arithmetic is right."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name: str) -> Any:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ran(name: str, *arguments: object) -> str:
    """What a script prints."""
    command = [sys.executable, "-W", "ignore", str(FOLDER / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_an_exponent_is_the_slope_of_the_upper_half() -> None:
    exponent = load("scale").exponent
    assert exponent([10, 100, 1000], [99.0, 1e-3, 0.1]) == pytest.approx(2)
    assert exponent([1, 2, 4, 8], [7.0, 5.0, 3.0, 6.0]) == pytest.approx(1)
    assert math.isnan(exponent([10], [1.0]))
    assert math.isnan(exponent([10, 20], [1.0, 0.0]))


@pytest.mark.slow
def test_growth_is_measured_on_every_axis(tmp_path: Path) -> None:
    axes = load("scale").AXES
    chosen = [part for name in axes for part in ("--axis", f"{name}=20,40")]
    file = tmp_path / "scale.json"
    printed = ran("scale", *chosen, "--rounds", 1, "--json", file, "--plot", tmp_path / "a.png")
    rows = json.loads(file.read_text())
    assert [row["axis"] for row in rows] == list(axes)
    assert all(row["sizes"] == [20, 40] and min(row["seconds"]) >= 0 for row in rows)
    assert printed.count("| 20, 40 |") == len(axes)
    assert (tmp_path / "a.png").stat().st_size > 0


def test_unit_and_contenders_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    cost = load("cost")
    order: list[tuple[str, str]] = []

    class Fake:
        def __init__(self, name: str, seconds: float) -> None:
            self.name, self.seconds = name, seconds

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
    assert cost.line(row).split() == (
        "mvp: step 3.00 3.00 to 3.00 2.00 1.50 6.00 6.00 to 6.00 0.50 0.50 to 0.50".split()
    )


@pytest.mark.slow
@pytest.mark.skipif(not (FOLDER.parent / ".git").exists(), reason="no repository")
def test_costs_are_measured_beside_another_revision(tmp_path: Path) -> None:
    small = ["--backbone", "glyph_vit_tiny", "--batch", 2, "--rounds", 2, "--threads", 1]
    file = tmp_path / "cost.json"
    printed = ran("cost", *small, "--only", "slda", "--json", file, "--against", "HEAD")
    found = json.loads(file.read_text())
    assert {"processor", "flags", "threads", "load", "torch", "precision"} <= set(found)
    labels = [f"slda: {kind}" for kind in ("training step", "inference", "inference, cached")]
    assert [row["label"] for row in found["rows"]] == labels
    assert all(label in printed for label in labels)
    step = found["rows"][0]
    assert 0 < step["counted"] < 1
    assert step["least"] <= step["median"] <= step["most"]
    assert {"against", "ratio"} <= set(step)
