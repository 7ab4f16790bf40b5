"""The identity of a run: what may not change, and the sentence for each change."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder import identity
from cl_prompts.experiments.run_folder.identity import (
    NOT_IDENTITY,
    changes,
    identity_of,
    package_hash,
    settings_identity,
)
from cl_prompts.experiments.runner.building import build_run

PACKAGE = Path(__file__).parents[3] / "cl_prompts"
OWN = "tests.experiments.own_parts"
PART = {"images": 3, "labels": "a", "names": None, "bytes": 9, "sizes": None, "contents": "c"}
IDENTITY: dict[str, Any] = {
    "numbers": 1,
    "package": "abc",
    "settings": {"seed": 1, "options.lr": 0.005, "options.multi": True, "options.map": {"a": 1}},
    "files": {"options.prompts": "p"},
    "code": {"mine:Method": "m"},
    "data": {"classes": "c", "training": PART, "test": PART},
    "stream": "f00d",
    "backbone": "beef",
}


def changed(part: str, key: str | None, value: Any) -> dict[str, Any]:
    new = copy.deepcopy(IDENTITY)
    if key is None:
        new[part] = value
    elif value is KeyError:
        del new[part][key]
    else:
        new[part][key] = value
    return new


@pytest.mark.parametrize(
    ("part", "key", "value", "says"),
    [
        ("numbers", None, 2, "the results of cl-prompts changed, NUMBERS was 1 and is 2"),
        ("package", None, "def", "the code of cl-prompts changed"),
        ("settings", "seed", 2, "its setting seed was 1 and is 2 in config.yaml"),
        ("settings", "options.lr", KeyError, "options.lr was 0.005 and is unset"),
        ("settings", "options.new", "a", 'options.new was unset and is "a"'),
        ("settings", "options.multi", 1, "options.multi was true and is 1"),
        ("settings", "options.map", {"a": True}, 'options.map was {"a": 1} and is {"a": true}'),
        ("data", "training", {**PART, "images": 4}, "it has 4 training images, and had 3"),
        ("files", "options.prompts", "q", "the file of its setting options.prompts changed or"),
        ("files", "options.prompts", KeyError, "options.prompts changed or is missing"),
        ("code", "mine:Method", "n", "the code of mine:Method changed"),
        ("stream", None, "cafe", "its stream changed"),
        ("backbone", None, "cafe", "the weights or the normalisation of its backbone changed"),
    ],
)
def test_each_change_is_refused(part: str, key: str | None, value: Any, says: str) -> None:
    now = changed(part, key, value)
    (change,) = changes(IDENTITY, now)
    assert says in change


def test_unknown_parts_and_files_written_by_a_run_are_not_compared() -> None:
    assert not list(changes(IDENTITY, {"numbers": 1}))
    assert not list(changes(IDENTITY, changed("files", "options.out", "new")))


def test_only_one_declared_set_of_settings_is_not_identity() -> None:
    (run,) = plan("digits", ["strategy=ncm", "seed=1"])
    before = settings_identity(run)
    run.device, run.num_workers, run.checkpoint_every = "cuda:1", 3, 7
    run.dataset["root"] = run.backbone["weights"] = "/elsewhere"
    assert settings_identity(run) == before
    run.dataset["augment"] = False
    assert list(changes(before, settings_identity(run)))
    page = (Path(__file__).parents[3] / "runs" / "README.md").read_text()
    assert all(f"`{name}`" in page for name in NOT_IDENTITY)


def test_the_identity_of_a_run_is_json_and_differs_in_its_settings_alone() -> None:
    first, other = plan("digits", ["strategy=fine_tuning,ncm", "seed=1"])
    one = identity_of(build_run(first))
    assert json.loads(json.dumps(one)) == one
    assert all(one["data"][part]["contents"] for part in ("training", "test"))
    two = identity_of(build_run(other))
    assert {part for part in one if one[part] != two[part]} == {"settings"}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, hashed instead: one module a folder, and those outside folders."""
    package = tmp_path / "cl_prompts"
    last = {file.parent: file for file in sorted(PACKAGE.rglob("*.py"))}
    for file in {*last.values(), *PACKAGE.glob("*.py"), PACKAGE / "experiments/trained/card.py"}:
        target = package / file.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    monkeypatch.setattr(identity, "__file__", str(package / "experiments/run_folder/identity.py"))
    package_hash.cache_clear()
    yield package
    package_hash.cache_clear()


def refuses(file: Path, code: str) -> bool:
    """Return whether a resume is refused after code is added to a file."""
    before = {"package": package_hash()}
    text = file.read_text()
    file.write_text(text + code)
    package_hash.cache_clear()
    refused = list(changes(before, {"package": package_hash()}))
    file.write_text(text)
    package_hash.cache_clear()
    return bool(refused)


def test_code_of_every_room_that_numbers_pass_through_is_hashed(copied: Path) -> None:
    found = {
        file.relative_to(copied).as_posix(): refuses(file, "\nOTHER = 1\n")
        for file in copied.rglob("*.py")
    }
    free = {name for name, refused in found.items() if not refused}
    assert free == {
        "serving/uploads.py",
        "testing.py",
        "versions.py",
        "experiments/cli/proposal.py",
        "experiments/figures/style.py",
        "experiments/report/page.py",
        "experiments/tracking/tracker.py",
    }
    assert {"seeds.py", "state.py", "checks.py", "experiments/trained/card.py"} <= set(found)


def test_comments_and_docstrings_may_change(copied: Path) -> None:
    assert not refuses(copied / "seeds.py", '# one\n"""One."""\n')
    assert refuses(copied / "seeds.py", "STRIDE = 3\n")


def test_files_and_user_code_are_known_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = tmp_path / "own_inputs.py"
    code.write_text(
        "from cl_prompts.strategies import LinearProbe\n"
        "class Mine(LinearProbe):\n    files: list[str] = ()\n"
    )
    named = tmp_path / "named.txt"
    inside = tmp_path / "warm" / "prompts.pt"  # in a folder, as prompts of MISA are
    inside.parent.mkdir()
    for file in (named, inside):
        file.write_text("1")
    files = f"Mine.files=absent,{named},{inside.parent}"
    parts = [f"dataset={OWN}:same_stripes", f"scenario={OWN}:halves"]
    (run,) = plan("digits", ["strategy=own_inputs:Mine", *parts, files, "seed=1"])
    run.dataset["labels"] = str(named)
    before = settings_identity(run)
    assert before["files"].keys() == {"dataset.labels", "options.files.1", "options.files.2"}
    assert before["code"].keys() == {"own_inputs:Mine", f"{OWN}:same_stripes", f"{OWN}:halves"}
    for file in (named, inside):
        file.write_text("2")
    code.write_text(code.read_text() + "    lr: float = 0.1\n")
    assert list(changes(before, settings_identity(run))) == [
        "the file of its setting dataset.labels changed or is missing",
        "the file of its setting options.files.1 changed or is missing",
        "the file of its setting options.files.2 changed or is missing",
        "the code of own_inputs:Mine changed",
    ]
