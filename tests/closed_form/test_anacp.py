"""AnaCP against published numbers, and what the exact form does otherwise."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from cl_prompts.closed_form.anacp import ContrastiveProjection, contrastive_targets
from tests.golden_numbers import Golden
from tests.models.classifier_data import CLASSES, DIM, PRESENT, data, fed

GOLDEN = Golden("anacp", "later")


def published_targets(task: str, means: Tensor, covariance: Tensor) -> Tensor:
    """Targets with the singular vectors that the published run had for a singular value of 0."""
    left, right = (GOLDEN(f"{task}last_{side}").to(means.dtype) for side in ("left", "right"))
    decompose = torch.linalg.svd

    def published(matrix: Tensor, **options: Any) -> Any:
        u, s, v = decompose(matrix, **options)
        return torch.cat([u[:, :-1], left[:, None]], dim=1), s, torch.cat([v[:-1], right[None]])

    with patch.object(torch.linalg, "svd", published):
        return contrastive_targets(means, covariance, least=0)


def close(got: Tensor, key: str) -> None:
    """Compare with published numbers, as closely as the precision allows."""
    share = 1e-8 if got.dtype == torch.float64 else 2e-5
    GOLDEN.close(got, key, atol=share * float(GOLDEN(key).abs().max()))


class Published(ContrastiveProjection):
    """Released form with the published draws and arbitrary singular vectors of one task."""

    prefix = ""

    def targets(self) -> Tensor:
        columns = GOLDEN(f"{self.prefix}column_labels")
        means = self.moments.mean[columns]
        targets = published_targets(self.prefix, means, self.shared_covariance())
        return targets[columns.argsort()]

    def pseudo_samples(self) -> tuple[Tensor, Tensor]:
        columns = GOLDEN(f"{self.prefix}replay_columns")
        return (
            GOLDEN(f"{self.prefix}replay_features").to(self.count.dtype),
            GOLDEN(f"{self.prefix}column_labels")[columns],
        )


@pytest.mark.parametrize(
    ("drawn_from", "dtype"),
    [("shared", torch.float64), ("class", torch.float64), ("shared", torch.float32)],
)
def test_published_numbers(drawn_from: str, dtype: torch.dtype) -> None:
    kind = "shared" if drawn_from == "shared" else "per_class"
    last = GOLDEN(f"{kind}/projection_out")
    n_heads = len(GOLDEN.keys(f"{kind}/projection_head"))
    n_tasks = len([key for key in GOLDEN.keys(f"{kind}/task") if key.endswith("/labels")])
    n_classes = int(GOLDEN(f"{kind}/task{n_tasks - 1}/column_labels").max()) + 1
    anacp = Published(
        last.shape[1],
        n_classes,
        projection=len(last),
        heads=n_heads,
        ridge=GOLDEN.number(f"{kind}/ridge"),
        drawn_from=drawn_from,
        form="released",
    ).to(dtype)
    anacp.last.matrix = last.T
    for i, head in enumerate(anacp.heads):
        head.expansion.matrix = GOLDEN(f"{kind}/projection_head{i}").T
    for t in range(n_tasks):
        anacp.prefix = task = f"{kind}/task{t}/"
        anacp.update(GOLDEN(f"{task}features"), GOLDEN(f"{task}labels"))
        columns = GOLDEN(f"{task}column_labels")
        close(anacp.moments.mean[columns], f"{task}class_means")
        close(anacp.shared_covariance(), f"{task}shared_covariance")
        if anacp.classes is not None:
            covariances = torch.stack([anacp.class_covariance(c) for c in columns.tolist()])
            close(covariances, f"{task}class_covariances")
        compare_targets(anacp, task)
        close(anacp.solution()[:, columns], f"{task}weight")
        close(anacp.thetas[0], f"{task}head_weight0")
    probe = GOLDEN(f"{kind}/test_features")
    unit = torch.nn.functional.normalize(probe, dim=1).to(dtype)
    close(anacp.aligned(unit), f"{kind}/test_aligned")
    close(anacp.scores(probe)[:, columns], f"{kind}/test_scores")
    assert torch.equal(anacp(probe).argmax(dim=1), GOLDEN(f"{kind}/test_predictions"))


def compare_targets(anacp: Published, task: str) -> None:
    """Published targets, whose last singular vectors are arbitrary, and those without these."""
    columns = GOLDEN(f"{task}column_labels")
    means, covariance = anacp.moments.mean[columns], anacp.shared_covariance()
    close(published_targets(task, means, covariance), f"{task}targets")
    ours = contrastive_targets(means, covariance)
    close(ours, f"{task}derived_targets_truncated")


def test_targets_push_classes_apart_where_the_space_is_led_back() -> None:
    x, y = data()
    lda = fed(ContrastiveProjection(DIM, CLASSES, projection=4), x, y, []).moments
    means = lda.mean[list(PRESENT)]
    covariance = lda.scatter / len(x) + 1e-4 * torch.eye(DIM)
    led_back = contrastive_targets(means, covariance, space="features")
    unit = torch.nn.functional.normalize(means, dim=1)
    torch.testing.assert_close(led_back.norm(dim=1), torch.ones(4).double())
    assert torch.pdist(led_back).min() > torch.pdist(unit).min()
    assert not torch.allclose(led_back, contrastive_targets(means, covariance))
