"""What logits depend on: the image, and nothing else."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.families.runs import IMAGES, begin, finished, scores
from tests.toy_data import MULTI_LABEL_SCENARIOS, N_CLASSES, experiences
from tests.toys import ALL, LOOKED_AT, PROMPTED, cases, fit, make

#: one of each part, since tracing takes seconds
TRACED = ("mvp", "l2p", "dual_prompt", "single_prompt", "vq_prompt", "norga", "flyprompt", "smope")
TRACED += ("coda_prompt", "additive_prompt", "approximated_prompt")


@pytest.mark.parametrize(("kind", "scenario"), cases(*LOOKED_AT))
def test_logits_depend_on_nothing_but_the_image(kind: str, scenario: str) -> None:
    model = finished(kind, scenario).strategy.model.eval()
    with torch.no_grad():
        plain = model.run(IMAGES)
        together = plain.logits
        order = torch.randperm(len(IMAGES))
        alone = torch.cat([model(image[None]) for image in IMAGES[:3]])
        shuffled = model(IMAGES[order])
    torch.testing.assert_close(alone, together[:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=1e-5)
    # Cached parts give the same logits, and save their work.
    assert plain.cacheable.keys() == model.cache_keys().keys()
    needed = model.needs_images(plain.cacheable)
    assert needed == (ALL[kind].retest > 0)
    counter = model.backbone.counter
    counter.reset()
    with torch.no_grad():
        again = model.run(IMAGES if needed else None, plain.cacheable)
    torch.testing.assert_close(again.logits, together, atol=1e-6, rtol=1e-6)
    assert counter.blocks == model.backbone.depth * len(IMAGES) * needed


@pytest.mark.parametrize(("kind", "scenario"), cases(*LOOKED_AT))
def test_classes_never_seen_have_no_score(kind: str, scenario: str) -> None:
    first, *_ = experiences(scenario)
    seen = torch.zeros(N_CLASSES, dtype=torch.bool)
    seen[sorted(first.classes_in_this_experience)] = True
    assert not seen.all()
    early = finished(kind, scenario).early
    if early is None:  # joint training, here on one task
        strategy = fit(begin(kind, scenario), [first])
        early = strategy.model.seen, scores(strategy, IMAGES)
    found, logits = early
    assert torch.equal(found, seen)
    assert logits[:, seen].isfinite().all()
    unseen = 0 if scenario in MULTI_LABEL_SCENARIOS else -torch.inf
    assert (logits[:, ~seen] == unseen).all()


@pytest.mark.parametrize("kind", PROMPTED)
def test_gradients_are_those_of_a_plain_pass_and_no_sum_is_in_an_order_that_threads_decide(
    kind: str,
) -> None:
    model = finished(kind).strategy.model.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    results = []
    cached = None if kind == "multi_lane" else model.run(IMAGES).cacheable
    for given in (None, cached):  # with a cached query the first projection is not shared
        logits = model.run(IMAGES, given).logits.masked_fill(~model.seen, -torch.inf)
        loss = logits.logsumexp(1).sum()
        with _Ops() as ops:
            found = torch.autograd.grad(loss, learning, allow_unused=True)
        assert "aten.mm.default" in ops.names
        assert not {name for name in ops.names if "index_put" in name}
        results.append([logits.detach(), *(grad for grad in found if grad is not None)])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


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
def test_what_is_compiled_is_one_graph(kind: str) -> None:
    """``torch.compile`` sees all of a prompted pass; no branch waits for a value on the device."""
    model = finished(kind, "class_incremental").strategy.model.train()
    encoding = model.encode(IMAGES[:5], {})
    torch.compiler.reset()

    def logits_of(encoding: Any) -> Any:
        return model.decode(encoding).logits

    forward = torch.compile(logits_of, backend="eager", fullgraph=True)
    torch.testing.assert_close(forward(encoding), logits_of(encoding), atol=1e-6, rtol=1e-6)


def test_every_part_of_prompted_models_is_traced() -> None:
    def parts(kinds: Iterable[str]) -> set[type]:
        models = [make(kind, "class_incremental").model for kind in kinds]
        return {type(module) for model in models for module in model.modules()}

    others = [kind for kind in PROMPTED if kind != "multi_lane"]  # lanes read a generator
    assert parts(others) == parts(TRACED)
