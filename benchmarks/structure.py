"""Measure how much there is to read: depth of classes, calls, settings, rooms and lines.

``python benchmarks/structure.py`` prints one row per measure, for the checkout that ``cl_prompts``
is imported from; ``PYTHONPATH=OTHER_CHECKOUT python benchmarks/structure.py`` does so for another.
"""

from __future__ import annotations

import ast
import inspect
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median
from types import FrameType, ModuleType
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import TensorDataset

import cl_prompts
from cl_prompts.backbones import create_backbone
from cl_prompts.experiments.cli import main as command_line
from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import MVP, STRATEGIES, strategy_class

PACKAGE = Path(cl_prompts.__file__).parent
EXPERIMENTS = PACKAGE / "experiments"
TESTS = PACKAGE.parent / "tests"
SETTING = "pool_size"


class Reached(Exception):
    """The first step of the optimizer."""


@cache
def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


# Classes and settings


def own_depths() -> dict[str, int]:
    """Classes of this package in each strategy's order of resolution, itself included."""
    return {
        name: sum(is_ours(cls.__module__) for cls in strategy_class(name).__mro__)
        for name in STRATEGIES
    }


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "cl_prompts"


def numbers_of_settings() -> dict[str, int]:
    """Keyword arguments of each strategy."""
    return {name: len(inspect.signature(strategy_class(name)).parameters) for name in STRATEGIES}


def own_settings(strategy: str) -> int:
    """Those that are declared in the strategy's own class."""
    cls = strategy_class(strategy)
    declared = vars(cls).get("__annotations__", {})
    return len(set(declared) & set(inspect.signature(cls).parameters))


# Calls


@contextmanager
def watched(look: Callable[[FrameType], object]) -> Iterator[None]:
    """Have a function look at every call of a function of the package."""
    package = f"{PACKAGE}/"

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            look(frame)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def entered_before_a_step() -> tuple[int, int]:
    """Files and functions of the package from MVP's ``train`` to the first step of its optimizer.

    Images are tensors, so that none is read; comprehensions and lambdas do not count.
    """
    functions: set[tuple[str, str]] = set()

    def look(frame: FrameType) -> None:
        functions.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    def stop(*_: object) -> None:
        raise Reached

    strategy, experience = toy_mvp()
    hook = register_optimizer_step_pre_hook(stop)
    try:
        with watched(look), suppress(Reached):
            strategy.train(experience)
    finally:
        hook.remove()
    named = {(file, name) for file, name in functions if not name.endswith(">")}
    return len({file for file, _ in named}), len(named)


def toy_mvp() -> tuple[Any, Any]:
    """MVP on the embedded ViT, and the first task of a stream of 40 random images."""
    targets = torch.arange(40) % 10
    images = TensorDataset(torch.rand(40, 3, 32, 32), targets)
    images.targets = targets.tolist()
    benchmark = si_blurry_benchmark(images, images, n_tasks=2, seed=1)
    strategy = MVP(backbone=create_backbone(), n_classes=10, evaluator=None)
    return strategy, benchmark.train_stream[0]


def places_of_a_setting() -> tuple[int, int]:
    """Files that ``mvp.pool_size`` passes between ``cl-prompts validate`` and its use; its checks.

    A file counts where one of its functions is called with the setting: an argument of that name, a
    text with that name, or a mapping or object that holds it, also at second hand. A check is a
    place outside of ``checks.py`` and ``validation.py`` that calls into them with its value.
    """
    files: set[str] = set()
    checks: set[tuple[str, int]] = set()

    def look(frame: FrameType) -> None:
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        values = {name: frame.f_locals.get(name) for name in names}
        if not holds(values):
            return
        files.add(code.co_filename)
        caller = frame.f_back
        if is_check(code.co_filename) and caller and not is_check(caller.f_code.co_filename):
            checks.add((caller.f_code.co_filename, caller.f_lineno))

    with watched(look), redirect_stdout(io.StringIO()):
        command_line(["validate", "digits", "strategy=mvp", f"mvp.{SETTING}=7"])
    return len(files), len(checks)


def is_check(file: str) -> bool:
    return Path(file).name in ("checks.py", "validation.py")


def holds(value: Any, depth: int = 1) -> bool:
    """Whether something names the setting, itself or in what it consists of."""
    if isinstance(value, str):
        return SETTING in value
    if isinstance(value, list | tuple):
        return len(value) < 100 and depth > 0 and any(holds(part, depth - 1) for part in value)
    inner = value if isinstance(value, Mapping) else getattr(value, "__dict__", None)
    if not inner or isinstance(value, type | ModuleType):
        return False
    return SETTING in inner or (
        depth > 0 and any(holds(part, depth - 1) for part in inner.values())
    )


# Rooms of experiments/


def importers() -> dict[str, set[str]]:
    """Modules of experiments -> modules of the package that import them, but for type checkers."""
    known = {dotted(file) for file in python_files(EXPERIMENTS)}
    found: dict[str, set[str]] = {module: set() for module in known}
    for file in python_files(PACKAGE):
        for module in known & imported_by(file) - {dotted(file)}:
            found[module].add(dotted(file))
    return found


def dotted(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_by(file: Path) -> set[str]:
    """Modules and, since a name may be a module, module.name of all imports of a file."""
    found = set()
    for node in runtime_nodes(tree_of(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
    return found


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING``."""
    for inner in ast.iter_child_nodes(node):
        if not (isinstance(inner, ast.If) and "TYPE_CHECKING" in ast.dump(inner.test)):
            yield inner
            yield from runtime_nodes(inner)


def rooms() -> dict[str, set[str]]:
    """Room of experiments, a folder or a loose module -> the rooms that it imports from."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, others in importers().items():
        room = room_of(module)
        if room:
            found[room] |= set()
            for other in map(room_of, others):
                if other not in ("", room):
                    found[other].add(room)
    return found


def room_of(module: str) -> str:
    """Second name below the package; empty for experiments itself and for other rooms."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["experiments"] and parts[2:] else ""


def floors(graph: Mapping[str, set[str]]) -> int:
    """Rooms in the longest chain of imports."""
    height: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        height[room] = 1 + max((height[below] for below in graph.get(room, ())), default=0)
    return max(height.values())


# Lines


def lines(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in python_files(folder))


def code_lines(folder: Path) -> int:
    """Lines without blank ones, docstrings, and those that hold a comment alone."""
    return sum(len(lines_of_code(file)) for file in python_files(folder))


@cache
def lines_of_code(file: Path) -> set[int]:
    found: set[int] = set()
    for token in tokens_of(file):
        if token.type not in (*NO_CODE, tokenize.COMMENT):
            found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree_of(file)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found -= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return found


NO_CODE = (
    *(tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def tokens_of(file: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(file.read_text()).readline))


def comment_lines(folder: Path) -> int:
    """Lines that hold a comment alone."""
    return sum(
        token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
        for file in python_files(folder)
        for token in tokens_of(file)
    )


def nodes(folder: Path) -> Iterator[ast.AST]:
    for file in python_files(folder):
        yield from ast.walk(tree_of(file))


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def is_dense(node: ast.AST) -> bool:
    """Whether this is a comprehension with a walrus or a comprehension in it."""
    if not isinstance(node, COMPREHENSIONS):
        return False
    inner = (part for part in ast.walk(node) if part is not node)
    return any(isinstance(part, (*COMPREHENSIONS, ast.NamedExpr)) for part in inner)


def is_tuple_assignment(node: ast.AST) -> bool:
    """Whether this is ``a, b = 1, 2``."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(isinstance(target, ast.Tuple) for target in node.targets)
    )


def per_thousand(holds_for: Callable[[ast.AST], bool], folder: Path) -> str:
    return f"{1000 * sum(map(holds_for, nodes(folder))) / lines(folder):.1f}"


def rows() -> Iterator[tuple[str, str]]:
    """Measures with their values, in the order in which they are printed."""
    depths = own_depths()
    deepest = max(depths, key=lambda name: depths[name])
    yield (
        "own classes of MVP; of the deepest strategy",
        (f"{depths['mvp']}; {depths[deepest]} ({deepest})"),
    )
    yield (
        "files, functions entered before the first step",
        "{}, {}".format(*entered_before_a_step()),
    )
    yield (
        f"files that {SETTING} passes; places that check it",
        "{}; {}".format(*places_of_a_setting()),
    )
    settings = numbers_of_settings()
    yield (
        "settings: MVP's, its own, most, median",
        (
            f"{settings['mvp']}, {own_settings('mvp')}, {max(settings.values())},"
            f" {median(settings.values())}"
        ),
    )
    graph = rooms()
    loose = [file for file in EXPERIMENTS.glob("*.py") if file.name != "__init__.py"]
    yield "experiments: loose modules", str(len(loose))
    yield (
        "experiments: rooms, floors, arrows",
        (f"{len(graph)}, {floors(graph)}, {sum(map(len, graph.values()))}"),
    )
    once = sum(len(others) == 1 for others in importers().values())
    yield "experiments: modules with one importer", str(once)
    yield "lines of the package; of tests", f"{lines(PACKAGE):,}; {lines(TESTS):,}"
    yield (
        "lines of code: package; experiments",
        (f"{code_lines(PACKAGE):,}; {code_lines(EXPERIMENTS):,}"),
    )
    yield "lines of comment in the package", f"{comment_lines(PACKAGE) / lines(PACKAGE):.1%}"
    yield "dense comprehensions per 1000 lines of experiments", per_thousand(is_dense, EXPERIMENTS)
    yield "tuple assignments per 1000 lines of tests", per_thousand(is_tuple_assignment, TESTS)


if __name__ == "__main__":
    for name, value in rows():
        print(f"| {name} | {value} |", flush=True)
    sys.exit()
