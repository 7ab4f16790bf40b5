"""Mixtures of heads: sets of class rows, of which a gate mixes the best for each image."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.checks import whole_number
from cl_prompts.models.heads import uniform_rows
from cl_prompts.prompts.selectors import unit_rows

#: Lead, in the gate's target, of the groups that resemble an image most.
PREFERRED = 10.0


class MixtureHead(nn.Module):
    """Experts, one for each group of knowledge, and a gate on the image that mixes the best k of
    them ("Mixture of Prompt Learning for Vision Language Models", arXiv 2409.12011), without a text
    tower.

    Published are prompts for CLIP, whose text tower turns each into features of the classes, and
    groups of hand-written templates. Here the features of expert e are rows V_e that are learned,
    and a group is a stretch of the stream: ``M_gc`` is the mean feature of class c while group g
    was current, of unit length, or the mean of all its samples where there were none.

    With f of unit length, ``X_e = normalise(V_e + w)``, gate ``s = f Wg' + b``, i the k best of s
    and ``p = softmax(s_i)``: ``z_c = scale sum_k p_k f . X_(i_k) c``. A class begins in all experts
    as its first mean.

    As long as no class has come in two groups, all groups are the same: the first expert decides
    alone, and there is nothing for the gate to learn. When one comes back, the others begin as the
    first is then.

    Args:
        dim: of a feature.
        n_classes: columns of the logits.
        n_groups: experts.
        k: experts that are mixed for an image.
        scale: of the logits; CLIP's is 100.

    Example:
        >>> head = MixtureHead(16, 3, n_groups=4)
        >>> head.observe(torch.randn(6, 16), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> head.start_group(1)
        >>> head.observe(torch.randn(2, 16), torch.tensor([1, 2]))
        >>> head.mixes, tuple(head(torch.randn(5, 16)).shape)
        (True, (5, 3))
    """

    class_axes: ClassVar = {"experts": 1, "sums": 1, "counts": 1}
    sums: Tensor
    counts: Tensor

    def __init__(
        self, dim: int, n_classes: int, n_groups: int = 5, *, k: int = 2, scale: float = 10.0
    ) -> None:
        super().__init__()
        whole_number("top_k", k, 1, n_groups, "the number of groups")
        self.dim = dim
        self.k = k
        self.scale = scale
        self.group = 0
        self.mixes = False
        self.experts = nn.Parameter(uniform_rows(torch.empty(n_groups, n_classes, dim)))
        self.shift = nn.Parameter(torch.zeros(1, dim))
        self.gate = nn.Linear(dim, n_groups)
        self.register_buffer("sums", torch.zeros(n_groups, n_classes, dim))
        self.register_buffer("counts", torch.zeros(n_groups, n_classes))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Fill the rows of further classes."""
        if name == "experts":
            uniform_rows(rows)

    @property
    def n_groups(self) -> int:
        """Groups, and experts."""
        return len(self.experts)

    @property
    def known(self) -> Tensor:
        """(classes,) boolean: classes with a sample."""
        return self.counts.sum(dim=0) > 0

    def start_group(self, group: int) -> None:
        """Make a group the current one; the last one goes on for all that follow."""
        self.group = min(group, self.n_groups - 1)

    @torch.no_grad()
    def observe(self, features: Tensor, labels: Tensor) -> None:
        """Add samples to the current group.

        Args:
            features: (batch, dim).
            labels: (batch,) class ids.
        """
        columns = torch.arange(self.counts.shape[1], device=labels.device)
        onehot = (labels[:, None] == columns).to(features.dtype)
        n = onehot.sum(dim=0)
        sums = onehot.T @ features
        # V_e = first mean of the class, of unit length as the features are
        begins = ((n > 0) & ~self.known)[:, None]
        self.experts.copy_(torch.where(begins, F.normalize(sums, dim=-1), self.experts))
        self.sums[self.group] += sums
        self.counts[self.group] += n
        # Asked only until experts are mixed, since a GPU waits for the answer.
        if not self.mixes and self.group > 0:
            self.mixes = bool(((self.counts > 0).sum(dim=0) > 1).any())
            if self.mixes:
                self.experts.copy_(self.experts[:1].expand_as(self.experts))

    def prototypes(self) -> Tensor:
        """M (groups, classes, dim), rows of unit length, those of unknown classes 0."""
        own = (self.counts > 0)[..., None]
        # Means differ from sums in length alone.
        return F.normalize(torch.where(own, self.sums, self.sums.sum(dim=0)), dim=-1)

    def expert_features(self) -> Tensor:
        """X (experts, classes, dim), rows of unit length; the first expert alone where there is no
        mixture."""
        experts = self.experts if self.mixes else self.experts[:1]
        return unit_rows(experts + self.shift)

    def gate_logits(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> s (batch, groups)."""
        logits: Tensor = self.gate(unit_rows(features))
        return logits

    def route(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, dim) -> weights p of the best experts, and their numbers, each
        (batch, k), best first."""
        best, index = self.gate_logits(features).topk(self.k, dim=-1)
        return best.softmax(dim=-1), index

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> logits (batch, classes)."""
        unit = unit_rows(features)
        # f . X_e for every expert: cheaper than a mixture of rows for each image
        cosines = torch.einsum("bd,gcd->bgc", unit, self.expert_features())
        if not self.mixes:
            return self.scale * cosines[:, 0]
        weights, index = self.route(features)
        chosen = cosines.gather(1, index[..., None].expand(-1, -1, cosines.shape[2]))
        # z_c = scale sum_k p_k f . X_(i_k) c
        return self.scale * (weights[..., None] * chosen).sum(dim=1)

    @torch.no_grad()
    def resemblance(self, features: Tensor, labels: Tensor) -> Tensor:
        """t (batch, groups): cosine of each feature and what its class was in each group."""
        unit = F.normalize(features, dim=-1)
        own = torch.einsum("bd,bgd->bg", unit, self.prototypes().transpose(0, 1)[labels])
        whole = (unit * F.normalize(self.sums.sum(dim=0), dim=-1)[labels]).sum(dim=1, keepdim=True)
        # Groups that know no more of a class than all samples do are the same to the last bit:
        # rounding is not to prefer one.
        came = self.counts.T[labels] > 0
        return torch.where(came & (came.sum(dim=1, keepdim=True) > 1), own, whole)

    @torch.no_grad()
    def prior(self, features: Tensor, labels: Tensor) -> Tensor:
        """The gate's target (batch, groups), rows of sum 1: nearly uniform over the k groups that
        an image of this class resembles most, and those that are like the last of them."""
        # pi = softmax(t + 10 for the k greatest)
        resemblance = self.resemblance(features, labels)
        least = resemblance.topk(self.k, dim=-1).values[:, -1:]
        return (resemblance + PREFERRED * (resemblance >= least)).softmax(dim=-1)

    def gate_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the gate and :meth:`prior`, over the batch."""
        return F.cross_entropy(self.gate_logits(features), self.prior(features, labels))

    def group_loss(self) -> Tensor:
        """Cross-entropy that keeps each expert near its group: of the row of a class in X_g and the
        rows of all classes in M_g, without temperature, over all known classes."""
        experts = self.expert_features()
        prototypes = self.prototypes()[: len(experts)]
        cosines = experts @ prototypes.transpose(1, 2)  # (experts, classes, classes)
        known = self.known
        own = (
            -cosines.masked_fill(~known, float("-inf")).log_softmax(dim=-1).diagonal(dim1=1, dim2=2)
        )
        return torch.where(known, own, 0.0).sum() / (len(experts) * known.sum().clamp(min=1))

    def get_extra_state(self) -> Tensor:
        """The current group, and whether experts are mixed."""
        return torch.tensor([self.group, int(self.mixes)])

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.group, mixes = (int(number) for number in state.tolist())
        self.mixes = bool(mixes)
