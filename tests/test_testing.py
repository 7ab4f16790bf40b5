"""The conformance checks pass on a method that is right, and each finds the fault it is for."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_prompts.closed_form import NearestClassMean
from cl_prompts.closed_form.sums import combine, not_sums
from cl_prompts.errors import InputError
from cl_prompts.strategies import MVP, LinearProbe
from cl_prompts.strategies.base.prototype import PrototypeStrategy
from cl_prompts.testing import check_strategy
from tests.toy_vits import lively_vit


class ReadsTheBatch(LinearProbe):
    """Its scores depend on the other samples of a batch."""

    def build_model(self, backbone: Any, n_classes: int) -> Any:
        model = super().build_model(backbone, n_classes)
        model.head.register_forward_hook(lambda head, given, scores: scores - scores.mean(0))
        return model


class DrawsUnseeded(LinearProbe):
    """Its loss has noise that no seed fixes."""

    def training_loss(self, output: Any, batch: Any) -> Tensor:
        return super().training_loss(output, batch) * np.random.default_rng().uniform(1, 2)


class Forgets(LinearProbe):
    """It counts updates in an attribute that is not registered."""

    count = 0

    def training_loss(self, output: Any, batch: Any) -> Tensor:
        self.count += 1
        return super().training_loss(output, batch) * self.count


class MovesTheBackbone(LinearProbe):
    """It writes to weights of the frozen ViT."""

    def after_step(self, output: Any, batch: Any) -> None:
        with torch.no_grad():
            self.model.backbone.vit.pos_embed.add_(1e-3)


class Drops(NearestClassMean):
    """A closed form whose sum of features is not declared."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes)
        self.register_buffer("total", torch.zeros(dim, dtype=torch.float64))

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        super()._update(x, onehot, labels)
        self.total += x.sum(dim=0)

    def _scores(self, x: Tensor) -> Tensor:
        return super()._scores(x) + (x @ self.total)[:, None] * self.count


class Keeps(Drops):
    """It says that the sum stays as it is when sums are added."""

    unsummed = ("total",)


class Remembers(Keeps):
    """It adds the sum itself, but does not subtract it."""

    def combined(self, other: Any, sign: int) -> None:
        super().combined(other, sign)
        if sign == 1:
            self.total += other.total


class DropsBuffer(PrototypeStrategy):
    classifier = Drops


class KeepsBuffer(PrototypeStrategy):
    classifier = Keeps


class RemembersBuffer(PrototypeStrategy):
    classifier = Remembers


def test_a_method_of_this_package_passes() -> None:
    """Pages and the docstring check the linear probe."""
    check_strategy(MVP, backbone=lively_vit(depth=2), g_blocks=(0,), e_blocks=(1,))


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        (MovesTheBackbone, "check_backbone_is_frozen on si_blurry: the given backbone changed"),
        (DrawsUnseeded, "check_seed_fixes_the_run on si_blurry: two runs of one seed differ"),
        (ReadsTheBatch, "check_scores_depend_on_the_image_alone on si_blurry"),
        (Forgets, "check_run_resumes_exactly on si_blurry: a resumed run has other weights"),
        (DropsBuffer, "check_sums_add_and_subtract on si_blurry: .*Drops.total is not declared"),
        (KeepsBuffer, "check_sums_add_and_subtract on si_blurry: merged parts do not score"),
        (RemembersBuffer, "check_sums_add_and_subtract on si_blurry: a forgotten part still"),
    ],
)
def test_a_fault_is_found(method: Any, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_strategy(method, backbone=lively_vit(depth=2))


def test_a_buffer_that_is_not_declared_is_refused_by_its_name() -> None:
    first, second = Drops(4, 2), Drops(4, 2)
    with pytest.raises(InputError, match=r"its buffer Drops\.total is not declared"):
        combine(first, second, 1)
    assert "Drops.total" in (not_sums(first) or "")  # so Model.learn refuses
    assert not_sums(Keeps(4, 2)) is None
