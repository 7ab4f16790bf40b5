"""A run goes to the hub and comes back as it was, by the hub's own client and a server of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.run_folder.runs import collect
from cl_prompts.experiments.trained.hub import PUSHED, card
from cl_prompts.experiments.trained.loading import load_run
from tests.hub import Hub, hub

pytestmark = pytest.mark.slow


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "cache") as found:
        yield found


def test_a_run_comes_back_as_it_was(
    local: Hub, probe_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(probe_run), "me/probe"]) == 0
    said = capsys.readouterr().out
    assert f"commit: {local.address}/me/probe/commit/" in said
    files = local.repositories["me/probe"]
    assert local.private["me/probe"]
    assert set(files) == {n for n in PUSHED if (probe_run / n).is_file()} | {"README.md"}
    assert not any(name.startswith("checkpoint") for name in files)
    for name in files.keys() - {"README.md"}:
        assert files[name] == (probe_run / name).read_bytes()
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    here, there = (
        load_run(place, trust_code=True).predict(images) for place in (probe_run, "hf://me/probe")
    )
    assert torch.equal(here.scores, there.scores)
    with pytest.raises(InputError, match="it names code"):
        load_run("hf://me/probe")


def test_what_an_earlier_run_left_goes(local: Hub, probe_run: Path) -> None:
    missing = [name for name in PUSHED if not (probe_run / name).is_file()]
    assert missing
    others = {"mine.txt": b"mine", "summary.json": b"older"}
    local.repositories["me/probe"] = dict.fromkeys(missing, b"of another run") | others
    assert main(["push", str(probe_run), "me/probe"]) == 0
    files = local.repositories["me/probe"]
    assert not files.keys() & set(missing)
    assert files["mine.txt"] == b"mine"
    assert load_run("hf://me/probe", trust_code=True).classes


def test_a_changed_run_is_refused(local: Hub, probe_run: Path) -> None:
    assert main(["push", str(probe_run), "me/probe", "--public"]) == 0
    assert not local.private["me/probe"]
    files = local.repositories["me/probe"]
    files["learned.safetensors"] = files["learned.safetensors"][:-1] + b"x"
    with pytest.raises(InputError, match="changed since the run ended"):
        load_run("hf://me/probe", trust_code=True)
    del files["summary.json"]
    with pytest.raises(InputError, match=r"holds no summary\.json"):
        load_run("hf://me/probe", trust_code=True)


def test_what_the_hub_refuses_is_one_sentence(
    local: Hub, probe_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=r"cannot reach me/nothing on .* \(RepositoryNotFoundError"):
        load_run("hf://me/nothing")
    for name in ("a b/c", "x/y/z", "../up"):
        assert main(["push", str(probe_run), name]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    local.down = True
    assert main(["push", str(probe_run), "me/probe"]) == 1
    assert f"cannot reach me/probe on {local.address}" in capsys.readouterr().err


def test_the_card_says_what_the_run_is(mvp_run: Path) -> None:
    (run,) = collect([mvp_run])
    run.summary["class_names"] = ["<script>alert(1)</script>", "a\n# b", "[x](http://evil)"]
    text = card(run, "me/digits")
    _, about, body = text.split("---\n", 2)
    assert yaml.safe_load(about)["tags"] == ["continual-learning", "vision-transformer", "mvp"]
    assert "license" not in yaml.safe_load(about)
    assert "<script" not in body
    assert "\n# b" not in body
    assert "](http" not in body
    for part in (
        run.summary["command"],
        "load_run('hf://me/digits')",
        "| A_AUC % ↑ |",
        f"{100 * run.summary['results']['a_last']:.1f}",
    ):
        assert part in body
