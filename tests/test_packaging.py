"""The version and other facts that several files repeat must agree."""

import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import cl_prompts

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_stands_in_one_place_and_is_repeated_right() -> None:
    version = cl_prompts.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert PROJECT["project"]["dynamic"] == ["version"]
    place = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert place == "cl_prompts.versions.__version__"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert citation["license"] == PROJECT["project"]["license"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == version


def test_hosted_checks_call_make() -> None:
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    if not files:
        pytest.skip("an archive of sources has no hosted checks")
    jobs = [job for file in files for job in yaml.safe_load(file.read_text())["jobs"].values()]
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands
    targets = set(re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    known = {name for group in targets for name in group.split()}
    for command in commands:
        tool, target = command.split(maxsplit=1)
        assert tool == "make"
        assert target in known or target == "${{ matrix.end }}"


def imported(*folders: str) -> set[str]:
    """The distributions that the files in folders of the repository import."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    line = re.compile(r"^ *(?:from (?=[\w.]+ import)|import )(\w+)", re.MULTILINE)
    modules = {name for file in files for name in line.findall(file.read_text())}
    own = {"cl_prompts", "tests", "site_parts", *(file.stem for file in files)}
    own |= {file.stem for file in (ROOT / "tools").glob("*.py")}
    found = packages_distributions()
    names = {found.get(name, [name])[0] for name in modules - own - sys.stdlib_module_names}
    return {name.lower().replace("_", "-") for name in names}


def declared(requirements: Sequence[str]) -> set[str]:
    return {re.split(r"[\[<>=]", line)[0].lower() for line in requirements}


def test_every_imported_distribution_is_declared() -> None:
    needed = PROJECT["project"]["dependencies"]
    extras = PROJECT["project"]["optional-dependencies"]
    package = imported("cl_prompts")
    assert {"torch", "markupsafe"} <= package
    assert package - declared(needed) == declared(extras["serve"]) & package
    groups = ("test", "dev", "notebook", "serve", "browser")
    all_others = [line for name in groups for line in extras[name]]
    others = imported("tests", "benchmarks", "examples")
    assert others - declared([*needed, *all_others]) == set()
