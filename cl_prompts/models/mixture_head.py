"""Mixture of heads: a gate mixes the best class rows for each image."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.models.heads import uniform_rows
from cl_prompts.prompts.selectors import unit_rows

#: Added to the most similar groups in the gate's target.
PREFERRED = 10.0


class MixtureHead(nn.Module):
    """Experts of knowledge groups, mixed by a gate on the image (arXiv 2409.12011).

    "Mixture of Prompt Learning for Vision Language Models" learns prompts for CLIP, whose text
    tower makes class features, and groups are hand-written templates. Here, without a text tower,
    expert e has learned rows V_e, and a group is a section of the stream: ``M_gc`` is the unit mean
    feature of class c while group g was current, or of all its samples if it had none.

    With f of unit length, ``X_e = normalise(V_e + w)``, gate ``s = f Wg' + b``, i the k best of s
    and ``p = softmax(s_i)``: ``z_c = scale sum_k p_k f . X_(i_k) c``. A class starts in all experts
    as its first mean.

    Until a class has come in two groups, all groups are equal: the first expert scores alone, and
    the gate has nothing to learn. Then the other experts start as copies of the first.

    Args:
        dim: feature width.
        n_classes: columns of the logits.
        n_groups: experts.
        k: experts mixed for an image.
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
        """Initialise the rows of new classes."""
        if name == "experts":
            uniform_rows(rows)

    @property
    def n_groups(self) -> int:
        """Number of groups, and of experts."""
        return len(self.experts)

    @property
    def known(self) -> Tensor:
        """(classes,) boolean: classes with a sample."""
        return self.counts.sum(dim=0) > 0

    def start_group(self, group: int) -> None:
        """Set the current group; numbers beyond the last group mean the last one."""
        self.group = min(group, self.n_groups - 1)

    @torch.no_grad()
    def observe(self, features: Tensor, labels: Tensor) -> None:
        """Add features (batch, dim) with class ids (batch,) to the current group."""
        columns = torch.arange(self.counts.shape[1], device=labels.device)
        onehot = (labels[:, None] == columns).to(features.dtype)
        n = onehot.sum(dim=0)
        sums = onehot.T @ features
        # V_e = unit first mean of the class
        begins = ((n > 0) & ~self.known)[:, None]
        self.experts.copy_(torch.where(begins, F.normalize(sums, dim=-1), self.experts))
        self.sums[self.group] += sums
        self.counts[self.group] += n
        # Checked only until experts are mixed, since it synchronises with a GPU.
        if not self.mixes and self.group > 0:
            self.mixes = bool(((self.counts > 0).sum(dim=0) > 1).any())
            if self.mixes:
                self.experts.copy_(self.experts[:1].expand_as(self.experts))

    def prototypes(self) -> Tensor:
        """M (groups, classes, dim), rows of unit length, 0 for unknown classes."""
        own = (self.counts > 0)[..., None]
        return F.normalize(torch.where(own, self.sums, self.sums.sum(dim=0)), dim=-1)

    def expert_features(self) -> Tensor:
        """X (experts, classes, dim), rows of unit length; only the first expert before mixing."""
        experts = self.experts if self.mixes else self.experts[:1]
        return unit_rows(experts + self.shift)

    def gate_logits(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> s (batch, groups)."""
        return self.gate(unit_rows(features))

    def route(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, dim) -> weights p and numbers of the best experts, (batch, k) each."""
        best, index = self.gate_logits(features).topk(self.k, dim=-1)
        return best.softmax(dim=-1), index

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> logits (batch, classes)."""
        unit = unit_rows(features)
        # f . X_e of all experts is cheaper than mixed rows for each image
        cosines = torch.einsum("bd,gcd->bgc", unit, self.expert_features())
        if not self.mixes:
            return self.scale * cosines[:, 0]
        weights, index = self.route(features)
        chosen = cosines.gather(1, index[..., None].expand(-1, -1, cosines.shape[2]))
        # z_c = scale sum_k p_k f . X_(i_k) c
        return self.scale * (weights[..., None] * chosen).sum(dim=1)

    @torch.no_grad()
    def resemblance(self, features: Tensor, labels: Tensor) -> Tensor:
        """t (batch, groups): cosine of each feature and its class's prototype in each group."""
        unit = F.normalize(features, dim=-1)
        own = torch.einsum("bd,bgd->bg", unit, self.prototypes().transpose(0, 1)[labels])
        whole = (unit * F.normalize(self.sums.sum(dim=0), dim=-1)[labels]).sum(dim=1, keepdim=True)
        # Equal to the bit where a class came in one group only, so that rounding prefers none.
        came = self.counts.T[labels] > 0
        return torch.where(came & (came.sum(dim=1, keepdim=True) > 1), own, whole)

    @torch.no_grad()
    def prior(self, features: Tensor, labels: Tensor) -> Tensor:
        """Gate target (batch, groups): nearly uniform over the k most similar groups."""
        # pi = softmax(t + 10 for the k greatest)
        resemblance = self.resemblance(features, labels)
        least = resemblance.topk(self.k, dim=-1).values[:, -1:]
        return (resemblance + PREFERRED * (resemblance >= least)).softmax(dim=-1)

    def gate_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the gate and :meth:`prior`."""
        return F.cross_entropy(self.gate_logits(features), self.prior(features, labels))

    def group_loss(self) -> Tensor:
        """Mean cross-entropy of X_g against all rows of M_g, over known classes."""
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
