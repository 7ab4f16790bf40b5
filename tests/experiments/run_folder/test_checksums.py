"""What changed since a run ended is told by its checksums."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.checksums import READ, SUMS_FILE, check_sums, sums
from tests.experiments.faults import flipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.yaml", "metrics.csv", "learned.safetensors", "checkpoint"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / SUMS_FILE).write_text(sums(tmp_path, {"summary.json": b"{}"}))
    (tmp_path / "summary.json").write_bytes(b"{}")
    return tmp_path


def test_every_flip_is_told(folder: Path) -> None:
    check_sums(folder)
    for file in sorted(folder.iterdir()):
        names = READ if file.name in READ else [file.name]
        content = file.read_bytes()
        for bit in range(0, 8 * len(content), 5):
            file.write_bytes(flipped(content, bit))
            with pytest.raises(InputError, match=r"is not what it was|SHA256SUMS is damaged"):
                check_sums(folder, names)
        file.write_bytes(content)
    check_sums(folder)


def test_a_file_that_is_gone_is_told(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"metrics\.csv is not what it was when the run ended"):
        check_sums(folder)


@pytest.mark.parametrize("name", ["keys.npz", "examples.npz"])
def test_a_file_that_was_added_is_told(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"of another run")
    with pytest.raises(InputError, match=rf"{name} is not what it was when the run ended"):
        check_sums(folder)


def test_only_what_is_read_is_compared(folder: Path) -> None:
    (folder / "learned.safetensors").write_bytes(b"of another run")
    check_sums(folder)
    with pytest.raises(InputError, match=r"learned\.safetensors is not what it was"):
        check_sums(folder, ["learned.safetensors"])


def test_folders_without_checksums_are_taken_as_they_are(tmp_path: Path) -> None:
    check_sums(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_usual_tool_reads_them(folder: Path) -> None:
    told = subprocess.run(
        ["sha256sum", "-c", SUMS_FILE], cwd=folder, capture_output=True, text=True, check=True
    )
    files = ["config.yaml", "metrics.csv", "learned.safetensors", "checkpoint", "summary.json"]
    assert told.stdout.splitlines() == [f"{name}: OK" for name in files]
