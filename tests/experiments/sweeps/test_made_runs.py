"""Runs that were made already, found by their settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cl_prompts import __version__
from cl_prompts.experiments.recipes.grid import essence
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder.folder import FORMAT
from cl_prompts.experiments.sweeps.made_runs import made_runs


def folder(above: Path, name: str, status: str | None, seed: int = 1, **about: Any) -> Path:
    """A run folder with what tells whose it is."""
    (settings,) = plan("digits", ["strategy=ncm", f"seed={seed}"])
    path = above / "ncm" / name
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(settings.to_yaml())
    known = {"format": FORMAT, "cl_prompts": __version__, "time": name, **about}
    (path / "environment.json").write_text(json.dumps(known))
    if status is not None:
        (path / "summary.json").write_text(json.dumps({"status": status}))
    return path


def key(seed: int) -> str:
    (settings,) = plan("digits", ["strategy=ncm", f"seed={seed}"])
    return essence(asdict(settings))


def test_the_newest_finished_run_is_found_or_else_the_newest(tmp_path: Path) -> None:
    folder(tmp_path, "1-a", "finished")
    best = folder(tmp_path, "1-b", "finished")
    folder(tmp_path, "1-c", "failed")
    folder(tmp_path, "2-a", "running", seed=2)
    begun = folder(tmp_path, "2-b", None, seed=2)
    assert made_runs(tmp_path) == ({key(1): best, key(2): begun}, [])


def test_runs_of_other_versions_are_others(tmp_path: Path) -> None:
    folder(tmp_path, "1-a", "finished", cl_prompts="0.0.1")
    folder(tmp_path, "1-b", "finished", format=1)
    assert made_runs(tmp_path) == ({}, [])


def test_what_cannot_be_read_is_left_alone_and_told(tmp_path: Path) -> None:
    good = folder(tmp_path, "1-a", "finished")
    (folder(tmp_path, "1-b", "finished") / "config.yaml").write_text("seed: [")
    (folder(tmp_path, "1-c", "finished") / "environment.json").unlink()
    (folder(tmp_path, "1-d", "finished") / "config.yaml").write_text("3")
    found, notes = made_runs(tmp_path)
    assert found == {key(1): good}
    assert [note.partition(" is left alone")[0] for note in notes] == [
        str(tmp_path / "ncm" / name) for name in ("1-b", "1-c", "1-d")
    ]


def test_no_folder_holds_no_runs(tmp_path: Path) -> None:
    assert made_runs(tmp_path / "nowhere") == ({}, [])
