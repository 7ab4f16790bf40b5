"""metrics.csv is what it was at the checkpoint, or the run does not go on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import files, metrics_file
from cl_prompts.experiments.run_folder.metrics_file import MetricsFile
from tests.experiments.faults import flipped, with_fault


def row(n: int) -> tuple[int, str, str, float]:
    return n, "loss", "train", n / 3


@pytest.fixture
def table(tmp_path: Path) -> MetricsFile:
    made = MetricsFile(tmp_path)
    for n in range(0, 30, 10):
        made.add([row(n + i) for i in range(10)])
    return made


def test_rows_after_the_record_are_dropped(table: MetricsFile) -> None:
    record, rows = table.record()
    before = table.path.read_bytes()
    table.add([row(99)])
    again = MetricsFile(table.path.parent)
    assert again.restore(record, rows) is None
    assert table.path.read_bytes() == before
    again.add([row(30)])
    assert table.path.read_bytes() == before + b"30,loss,train,10.0\r\n"
    again.clear()
    again.add([row(3)])
    assert again.path.read_bytes().startswith(b"samples_seen,metric,scope,value\r\n3,")


def damages(content: bytes) -> list[bytes | None]:
    chance = random.Random(1)
    size = len(content)
    flips = [flipped(content, bit) for bit in chance.sample(range(size * 8), 50)]
    cuts = [content[:n] for n in (0, 1, size // 2, size - 1)]
    padded = [content[:n] + b"\0" * (size - n) for n in (0, size // 2, size - 1)]
    return [None, *flips, *cuts, *padded, content.replace(b"loss", b"gain")]


def test_damages_are_mended_from_the_record_or_refused(table: MetricsFile) -> None:
    record, rows = table.record()
    before = table.path.read_bytes()
    for damage in damages(before):
        for after in (b"", b"40,loss,train,1.0\r\n"):
            if damage is None:
                files.remove(table.path)
            else:
                table.path.write_bytes(damage + after)
            with pytest.raises(InputError, match="the run has to start again"):
                MetricsFile(table.path.parent).restore(record, None)
            remark = MetricsFile(table.path.parent).restore(record, rows)
            assert remark is not None
            assert "metrics.csv is not what it was at the checkpoint and was rebuilt" in remark
            assert table.path.read_bytes() == before


def test_many_rows_are_recorded_by_their_checksum_alone(
    table: MetricsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_file, "KEPT", 700)
    table.add([row(n) for n in range(30, 50)])
    record, rows = table.record()
    assert rows is None
    assert record["bytes"] == table.path.stat().st_size > 700
    assert MetricsFile(table.path.parent).restore(record, rows) is None


def test_a_full_disk_and_other_writers(table: MetricsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table.path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        with_fault(monkeypatch, 0, "full", lambda: table.add([row(30)]))
    assert table.path.read_bytes() == before
    table.add([row(30)])
    table.path.write_bytes(before)
    with pytest.raises(RunError, match=r"another program changed .*metrics\.csv while this run"):
        table.add([row(31)])
