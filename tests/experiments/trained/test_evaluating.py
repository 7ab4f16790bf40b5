"""Scores on labelled images of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from torchvision.utils import save_image

from cl_prompts.errors import InputError
from cl_prompts.experiments import load_run
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.trained.evaluating import assess, labelled_images
from cl_prompts.experiments.trained.loading import TrainedRun
from tests.experiments.commands import run, summary
from tests.few_images import few_images


def save_test_images(trained: TrainedRun, place: Path) -> None:
    test = trained.data().test
    for row, label in enumerate(test.targets):
        file = place / trained.classes[label] / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_image(test[row][0], file)


def test_a_folder_of_the_test_images_scores_as_the_run_did(
    mvp_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load_run(mvp_run, device="cpu")
    save_test_images(trained, tmp_path / "all" / "test")
    (tmp_path / "all" / "test" / "emu").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "all" / "test" / "emu" / "1.png")
    found = assess(trained, tmp_path / "all")
    total = found.total
    assert total.value == pytest.approx(trained.evaluate(), abs=1 / total.images)
    assert 0 <= total.low < total.value < total.high <= 1
    assert found.unknown == {"emu": 1}
    assert found.confusion is not None
    assert int(found.confusion.sum()) == total.images == sum(row.images for row in found.by_class)
    worst = min(found.by_class, key=lambda row: row.value)
    assert worst.confused
    out = tmp_path / "matrix.csv"
    assert main(["evaluate", str(mvp_run), str(tmp_path / "all"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "all images" in said
    assert "left out: class 'emu' (1 images)" in said
    assert out.read_text().splitlines()[0] == "label,0,1,2,3"


def test_labels_that_do_not_fit_the_run_are_refused(mvp_run: Path, tmp_path: Path) -> None:
    trained = load_run(mvp_run, device="cpu")
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
    table = tmp_path / "a.csv"
    table.write_text("path,label\n1.png,emu\n")
    with pytest.raises(InputError, match=r"no class of .* \(emu\) is a class of the run \(0, 1"):
        assess(trained, table)
    table.write_text("path,label\n1.png,1;2\n")
    with pytest.raises(InputError, match="without exactly one label"):
        assess(trained, table)
    with pytest.raises(InputError, match="there is no folder or table"):
        labelled_images(tmp_path / "nowhere")


def test_several_labels_have_average_precisions(tmp_path: Path) -> None:
    with few_images():
        settings = ["digit_scenes", "strategy=multi_label_ridge", "protocol=B0-C5", "seed=1"]
        code, (folder,) = run(tmp_path, *settings)
        assert code == 0
        trained = load_run(folder, device="cpu")
        test = trained.data().test
    lines = ["path,label"]
    for row, own in enumerate(test.targets.tolist()):
        save_image(test[row][0], tmp_path / f"{row}.png")
        names = [name for name, there in zip(trained.classes, own, strict=True) if there]
        lines.append(f"{row}.png,{';'.join(names)}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = assess(trained, tmp_path / "a.csv")
    assert found.total.value == pytest.approx(summary(folder)["results"]["map_last"], abs=0.02)
    assert found.total.low < found.total.value < found.total.high
    with pytest.raises(InputError, match="no confusion matrix"):
        found.confusion_csv(trained.classes)
