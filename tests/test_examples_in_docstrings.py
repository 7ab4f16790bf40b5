"""The examples in docstrings run, and every public class outside experiments has one."""

import doctest
import inspect
import linecache
from importlib import import_module
from pathlib import Path

import torch
from structure import PACKAGE, dotted, python_files

MODULES = {dotted(file): file for file in python_files(PACKAGE)}
WITH_EXAMPLES = [name for name, file in MODULES.items() if ">>>" in file.read_text()]
INSIDE = ("cl_prompts.experiments", "cl_prompts.serving")
OUTSIDE = [name for name in MODULES if not name.startswith(INSIDE)]


def test_the_examples_run(here: Path) -> None:
    """In one test: two hundred would need a second more."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name in WITH_EXAMPLES:
        torch.manual_seed(0)
        # Before each docstring it looks whether any file has changed whose lines are kept.
        linecache.clearcache()
        for example in finder.find(import_module(name)):
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


def public_classes(name: str) -> dict[str, type]:
    members = inspect.getmembers(import_module(name), inspect.isclass)
    return {
        cls: found for cls, found in members if found.__module__ == name and not cls.startswith("_")
    }


def has_example(found: type) -> bool:
    return ">>>" in (vars(found).get("__doc__") or "")


#: parts of one class each, whose example is that class's
ABSTRACT = {"TestedDomains"}


def test_every_public_class_has_an_example() -> None:
    without = {
        f"{name.removeprefix('cl_prompts.')}.{cls}"
        for name in OUTSIDE
        for cls, found in public_classes(name).items()
        if not has_example(found) and not issubclass(found, Exception) and cls not in ABSTRACT
    }
    assert not without, f"give an example in the docstring of {', '.join(sorted(without))}"
