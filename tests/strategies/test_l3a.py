"""L3A on streams: published numbers, counts before a task, pseudo-labels of the last one."""

import torch

from cl_prompts.strategies import L3A
from tests.golden_numbers import Golden
from tests.strategies.given_features import give, stream_of
from tests.strategies.shared import noted
from tests.toy_data import experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

GOLDEN = Golden("l3a")


def test_the_published_run() -> None:
    names = [[f"task{task}/batch{i}" for i in range(3)] for task in range(3)]
    labels = [torch.cat([GOLDEN(f"{name}/true_labels") for name in task]) for task in names]
    features = torch.cat([GOLDEN(f"{name}/features") for task in names for name in task])
    visible = [[low <= c < high for c in range(8)] for low, high in [(0, 4), (4, 6), (6, 8)]]
    strategy = L3A(
        backbone=tiny_vit(embed_dim=12),
        n_classes=8,
        width=20,
        ridge=GOLDEN.number("ridge"),
        train_mb_size=7,
        evaluator=None,
        device="cpu",
    )
    give(strategy, features)
    head = strategy.model.head
    head.statistics.expansion.matrix = GOLDEN("projection")
    for task, part in enumerate(stream_of(labels, visible)):
        fit(strategy, [part])
        high = (4, 6, 8)[task]
        GOLDEN.close(head.count[:high], f"task{task}/counts", atol=0)
        GOLDEN.close(head.settled_weight[:, :high], f"float64/task{task}/weight", atol=1e-9)


def test_labels_of_a_task_are_counted_before_its_first_image() -> None:
    strategy = make("l3a", "mlcil", train_mb_size=8)
    first, *_ = experiences("mlcil")
    head = strategy.model.head
    counts = noted(strategy, "after_step", lambda *_: head.count.clone(), [first])
    want = torch.stack(list(first.dataset.targets)).sum(dim=0).double()
    assert len(counts) > 2
    assert all(torch.equal(found, want) for found in counts)


def test_without_boundaries_counts_grow_and_a_period_settles() -> None:
    strategy = make("l3a", "si_blurry_multi_label")
    stream = experiences("si_blurry_multi_label")
    head = strategy.model.head
    counts = noted(strategy, "after_step", lambda *_: float(head.count.sum()), stream)
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert strategy.model.head.settled.any()
    never = fit(make("l3a", "si_blurry_multi_label", period=None), stream)
    assert not never.model.head.settled.any()
