"""Shared by all tests: one thread a process, a tiny ViT, and which files are slow."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from cl_prompts.backbones.vit import FrozenViT

# Torch is imported where it is needed: pytest-xdist's controller, too, reads this file.

#: what ``make quick`` leaves out, by the beginning of its path; single tests are marked where they
#: stand
SLOW = (
    "experiments/report",
    "experiments/runner",
    "experiments/run_folder/test_folder.py",
    "experiments/test_stops.py",
    "experiments/tracking",
    "experiments/trained",
    "families/test_avalanche_habits.py",
    "families/test_learning.py",
    "families/test_matrix.py",
    "families/test_mini_experiences.py",
    "families/test_workers.py",
    "strategies/base/test_growth.py",
    "strategies/plugins/test_head_alignment.py",
    "strategies/plugins/test_self_regulation.py",
    "test_examples_in_docstrings.py",
    "test_readme.py",
)
#: strategies of the table that ``make quick`` takes, one of each kind
QUICK = {"aper", "er", "multi_lane", "mvp", "ncm"}
#: runs that several files read; made once by the process that runs their tests
SHARED = {"mvp_run", "probe_run"}
TESTS = Path(__file__).parent


# A test counts work, never seconds. Most properties show in few examples; others ask for more.
settings.register_profile("unhurried", deadline=None, max_examples=25)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist share tests out in the order that is made below; imports, and toys, make so
    many objects that the garbage collector need not look at every 700th."""
    gc.set_threshold(100_000, 20, 100)
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even read slow files for ``make quick``."""
    quick = config.getoption("markexpr", "") == "not slow"
    place = collection_path.relative_to(TESTS).as_posix()
    return True if quick and place.startswith(SLOW) else None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long texts by their length: names go from process to process, some megabytes each."""
    long = isinstance(val, str | bytes) and len(val) > 500
    return f"{argname} of {len(val)}" if long else None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, further strategies and further cases; share tests out."""
    import torch

    from tests.toys import ALL

    torch.set_num_threads(1)
    # With CUDA's build of torch but no GPU, a first backward pass after torch.compile would start
    # threads for a pretended GPU, and forks of this process could not train.
    torch.ones(1, requires_grad=True).backward()
    begun = set()
    for item in items:
        kind = kind_of(item)
        # Of other parametrised tests the first case.
        test = item.nodeid.partition("[")[0]
        later = kind not in QUICK if kind in ALL else test in begun
        if file_of(item).startswith(SLOW) or later:
            item.add_marker(pytest.mark.slow)
        elif item.get_closest_marker("slow") is None:
            begun.add(test)
    if config.getoption("loadgroup", False):  # pytest -n 2 --dist loadgroup
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
        items.sort(key=turn_of)


@cache
def file_of(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).as_posix()


def kind_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec and callspec.params.get("kind")


def group_of(item: pytest.Item) -> str:
    """Tests of a group run in one process, and share what it made for one of them."""
    file = file_of(item)
    if file.startswith("families/") and isinstance(kind_of(item), str):
        return str(kind_of(item))
    if SHARED & set(getattr(item, "fixturenames", ())):
        return "shared runs"
    return file


def turn_of(item: pytest.Item) -> tuple[bool, bool]:
    """The families first, which take longest, then slow files, so that no long one comes last; a
    sort keeps the order of all else."""
    file = file_of(item)
    return not file.startswith("families/"), not file.startswith(SLOW)


def pytest_collection_finish() -> None:
    """Take what is imported and collected off the garbage collector, which else walks through it
    again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def vit() -> FrozenViT:
    from tests.toy_vits import tiny_vit

    return tiny_vit()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Assert that ``cl-prompts`` refuses some words in one sentence, which holds given ones."""
    from cl_prompts.experiments.cli import main

    def check(says: str, *words: str) -> None:
        capsys.readouterr()
        assert main([*words]) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1

    return check
