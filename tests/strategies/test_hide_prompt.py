"""HiDe-Prompt against the published numbers, as a run uses it, and what becomes of its prefixes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.losses.classification import centroid_contrast
from cl_prompts.prompts.prefixes import PrefixLayout
from cl_prompts.strategies import HeadAlignment, HiDePrompt
from tests.golden_numbers import Golden, give_head, golden_strategy, gradient, put
from tests.strategies.shared import noted, stream_batch
from tests.toy_data import experiences
from tests.toys import make

GOLDEN = Golden("hide")
layouts = pytest.mark.parametrize(
    ("layout", "name"), [("own", "correct"), ("published", "published_layout")]
)


def by_slot(published: Tensor) -> Tensor:
    """(blocks, 2, slots, n, heads, head dim) as our pool has it: (slots, blocks, 2, n, dim)."""
    return published.permute(2, 0, 1, 3, 4, 5).flatten(4)


def published(layout: PrefixLayout) -> Any:
    strategy = golden_strategy(
        HiDePrompt, 8, n_tasks=4, prompt_length=3, momentum=0.1, layout=layout, boundaries=True
    )
    give_head(strategy.model, GOLDEN)
    strategy.tasks_started = 2
    strategy.start_task(torch.ones(8, dtype=torch.bool))
    put(strategy.model.pools[0].inner.values, by_slot(GOLDEN("pool")))
    return strategy


@layouts
def test_an_update_of_the_second_task_is_the_published_one(layout: PrefixLayout, name: str) -> None:
    strategy = published(layout)
    case = f"{name}/train_task1"
    model = strategy.model.train()
    strategy.annotated = torch.tensor([False, False, True, True, False, False, False, False])
    strategy.earlier_means = lambda: GOLDEN("stored_means")
    batch = stream_batch(strategy, GOLDEN("images"), GOLDEN("labels"))
    output = strategy.training_output(batch)
    GOLDEN.close(output.features, f"{case}/features")
    GOLDEN.close(output.logits, f"{case}/logits")
    means = GOLDEN("stored_means")
    for of, key in ((None, "contrast_without_means"), (means, "contrast")):
        GOLDEN.close(0.1 * centroid_contrast(output.features, of), f"{case}/{key}")
    identity = strategy.router.classifier(output.cacheable["frozen"])
    own = strategy.label_loss(identity, batch)  # no part of the published update
    loss = strategy.training_loss(output, batch)
    GOLDEN.close(loss - own, f"{case}/loss")
    loss.backward()
    want = by_slot(GOLDEN(f"{case}/grad_pool"))
    torch.testing.assert_close(gradient(model.pools[0].inner.values), want, atol=2e-5, rtol=0)
    GOLDEN.close(gradient(model.head.weight), f"{case}/grad_head_weight")


@layouts
def test_evaluation_is_the_published_one(layout: PrefixLayout, name: str) -> None:
    strategy = published(layout)
    model = strategy.model.eval()
    slots = GOLDEN("wrong_or_right_slot")
    model.pools[0].task = -1  # the published numbers are of the plain entries
    strategy.router.task_of.copy_(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    scores = torch.nn.functional.one_hot(2 * slots, 8).float()
    strategy.router.classifier.forward = lambda query: scores
    with torch.no_grad():
        GOLDEN.close(model(GOLDEN("images")), f"{name}/eval/logits")


def test_without_boundaries_each_period_starts_a_prefix_and_the_last_one_stays() -> None:
    strategy = make("hide_prompt", pool_size=2, train_mb_size=12)

    def place(*_: Any) -> tuple[int, int, int, int]:
        router = strategy.router
        earlier = (router.task_of >= 0) & (router.task_of < router.current)
        means = int(earlier.sum()), len(strategy.earlier_means())
        return strategy.samples_seen, router.current, *means

    for seen, slot, earlier, means in noted(strategy, "training_loss", place, experiences()):
        assert slot == (0 if seen < 24 else 1)
        # Only classes of earlier prefixes repel features.
        assert means == earlier == 2 * slot
    owners = strategy.router.task_of
    assert set(owners.tolist()) == {0, 1}
    head, _ = strategy.plugin(HeadAlignment).current(announced=False)
    assert head.observed.all()
    # Features of a class count only while its own prefix trains.
    owners.copy_(torch.tensor([0, 0, 0, 1, 1, 1]))
    batch = stream_batch(strategy, torch.zeros(3, 3, 16, 16), torch.tensor([3, 0, 4]))
    assert strategy.own_rows(batch).tolist() == [True, False, True]


@pytest.mark.parametrize("bounded", ["classifier", "rest"])
def test_gradients_of_the_two_networks_are_bounded_apart(bounded: str) -> None:
    strategy = make("hide_prompt", clip_norm=1.0)
    gradients: dict[str, list[Tensor]] = {"classifier": [], "rest": []}
    for name, parameter in strategy.model.named_parameters():
        if parameter.requires_grad:
            network = "classifier" if "classifier" in name else "rest"
            parameter.grad = torch.full_like(parameter, 1e3 if network == bounded else 1e-6)
            gradients[network].append(parameter.grad)
    strategy.clip_gradients()
    norms = {name: torch.cat([g.flatten() for g in of]) for name, of in gradients.items()}
    assert float(norms.pop(bounded).norm()) == pytest.approx(1, rel=1e-3)
    (other,) = norms.values()
    assert other[0].item() == pytest.approx(1e-6)


def test_features_are_kept_apart_from_means_of_earlier_tasks() -> None:
    strategy = make("hide_prompt", "class_incremental")
    stream = experiences("class_incremental")
    sizes = noted(strategy, "training_loss", lambda *_: len(strategy.earlier_means()), stream)
    assert sizes[0] == 0
    assert sorted(set(sizes)) == [0, 20, 40]  # ten centroids of two classes a task
