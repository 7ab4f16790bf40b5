"""The Python of README and pages runs as it stands, and their commands exist."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.sketches import sketched
from tests.few_images import few_images

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
]


@pytest.fixture(autouse=True)
def on_few_images() -> Iterator[None]:
    """What the pages show is run as it stands, on 150 training images in place of all, and with
    blank pictures."""
    with few_images(train=15, test=6), sketched(pages=True):
        yield


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_examples_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"example {number + 1}", "exec"), {"__name__": "__main__"})


def test_the_avalanche_examples_are_short() -> None:
    avalanche = [block for block in BLOCKS if "from avalanche" in block and block in README]
    assert len(avalanche) == 2
    assert all(
        len([line for line in block.splitlines() if line.strip()]) <= 15 for block in avalanche
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_names_exist(page: Path) -> None:
    from cl_prompts.experiments.cli.arguments import parsed
    from cl_prompts.experiments.recipes.grid import grid
    from cl_prompts.experiments.recipes.settings import plan
    from cl_prompts.experiments.sweeps.launching import Launching
    from cl_prompts.experiments.sweeps.search_space import SearchSpace

    text = page.read_text().replace("\\\n", " ")
    for command in re.findall(
        r"^(?:\$ )?cl-prompts sweep (.+?)(?:\s{2,}#.*)?$", text, re.MULTILINE
    ):
        args = parsed(["sweep", *command.split()])
        Launching(args.launcher, args.jobs, args.cpus, args.gpus)
        texts = args.settings
        if args.sampler is not None:
            space = SearchSpace.of(texts)
            texts = [*space.fixed, *space.ends[0]]
            assert grid(args.recipe, [*space.fixed, *space.ends[1]])
        assert grid(args.recipe, texts)
    commands = re.findall(r"^cl-prompts run (.+?)(?:\s{2,}#.*)?$", text, flags=re.MULTILINE)
    assert len(commands) >= (5 if page.name == "README.md" else 0)
    for command in commands:
        if not command.startswith("--resume"):
            recipe, *overrides = command.split()
            assert plan(recipe, overrides)


@pytest.mark.parametrize(
    "script", sorted((Path(__file__).parent.parent / "examples").glob("*.py")), ids=lambda p: p.name
)
def test_example_scripts_run(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(script), run_name="__main__")
    assert "A_AUC" in capsys.readouterr().out
