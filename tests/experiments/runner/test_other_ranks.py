"""Ranks that write nothing; a real job is in tests/families/test_ranks.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError
from cl_prompts.experiments.runner.other_ranks import announce, announce_end, check_start


def test_ranks_go_on_from_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run: Any = SimpleNamespace(
        parts=SimpleNamespace(strategy=SimpleNamespace(samples_seen=64)),
        folder=SimpleNamespace(path=tmp_path),
    )
    check_start(run)
    monkeypatch.setattr(ranks, "highest", lambda *numbers: [64, 0])  # the other one begins anew
    with pytest.raises(InputError, match="from sample 64, and another from 0: to be resumed"):
        check_start(run)


def test_without_others_nothing_is_sent(tmp_path: Path) -> None:
    nothing: Any = None  # not even looked at
    announce(tmp_path, nothing)
    announce_end()
