"""SLCA's and SLCA++'s alignment against published numbers, in double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.training.gaussian_alignment import GaussianHeadAlignment
from tests.golden_numbers import Golden, put

GOLDEN = Golden("slca", "later")
#: settings of each published case
CASES = {
    "plain": {"mean_scale": "task"},
    "normed": {"mean_scale": "task", "logit_norm": 0.1},
    "unequal": {"mean_scale": "task", "logit_norm": 0.1},
    "plus": {"feature_scale": 0.02, "logit_norm": 0.1},
}
every = pytest.mark.parametrize("case", CASES)


def sizes(case: str) -> list[int]:
    found: list[int] = GOLDEN(f"{case}/sizes").tolist()
    return found


def observed(case: str) -> GaussianHeadAlignment:
    """The alignment after the last task's features came, class by class."""
    n_classes, dim = GOLDEN(f"{case}/class_means").shape
    epochs, _, samples, _ = GOLDEN(f"{case}/draws").shape
    alignment = GaussianHeadAlignment(
        dim,
        n_classes,
        statistics="covariance",
        unbiased=True,
        samples=samples,
        epochs=epochs,
        lr=0.01,
        **CASES[case],
    ).double()
    c = 0
    for task, size in enumerate(sizes(case)):
        if task > 0:
            alignment.end_task()
        for _ in range(size):
            features = GOLDEN(f"{case}/class{c}/features")
            alignment.observe(features, torch.full((len(features),), c))
            c += 1
    return alignment


def published_heads(case: str, key: str) -> nn.Linear:
    """The rows of all tasks' heads as one."""
    n_tasks = len(sizes(case))
    weight = torch.cat([GOLDEN(f"{case}/{key}weight{j}") for j in range(n_tasks)])
    head = nn.Linear(weight.shape[1], len(weight)).double()
    put(head.weight, weight)
    put(head.bias, torch.cat([GOLDEN(f"{case}/{key}bias{j}") for j in range(n_tasks)]))
    return head


def tasks_of_the_release(case: str) -> Tensor:
    """Task of each class as the release computes it, from the size of the current one."""
    return torch.arange(sum(sizes(case))) // sizes(case)[-1]


@every
def test_published_statistics_and_means_of_draws(case: str) -> None:
    alignment = observed(case)
    GOLDEN.close_double(alignment.mean[:, 0], f"{case}/class_means")
    covariances = [alignment.covariance(c) for c in range(len(alignment.mean))]
    GOLDEN.close_double(torch.stack(covariances), f"{case}/class_covariances")
    true_tasks = torch.repeat_interleave(torch.arange(len(sizes(case))), torch.tensor(sizes(case)))
    assert torch.equal(alignment.first, true_tasks)
    if len(set(sizes(case))) > 1:
        alignment.first = tasks_of_the_release(case)
    means = alignment.means()[None, :, 0].expand(alignment.epochs, -1, -1)
    GOLDEN.close_double(means, f"{case}/draw_means")


@every
def test_published_head_after_alignment(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alignment = observed(case)
    draws = GOLDEN(f"{case}/draws")
    n_classes, samples = draws.shape[1:3]
    labels = torch.arange(n_classes).repeat_interleave(samples)
    epochs = []
    for epoch, order in enumerate(GOLDEN(f"{case}/order")):
        features = draws[epoch].flatten(0, 1)
        if case == "plus":
            uniform = GOLDEN("plus/uniform")[epoch].flatten()
            features = alignment.scaled(features, labels, uniform)
        batches = features[order].split(samples), labels[order].split(samples)
        epochs.append(list(zip(*batches, strict=True)))
    head = published_heads(case, "")
    losses: list[Tensor] = []
    loss = alignment.loss

    def noting(*given: Tensor) -> Tensor:
        losses.append(loss(*given))
        return losses[-1]

    monkeypatch.setattr(alignment, "loss", noting)
    alignment.fit(head, epochs, torch.ones(n_classes, dtype=torch.bool))
    GOLDEN.close_double(torch.stack(losses), f"{case}/losses")
    after = published_heads(case, "after_")
    torch.testing.assert_close(head.weight, after.weight, rtol=0, atol=1e-8)
    torch.testing.assert_close(head.bias, after.bias, rtol=0, atol=1e-8)
    if case == "plus":
        factors = 1 + 0.02 * alignment.ages
        per_task = factors.double()[torch.tensor(sizes(case)).cumsum(dim=0) - 1]
        torch.testing.assert_close(per_task, GOLDEN("plus/test_scales"), rtol=0, atol=1e-6)
        alignment.scale_rows(head)
    GOLDEN.close_double(head(GOLDEN(f"{case}/test_features")), f"{case}/test_logits")


def test_draws_have_the_scales_of_their_class() -> None:
    alignment = GaussianHeadAlignment(3, 2, statistics="variance", samples=400, feature_scale=0.5)
    for c in range(2):
        alignment.observe(torch.full((4, 3), 10.0), torch.full((4,), c))
        alignment.end_task()
    drawn = [torch.cat(parts) for parts in zip(*alignment.draw(), strict=True)]
    for c, age in ((0, 2), (1, 1)):
        mine = drawn[0][drawn[1] == c]
        bounds = [10 / (1 + (0.5 + side * 0.01) * age) for side in (1, -1)]
        assert bounds[0] - 0.1 < mine.min() < mine.max() < bounds[1] + 0.1
        assert mine.mean(dim=1).std() > 0.005


def test_norms_are_of_seen_classes_by_their_task() -> None:
    alignment = GaussianHeadAlignment(3, 5, statistics="variance", logit_norm=0.5)
    for c in (1, 3):
        alignment.observe(torch.randn(4, 3), torch.full((4,), c))
        alignment.end_task()
    seen = torch.tensor([False, True, False, True, True])
    logits = torch.randn(6, 5)
    labels = torch.tensor([1, 3, 4, 4, 3, 1])
    # Class 4 came without features: it is one of the current task.
    norms = logits[:, [1, 3, 4]].abs().mean(dim=1, keepdim=True)
    want = F.cross_entropy(
        (logits / (norms * 0.5))[:, [1, 3, 4]], (labels - 1).clamp(min=0) // 2 + (labels == 4)
    )
    torch.testing.assert_close(alignment.loss(logits, labels, seen), want)
