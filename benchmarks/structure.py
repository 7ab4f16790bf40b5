"""Measure how much there is to read: lines, circles of imports, and what a run enters.

``python benchmarks/structure.py`` prints a table with the goals; a test holds the caps.
"""

from __future__ import annotations

import ast
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cl_prompts"

TOOLS = ROOT / "tools"

#: measure -> the value to stay below, whatever is added
GOALS = {
    "code": 20_000,
    "lines": 38_000,
    "experiments": 6_000,
    "base": 1_900,
    "online.py": 400,
    "data": 3_400,
    "longest": 400,
    "circles": 0,
    "tests": 27_000,
    "tests' code": 22_000,
    "words": 45_000,
}
#: What a test holds: the caps that no feature raises.
CAPS = {
    **GOALS,
    "code": 22_000,
    "lines": 41_500,
    "experiments": 6_600,
    "tests": 30_000,
    "tests' code": 23_500,
    "words": 50_000,
}


class Reached(BaseException):
    """The first step of an optimizer."""


def python_files(folder: Path) -> list[Path]:
    """Python files of a folder, sorted."""
    return sorted(folder.rglob("*.py"))


def lines(file: Path) -> int:
    """All lines of a file."""
    return len(file.read_text().splitlines())


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


@cache
def code_lines(file: Path) -> int:
    """Lines without blank ones, docstrings, and those that hold a comment alone."""
    text = enumerate(map(str.strip, file.read_text().splitlines()), 1)
    found = {number for number, line in text if line and not line.startswith("#")}
    documents: set[int] = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            # A long text may hold blank lines.
            found |= set(range(node.lineno, (node.end_lineno or 0) + 1))
        # Docstrings, those of attributes too, are the statements that are a text alone.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documents |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(found - documents)


def code(*folders: Path) -> int:
    """Lines of code of some folders."""
    return sum(code_lines(file) for folder in folders for file in python_files(folder))


def circles() -> list[set[str]]:
    """Modules that import each other, in groups; imports for type checkers count."""
    files = {dotted(file): file for file in python_files(PACKAGE)}
    names = list(files)
    graph = np.zeros((len(names), len(names)), dtype=bool)
    for row, name in enumerate(names):
        for other in imported_by(files[name]) & files.keys() - {name}:
            graph[row, names.index(other)] = True
    _, groups = connected_components(graph, connection="strong")
    found = [{names[i] for i in np.flatnonzero(groups == group)} for group in np.unique(groups)]
    return [group for group in found if len(group) > 1]


def dotted(file: Path) -> str:
    """Name of a module of the package."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_by(file: Path) -> set[str]:
    """Modules and, since a name may be a module, module.name of all imports of a file."""
    found = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in below if is_module(name)} or {node.module}
    return found


def is_module(name: str) -> bool:
    """Whether a dotted name is a module or a package of this project."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def sizes() -> dict[str, int]:
    """The measures of :data:`CAPS`."""
    package = python_files(PACKAGE)
    tests = python_files(ROOT / "tests")
    pages = (ROOT / "docs").rglob("*.md")
    return {
        "code": code(PACKAGE),
        "lines": sum(map(lines, [*package, *python_files(TOOLS)])),
        "experiments": code(PACKAGE / "experiments"),
        "base": code(PACKAGE / "strategies" / "base"),
        "online.py": lines(PACKAGE / "strategies" / "base" / "online.py"),
        "data": code(PACKAGE / "datasets", PACKAGE / "scenarios"),
        "longest": max(map(lines, package)),
        "circles": len(circles()),
        "tests": sum(map(lines, tests)),
        "tests' code": sum(map(code_lines, tests)),
        "words": sum(len(page.read_text().split()) for page in pages),
    }


@contextmanager
def entered() -> Iterator[set[tuple[str, str]]]:
    """Collect (file, function) of every call into the package, up to the first optimizer step."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    found: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        called = frame.f_code
        ours = event == "call" and called.co_filename.startswith(f"{PACKAGE}/")
        # Comprehensions, lambdas, and bodies of modules and classes do not count as functions.
        if ours and called.co_flags & CO_OPTIMIZED and not called.co_qualname.endswith(">"):
            found.add((called.co_filename, called.co_qualname))

    def stop(*_: object) -> None:
        sys.setprofile(None)
        raise Reached

    hook = register_optimizer_step_pre_hook(stop)
    sys.setprofile(profile)
    try:
        with suppress(Reached):
            yield found
    finally:
        sys.setprofile(None)
        hook.remove()


def entered_by_a_run() -> set[tuple[str, str]]:
    """What ``cl-prompts run digits strategy=mvp seed=1`` enters before its first step; what
    modules do while they are imported does not count."""
    import cl_prompts.experiments.runner.running
    import cl_prompts.strategies.mvp  # noqa: F401
    from cl_prompts.experiments.cli import main

    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as out,
        redirect_stdout(quiet),
        redirect_stderr(quiet),
        entered() as found,
    ):
        main(["run", "digits", "strategy=mvp", "seed=1", "--out", out])
    return found


def entered_by_train() -> set[tuple[str, str]]:
    """What MVP's ``train`` enters before its first step, on images that are tensors."""
    strategy, experience = toy_mvp()
    with entered() as found:
        strategy.train(experience)
    return found


def toy_mvp() -> tuple[Any, Any]:
    """MVP on the embedded ViT, and the first task of a stream of 40 random images."""
    import torch
    from torch.utils.data import TensorDataset

    from cl_prompts.backbones import create_backbone
    from cl_prompts.scenarios import si_blurry_benchmark
    from cl_prompts.strategies import MVP

    targets = torch.arange(40) % 10
    images = TensorDataset(torch.rand(40, 3, 32, 32), targets)
    images.targets = targets.tolist()
    benchmark = si_blurry_benchmark(images, images, n_tasks=2, seed=1)
    strategy = MVP(backbone=create_backbone(), n_classes=10, evaluator=None)
    return strategy, benchmark.train_stream[0]


def files_and_functions(found: set[tuple[str, str]]) -> str:
    """Number of files and of functions."""
    return f"{len({file for file, _ in found})}, {len(found)}"


ROWS = {
    "code of the package; all lines": ("code", "lines"),
    "of it experiments/": ("experiments",),
    "strategies/base/; lines of base/online.py": ("base", "online.py"),
    "datasets/ and scenarios/": ("data",),
    "longest file; import circles": ("longest", "circles"),
    "lines of tests; their code": ("tests", "tests' code"),
    "words of docs/": ("words",),
}


def main() -> None:
    """Print the table."""
    measured = sizes()
    print("| measure | now | goal |\n| --- | --- | --- |")
    for row, names in ROWS.items():
        now = "; ".join(f"{measured[name]:,}" for name in names)
        goal = "; ".join(f"{GOALS[name]:,}" for name in names)
        print(f"| {row} | {now} | {goal} |", flush=True)
    # The run first: what it imports and builds once counts.
    by_run = files_and_functions(entered_by_a_run())
    by_train = files_and_functions(entered_by_train())
    print(f"| files, functions entered by a run before its first step | {by_run} | 60, 350 |")
    print(f"| the same from train() | {by_train} | 18, 100 |")


if __name__ == "__main__":
    main()
