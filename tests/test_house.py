"""The tests are built like the package: every module has its test file."""

from __future__ import annotations

from pathlib import Path

import pytest

import cl_prompts

PACKAGE, TESTS = Path(cl_prompts.__file__).parent, Path(__file__).parent
#: modules whose tests stand elsewhere, and why
EXEMPT: dict[str, str] = {
    "datasets/loading.py": "tests/datasets/test_registry.py loads every data set",
    "experiments/cli.py": "tests/experiments/test_runs.py runs commands",
    "experiments/glyphs.py": "tests/experiments/test_glyph_vit.py",
    "experiments/inside.py": "tests/experiments/test_pictures_inside.py",
    "experiments/picture_style.py": "tests/experiments/test_pictures.py",
    "experiments/pretrain_glyphs.py": "tests/experiments/test_glyph_vit.py",
    "experiments/recipe_files.py": "tests/experiments/test_settings.py",
    "experiments/results.py": "tests/experiments/test_report.py",
    "experiments/run_folder.py": "tests/experiments/test_runs.py",
    "experiments/runner.py": "tests/experiments/test_runs.py",
    "experiments/signatures.py": "tests/experiments/test_settings.py",
    "experiments/tracking.py": "tests/experiments/test_runs.py",
}
MODULES = [
    str(file.relative_to(PACKAGE))
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.name != "__init__.py"
]
#: folders of tests that mirror nothing
OF_THEIR_OWN = {"families", "golden"}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test_file(module: str) -> None:
    file = TESTS / Path(module).with_name(f"test_{Path(module).name}")
    there = file.is_file()
    assert there or module in EXEMPT, f"cl_prompts/{module} has no tests/{file.relative_to(TESTS)}"
    assert not (there and module in EXEMPT), f"{module} has its test file: take it off EXEMPT"


def test_every_test_folder_is_a_room() -> None:
    rooms = {folder.name for folder in TESTS.iterdir() if any(folder.glob("*.py"))}
    missing = {room for room in rooms - OF_THEIR_OWN if not (PACKAGE / room).is_dir()}
    assert not missing
    assert all((TESTS / room / "__init__.py").is_file() for room in rooms - OF_THEIR_OWN)
