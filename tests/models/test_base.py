"""Common to all models on a frozen ViT: seen classes, and the learned state."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Output
from tests.toy_vits import tiny_vit


class Constant(ContinualModel):
    def __init__(self, n_classes: int = 4, *, multi_label: bool = False) -> None:
        super().__init__(tiny_vit(), n_classes, multi_label=multi_label)
        self.score = nn.Parameter(torch.tensor([2.0]))

    def run(self, images: Tensor | None, cached: Any = None) -> Output:
        assert images is not None
        logits = self.score.expand(len(images), self.n_classes)
        return Output(self.hide_unseen(logits), logits)


IMAGES = torch.rand(2, 3, 16, 16)


@pytest.mark.parametrize(
    ("first", "then", "hidden"),
    [([[1], [1]], [[0], [1]], -torch.inf), ([[0, 1, 0, 0]], [[1, 1, 0, 0]], 0.0)],
)
def test_classes_open_by_their_labels(first: Any, then: Any, hidden: float) -> None:
    model = Constant(multi_label=hidden == 0)
    assert (model(IMAGES) == hidden).all()
    for labels in (first, then):
        model.observe_classes(torch.tensor(labels))
    assert model.seen.tolist() == [True, True, False, False]
    assert model(IMAGES).tolist() == [[2, 2, hidden, hidden]] * 2


def test_a_state_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    model = Constant()
    with pytest.raises(InputError, match="does not fit this model: seen differ"):
        model.load_learned_state(Constant(5).learned_state())
    with pytest.raises(InputError, match="does not fit this model: extra differ"):
        model.load_learned_state({**model.learned_state(), "extra": torch.zeros(1)})
    with pytest.raises(InputError, match="is not a saved model"):
        model.load(tmp_path / "nothing.safetensors")
    assert model.score.item() == 2


def test_a_saved_model_belongs_to_its_backbone(tmp_path: Path) -> None:
    path = tmp_path / "learned.safetensors"
    Constant().save(path)
    other = Constant()
    with torch.no_grad():
        other.backbone.vit.norm.bias[0] += 1e-6
        other.score += 1
    with pytest.raises(InputError, match="was trained on another backbone"):
        other.load(path)
    assert other.score.item() == 3
    others = [Constant() for _ in range(4)]
    others[2].backbone.vit.blocks[0].attn.num_heads *= 2
    others[3].backbone.vit.blocks[0].mlp.act = torch.nn.ReLU()
    others[0].backbone.std[0, 2] = 0.4
    others[1].backbone = others[1].backbone.with_features("raw_blocks:1")
    for other in others:
        with pytest.raises(InputError, match="normalisation or features differ"):
            other.load(path)
    # Weights that were learned come with the file; normalisation is still the backbone's.
    learned = Constant()
    fresh = Constant()
    for model in (learned, fresh):
        model.backbone = model.backbone.thawed()
    with torch.no_grad():
        learned.backbone.vit.norm.bias[0] += 1
    learned.save(path)
    fresh.load(path)
    assert torch.equal(fresh.backbone.vit.norm.bias, learned.backbone.vit.norm.bias)
    fresh.backbone.std[0] *= 2
    with pytest.raises(InputError, match="normalisation or features differ"):
        fresh.load(path)
