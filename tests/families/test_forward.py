"""What logits depend on: the image, and nothing else."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.families.runs import IMAGES, begin, finished, scores
from tests.toy_data import N_CLASSES, experiences
from tests.toys import ALL, PROMPTED, cases, fit, make

CASES = cases("si_blurry", "class_incremental", "mlcil")
#: one of each part, since tracing takes seconds
TRACED = ("mvp", "l2p", "dual_prompt", "single_prompt", "vq_prompt", "norga", "flyprompt", "smope")
TRACED += ("coda_prompt", "additive_prompt", "approximated_prompt")


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


@pytest.mark.parametrize(("kind", "scenario"), cases("class_incremental", "mlcil"))
def test_classes_never_seen_have_no_score(kind: str, scenario: str) -> None:
    first, *_ = experiences(scenario)
    seen = torch.zeros(N_CLASSES, dtype=torch.bool)
    seen[sorted(first.classes_in_this_experience)] = True
    early = finished(kind, scenario).early
    if early is None:  # joint training, here on one task
        strategy = fit(begin(kind, scenario), [first])
        early = strategy.model.seen, scores(strategy, IMAGES)
    found, logits = early
    assert torch.equal(found, seen)
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
        counter = model.backbone.counter
        counter.reset()
        again = model.run(IMAGES if needed else None, plain.cacheable)
    torch.testing.assert_close(again.logits, plain.logits, atol=1e-6, rtol=1e-6)
    assert counter.blocks == model.backbone.depth * len(IMAGES) * needed


@pytest.mark.parametrize("kind", [kind for kind in PROMPTED if kind != "multi_lane"])
def test_a_shared_first_projection_changes_neither_outputs_nor_gradients(kind: str) -> None:
    model = finished(kind, "class_incremental").strategy.model.train()
    results = []
    cached = model.run(IMAGES).cacheable
    for given in (None, cached):  # with a cached query nothing is shared
        logits = model.run(IMAGES, given).logits
        learning = [p for p in model.parameters() if p.requires_grad]
        loss = logits[:, model.seen].logsumexp(1).sum()
        found = torch.autograd.grad(loss, learning, allow_unused=True)
        results.append([logits.detach(), *(grad for grad in found if grad is not None)])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", PROMPTED)
def test_no_gradient_is_summed_in_an_order_that_threads_decide(kind: str) -> None:
    model = finished(kind, "class_incremental").strategy.model.train()
    logits = model.run(IMAGES).logits.masked_fill(~model.seen, float("-inf"))
    loss = logits.logsumexp(1).sum()
    learning = [p for p in model.parameters() if p.requires_grad]
    with _Ops() as ops:
        torch.autograd.grad(loss, learning, allow_unused=True)
    assert "aten.mm.default" in ops.names
    assert not {name for name in ops.names if "index_put" in name}


class _Ops(TorchDispatchMode):
    """Names of the operations that are executed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRACED)
def test_a_forward_pass_is_one_graph(kind: str) -> None:
    """So that ``torch.compile`` sees all of it; no branch waits for a value on the device."""
    model = finished(kind, "class_incremental").strategy.model.train()
    images = IMAGES[:5]
    torch.compiler.reset()

    def logits_of(pixels: Tensor) -> Any:
        return model.run(pixels).logits

    forward = torch.compile(logits_of, backend="eager", fullgraph=True)
    torch.testing.assert_close(forward(images), logits_of(images), atol=1e-6, rtol=1e-6)


def test_every_part_of_prompted_models_is_traced() -> None:
    def parts(kinds: Iterable[str]) -> set[type]:
        models = [make(kind, "class_incremental").model for kind in kinds]
        return {type(module) for model in models for module in model.modules()}

    others = [kind for kind in PROMPTED if kind != "multi_lane"]  # lanes read a generator
    assert parts(others) == parts(TRACED)
