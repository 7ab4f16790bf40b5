"""What logits depend on: the image, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.families.runs import finished
from tests.toy_data import ANNOUNCED, N_CLASSES, Blobs, experiences
from tests.toy_vits import DEPTH, lively_vit, one_graph
from tests.toys import ALL, PROMPTED, TABLE, cases, fit, make

IMAGES = Blobs(12, seed=7).images
CASES = cases("si_blurry", "class_incremental", "mlcil", in_turn=True)
#: lanes read a generator
TRACED = [kind for kind in PROMPTED if kind != "multi_lane"]


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_logits_depend_on_nothing_but_the_image(kind: str, scenario: str) -> None:
    model = finished(kind, scenario).strategy.model.eval()
    with torch.no_grad():
        together = model(IMAGES)
        order = torch.randperm(len(IMAGES))
        alone = torch.cat([model(image[None]) for image in IMAGES[:3]])
        shuffled = model(IMAGES[order])
    torch.testing.assert_close(alone, together[:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "scenario"), cases(*ANNOUNCED))
def test_classes_never_seen_have_no_score(kind: str, scenario: str) -> None:
    first, *_ = experiences(scenario)
    model = fit(make(kind, scenario), [first]).model.eval()
    seen = torch.zeros(N_CLASSES, dtype=torch.bool)
    seen[sorted(first.classes_in_this_experience)] = True
    assert torch.equal(model.seen, seen)
    with torch.no_grad():
        logits = model(IMAGES)
    assert logits[:, seen].isfinite().all()
    assert (logits[:, ~seen] == (0 if scenario == "mlcil" else -torch.inf)).all()


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_cached_parts_give_the_same_logits_and_save_their_work(kind: str, scenario: str) -> None:
    model = finished(kind, scenario).strategy.model.eval()
    row = ALL[kind]
    with torch.no_grad():
        plain = model.run(IMAGES)
        assert plain.cacheable.keys() == model.cache_keys().keys()
        needed = model.needs_images(plain.cacheable)
        assert needed == (row.retest > 0)
        model.backbone.counter.reset()
        again = model.run(IMAGES if needed else None, plain.cacheable)
    torch.testing.assert_close(again.logits, plain.logits, atol=1e-6, rtol=1e-6)
    assert model.backbone.counter.blocks == row.retest * len(IMAGES)


@pytest.mark.parametrize("kind", [kind for kind in PROMPTED if kind != "multi_lane"])
def test_a_shared_first_projection_changes_neither_outputs_nor_gradients(kind: str) -> None:
    strategy = fit(make(kind, "class_incremental"), experiences("class_incremental")[:1])
    model = strategy.model
    results = []
    cached = model.run(IMAGES).cacheable
    for given in (None, cached):  # with a cached query nothing is shared
        model.zero_grad()
        logits = model.run(IMAGES, given).logits
        logits[:, model.seen].logsumexp(1).sum().backward()
        learned = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append([logits.detach(), *learned])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@one_graph
@pytest.mark.parametrize("kind", TRACED)
def test_a_forward_pass_is_one_graph(kind: str) -> None:
    """So that ``torch.compile`` sees all of it; no branch waits for a value on the device."""
    # tracing takes seconds
    small: Any = {"backbone": lively_vit(depth=2), **TABLE[kind].two_blocks}
    strategy = make(kind, "class_incremental", online_iter=1, **small)
    model = fit(strategy, experiences("class_incremental")).model
    images = IMAGES[:5]
    torch.compiler.reset()

    def logits_of(pixels: Tensor) -> Any:
        return model.run(pixels).logits

    forward = torch.compile(logits_of, backend="eager", fullgraph=True)
    torch.testing.assert_close(forward(images), logits_of(images), atol=1e-6, rtol=1e-6)


def test_the_toy_vit_has_the_depth_of_the_table() -> None:
    assert finished("linear_probe").backbone.depth == DEPTH
