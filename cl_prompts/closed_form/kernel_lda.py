"""Linear discriminant analysis on random Fourier features: KLDA and RanDumb."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from cl_prompts.closed_form.class_scatter import ClassScatter, check_class_matrices
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.ridge import RandomExpansion
from cl_prompts.closed_form.shrinkage import ByRule, ShrinkageForm, shrunk
from cl_prompts.closed_form.streaming_lda import StreamingLDA
from cl_prompts.closed_form.sums import Limits
from cl_prompts.seeds import derived_seed

KLDAForm = Literal["exact", "released"]


class KernelLDA(PrototypeClassifier):
    """KLDA: an ensemble of streaming LDAs on random Fourier features (AAAI 2025).

    "Continual Learning Using a Kernel-Based Method Over Foundation Models". With ``phi(x) = sqrt(2
    / M) cos(x Omega + b)``, class means mu_c and the shared covariance S, ``z_c = -(phi - mu_c) (S
    + rho I)^-1 (phi - mu_c)^T``, without priors. One member scores as
    :class:`~cl_prompts.closed_form.streaming_lda.StreamingLDA`, which ranks as z; several
    score the logarithm of the mean of softmax(z).

    Deviations: S is the scatter about the final means, divided by the number of samples, so that
    the order of the stream does not matter and softmax(z) does not flatten with more samples.
    ``form="released"`` has the published rules: a scatter about moving means, never divided, and
    its pseudo-inverse for shrinkage 0.

    Args:
        width: M, random features of a member.
        gamma: of the kernel ``exp(-gamma |x - y|^2)``; None: see
            :meth:`~cl_prompts.closed_form.ridge.RandomExpansion.fit`.
        shrinkage: rho, see :class:`~cl_prompts.closed_form.streaming_lda.StreamingLDA`.
        shrinkage_form: of rho.
        members: ensemble size; each member holds M^2 + n_classes M numbers.
        form: see above.
        seed: of the random features.

    Example:
        >>> klda = KernelLDA(4, 3, width=50, members=2)
        >>> klda.update(torch.eye(4)[:3].repeat(2, 1), torch.arange(3).repeat(2))
        >>> klda(torch.eye(4)[:3]).argmax(dim=1).tolist()
        [0, 1, 2]
    """

    members: Sequence[StreamingLDA]

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        width: int = 5000,
        gamma: float | None = None,
        shrinkage: float | ByRule = 1e-3,
        shrinkage_form: ShrinkageForm = "added",
        members: int = 1,
        form: KLDAForm = "exact",
        seed: int = 0,
    ) -> None:
        super().__init__(dim, n_classes)
        kind: type[StreamingLDA] = StreamingLDA if form == "exact" else MovingLDA
        self.members = nn.ModuleList(  # type: ignore[assignment]
            kind(
                dim,
                n_classes,
                shrinkage=shrinkage,
                shrinkage_form=shrinkage_form,
                expansion=RandomExpansion(
                    dim, width, "fourier", seed=derived_seed(seed, i), gamma=gamma
                ),
            )
            for i in range(members)
        )

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        for member in self.members:
            member.update(x, labels)

    def _scores(self, x: Tensor) -> Tensor:
        scores = torch.stack([member.scores(x) for member in self.members])
        if len(scores) == 1:
            return scores[0]
        # z is twice the score, up to a term that all classes share.
        each = (2 * scores).masked_fill(~self.seen, -torch.inf).log_softmax(dim=-1)
        return each.logsumexp(dim=0) - math.log(len(scores))


class MovingLDA(StreamingLDA):
    """Published update of KLDA: a scatter about moving class means, never divided.

    Batches of a class count too little, since the means already include them.

    The shrinkage is a number; 0: pseudo-inverse.

    Example:
        >>> exact, moving = StreamingLDA(1, 1), MovingLDA(1, 1)
        >>> for lda in (exact, moving):
        ...     lda.update(torch.tensor([[0.0]]), torch.tensor([0]))
        ...     lda.update(torch.tensor([[2.0]]), torch.tensor([0]))
        >>> float(exact.scatter), float(moving.scatter)  # n N / (n + N), n N^2 / (n + N)^2
        (2.0, 1.0)
    """

    leaves_one_out = False

    def limits(self) -> Limits:
        """The state is not a sum."""
        return Limits("the released form takes scatters about moving means")

    def _between(self, before: Tensor, n: Tensor, total: Tensor) -> Tensor:
        # about the updated mean
        return n * (before / total).square()

    def _attempt(self) -> tuple[Tensor, Tensor]:
        if self.shrinkage == 0:
            # The scatter is singular with fewer samples than features.
            inverse = torch.linalg.pinv(self.scatter, hermitian=True)
            return inverse @ self.mean.T, inverse.new_zeros((), dtype=torch.int32)
        return super()._attempt()

    def _system(self) -> Tensor:
        # The published sum is not divided by the number of samples.
        return shrunk(self.scatter, self.count.new_ones(()), *self._shrinkage())


class ClasswiseLDA(StreamingLDA):
    """Released form of RanDumb: classwise covariances shrunk by OAS, and class priors.

    ``x L mu_c - mu_c L mu_c / 2 + log(n_c / n)`` with ``L = (sum_c n_c / n OAS(S_c, n_c))^-1``. It
    holds width^2 numbers per class. A class of one sample, whose covariance is 0, counts as the
    identity.

    Args:
        expansion: random features, or None.
        memory_gib: limit of the class matrices' memory.

    Raises:
        InputError: class matrices above ``memory_gib``.

    Example:
        >>> lda = ClasswiseLDA(2, n_classes=2, expansion=RandomExpansion(2, 8, "fourier"))
        >>> lda.update(torch.randn(9, 2), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1]))
        >>> tuple(lda.classes.scatters.shape)
        (2, 8, 8)
    """

    sorts = True
    leaves_one_out = False

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        expansion: RandomExpansion | None = None,
        memory_gib: float = 4.0,
    ) -> None:
        super().__init__(dim, n_classes, shrinkage="oas", expansion=expansion)
        size = len(self.scatter)
        check_class_matrices("RanDumb", n_classes, size, memory_gib)
        self.classes = ClassScatter(size, n_classes)

    def _update(self, x: Tensor, onehot: Tensor, labels: Tensor) -> None:
        super()._update(x, onehot, labels)
        self.classes.update(self.inputs(x), labels)

    def _system(self) -> Tensor:
        if not bool(self.seen.any()):
            return super()._system()
        system = torch.zeros_like(self.scatter)
        # Sigma = sum_c n_c / n OAS(S_c, n_c)
        share = self.count / self.count.sum()
        for weight, n, scatter in zip(share, self.count, self.classes.scatters, strict=True):
            system += weight * shrunk(scatter, n, "oas")
        return system

    def _scores(self, x: Tensor) -> Tensor:
        # log(n_c / n), up to a constant
        return super()._scores(x) + self.count.clamp(min=1).log()
