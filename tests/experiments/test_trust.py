"""Other people's run folders: no code that they name is imported without trust."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from cl_prompts import Model
from cl_prompts.backbones import create_backbone
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.cli.actions import validate
from cl_prompts.experiments.recipes.recipe_files import SECTIONS, TOP
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.files import SUMS_FILE, sums
from cl_prompts.experiments.run_folder.plans import PlannedRun, settings_of, write_plan
from tests.experiments.commands import change_summary
from tests.experiments.own_photos import photo

#: writes a file when it is imported, and another when it is called
EVIL = """
from pathlib import Path

Path("imported").touch()

def call(*args, **kwargs):
    Path("called").touch()
"""


def in_dataset(config: dict[str, Any], name: str) -> None:
    config["dataset"] = {"name": name}


def in_plugins(config: dict[str, Any], name: str) -> None:
    config["options"]["plugins"] = {name: {}}


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(here))
    (here / "evil.py").write_text(EVIL)
    photo(here / "a.png", 1)
    yield here
    sys.modules.pop("evil", None)


def changed(source: Path, change: Callable[[dict[str, Any], str], None], name: str) -> None:
    """The folder ``run``, a copy whose settings name code, with its checksums made anew."""
    folder = Path("run")
    shutil.copytree(source, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config, name)
    rewritten(config)


def rewritten(config: Any) -> None:
    """Other settings in the folder ``run``, with its checksums made anew."""
    folder = Path("run")
    (folder / "config.yaml").write_text(json.dumps(config))
    summary = (folder / "summary.json").read_bytes()
    (folder / SUMS_FILE).write_text(sums(folder, {"summary.json": summary}))


def named_everywhere(settings: Any) -> Iterator[Any]:
    """Copies of nested settings, each with the name of code in one place: in the place of each
    value at any depth, and beside it, as a text, in a list, as a key and in a dotted key."""
    yield from ("evil:call", ["evil:call"])
    if not isinstance(settings, dict | list):
        return
    for mapping in ({"evil:call": {}}, {"evil:call.prompt_length": 3}):
        yield mapping
        yield {**settings, **mapping} if isinstance(settings, dict) else [*settings, "evil:call"]
    for key in settings if isinstance(settings, dict) else range(len(settings)):
        for value in named_everywhere(settings[key]):
            copy = settings.copy()
            copy[key] = value
            yield copy


def begin_again() -> None:
    """Make ``run`` unfinished, and forget its checkpoints."""
    for file in Path("run").glob("checkpoint*"):
        file.unlink()
    change_summary(Path("run"), status="running")


@pytest.mark.parametrize("change", [in_dataset, in_plugins], ids=lambda change: change.__name__)
def test_code_is_not_imported_before_it_is_trusted(
    change: Callable[[dict[str, Any], str], None], here: Path, mvp_run: Path, refused: Any
) -> None:
    changed(mvp_run, change, "evil:call")
    begin_again()
    command = ["run", "--resume", "run", "--quiet"]
    words = "it names code and would import evil:call: if you trust that code, add"
    refused(f"config.yaml cannot be used: {words}", *command)
    assert not (here / "imported").exists()
    # Trusted code is imported, and called only if it declares itself as what it is named for.
    refused("evil:call", *command, "--trust-code")
    assert (here / "imported").exists()
    assert not (here / "called").exists()


def test_no_setting_of_a_run_folder_imports_code(here: Path, mvp_run: Path) -> None:
    shutil.copytree(mvp_run, "run")
    known = yaml.safe_load((mvp_run / "config.yaml").read_text())
    for config in named_everywhere(known):
        rewritten(config)
        with suppress(InputError):
            settings_of(Path("run"))
        assert not (here / "imported").exists(), config


def test_no_entry_of_a_model_imports_code(
    here: Path, mvp_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Most cards name the same ViT, which takes longer to make than all else.
    made: dict[str, Any] = {}
    monkeypatch.setattr(
        "cl_prompts.experiments.trained.model.create_backbone",
        lambda *of, **how: (
            made.get(repr((of, how)))
            or made.setdefault(repr((of, how)), create_backbone(*of, **how))
        ),
    )
    shutil.copytree(mvp_run / "model", "other")
    known = json.loads(Path("other/model.json").read_text())
    short = {"calibration": {}, "history": [], "classes": []}
    for card in named_everywhere(known | short):
        Path("other/model.json").write_text(json.dumps(card))
        with suppress(InputError):
            Model.load("other")
        assert not (here / "imported").exists(), card
    known["method"] = "evil:call"
    Path("other/model.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match="would import evil:call: if you trust that code, add"):
        Model.load("other")
    with pytest.raises(InputError, match="evil:call"):
        Model.load("other", trust_code=True)
    assert (here / "imported").exists()
    assert not (here / "called").exists()


def test_no_setting_of_a_recipe_imports_code(here: Path, mvp_run: Path) -> None:
    known = yaml.safe_load((mvp_run / "config.yaml").read_text())
    sections = {key: known[key] for key in (*SECTIONS, *TOP) if key in known}
    recipe = {"training": {"plugins": {}}, "extends": "digits", **TOP, **sections}
    recipe |= {"strategies": {"mvp": known["options"]}, "run": ["mvp"]}
    for theirs in named_everywhere(recipe):
        Path("theirs.yaml").write_text(json.dumps(theirs))
        with suppress(InputError):
            validate("theirs.yaml")
        assert not (here / "imported").exists(), theirs


def test_reports_and_comparisons_import_nothing(here: Path, mvp_run: Path) -> None:
    changed(mvp_run, in_dataset, "evil:call")
    assert main(["report", "run", "--quiet"]) == 0
    assert main(["compare", "run", "--quiet"]) == 0
    assert not (here / "imported").exists()


def test_a_plan_is_trusted_no_more_than_a_run(here: Path, mvp_run: Path, refused: Any) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    in_dataset(vars(settings), "evil:call")
    write_plan(here, [PlannedRun(here / "new", settings)])
    resume = ["run", "--resume", ".", "--quiet"]
    refused(".json cannot be used: it names code and would", *resume)
    # A plan without code, of a run folder that names some.
    changed(mvp_run, in_dataset, "evil:call")
    begin_again()
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    write_plan(here, [PlannedRun(here / "run", settings)])
    refused("config.yaml cannot be used: it names code and would", *resume, "--trust-code")
    assert not (here / "imported").exists()


def with_weights_of_the_hub(config: dict[str, Any], name: str) -> None:
    config["backbone"].update(name=name, weights="default", image_size=224)


def test_a_run_folder_fetches_nothing(
    here: Path, mvp_run: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", asked)
    monkeypatch.setattr("urllib.request.urlopen", asked)
    name = "vit_tiny_patch16_224.augreg_in21k"
    hub = f"timm/{name}"
    changed(mvp_run, with_weights_of_the_hub, name)
    for number in range(3):
        photo(here / "more" / "cat" / f"{number}.png", number)
    card = Path("run", "model", "model.json")
    entries = json.loads(card.read_text())
    entries["backbone"].update(name=name, weights="default", image_size=224)
    for command in ("learn run more", "predict run a.png", "run --resume run"):
        if "--resume" in command:
            begin_again()
        says = f"https://huggingface.co/{hub}, run: hf download {hub} model.safetensors"
        refused(says, *command.split(), "--quiet")
        card.write_text(json.dumps(entries))
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    settings.backbone.update(name=name, weights="timm")
    write_plan(here, [PlannedRun(here / "new", settings)])
    says = ".json cannot be used: the weights of backbone"
    refused(says, "run", "--resume", ".", "--quiet")


@pytest.mark.parametrize(
    "text",
    [
        "strategies: {'evil:call': {}}",
        "dataset: {name: 'evil:call'}",
        "scenario: {name: 'evil:call'}",
        "run: [er]\nstrategies: {er: {plugins: {'evil:call': {}}}}",
        "training: {plugins: ['evil:call']}",
    ],
)
def test_code_in_the_file_of_a_recipe_needs_trust(text: str, here: Path, refused: Any) -> None:
    Path("theirs.yaml").write_text(f"extends: digits\n{text}\n")
    says = "recipe theirs.yaml cannot be used: it names code and would import evil:call"
    for command in ("run", "validate", "sweep"):
        # A part of a typed name is not typed.
        typed = ["strategy=ncm", "seed=1", "dataset.root=more.evil:caller"]
        refused(says, command, "theirs.yaml", *typed)
    assert not (here / "imported").exists()


def test_code_named_on_the_command_line_is_imported(here: Path, refused: Any) -> None:
    typed = ["validate", "digits", "dataset=evil:call", "seed=1"]
    refused("'evil:call' is not declared as a ", *typed)
    assert (here / "imported").exists()
