"""RanPAC: ridge regression on randomly projected features."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_prompts.errors import InputError, RunError
from cl_prompts.models.prototype_classifiers import SolvedClassifier
from cl_prompts.training.buffers import ReservoirBuffer


class RanPAC(SolvedClassifier):
    """Random projection and ridge regression (McDonnell et al., NeurIPS 2023, arXiv 2307.02251),
    without its first phase.

    ``h = relu(f R)`` with R ~ N(0, 1) of shape (dim, projection), fixed;
    ``W = (H'H + ridge I)^-1 H'Y`` with one-hot Y; scores ``h W``. H'H and H'Y are sums over
    samples, so streaming is exact; W is solved for when scores are first asked for after an update,
    at a cost of about projection^3 / 6 multiply-adds: half a minute on two CPU cores at 10,000,
    under a second at 2,000. H'H takes projection^2 numbers, 800 MB at 10,000, in memory and in
    every checkpoint; solving for W takes three times as much again for a moment.

    The paper chooses the ridge anew for each task among 10^-8 .. 10^8 by the squared error on a
    held-out fifth of the task. Here ``held_out`` features, a uniform sample of the stream so far,
    can be kept for that purpose: they are part of H'H like all others, and :meth:`choose_ridge`
    takes them out, scores every candidate on them, and puts them back.

    Args:
        dim: of a feature.
        n_classes: columns of the logits.
        projection: random features.
        ridge: until one is chosen. Its right size grows with the square of the features' norm. With
            the embedded ViT on digits (norm 14, projection 2,000) 1 to 1e6 score within a point of
            each other.
        held_out: features kept for :meth:`choose_ridge`; 0 keeps none.
        seed: of R and of the held-out sample.
        dtype: of the sums and of the solution. float32 is enough for small projections and large
            ridges only: the system's condition grows with samples * projection / ridge.
    """

    matrix: Tensor
    gram: Tensor
    cross: Tensor
    ridge: Tensor
    held_features: Tensor
    held_onehot: Tensor

    def __init__(
        self,
        dim: int,
        n_classes: int,
        *,
        projection: int = 10_000,
        ridge: float = 1e4,
        held_out: int = 0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(dim, n_classes, dtype=dtype)
        if projection < 1:
            raise InputError(
                f"projection of RanPAC is {projection}: it needs at least one random feature"
            )
        if not ridge > 0:
            raise InputError(f"ridge of RanPAC is {ridge}: it must be positive")
        if held_out < 0:
            raise InputError(f"held_out of RanPAC is {held_out}: it cannot be negative")
        generator = torch.Generator().manual_seed(seed)
        self.held = ReservoirBuffer(held_out, seed=seed)
        self.register_buffer("matrix", torch.randn(dim, projection, generator=generator))
        self.register_buffer("gram", torch.zeros(projection, projection, dtype=dtype))
        self.register_buffer("cross", torch.zeros(projection, n_classes, dtype=dtype))
        self.register_buffer("ridge", torch.tensor(ridge, dtype=dtype))
        self.register_buffer("held_features", torch.zeros(held_out, dim, dtype=dtype))
        self.register_buffer("held_onehot", torch.zeros(held_out, n_classes, dtype=dtype))

    @torch.no_grad()
    def choose_ridge(
        self, candidates: tuple[float, ...] = tuple(10.0**k for k in range(-8, 9))
    ) -> float:
        """The candidate of least squared error on the held-out sample; used from now on.

        Candidates for which the system is not positive definite to working precision are passed
        over. One factorisation per candidate: call it at task ends, not at every evaluation.
        """
        n = len(self.held)
        if n == 0:
            raise InputError(
                "RanPAC cannot choose a ridge without held-out features: give held_out > 0 and"
                " update it"
            )
        h, y = self._project(self.held_features[:n]), self.held_onehot[:n]
        gram, cross = self.gram.addmm(h.T, h, alpha=-1), self.cross.addmm(h.T, y, alpha=-1)
        errors: dict[float, float] = {}
        for ridge in candidates:
            gram.diagonal().add_(ridge)
            factor, info = torch.linalg.cholesky_ex(gram)
            gram.diagonal().sub_(ridge)
            if int(info) == 0:
                errors[ridge] = float((h @ torch.cholesky_solve(cross, factor) - y).square().mean())
        if not errors:
            raise RunError(
                "RanPAC could not solve for any candidate ridge: larger candidates are needed"
            )
        best = min(errors, key=errors.__getitem__)
        self.ridge.fill_(best)
        self.weight = None
        return best

    def get_extra_state(self) -> Tensor:
        """Counters and generator of the held-out sample in one tensor, so that ``state_dict`` holds
        tensors alone."""
        counters = torch.tensor([self.held.filled, self.held.offered])
        return torch.cat([counters, self.held.generator.get_state().long()])

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.held.filled, self.held.offered = state[:2].tolist()
        self.held.generator.set_state(state[2:].to("cpu", torch.uint8))

    def _project(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.matrix.to(x.dtype))

    def _take_in(self, x: Tensor, onehot: Tensor) -> None:
        h = self._project(x)
        self.gram.addmm_(h.T, h)
        self.cross.addmm_(h.T, onehot)
        self.count += onehot.sum(dim=0)
        if self.held.size:
            slots = self.held.add(torch.zeros(len(x), 1, dtype=torch.int64))
            kept = (slots >= 0).nonzero()[:, 0]  # looked up on the CPU, so that a GPU need not stop
            to, kept = slots[kept].to(x.device), kept.to(x.device)
            self.held_features[to] = x[kept]
            self.held_onehot[to] = onehot[kept]
        self.weight = None

    def _scores(self, x: Tensor) -> Tensor:
        if self.weight is None:
            system = self.gram.clone()
            system.diagonal().add_(self.ridge)
            self.weight = self._solve(system, self.cross, f"the ridge {float(self.ridge):g}")
        return self._project(x) @ self.weight
