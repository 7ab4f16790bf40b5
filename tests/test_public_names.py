"""Rooms name their public classes and functions; README, pages and examples import only those."""

import ast
import json
import re
from importlib import import_module
from types import ModuleType

import pytest

from cl_prompts.catalog import door
from tests.test_readme import PAGES, ROOT

ROOMS = [
    "cl_prompts",
    *(
        f"cl_prompts.{room}"
        for room in (
            *("backbones", "prompts", "models", "closed_form", "losses", "training", "metrics"),
            *("datasets", "scenarios", "strategies", "experiments"),
        )
    ),
]
#: modules whose names are all public
MODULES = [f"cl_prompts.{name}" for name in ("checks", "errors", "seeds", "testing")]
PAGE = ROOT / "docs" / "reference" / "api.md"
SHOWN = {
    **{page: re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL) for page in PAGES},
    **{script: [script.read_text()] for script in sorted((ROOT / "examples").glob("*.py"))},
    **{
        notebook: [
            "".join(line for line in cell["source"] if not line.startswith("%"))
            for cell in json.loads(notebook.read_text())["cells"]
            if cell["cell_type"] == "code"
        ]
        for notebook in sorted((ROOT / "examples").glob("*.ipynb"))
    },
}


def public(room: str) -> set[str]:
    """Public names of a room; ``__all__`` leaves out those that Avalanche has, too."""
    module = import_module(room)
    return {*module.__all__, *(dir(module) if room != "cl_prompts" else ())}


def foreign(code: str) -> set[str]:
    """What a script imports from this package besides public names."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
            found |= {name for name in names if name.startswith("cl_prompts")} - {*ROOMS, *MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cl_prompts"):
            room = str(node.module)
            known = public(room) if room in ROOMS else set()
            names = {alias.name for alias in node.names} if room not in MODULES else set()
            found |= {f"{room}.{name}" for name in names - known}
    return found


def test_a_name_that_is_not_public_is_found() -> None:
    """The rule can fail."""
    code = "from cl_prompts.prompts.pools import Pool\nfrom cl_prompts.prompts import gather, Pool"
    inner = "import cl_prompts, cl_prompts.prompts.pools\nfrom cl_prompts.checks import Count\n"
    assert foreign(code) == {"cl_prompts.prompts.pools.Pool", "cl_prompts.prompts.gather"}
    assert foreign(inner) == {"cl_prompts.prompts.pools"}


def test_pages_and_examples_import_public_names() -> None:
    found = {(file.name, name) for file in SHOWN for code in SHOWN[file] for name in foreign(code)}
    assert not found, "import from a room, or add the name to the door in its __init__"


def test_a_public_name_is_one_object() -> None:
    found: dict[str, set[int]] = {}
    for room in ROOMS:
        for name in public(room):
            found.setdefault(name, set()).add(id(getattr(import_module(room), name)))
    assert not [name for name, values in found.items() if len(values) > 1]


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist(room: str) -> None:
    module = import_module(room)
    assert not [name for name in public(room) if isinstance(getattr(module, name), ModuleType)]
    with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'missing'"):
        _ = module.missing


def test_a_door_imports_what_is_asked_for() -> None:
    get, names = door("cl_prompts.prompts", "pools.Pool .models.heads.CosineHead files.gone", "own")
    assert names() == ["CosineHead", "Pool", "gone", "own"]
    assert get("Pool").__module__ == "cl_prompts.prompts.pools"
    assert get("CosineHead").__module__ == "cl_prompts.models.heads"


def test_the_page_lists_the_rooms() -> None:
    text = PAGE.read_text()
    assert sum(len(import_module(room).__all__) for room in ROOMS) <= 250
    assert len(text.split()) <= 250
    rows = [
        f"* `{room}` ({len(public(room))}): {(import_module(room).__doc__ or '').splitlines()[0]}"
        for room in ROOMS
    ]
    listed = re.findall(r"^\* `cl_prompts.*$", text, re.MULTILINE)
    assert listed == rows
    after = text.rpartition(rows[-1])[2]
    assert [f"cl_prompts.{name}" for name in re.findall(r"`(\w+)`", after)] == MODULES
