"""Stored features: pieces, their labels, and runs that learn from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.datasets.stored_features import StoredFeatures
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import build_run
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.runner.storing import store_features
from tests.experiments.commands import QUICK


def save_piece(path: Path, labels: list[int] | None = (0, 1, 0), sign: int = 1) -> None:
    features = sign * torch.arange(12.0).view(3, 4).half()
    found = {"features": features}
    if labels is not None:
        found["labels"] = torch.tensor(labels)
    save_file(found, path)


def write_features(root: Path) -> Path:
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
        save_piece(root / part / "b.safetensors")
    save_piece(root / "train" / "a.safetensors", [1, 0, 1], sign=-1)
    return root


def trained(recipe: str, settings: list[str]) -> Run:
    (settings_of_run,) = plan(recipe, [*settings, *QUICK[3:]])
    run = build_run(settings_of_run)
    run.strategy.train(list(run.benchmark.train_stream))
    return run


def test_pieces_in_the_order_of_names(tmp_path: Path) -> None:
    data = load_dataset("features", root=write_features(tmp_path), image_size=8)
    assert data.train.targets.tolist() == [1, 0, 1, 0, 1, 0]
    assert data.classes == ("0", "1")
    found = torch.stack([data.train[i][0] for i in range(6)])
    expected = torch.cat([sign * torch.arange(12.0).view(3, 4) for sign in (-1, 1)])
    assert torch.equal(found, expected)
    (tmp_path / "classes.json").write_text('["ant", "bee"]')
    chosen = load_dataset("features", root=tmp_path, image_size=8, classes=["bee", "ant"])
    assert chosen.train.targets.tolist() == [0, 1, 0, 1, 0, 1]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.randoms())
def test_any_rows_of_any_pieces(sizes: list[int], random: object) -> None:
    whole = np.random.default_rng(sum(sizes)).standard_normal((sum(sizes), 3)).astype(np.float32)
    pieces = [lambda own=own: own for own in torch.from_numpy(whole).split(sizes)]
    chosen = np.array([random.randrange(len(whole)) for _ in range(9)])
    assert np.array_equal(StoredFeatures(pieces).batch(chosen).numpy(), whole[chosen])


def test_a_run_on_stored_features_is_the_run_on_images(tmp_path: Path) -> None:
    settings = ["strategy=recommended", "seed=1"]
    features = tmp_path / "features"
    store_features("digits", [*settings, *QUICK], features)
    images = trained("digits", [*settings, *QUICK])
    stored = trained("digits", [*settings, "dataset=features", f"dataset.root={features}"])
    assert stored.anytime.results == images.anytime.results
    state = images.strategy.model.head.state_dict()
    for name, values in stored.strategy.model.head.state_dict().items():
        # Features are stored in batches of another size, which may be summed in another order.
        torch.testing.assert_close(values, state[name], rtol=1e-5, atol=1e-4)
    description = stored.summary(seconds=1, command="")
    assert description["backbone"] == "glyph_vit_tiny (blocks:half)"
    assert description["forward_passes"] == {"train": 0.0, "evaluation": 0.0}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["run", "digits", "strategy=mvp"], "strategy 'mvp' trains on images"),
        (["run", "digits", "strategy=ncm", "ncm.augmented_views=true"], "without augmented_views"),
    ],
)
def test_what_needs_images(command: list[str], sentence: str, tmp_path: Path, refused: Any) -> None:
    root = write_features(tmp_path)
    refused(sentence, *command, "dataset=features", f"dataset.root={root}")


def test_labels_are_class_ids(tmp_path: Path) -> None:
    root = write_features(tmp_path)
    save_piece(root / "test" / "0.safetensors", [0, 1.7, 0])
    with pytest.raises(InputError, match="store class ids, or zeros and ones"):
        load_dataset("features", root=root, image_size=8)
