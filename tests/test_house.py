"""The tests are built like the package: a folder of tests for every room."""

from __future__ import annotations

from pathlib import Path

import cl_prompts

PACKAGE = Path(cl_prompts.__file__).parent
TESTS = Path(__file__).parent
MODULES = [
    str(file.relative_to(PACKAGE))
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.name != "__init__.py"
]
#: folders of tests that mirror nothing
OF_THEIR_OWN = {"families", "golden"}


def test_every_test_folder_is_a_room() -> None:
    rooms = {folder.name for folder in TESTS.iterdir() if any(folder.glob("*.py"))}
    missing = {room for room in rooms - OF_THEIR_OWN if not (PACKAGE / room).is_dir()}
    assert not missing
    assert all((TESTS / room / "__init__.py").is_file() for room in rooms - OF_THEIR_OWN)
