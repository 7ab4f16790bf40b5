"""The script that writes measured numbers into the tables of pages."""

import re
import runpy
from pathlib import Path

from cl_prompts.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TABLES = runpy.run_path(str(ROOT / "tools" / "tables.py"))


def test_every_strategy_has_a_name_in_pages() -> None:
    assert set(STRATEGIES) <= set(TABLES["NAMES"].values())


def test_rows_have_a_cell_for_every_column() -> None:
    """A pipe inside a cell is written as an entity or behind a backslash."""
    columns = 0
    for page in PAGES:
        for number, line in enumerate(page.read_text().split("\n"), 1):
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            if columns and cells:
                assert cells == columns, f"{page.name}, line {number}: {line}"
            columns = cells
