"""GroceryStoreDataset in the layouts of its repository, made on the spot."""

from pathlib import Path

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import Resources, build_run
from tests.datasets.toys import grey, load, write_grocery


def test_validation_images_join_training(tmp_path: Path) -> None:
    data = load("grocery", write_grocery(tmp_path / "dataset"))
    assert data.classes == ("Royal-Gala", "Pink-Lady", "Lime")
    assert data.train.targets.tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    assert grey(data.train) == [40, 80, 50, 90, 60, 100, 120, 130, 140]
    assert (data.test.targets.tolist(), grey(data.test)) == ([0, 1, 2], [160, 170, 180])
    coarse = load("grocery", tmp_path / "dataset", labels="coarse")
    assert coarse.classes == ("Apple", "Lime")
    assert coarse.test.targets.tolist() == [0, 0, 1]


def test_the_recipe_runs_on_the_layout(tmp_path: Path) -> None:
    write_grocery(tmp_path / "GroceryStoreDataset" / "dataset")
    small = ["backbone=glyph_vit_tiny", "image_size=16", "n_tasks=2", "every=3"]
    (settings, *_) = plan("grocery", [f"dataset.root={tmp_path}", *small])
    run = build_run(settings, Resources())
    assert str(run.data) == "grocery: 3 classes, 9 training and 3 test images"
