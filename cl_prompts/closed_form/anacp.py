"""AnaCP: features regressed onto contrastive class targets, in closed form."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.closed_form.class_scatter import ClassScatter, check_class_matrices
from cl_prompts.closed_form.prototype_classifiers import SolvedClassifier
from cl_prompts.closed_form.ridge import RandomExpansion, RidgeStatistics, attempt_positive
from cl_prompts.closed_form.streaming_lda import StreamingLDA
from cl_prompts.closed_form.sums import Limits
from cl_prompts.seeds import derived_seed

AnaCPForm = Literal["exact", "released"]
DrawnFrom = Literal["shared", "class"]
TargetSpace = Literal["whitened", "features"]

#: Added to every variance.
VARIANCE = 1e-4
#: Count of the derived seeds of pseudo-samples, beyond those of the heads.
DRAWS_FROM = 1000


class ContrastiveProjection(SolvedClassifier):
    """AnaCP, analytic contrastive projection (NeurIPS 2025, arXiv 2511.13880).

    Without its first-session adaptation. Features x have unit length. With class means mu_c, their
    shared covariance S, ``P = S^(-1/2)`` and the mean m0 of the mu_c, the singular values of ``(mu
    - m0) P = U diag(s) V^T`` grow by 1, which separates classes: targets ``t = normalise(U diag(s +
    1) V^T P + m0)``. ``heads`` ridge regressions on random features ``z = gelu(x W_i^T)`` map each
    class to its target, ``Theta_i = (sum z^T z + ridge I)^-1 sum_c n_c zbar_c^T t_c``, and the
    features become ``a(x) = mean_i normalise(gelu(x W_i^T) Theta_i)``. Another ridge regression on
    ``gelu(a W_o^T)`` classifies. It is fitted to pseudo-samples with one-hot targets, ``samples`` a
    class, drawn from N(mu_c, S) or the class's own covariance, because a(x) changes with every
    solution.

    All statistics are sums, and pseudo-samples use the same draws each time, so the order and the
    batches of the stream do not matter. A solution costs (heads + 1) projection^3 / 6
    multiply-adds; the classifier holds heads * projection^2 numbers.

    Deviations (``form="released"`` has the published rules): S is exact, whereas the release counts
    each batch twice in its average; 1e-4 is added to the variances of S on use, not once;
    directions without spread (s < 1e-6 of the largest) are left out of the targets, where the
    release takes an arbitrary vector for the last one. As published, P is applied to the targets
    twice; ``target_space="features"`` applies the inverse of P instead.

    Args:
        projection: random features of each head, and of the last regression.
        heads: H.
        ridge: of all regressions.
        samples: pseudo-samples of each class.
        drawn_from: their covariance; ``"class"`` stores a matrix of dim^2 numbers per class.
        target_space: see above.
        form: see above.
        memory_gib: limit of the class matrices' memory.
        seed: of projections and pseudo-samples.

    Raises:
        InputError: class matrices above ``memory_gib``.

    Example:
        >>> anacp = ContrastiveProjection(4, 3, projection=50, ridge=0.1)
        >>> anacp.update(torch.eye(4)[:3], torch.arange(3))
        >>> anacp(torch.eye(4)[:3]).argmax(dim=1).tolist()
        [0, 1, 2]
    """

    class_axes: ClassVar = {**SolvedClassifier.class_axes, "first": 0}
    derived = ("weight", "thetas")
    heads: Sequence[RidgeStatistics]
    covariance: Tensor
    first: Tensor
    """(classes,) samples in the first batch of each."""
    thetas: Tensor | None
    """(heads, projection, dim) Theta_i of the last solution."""

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        projection: int = 5000,
        heads: int = 3,
        ridge: float = 100.0,
        samples: int = 100,
        drawn_from: DrawnFrom = "shared",
        target_space: TargetSpace = "whitened",
        form: AnaCPForm = "exact",
        memory_gib: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, n_classes)
        self.ridge = ridge
        self.samples = samples
        self.target_space = target_space
        self.form = form
        self.seed = seed
        self.moments = StreamingLDA(dim, n_classes)
        self.classes: ClassScatter | None = None
        self.sorts = drawn_from == "class"
        if drawn_from == "class":
            check_class_matrices("AnaCP", n_classes, dim, memory_gib)
            self.classes = ClassScatter(dim, n_classes, moving=form == "released")
        if form == "released":
            self.register_buffer("covariance", torch.zeros(dim, dim, dtype=torch.float64))
            self.register_buffer("first", torch.zeros(n_classes, dtype=torch.float64))
        # As published, the last projection is drawn before those of the heads.
        self.last = RandomExpansion(dim, projection, "gelu", seed=seed)
        self.heads = nn.ModuleList(  # type: ignore[assignment]
            RidgeStatistics(
                dim,
                n_classes,
                expansion=RandomExpansion(dim, projection, "gelu", seed=derived_seed(seed, 1 + i)),
            )
            for i in range(heads)
        )

    def limits(self) -> Limits:
        """The released form is not a sum."""
        released = self.form == "released"
        return Limits("the released form averages covariances by batches" if released else None)

    def shared_covariance(self) -> Tensor:
        """(dim, dim) S."""
        if self.form == "released":
            return self.covariance
        covariance = self.moments.scatter / self.count.sum().clamp(min=1)
        covariance.diagonal().add_(VARIANCE)
        return covariance

    def class_covariance(self, c: int) -> Tensor:
        """(dim, dim) covariance of the pseudo-samples of a class."""
        if self.classes is None:
            return self.shared_covariance()
        covariance = self.classes.scatters[c] / self.count[c]
        # The release adds it to the first batch only, so that later batches dilute it.
        fades = self.first[c] / self.count[c] if self.form == "released" else 1
        covariance.diagonal().add_(VARIANCE * fades)
        return covariance

    def targets(self) -> Tensor:
        """(seen classes, dim) t, in the order of columns."""
        return contrastive_targets(
            self.moments.mean[self.seen],
            self.shared_covariance(),
            space=self.target_space,
            least=1e-6 if self.form == "exact" else 0.0,
        )

    def pseudo_samples(self) -> tuple[Tensor, Tensor]:
        """Features (seen classes * samples, dim) and their columns, the same draws each time."""
        columns = self.seen.nonzero().flatten().tolist()
        features = []
        factor = torch.linalg.cholesky(self.shared_covariance())
        for c in columns:
            # One generator per class: draws do not depend on the other classes.
            generator = torch.Generator().manual_seed(derived_seed(self.seed, DRAWS_FROM + c))
            noise = torch.randn(self.samples, self.dim, generator=generator).to(factor)
            if self.classes is not None:
                factor = torch.linalg.cholesky(self.class_covariance(c))
            features.append(self.moments.mean[c] + noise @ factor.T)
        of = torch.tensor(columns, device=factor.device).repeat_interleave(self.samples)
        return torch.cat(features), of

    def aligned(self, features: Tensor) -> Tensor:
        """Features (batch, dim) of unit length -> a(x) (batch, dim) by the last solution."""
        thetas = () if self.thetas is None else self.thetas
        # a(x) = 1/H sum_i g_i(x) / ||g_i(x)||, with g_i(x) = gelu(x W_i) Theta_i
        outputs = [
            F.normalize(head.inputs(features) @ theta, dim=1)
            for head, theta in zip(self.heads, thetas, strict=True)
        ]
        return torch.stack(outputs).mean(dim=0)

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        x = F.normalize(x, dim=1)
        self.moments.update(x, labels)
        if self.form == "released" and len(x):
            self._average_covariance(x - onehot @ self.moments.mean)
            self.first += torch.where(self.seen, 0, onehot.sum(dim=0))
        if self.classes is not None:
            self.classes.update(x, labels)
        for head in self.heads:
            head.add(head.inputs(x), onehot)
        self.weight = None

    def _average_covariance(self, inside: Tensor) -> None:
        """Published average: S = (n S + B S_new) / (n + B), where n counts the batch already."""
        batch = len(inside)
        n = self.count.sum() + batch
        new = inside.T @ inside / batch
        if int(n) == batch:
            self.covariance.copy_(new).diagonal().add_(VARIANCE)
        else:
            self.covariance.mul_(n / (n + batch)).add_(new * (batch / (n + batch)))

    def _attempt(self) -> tuple[Tensor, Tensor]:
        if not bool(self.seen.any()):
            width = self.last.matrix.shape[1]
            self.thetas = self.count.new_zeros(len(self.heads), width, self.dim)
            return self.thetas.new_zeros(width, self.n_classes), self.thetas.new_zeros(()).int()
        targets = self.targets()
        # Theta_i = (A_i + r I)^-1 sum_c n_c zbar_c^T t_c
        solutions = [head.attempt(self.ridge) for head in self.heads]
        # sum_c n_c zbar_c^T t_c = Q t: the sums Q do not depend on targets.
        self.thetas = torch.stack([one[:, self.seen] @ targets for one, _ in solutions])
        features, columns = self.pseudo_samples()
        h = self.last(self.aligned(features))
        # Theta = (h'h + r I)^-1 h'Y
        system = h.T @ h
        system.diagonal().add_(self.ridge)
        onehot = F.one_hot(columns, self.n_classes).to(h.dtype)
        weight, info = attempt_positive(system, h.T @ onehot)
        return weight, torch.stack([info, *(state for _, state in solutions)]).amax()

    def _scores(self, x: Tensor) -> Tensor:
        weight = self.solution()
        return self.last(self.aligned(F.normalize(x, dim=1))) @ weight


def contrastive_targets(
    means: Tensor, covariance: Tensor, *, space: TargetSpace = "whitened", least: float = 1e-6
) -> Tensor:
    """Targets ``normalise(U diag(s + 1) V^T P + m0)`` of class means, as AnaCP.

    Args:
        means: (classes, dim).
        covariance: (dim, dim), positive definite.
        space: ``"features"`` applies the inverse of P.
        least: leave out singular values below this share of the largest; 0: none.

    Returns:
        (classes, dim), of length 1.

    Example:
        >>> means = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
        >>> contrastive_targets(means, torch.eye(2).double()).round(decimals=3)
        tensor([[ 0.9490, -0.3160],
                [-0.3160,  0.9490]], dtype=torch.float64)
    """
    values, vectors = torch.linalg.eigh(covariance)
    variances = values + 1e-8  # as released
    root = (vectors * variances.rsqrt()) @ vectors.T  # P
    centre = means.mean(dim=0)
    u, s, v = torch.linalg.svd((means - centre) @ root, full_matrices=False)
    # Centred means have one direction fewer: the last s is 0 up to rounding.
    used = s > least * s[0] if least else torch.ones_like(s, dtype=torch.bool)
    apart = (u * ((s + 1) * used)) @ v
    back = (vectors * variances.sqrt()) @ vectors.T if space == "features" else root
    return F.normalize(apart @ back + centre, dim=1)
