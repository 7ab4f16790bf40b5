"""Who may import whom, and what an import costs."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from structure import PACKAGE, dotted, parsed, python_files

from tests.forked import forked

FILES = python_files(PACKAGE)
EVERYWHERE = {"catalog", "errors", "checks", "seeds", "state", "user_code", "versions"}
PARTS = {"backbones", "prompts", "closed_form", "models", "losses", "training", "metrics"}
#: room, of the package or of experiments -> the rooms that CONTRIBUTING.md allows it to import from
ROWS = {
    room: set(re.findall(r"`(\w+)`", cell))
    for room, cell in re.findall(
        r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$",
        (PACKAGE.parent / "CONTRIBUTING.md").read_text(),
        re.MULTILINE,
    )
}
#: rooms of experiments; its door opens when it is used
INNER = {room: ROWS[room] for room in ROWS if (PACKAGE / "experiments" / room).is_dir()}
INNER["__init__"] = set()
ROOMS = {room: allowed for room, allowed in ROWS.items() if room not in INNER}
ROOMS["experiments"] = {*ROOMS} - {"testing"}
ROOMS |= {room: set() for room in EVERYWHERE}
ROOMS |= {room: {"experiments"} for room in ("__init__", "__main__")}  # when it is used
LEARNING = {"torch", "torchvision", "timm", "numpy", "sklearn", "scipy", "safetensors"}
#: room -> the libraries that it may import; experiments may import anything
LIBRARIES: dict[str, set[str]] = {
    **{part: {*LEARNING, "huggingface_hub", "annotated_types"} for part in PARTS},
    "datasets": {"torch", "torchvision", "numpy", "PIL", "sklearn", "filelock", "scipy"}
    | {"safetensors"},
    "scenarios": {"torch", "numpy"},
    "strategies": {*LEARNING, "avalanche"},
    **{loose: set() for loose in (*EVERYWHERE, "__init__")},
    "checks": {"pydantic", "annotated_types"},
    "seeds": {"numpy", "torch"},
    "state": {"torch"},
}
#: the only files of scenarios that know Avalanche
DOORS = {"benchmarks.py", "streams.py"}


def room_of(file: Path) -> str:
    """The folder of a module below the package, or the module itself where it lies loose."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = {dotted(file) for file in FILES}


def inner_room_of(file: Path) -> str:
    """The folder of a module below ``experiments/``; empty outside."""
    place = file.relative_to(PACKAGE).parts
    return place[1].removesuffix(".py") if place[0] == "experiments" else ""


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """All statements, but not those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        checked = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not checked:
            if isinstance(node, ast.stmt):
                yield node
            yield from statements(node)


@cache
def imports(file: Path) -> list[tuple[str, str]]:
    """What a file imports as (module, name in it); without a name where it imports the module."""
    return list(_imports(file))


def _imports(file: Path) -> Iterator[tuple[str, str]]:
    for node in statements(parsed(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, "") if inner in MODULES else (node.module, alias.name)


def wrong(found: Callable[[Path], set[str]]) -> dict[str, list[str]]:
    """What a rule finds in files, where it finds something."""
    by_file = {str(file.relative_to(PACKAGE)): sorted(found(file)) for file in FILES}
    return {file: names for file, names in by_file.items() if names}


def test_rooms_are_imported_downwards_alone() -> None:
    def upwards(file: Path) -> set[str]:
        own = {
            module.split(".")[1] for module, _ in imports(file) if module.startswith("cl_prompts.")
        }
        room = room_of(file)
        return own - {room} - ROOMS[room] - EVERYWHERE

    assert not wrong(upwards), "a room imports only from those above it"


def test_the_command_alone_imports_the_server() -> None:
    def serving(file: Path) -> set[str]:
        found = {module for module, _ in imports(file) if module.startswith("cl_prompts.serving")}
        inside = room_of(file) == "serving" or file == PACKAGE / "experiments/cli/actions.py"
        return set() if inside else found

    assert not wrong(serving), "pip install . has no web framework: only the command needs it"


def test_rooms_of_experiments_are_imported_downwards_alone() -> None:
    def upwards(file: Path) -> set[str]:
        room = inner_room_of(file)
        return _inner_imports(file) - {room} - INNER.get(room, set()) if room else set()

    assert not wrong(upwards), "CONTRIBUTING.md says which rooms it may import from"


def _inner_imports(file: Path) -> set[str]:
    parts = [module.split(".") for module, _ in imports(file)]
    return {part[2] for part in parts if part[:2] == ["cl_prompts", "experiments"] and part[2:]}


def test_rooms_of_experiments_are_few_and_their_arrows_are_used() -> None:
    used: dict[str, set[str]] = {room: set() for room in INNER}
    for file in FILES:
        room = inner_room_of(file)
        if room:
            used[room] |= _inner_imports(file) - {room}
    assert used == INNER, "an arrow that nothing uses is to be taken out of CONTRIBUTING.md"


def test_libraries_stay_where_they_belong() -> None:
    def beyond(file: Path) -> set[str]:
        foreign = {module.split(".")[0] for module, _ in imports(file)}
        foreign -= {"cl_prompts", *sys.stdlib_module_names}
        room = room_of(file)
        allowed = LIBRARIES.get(room, foreign)
        if room == "scenarios" and file.name in DOORS:
            allowed = allowed | {"avalanche"}
        return foreign - allowed

    assert not wrong(beyond), "LIBRARIES says what a room may import"


def test_rooms_have_names_and_nothing_else_lies_loose() -> None:
    assert {room_of(file) for file in FILES} == set(ROOMS)
    assert {inner_room_of(file) for file in FILES} - {""} == set(INNER)


def test_quick_imports_leave_avalanche_alone() -> None:
    steps = [
        "import cl_prompts, cl_prompts.strategies, cl_prompts.models.base",
        "import cl_prompts.scenarios as s; s.si_blurry_split([0, 1, 2], n_tasks=2)",
        "s.load_dataset, s.find_scenario('mlcil'), dir(s)",
        "from cl_prompts.experiments.cli import main; main(['ls'])",
        "main(['show', 'digits'])",
    ]

    def work() -> int:
        # A fork, which need not import torch once more.
        for name in list(sys.modules):
            if name.partition(".")[0] in ("avalanche", "cl_prompts"):
                del sys.modules[name]
        scope: dict[str, object] = {}
        for step in steps:
            exec(step, scope)
            assert "avalanche" not in sys.modules, step
        return 0

    done = forked(work)
    assert done.code == 0, done.err
