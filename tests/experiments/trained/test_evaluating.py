"""Scores on labelled images of the user's own."""

from pathlib import Path

import pytest
from PIL import Image
from torchvision.utils import save_image

from cl_prompts import Model
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.trained.evaluating import labelled_images
from tests.experiments.commands import held_out, summary
from tests.experiments.own_photos import photo
from tests.few_images import few_images


def test_a_folder_of_the_test_images_scores_as_the_run_did(
    mvp_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model.load(mvp_run, device="cpu")
    place = tmp_path / "all" / "test"
    for row, (image, label) in enumerate(zip(*held_out(mvp_run), strict=True)):
        folder = place / model.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        save_image(image, folder / f"{row}.png")
    photo(place / "emu" / "1.png", 1)
    found = model.evaluate(tmp_path / "all")
    total = found.total
    wanted = summary(mvp_run)["results"]["a_last"]
    assert total.value == pytest.approx(wanted, abs=1 / total.images)
    assert 0 <= total.low < total.value < total.high <= 1
    assert found.unknown == {"emu": 1}
    assert int(found.confusion.sum()) == total.images == sum(row.images for row in found.by_class)
    assert min(found.by_class, key=lambda row: row.value).confused
    assert main(["evaluate", str(mvp_run), str(tmp_path / "all")]) == 0
    said = capsys.readouterr().out
    assert "all images" in said
    assert "left out: class 'emu' (1 images)" in said


def test_labels_that_do_not_fit_the_model_are_refused(mvp_run: Path, tmp_path: Path) -> None:
    model = Model.load(mvp_run, device="cpu")
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
    table = tmp_path / "a.csv"
    table.write_text("path,label\n1.png,emu\n")
    with pytest.raises(InputError, match=r"no class of .* \(emu\) is a class of the model \(0, 1"):
        model.evaluate(table)
    table.write_text("path,label\n1.png,1;2\n")
    with pytest.raises(InputError, match="without exactly one label"):
        model.evaluate(table)
    with pytest.raises(InputError, match="there is no folder or table"):
        labelled_images(tmp_path / "nowhere")


def test_several_labels_have_average_precisions(scenes_run: Path, tmp_path: Path) -> None:
    model = Model.load(scenes_run, device="cpu")
    with few_images():
        images, targets = held_out(scenes_run)
    lines = ["path,label"]
    for row, (image, own) in enumerate(zip(images, targets.tolist(), strict=True)):
        save_image(image, tmp_path / f"{row}.png")
        names = [name for name, there in zip(model.classes, own, strict=True) if there]
        lines.append(f"{row}.png,{';'.join(names)}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = model.evaluate(tmp_path / "a.csv")
    assert found.total.value == pytest.approx(summary(scenes_run)["results"]["map_last"], abs=0.02)
    assert found.total.low < found.total.value < found.total.high
