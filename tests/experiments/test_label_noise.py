"""Runs with wrong training labels: what they print, score, compare and identify."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts import Model
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.report.page import write_report
from cl_prompts.experiments.results.comparison import compare, written
from cl_prompts.experiments.run_folder.files import read_json
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE
from cl_prompts.experiments.runner.building import build_run
from tests.experiments.commands import NOISE, QUICK, rows, run, summary
from tests.few_images import few_images

NCM = ["digits", "strategy=ncm", *QUICK]
SCENES = ["digit_scenes", "strategy=multi_label_ridge", "protocol=B0-C5", "seed=1"]


@pytest.mark.parametrize("kind", ["symmetric", "missing"])
def test_memorised_and_recovered_are_what_the_final_model_predicts(
    kind: str, tmp_path: Path
) -> None:
    """On training images with a wrong label, or pairs of image and class, of the stream."""
    recipe, *settings = [*NCM, "seed=1"] if kind == "symmetric" else SCENES
    settings += [f"label_noise={kind}", "label_noise.rate=0.4"]
    with few_images(40, 20):
        _, (folder,) = run(tmp_path, recipe, *settings)
        built = build_run(plan(recipe, settings)[0])
        train = built.data.train.plain()
        images = torch.stack([train[row][0] for row in range(len(train))])
    model = Model.load(folder, device="cpu", trust_code=True)
    scores = model.predict(images).scores.numpy()
    wrong = train.targets != train.truth
    predicted = scores.argmax(axis=1) if kind == "symmetric" else scores > 0.1
    if kind == "missing":
        # An image is shown where it has a label of the task, with the labels of this task alone.
        shown = np.zeros_like(wrong)
        for task, visible in zip(built.split.tasks, built.split.visible, strict=True):
            shown[task] |= visible
        assert (wrong & ~shown).any()
        wrong &= shown
    results = summary(folder)["results"]
    assert 0 < wrong.sum() < wrong.size
    assert results["memorised"] == np.mean((predicted == train.targets)[wrong])
    assert results["recovered"] == np.mean((predicted == train.truth)[wrong])


def test_the_pass_over_wrong_labels_counts_as_evaluation(tmp_path: Path) -> None:
    settings = [*NCM[:2], *QUICK, "seed=1", "every=1000"]
    passes: list[dict[str, float]] = []
    for noise in ([], NOISE):
        _, (folder,) = run(tmp_path, *settings, *noise)
        passes.append(summary(folder)["forward_passes"])
    clean, noisy = passes
    assert noisy["train"] == clean["train"]
    # The 16 images with wrong labels are new, the features of test images are cached.
    assert noisy["evaluation"] > clean["evaluation"]


def test_counts_are_printed_before_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *NCM, "seed=1-3", *NOISE]) == 0
    said = "note: symmetric label noise at rate 0.2: 16 of 80 training labels are wrong, and"
    assert capsys.readouterr().out.count(f"{said} the labels of 80 test images are not") == 1
    assert main(["validate", *NCM, "label_noise.rate=0.2"]) == 2
    assert "needs a kind of label noise: add label_noise=symmetric" in capsys.readouterr().err


def test_rates_divide_tables_and_stand_in_titles(tmp_path: Path, pages: None) -> None:
    for strategy in ("ncm", "slda"):
        for seed in (1, 2):
            run(tmp_path, "digits", f"strategy={strategy}", *QUICK, f"seed={seed}", *NOISE)
    names = ["digits, symmetric label noise 0.2"]
    (table,) = compare([tmp_path])  # each seed draws its own wrong labels
    assert table.group.title == names[0]
    assert [metric.key for metric in table.metrics][2:4] == ["memorised", "recovered"]
    latex = written([table], "latex")
    assert r"memorised~\% $\downarrow$ & recovered~\% $\uparrow$" in latex
    assert "% digits, symmetric label noise 0.2\n" in latex
    page = write_report([tmp_path]).read_text()
    assert "<h1>digits, symmetric label noise 0.2</h1>" in page
    run(tmp_path, *NCM, "seed=1", NOISE[0], "label_noise.rate=0.4")
    run(tmp_path, *NCM, "seed=1")
    titles = {table.group.title for table in compare([tmp_path])}
    assert titles == {names[0], "digits, symmetric label noise 0.4", "digits"}


def test_the_seed_of_the_stream_draws_the_noise_unless_it_has_its_own() -> None:
    def given(*settings: str) -> list[int]:
        run = build_run(plan("digits", [*NCM[1:], *NOISE, *settings])[0])
        return [int(label) for label in run.data.train.targets]

    assert given("seed=1") != given("seed=2")
    assert given("seed=1", "stream_seed=2") == given("seed=2")
    assert given("seed=1", "label_noise.seed=2") == given("seed=2")


def test_the_identity_has_the_noise_and_the_data_without_it(tmp_path: Path) -> None:
    np.save(tmp_path / "given.npy", np.arange(80) // 20)
    given = ["label_noise=given", f"label_noise.file={tmp_path / 'given.npy'}"]
    found = []
    for noise in ([], [NOISE[0], "label_noise.rate=0"], given, NOISE):
        _, (folder,) = run(tmp_path, *NCM, "seed=1", *noise)
        found.append((read_json(folder / IDENTITY_FILE), rows(folder)))
    clean, none, right, noisy = (identity for identity, _ in found)
    assert not any(key.startswith("label_noise") for key in clean["settings"])
    assert noisy["settings"]["label_noise.rate"] == 0.2
    assert [*right["files"]] == ["label_noise.file"]
    assert "label_noise.file" not in right["settings"]
    assert clean["data"] == none["data"] == right["data"] == noisy["data"]
    assert none["stream"] == right["stream"] != noisy["stream"] != clean["stream"]
    # Labels that are all right change no number.
    assert found[0][1] == found[1][1] == found[2][1] != found[3][1]
