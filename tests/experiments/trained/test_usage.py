"""What an exported model says of its use, and the script that is printed for it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

from cl_prompts.experiments.trained import exporting, usage
from cl_prompts.experiments.trained.loading import TrainedRun, load_run
from tests.toy_data import MULTI_LABEL_SCENARIOS
from tests.toys import make

EXPORTS = {"torch": exporting.export_torch, "onnx": exporting.export_onnx}


@pytest.fixture(scope="module")
def trained(probe_run: Path) -> TrainedRun:
    return load_run(probe_run, device="cpu", trust_code=True)


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_the_script_labels_an_image_as_the_run_does(
    form: str,
    trained: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    pixels = torch.randint(256, (3, 23, 40), generator=torch.Generator().manual_seed(5))
    write_png(pixels.to(torch.uint8), "image.png")
    file = tmp_path / "the model"
    recorded, scored = EXPORTS[form](trained, file)
    assert recorded == pytest.approx(scored)
    # As if its toy images had come from a folder of photographs.
    settings = dataclasses.replace(trained.settings, dataset={"name": "folder"})
    trained = dataclasses.replace(trained, settings=settings)
    lines = usage.script(trained, file, form)  # type: ignore[arg-type]
    assert len(lines.splitlines()) == 5
    exec(compile(lines, "script", "exec"), {})
    ((label,),) = trained.predict(["image.png"]).labels
    assert capsys.readouterr().out == f"{label}\n"


def test_the_script_for_several_labels_compares_with_the_threshold(
    trained: TrainedRun, tmp_path: Path
) -> None:
    several = dataclasses.replace(trained, strategy=make("er", MULTI_LABEL_SCENARIOS[0]))
    assert usage.about(several)["threshold"] == 0.0
    assert "if z > 0.0]" in usage.script(several, tmp_path / "model.pt", "torch")


def test_a_file_says_how_it_is_used(trained: TrainedRun, tmp_path: Path) -> None:
    exporting.export_torch(trained, tmp_path / "model.pt")
    found = {usage.ABOUT: ""}
    torch.jit.load(str(tmp_path / "model.pt"), _extra_files=found)
    assert json.loads(found[usage.ABOUT]) == {
        "labels": list(trained.classes),
        "image_size": 16,
        "channels": "RGB",
        "pixels": "0 to 1",
        "several_labels": False,
        "threshold": None,
    }
