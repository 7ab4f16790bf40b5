"""A model pushed to the hub and loaded again is unchanged (local server)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from cl_prompts import Model
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.trained.card import MODEL_FILES, read_card
from cl_prompts.experiments.trained.hub import model_card
from tests.hub import Hub, hub

pytestmark = pytest.mark.slow


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "cache") as found:
        yield found


def test_a_model_comes_back_as_it_was(
    local: Hub, probe_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {"mine.txt": b"mine", "model.json": b"older", "images.npz": b"of another model"}
    local.repositories["me/probe"] = dict(others)
    assert main(["push", str(probe_run), "me/probe"]) == 0
    said = capsys.readouterr().out
    assert f"commit: {local.address}/me/probe/commit/" in said
    files = local.repositories["me/probe"]
    assert local.private["me/probe"]
    assert set(files) == {*MODEL_FILES[:2], "README.md", "mine.txt"}
    for name in MODEL_FILES[:2]:
        assert files[name] == (probe_run / "model" / name).read_bytes()
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    here, there = (
        Model.load(place, trust_code=True).predict(images) for place in (probe_run, "hf://me/probe")
    )
    assert torch.equal(here.scores, there.scores)
    with pytest.raises(InputError, match="it names code"):
        Model.load("hf://me/probe")
    assert main(["push", str(probe_run), "me/open", "--public"]) == 0
    assert not local.private["me/open"]


def test_what_the_hub_refuses_is_one_sentence(
    local: Hub, probe_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=r"cannot reach me/nothing on .* \(RepositoryNotFoundError"):
        Model.load("hf://me/nothing")
    for name in ("a b/c", "x/y/z", "../up"):
        assert main(["push", str(probe_run), name]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    local.down = True
    assert main(["push", str(probe_run), "me/probe"]) == 1
    assert f"cannot reach me/probe on {local.address}" in capsys.readouterr().err


def test_the_card_says_what_the_model_is(mvp_run: Path) -> None:
    card = read_card(mvp_run / "model")
    card.classes = ["<script>alert(1)</script>", "[x](http://evil)"]
    text = model_card(card, "me/digits")
    _, about, body = text.split("---\n", 2)
    assert yaml.safe_load(about)["tags"] == ["continual-learning", "vision-transformer", "mvp"]
    assert "license" not in yaml.safe_load(about)
    assert "<script" not in body
    assert "](http" not in body
    for part in (f"{100 * card.accuracy.value:.1f}", "Model.load('hf://me/digits')"):
        assert part in body
