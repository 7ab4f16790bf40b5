"""Exact leave-one-out scores of classifiers on class means and a pooled scatter, and the strength
of regularisation that they choose.

Row i has the scores of image i by the classifier that never saw it, at the same absolute strength:
a change of rank two of one factorised system (Cook, Technometrics 1977; Allen's PRESS, 1974).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.closed_form.shrinkage import mean_variance
from cl_prompts.metrics.confidence import temperature_of

#: Classifiers of one system: class-balanced ridge regression, linear discriminant analysis.
Form = Literal["ridge", "lda"]

#: Rule that computes a strength; settings accept it besides numbers.
LeaveOneOut = Literal["leave_one_out"]

#: Rows of the sample that chooses a strength; 1,000 choose as well.
SAMPLED = 500
#: Decades between neighbouring strengths, and from the first to the last.
STEP, REACH = 0.5, 4.0
#: Share by which a criterion must fall for a further step.
_GAIN = 1e-3
#: Temperature of scores that say nothing about the labels.
_USELESS = 1e6


class Products(NamedTuple):
    """Inner products ``a' P^-1 b`` of samples and class means for one matrix P.

    Attributes:
        xx: (n,) of each sample with itself.
        xm: (n, classes) of samples with means.
        mm: (classes, classes) of means.

    Example:
        >>> found = Products.of(2 * torch.eye(3), torch.ones(1, 3), torch.eye(3)[:2])
        >>> found.xx, found.xm
        (tensor([1.5000]), tensor([[0.5000, 0.5000]]))
    """

    xx: Tensor
    xm: Tensor
    mm: Tensor

    @classmethod
    def of(cls, system: Tensor, x: Tensor, means: Tensor) -> Products:
        """Compute them by one factorisation.

        Args:
            system: P (dim, dim), positive definite; NaN results otherwise.
            x: (n, dim).
            means: (classes, dim).
        """
        root, info = torch.linalg.cholesky_ex(system)
        root.masked_fill_(info != 0, torch.nan)
        m = torch.linalg.solve_triangular(root, means.T, upper=False)
        z = torch.linalg.solve_triangular(root, x.T, upper=False)
        return cls(z.square().sum(dim=0), z.T @ m, m.T @ m)

    def regression(self, a: Tensor, seen: Tensor) -> Products:
        """Return those of ridge regression, ``P + a 1'1 + sum_c m_c' m_c / K`` with a constant 1.

        Args:
            a: the strength, which is the constant's entry of P.
            seen: (classes,) which of them exist.
        """
        one = seen.to(a.dtype)
        xx, xm = self.xx + 1 / a, self.xm + one / a
        mm = self.mm + torch.outer(one, one) / a
        # Woodbury: P^-1 - P^-1 M' (K I + M P^-1 M')^-1 M P^-1
        k = one.sum()
        inner = mm + k * torch.eye(len(mm), dtype=mm.dtype, device=mm.device)
        xg, mg = torch.linalg.solve(inner, xm, left=False), torch.linalg.solve(inner, mm)
        return Products(xx - (xg * xm).sum(dim=1), k * xg, k * mg)


def lda_scores(
    products: Products, labels: Tensor, count: Tensor, weight: float | Tensor = 1.0
) -> Tensor:
    """Leave-one-out scores of linear discriminant analysis, ``x P^-1 mu_j - mu_j P^-1 mu_j / 2``.

    Args:
        products: for ``P = w S / (N - 1) + a I`` of the scatter S of all N samples.
        labels: (n,) classes.
        count: (classes,) samples of each class, N in all.
        weight: w.

    Returns:
        (n, classes); NaN for an image that is alone in its class.
    """
    n = count[labels]
    k = weight * n / ((n - 1) * (count.sum() - 1))
    xx, xm, mm = products
    own = labels[:, None]
    xc, cc = xm.gather(1, own)[:, 0], mm.diagonal()[labels]
    distance = xx[:, None] - 2 * xm + mm.diagonal()  # D_j
    q = xx - 2 * xc + cc  # d' P^-1 d
    v = (xx - xc)[:, None] - xm + mm[labels]  # v_j = (x - mu_j)' P^-1 d
    shift = (k / (1 - k * q))[:, None]
    distance = distance + shift * v.square()
    mine = (n / (n - 1)).square() * (q + shift[:, 0] * q.square())
    distance = distance.scatter(1, own, mine[:, None])
    square = xx[:, None] + shift * (xx - xc)[:, None].square()  # x P^-1 x
    return ((square - distance) / 2).masked_fill(n[:, None] < 2, torch.nan)


def ridge_scores(products: Products, labels: Tensor, count: Tensor) -> Tensor:
    """Leave-one-out scores of the class-balanced ridge regression.

    Args:
        products: for ``P = S / (N - 1) + sum_c m_c m_c' / K + a I``, where samples and the K means
            have a constant 1 behind them: :meth:`Products.regression`.
        labels, count: as for :func:`lda_scores`.
    """
    n = count[labels]
    k = (count > 0).sum().to(n.dtype)
    xx, xm, mm = products
    own = labels[:, None]
    xc, cc, mc = xm.gather(1, own)[:, 0], mm.diagonal()[labels], mm[labels]
    # d = x - m_c, U = [d, m_c]: the system without image i is P + U C U'
    dd, dm = xx - 2 * xc + cc, xc - cc
    c11 = -n / ((n - 1) * (count.sum() - 1)) + 1 / (k * (n - 1).square())
    c12 = -1 / (k * (n - 1))
    # I + C U' P^-1 U
    e11, e12 = 1 + c11 * dd + c12 * dm, c11 * dm + c12 * cc
    e21, e22 = c12 * dd, 1 + c12 * dm
    # Rows x, d and m_c of P^-1 B-, where column c of B- is (m_c - d / (n - 1)) / K.
    step = (1 / (n - 1))[:, None]
    xb = xm.scatter(1, own, xc[:, None] - step * (xx - xc)[:, None]) / k
    db = (xm - mc).scatter(1, own, dm[:, None] - step * dd[:, None]) / k
    mb = mc.scatter(1, own, cc[:, None] - step * dm[:, None]) / k
    # (I + C U' P^-1 U)^-1 C U' P^-1 B-
    r1, r2 = c11[:, None] * db + c12[:, None] * mb, c12[:, None] * db
    det = (e11 * e22 - e12 * e21)[:, None]
    t1 = (e22[:, None] * r1 - e12[:, None] * r2) / det
    t2 = (e11[:, None] * r2 - e21[:, None] * r1) / det
    scores = xb - (xx - xc)[:, None] * t1 - xc[:, None] * t2
    return scores.masked_fill(n[:, None] < 2, torch.nan)


class PooledSums(NamedTuple):
    """Counts (classes,), means (classes, dim) and scatter (dim, dim) of the samples so far.

    Example:
        >>> PooledSums(torch.ones(2), torch.eye(2), torch.zeros(2, 2)).counts.sum()
        tensor(2.)
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor


def scores_of(
    sums: PooledSums,
    x: Tensor,
    labels: Tensor,
    strength: Tensor,
    forms: Sequence[Form],
    weight: float | Tensor = 1.0,
) -> dict[Form, Tensor]:
    """Leave-one-out scores (n, classes) of learned samples by each form, -inf for unseen classes.

    Args:
        sums: of all samples.
        x: (n, dim) inputs.
        labels: (n,) classes.
        strength: absolute, scalar.
        forms: of classifiers.
        weight: of the scatter.
    """
    count, mean, scatter = sums
    system = scatter * (weight / (count.sum() - 1).clamp(min=1))
    system.diagonal().add_(strength)
    products = Products.of(system, x, mean)
    found: dict[Form, Tensor] = {}
    if "lda" in forms:
        found["lda"] = lda_scores(products, labels, count, weight)
    if "ridge" in forms:
        found["ridge"] = ridge_scores(products.regression(strength, count > 0), labels, count)
    return {form: scores.masked_fill(count == 0, -torch.inf) for form, scores in found.items()}


class Choice(NamedTuple):
    """A strength of regularisation, with the temperatures of the classifiers that have it.

    Attributes:
        strength: absolute, scalar.
        temperatures: of each form's leave-one-out scores, and last that of their sum.
        nll: mean cross-entropy of the calibrated sum, in nats; infinite without scores.

    Example:
        >>> choice = Choice(torch.tensor(0.1), temperatures=(2.0, 4.0, 0.5))
        >>> choice.pooled([torch.tensor([[2.0]]), torch.tensor([[4.0]])])
        tensor([[4.]])
    """

    strength: Tensor
    temperatures: Sequence[float]
    nll: float = float("inf")

    def pooled(self, scores: Iterable[Tensor]) -> Tensor:
        """Return the logarithmic opinion pool of all forms: calibrated logits (n, classes)."""
        *each, total = self.temperatures
        parts = [one / t for one, t in zip(scores, each, strict=True)]
        return torch.stack(parts).sum(dim=0) / total


def calibrated(strength: Tensor, scores: Iterable[Tensor], labels: Tensor) -> Choice:
    """Fit the temperatures of leave-one-out scores (n, classes), and compute the NLL."""
    parts = list(scores)
    each = [temperature_of(one, labels) or _USELESS for one in parts]
    total = torch.stack([one / t for one, t in zip(parts, each, strict=True)]).sum(dim=0)
    last = temperature_of(total, labels) or _USELESS
    nll = F.cross_entropy(total / last, labels)
    return Choice(strength, (*each, last), float(nll))


@torch.no_grad()
def choose(sums: PooledSums, x: Tensor, labels: Tensor, forms: Sequence[Form]) -> Choice:
    """Choose the strength of least leave-one-out NLL after calibration.

    The search of :func:`least` starts at the mean variance: about six factorisations. The result
    depends on the samples alone, not on their order.

    Args:
        sums: of all samples.
        x: (n, dim) inputs of some of them.
        labels: (n,) their classes.
        forms: of classifiers, which are pooled.

    Returns:
        The choice; the strength of the start without samples of two classes that have others.
    """
    scale = mean_variance(sums.scatter / sums.counts.sum().clamp(min=1))
    rows = sums.counts[labels] > 1
    x, labels = x[rows], labels[rows]
    tried: dict[float, Choice] = {}

    def nll(exponent: float) -> float:
        if exponent not in tried:
            strength = scale * 10**exponent
            scores = scores_of(sums, x, labels, strength, forms)
            tried[exponent] = calibrated(strength, scores.values(), labels)
        return tried[exponent].nll

    if len(labels.unique()) < 2:
        return Choice(scale, (1.0,) * (len(forms) + 1))
    return tried[least(nll, start=0.0)]


def least(criterion: Callable[[float], float], *, start: float) -> float:
    """Return the exponent x at which the criterion of a strength 10^x is least.

    Steps of half a decade follow each other while the criterion falls by a thousandth; the vertex
    of the parabola through the best and its neighbours is tried last. Warns at :data:`REACH`
    decades from the start, where the search ends.

    Args:
        criterion: of an exponent; NaN is worst.
        start: first exponent.

    Example:
        >>> round(least(lambda x: (x - 1.3) ** 2, start=0.0), 9)
        1.3
    """
    found: dict[float, float] = {}

    def value(x: float) -> float:
        if x not in found:
            number = criterion(x)
            found[x] = number if number == number else float("inf")
        return found[x]

    best = start
    for step in (STEP, -STEP):
        while abs(best - start) < REACH and value(best + step) < value(best) - _GAIN * abs(
            value(best)
        ):
            best += step
    if abs(best - start) >= REACH:
        warnings.warn(
            f"leave-one-out scores chose {10**best:g}, an end of what is tried", stacklevel=3
        )
        return best
    left, middle, right = value(best - STEP), value(best), value(best + STEP)
    bend = left - 2 * middle + right
    if 0 < bend < float("inf"):
        value(best + STEP / 2 * (left - right) / bend)
    return min(found, key=found.__getitem__)
