"""The tests are built like the package: a folder of tests for every room."""

from __future__ import annotations

import ast
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


def test_all_that_is_printed_passes_one_function() -> None:
    """``errors.say``, or the console of ``cli/actions.py``: neither lets a name command the
    terminal."""
    calls = [
        f"{module}: {ast.unparse(call)}"
        for module in MODULES
        for call in ast.walk(ast.parse((PACKAGE / module).read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in {"print", "Console", "sys.stdout.write", "sys.stderr.write"}
    ]
    assert calls == [
        "errors.py: print(printable(str(text)), file=file, end=end)",
        "experiments/trained/loading.py: Console(quiet=True)",
    ]
