"""Snapshots of refusals: what is wrong, and the sentence that it gets, in one text file a room.

``UPDATE_REFUSALS=1 python -m pytest`` writes the files anew: read the difference before a commit.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cl_prompts.errors import InputError, RunError


def check_refusals(file: Path, cases: Mapping[str, Callable[[], object]]) -> None:
    """Compare the sentence of every case with the room's snapshot.

    Args:
        file: the snapshot, lines ``case: sentence``.
        cases: name -> what must raise InputError or RunError.
    """
    found = []
    for name, call in cases.items():
        with pytest.raises((InputError, RunError)) as caught:
            call()
        # Random weights, and so their hashes, depend on the CPU.
        sentence = re.sub(r"'[0-9a-f]{16,}\.\.\.[0-9a-f]{16,}'", "'HASH'", str(caught.value))
        found.append(f"{name}: {sentence}")
    if os.environ.get("UPDATE_REFUSALS"):
        file.write_text("\n".join(found) + "\n")
    assert file.read_text().splitlines() == found
