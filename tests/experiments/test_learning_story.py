"""The commands of docs/guides/learning_on.md print what the page shows."""

import re
import runpy
import shlex
from glob import glob
from importlib import import_module
from pathlib import Path

import pytest

from cl_prompts.experiments.cli import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "learning_on.md").read_text()


def test_the_commands_of_the_page_do_what_it_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[0]  # what follows names no folder
    said = []
    for line in block.splitlines():
        words = shlex.split(line)
        if words[0] == "python":
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
            continue
        assert words[0] == "cl-prompts"
        expanded = [found for word in words[1:] for found in glob(word) or [word]]
        assert main(expanded) == 0, line
        said.append(capsys.readouterr().out)
    (table,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    *table, saved = filter(None, map(str.strip, table.splitlines()[2:]))
    found = {
        row.split("  ")[0]: row.split()[-1] for row in map(str.strip, said[-2].splitlines()) if row
    }
    for row in table:
        assert found[row.split("  ")[0]] == row.split()[-1]
    assert said[-2].rstrip().endswith(saved)
    assert said[-1].count(",seven,") == 20
    # The example that the page names counts images of the new class.
    monkeypatch.syspath_prepend(ROOT / "examples")
    new_class = import_module("new_class")
    monkeypatch.setattr(new_class, "DRAWS", 1)
    new_class.main("models/first", "digits/later/test", "digits/later/train/seven")
    _, *lines = capsys.readouterr().out.splitlines()
    numbers = [re.findall(r"[\d.]+", line) for line in lines]
    assert [int(row[0]) for row in numbers] == [0, 1, 2, 5, 10]
    assert float(numbers[0][1]) == 0
    assert float(numbers[-1][1]) > 50  # new
    assert float(numbers[-1][4]) > 50  # old
