"""Mistakes of users, and the error of each: ``refusals.txt``."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.cli.entry import carry_out
from tests.experiments.own_photos import photo
from tests.few_images import few_images
from tests.refusals import check_refusals

BASE = "extends: digits\n"
RECIPES = {
    "list.yaml": "- a\n",
    "open.yaml": "a: [1,\n",
    "extends_nothing.yaml": "extends: nothing\n",
    "scenario_number.yaml": BASE + "scenario: 3\n",
    "no_data.yaml": "strategies: mvp\n",
    "no_strategy.yaml": "dataset: digits\nscenario: si_blurry\nbackbone: glyph_vit_tiny\n",
    "strategy_number.yaml": BASE + "strategies: {mvp: 3}\n",
    "run_empty.yaml": BASE + "run: []\n",
    "seeds_map.yaml": BASE + "seeds: {a: 1}\n",
    "section.yaml": BASE + "scenari: {n_tasks: 3}\n",
    "strategy.yaml": BASE + "strategies: {mvpp: {pool_size: 3}}\n",
    "nan.yaml": BASE + "training: {lr: .nan}\n",
    "variant.yaml": BASE + "strategies: {er@large: {}}\nrun: [er@larg]\n",
}
LINES = [
    # Commands
    "validate digits --frob",
    "rnu digits",
    "ls stray",
    "run",
    "run strategy=mvp",
    "ls runs",
    "predict latest x.png",
    "run digits --resume run",
    "run digits --jobs 0",
    "sweep digits strategy=er lr=1..2 --sampler tpe --objective aauc",
    "sweep digits strategy=er --trials 5",
    "init broken --out new.yaml --weights missing.pth",
    "run --resume nowhere",
    "train nowhere",
    "train broken --shards 0",
    "train broken --name ../../up",
    "serve --new ../up",
    "serve --new up --port 99999",
    "serve model --host nowhere.invalid --token x",
    "validate digits n_tasks",
    "validate digits mvp",
    "validate digits strategy=mvp ncm",
    "validate digits strategy=mvp er ncm",
    "validate digits strategy=l2p lr=1e-3..1e-1",
    "run lisst.yml",
    "run broken",
    "predict x.png model",
    "validate digits strategy=ncm strategy=l2p",
    "validate digits strategy=mvp,ncm,seed=1",
    "validate digits strategy=l2p lr=1e-3,1e-2",
    "validate digits strategy=ncm lr=1e-3",
    "validate digits optimizer=adamw",
    "validate digits strategy=ncm tracker=wandbb",
    "validate digits seed=1..3",
    "init broken --out list.yaml",
    "show nothing",
    "show mvp",
    "show strategi mvp",
    "show strategy mvpp",
    "show strategy mvp l2p",
    "init nowhere",
    "init broken --out broken.txt",
    "init broken --backbone glyph_vit_tinny",
    "report nowhere",
    "compare run --format word",
    "predict nothing x.png",
    "export nothing",
    # Recipes
    *(f"validate {name}" for name in RECIPES),
    # Keys
    "validate digits pool_siz=3",
    "validate digits n_selectors=3",
    "validate digits scenario.pool_size=3",
    "validate digits er.lr=3",
    "validate digits mvp.lrr=3",
    "validate digits batch_size=16",
    "validate digits strategy=l2p,mvp pool_size=3",
    "validate digits strategy=ncm head.input=whitened",
    "validate digits protocol=B0-C2",
    "validate digits model=3",
    "validate digits head=cosine",
    "validate digits strategy=mvp self_regulation.knd=coprompt",
    # Names
    "validate digits scenario=si_blury",
    "validate digits strategy=MVP",
    "validate digits strategy=",
    "validate digits dataset=digts classes=3",
    "validate digits backbone=resnet18 weights=random",
    "validate digits plugins=self_regulaton",
    "validate digits prompt_form=decomposd",
    "validate digits dataset=nowhere:x",
    # Values
    "validate digits lr=fast",
    "validate digits lr=-1",
    "validate digits mvp.pool_size=2.5",
    "validate digits class_mask=sen",
    "validate digits seed=one",
    "validate digits seed=3-1",
    "validate digits n_tasks=11",
    "validate digits classes=[1,1]",
    "validate digits mvp.e_blocks=[7]",
    "validate digits weights=nothing.safetensors",
    "validate digits weights=3",
    "sweep digits strategy=er lr=1,x",
    "sweep digits strategy=er lr=1e-4..1e-1",
]


@pytest.fixture(autouse=True)
def _here(here: Path) -> None:
    for name, text in RECIPES.items():
        (here / name).write_text(text)
    for part in ("train/a", "train/b", "test/a", "test/b"):
        photo(here / "broken" / part / "x.png", len(part))
    (here / "broken/train/a/x.png").write_text("no image")
    photo(here / "x.png", 1)
    (here / "run").mkdir()
    (here / "model").mkdir()
    (here / "model/model.json").touch()


def test_each_mistake_has_one_sentence(pages: None) -> None:
    cases = {line: partial(carry_out, shlex.split(line)) for line in LINES}
    with few_images():
        check_refusals(Path(__file__).with_name("refusals.txt"), cases)


def test_exit_codes_tell_bad_input_and_nothing_is_written(here: Path, refused: Any) -> None:
    refused("cl-prompts: n_tasks must be a whole number from 1", "run", "digits", "n_tasks=11")
    assert not (here / "runs").exists()
