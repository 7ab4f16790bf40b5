"""Files that a user names: regular, of bounded size, and JSON of the types that are asked for."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.reading import TEXT, UnusableFile, check_file, conform, content, json_of, opened


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(file)
    assert content(file, 3) == b"abc"
    assert content(tmp_path / "link", TEXT) == b"abc"
    with opened(file, TEXT) as stream:
        assert stream.read(1) == b"a"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, said in (("fifo", "a FIFO"), ("folder", "a folder")):
        with pytest.raises(UnusableFile, match=f"it is {said}, not a file"):
            content(tmp_path / name, TEXT)
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(UnusableFile, match="a device"):
            check_file(device, TEXT)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        with pytest.raises(UnusableFile, match="a socket"):
            content(tmp_path / "s", TEXT)


def test_a_file_of_a_hundred_gigabytes_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as stream:
        stream.truncate(10**11)
    with pytest.raises(UnusableFile, match="it has 100,000,000,000 bytes, more than 5") as found:
        content(file, 5)
    assert found.value.filename == str(file)
    assert found.value.strerror


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ('{"b": {"a": 1, "a": 1}}', "key 'a' is given twice"),
        ("9" * 5000, "Exceeds the limit"),
        ("{", "Expecting"),
        (b"\xff", "decode"),
    ],
)
def test_json_that_cannot_be_read(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        json_of(text)


SCHEMA = {
    "n": int,
    "x?": float,
    "rows": [{"id": int, "name": str}],
    "numbers?": [int],
    "scores?": {str: (float, None)},
    "any?": object,
}
GOOD: dict[str, Any] = {
    "n": 1,
    "x": 2,
    "rows": [{"id": 3, "name": "a", "more": []}],
    "numbers": [1, 2],
    "scores": {"a": 0.5, "b": None},
    "any": None,
}


def test_what_conforms() -> None:
    conform(GOOD, SCHEMA)
    conform({"n": 1, "rows": []}, SCHEMA)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n": True}, "n is True: it should be a whole number"),
        ({"n": None}, "n is None: it should be a whole number"),
        ({"x": None}, "x is None: it should be a number"),
        ({"x": "1"}, "x is '1': it should be a number"),
        ({"x": 10**400}, "x is 1000.*: no such number can be computed with"),
        ({"rows": {}}, "rows is {}: it should be a list"),
        ({"rows": [3]}, r"rows\[0\] is 3: it should be a mapping"),
        ({"rows": [{"id": 1}]}, r"rows\[0\].name is missing"),
        ({"numbers": [1, 2.0]}, r"numbers\[1\] is 2.0: it should be a whole number"),
        ({"scores": {"a": []}}, r"scores\['a'\] is \[\]: it should be a number"),
    ],
)
def test_the_first_part_of_another_type_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        conform({**GOOD, **change}, SCHEMA)


def test_the_whole_may_be_of_another_type() -> None:
    with pytest.raises(ValueError, match=r"it is \[\]: it should be a mapping"):
        conform([], SCHEMA)
