"""KLDA and RanDumb: published numbers, kernel features, ensembles and refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.closed_form import ClasswiseLDA, KernelLDA, RandomExpansion, StreamingLDA
from tests.golden_numbers import Golden
from tests.models.classifier_data import DIM, data

KLDA = Golden("klda", "later")
RANDUMB = Golden("randumb", "later")


def put_features(lda: Any, golden: Golden, prefix: str, gamma: float) -> None:
    lda.expansion.matrix = golden(f"{prefix}frequencies") / (2 * gamma) ** 0.5
    lda.expansion.phase = golden(f"{prefix}phases")


def published(prefixes: list[str], shrinkage: float, dtype: torch.dtype) -> KernelLDA:
    gamma = KLDA.number("bandwidth")
    dim, width = KLDA(f"{prefixes[0]}frequencies").shape
    klda = KernelLDA(
        dim,
        len(KLDA("member0/means")),
        width=width,
        gamma=gamma,
        shrinkage=shrinkage,
        members=len(prefixes),
        form="released",
    ).to(dtype)
    for prefix, member in zip(prefixes, klda.members, strict=True):
        put_features(member, KLDA, prefix, gamma)
    for t in range(len(KLDA.keys("task")) // 2):
        klda.update(KLDA(f"task{t}/features"), KLDA(f"task{t}/labels"))
    return klda


def relative(scores: Tensor) -> Tensor:
    return scores - scores.amax(dim=1, keepdim=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_published_members_and_ensemble(dtype: torch.dtype) -> None:
    prefixes = sorted({key.split("/")[0] + "/" for key in KLDA.keys("member")})
    klda = published(prefixes, 0.0, dtype)
    close = KLDA.close_double if dtype == torch.float64 else KLDA.close
    for prefix, member in zip(prefixes, klda.members, strict=True):
        close(member.mean, f"{prefix}means")
        close(member.scatter, f"{prefix}scatter")
    if dtype == torch.float32:  # a pseudo-inverse keeps what rounding made
        return
    probe = KLDA("test_features")
    for prefix, member in zip(prefixes, klda.members, strict=True):
        assert int(torch.linalg.matrix_rank(member.scatter)) == KLDA.number(f"{prefix}rank")
        want = relative(KLDA(f"{prefix}logits"))
        atol = 1e-8 * float(KLDA(f"{prefix}logits").abs().max())
        torch.testing.assert_close(2 * member.scores(probe), want, rtol=0, atol=atol)
    KLDA.close_double(klda.scores(probe).exp() * len(prefixes), "ensemble_sum")
    assert torch.equal(klda(probe).argmax(dim=1), KLDA("ensemble_predictions"))


def test_the_published_version_for_images() -> None:
    klda = published(["image/"], KLDA.number("ridge"), torch.float64)
    member: Any = klda.members[0]
    KLDA.close_double(member.scatter, "image/scatter")
    inverse = KLDA("image/inverse")
    want = inverse @ KLDA("image/means").T
    torch.testing.assert_close(member.solution(), want, rtol=0, atol=1e-8 * float(want.abs().max()))
    probe = KLDA("test_features")
    distances = -relative(-KLDA("image/distances"))
    atol = 1e-8 * float(KLDA("image/distances").abs().max())
    torch.testing.assert_close(-2 * klda.scores(probe), distances, rtol=0, atol=atol)
    assert torch.equal(klda(probe).argmax(dim=1), KLDA("image/predictions"))


def randumb(
    kind: type[StreamingLDA], dtype: torch.dtype = torch.float64, **settings: Any
) -> StreamingLDA:
    gamma = RANDUMB.number("bandwidth")
    dim, width = RANDUMB("frequencies").shape
    fourier = RandomExpansion(dim, width, "fourier", gamma=gamma)
    lda = kind(dim, len(RANDUMB("pooled/means")), expansion=fourier, **settings).to(dtype)
    put_features(lda, RANDUMB, "", gamma)
    x, labels = RANDUMB("features"), RANDUMB("labels")
    for part, of in zip(x.split(9), labels.split(9), strict=True):
        lda.update(part, of)
    first = labels.argsort(stable=True)[: len(RANDUMB("embedded"))]
    RANDUMB.close(lda.inputs(x)[first], "embedded", atol=1e-8)
    return lda


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_published_pooled_form(dtype: torch.dtype) -> None:
    floor = RANDUMB.number("pooled/shrinkage")
    lda = randumb(StreamingLDA, dtype, shrinkage="oas", floor=floor)
    want = relative(RANDUMB("pooled/test_scores"))
    share = 1e-8 if dtype == torch.float64 else 2e-5
    RANDUMB.close(lda.mean, "pooled/means", atol=share)
    scores = lda.scores(RANDUMB("test_features"))
    atol = share * float(RANDUMB("pooled/test_scores").abs().max())
    torch.testing.assert_close(scores.double(), want, rtol=0, atol=atol)
    if dtype == torch.float64:
        RANDUMB.close_double(scores.softmax(dim=1), "pooled/probabilities")
    assert torch.equal(scores.argmax(dim=1), RANDUMB("pooled/predictions"))


def test_published_released_form() -> None:
    lda = randumb(ClasswiseLDA)
    RANDUMB.close_double(lda.mean, "released/means")
    RANDUMB.close_double(lda.count / lda.count.sum(), "released/priors")
    RANDUMB.close_double(lda.solution().T.contiguous(), "released/coefficients")
    want = relative(RANDUMB("released/test_scores"))
    atol = 1e-8 * float(RANDUMB("released/test_scores").abs().max())
    scores = relative(lda.scores(RANDUMB("test_features")))
    torch.testing.assert_close(scores, want, rtol=0, atol=atol)
    assert torch.equal(scores.argmax(dim=1), RANDUMB("released/predictions"))


def test_fourier_features_are_those_of_a_gaussian_kernel() -> None:
    x = data(12)[0].double() / 4
    expansion = RandomExpansion(DIM, 200_000, "fourier", seed=1, gamma=0.05)
    phi = expansion(x)
    want = torch.exp(-0.05 * torch.cdist(x, x).square())
    torch.testing.assert_close(phi @ phi.T, want, rtol=0, atol=0.015)


def test_the_kernel_is_set_by_the_first_batch_alone() -> None:
    x = data(40)[0].double()
    expansion = RandomExpansion(DIM, 5, "fourier")
    expansion.fit(x[:0])
    expansion.fit(x[:20])
    expansion.fit(9 * x)
    distance = torch.pdist(x[:20]).square().median()
    torch.testing.assert_close(float(expansion.bandwidth), float(1 / distance))
    again = RandomExpansion(DIM, 5, "fourier")
    again.load_state_dict(expansion.state_dict())
    again.fit(9 * x)
    assert torch.equal(again.bandwidth, expansion.bandwidth)
    single = RandomExpansion(DIM, 5, "fourier")
    single.fit(x[:1])
    torch.testing.assert_close(float(single.bandwidth), float(1 / x[0].square().sum()))
