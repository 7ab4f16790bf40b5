"""Examples in README and pages run, their commands exist, and their lists are complete."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_prompts.strategies import PLUGINS
from tests.experiments.sketches import sketched
from tests.few_images import few_images
from tests.toy_vits import lively_vit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
]


@pytest.fixture(autouse=True)
def on_few_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the examples on 60 training images, with blank pictures."""
    monkeypatch.setattr("cl_prompts.testing.create_backbone", lambda: lively_vit(depth=2))
    with few_images(train=6, test=3), sketched(pages=True):
        yield


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_examples_run(number: int, here: Path) -> None:
    exec(compile(BLOCKS[number], f"example {number + 1}", "exec"), {"__name__": "__main__"})


def test_the_first_screen_has_both_commands_and_the_activation() -> None:
    top = "\n".join(README.splitlines()[:40])
    first, *_ = re.findall(r"```bash\n(.*?)```", top, flags=re.DOTALL)
    commands = [line.partition("#")[0].strip() for line in first.splitlines()]
    assert commands == ["make run", "make test", ". .venv/bin/activate"]


def test_no_page_names_an_index_or_an_address_that_does_not_exist() -> None:
    pages = [*PAGES, *(ROOT / name for name in ("CITATION.cff", "CONTRIBUTING.md"))]
    wrong = re.compile(r"install \W?cl-prompts|clone REPOSITORY|pypi\.org/project/cl-prompts")
    assert [page.name for page in pages if wrong.search(page.read_text())] == []


def rows_of(page: str) -> list[list[str]]:
    lines = (ROOT / page).read_text().splitlines()
    rows = (re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if line.startswith("|"))
    return [[cell.strip() for cell in row] for row in rows]


def test_every_plugin_has_a_row_with_its_class() -> None:
    rows = {row[0]: row[1] for row in rows_of("docs/reference/prompt_options.md")}
    for name, plugin in PLUGINS.items():
        assert rows[f"`{name}`"] == f"`{plugin}`"


def test_commands_and_names_exist() -> None:
    for page in PAGES:
        check_commands(page)


def check_commands(page: Path) -> None:
    from cl_prompts.experiments.cli.entry import parsed
    from cl_prompts.experiments.executors.launching import Launching
    from cl_prompts.experiments.recipes.run_config import plan
    from cl_prompts.experiments.sweeps.grid import SearchSpace, grid

    text = page.read_text().replace("\\\n", " ")
    for command in re.findall(
        r"^(?:\$ )?cl-prompts sweep (.+?)(?:\s{2,}#.*)?$", text, re.MULTILINE
    ):
        _, args = parsed(["sweep", *command.split()])
        Launching(args["executor"], args["jobs"], args["cpus"], args["gpus"])
        texts = args["settings"]
        if args["sampler"] is not None:
            space = SearchSpace.of(texts)
            texts = [*space.fixed, *space.ends[0]]
            assert grid(args["recipe"], [*space.fixed, *space.ends[1]])
        assert grid(args["recipe"], texts)
    commands = re.findall(r"^cl-prompts run (.+?)(?:\s{2,}#.*)?$", text, flags=re.MULTILINE)
    assert len(commands) >= (5 if page.name == "README.md" else 0)
    proposed = re.findall(r"^cl-prompts init .*--out (\S+)", text, flags=re.MULTILINE)
    for command in commands:
        _, args = parsed(["run", *command.split()])
        if args["resume"] is None and args["recipe"] not in proposed:
            assert plan(args["recipe"], args["settings"])


@pytest.mark.parametrize(
    "script",
    [
        script
        for script in sorted((ROOT / "examples").glob("*.py"))
        if script.name not in ("digit_folders.py", "new_class.py", "warm_up.py")  # with arguments
    ],
    ids=lambda p: p.name,
)
def test_example_scripts_run(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(script), run_name="__main__")
    assert re.search(r"(A_AUC|worst class)\D+\d", capsys.readouterr().out)
