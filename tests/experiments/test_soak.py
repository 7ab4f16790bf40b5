"""The short form of the soak run, with real kills, limits and processes."""

from __future__ import annotations

import sys

import pytest

from tests.experiments.soak import DEFAULTS, PARTS, main
from tests.experiments.toy_runs import FAULTS

SHORT = {
    "boundaries": 1,
    "kills": 1,
    "plans": 1,
    "full": 1,
    "limits": 1,
    "flips": 2,
    "reports": 1,
    "pairs": 1,
    "lessons": 1,
    "signals": 1,
    "sweeps": 1,
    "searches": 1,
    "warm_ups": 1,
    "shared_files": 1,
    "own_code": 1,
}


def test_every_part_has_a_long_form() -> None:
    assert DEFAULTS.keys() == PARTS.keys() == SHORT.keys() | {"fuzz", "inputs", "starts"}


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_silently_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pages: None
) -> None:
    counts = [f"{part}={count}" for part, count in SHORT.items()]
    # Whose first case is one of a quick strategy that has an optimizer.
    monkeypatch.setattr(sys, "argv", ["soak", *counts, "--seed", "1"])
    code = main()
    told = capsys.readouterr().out
    assert code == 0, told
    lines = told.splitlines()
    assert [line.partition("=")[0] for line in lines] == list(SHORT)
    assert all(f"{fault} 0" in line for fault in FAULTS for line in lines)
    assert sum("resumes" in line for line in lines) >= 5
