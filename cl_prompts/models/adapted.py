"""Frozen ViTs with adapters and prototype classifiers: APER and EASE."""

from collections.abc import Collection, Hashable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.closed_form.prototype_classifiers import NearestClassMean
from cl_prompts.models.base import ContinualModel, Encoding, Output, need_frozen
from cl_prompts.models.heads import CosineHead
from cl_prompts.prompts.task_adapters import TaskAdapters


class SubspacePrototypes(nn.Module):
    """Cosine classifier over the subspaces of several feature extractors, one per task.

    EASE (Zhou et al., CVPR 2024, arXiv 2403.12030). A class o of task i has a prototype ``p[o,
    j]``, its mean feature, in every subspace j <= i. For later subspaces :meth:`complete`
    synthesises it from classes c of tasks >= j, by their similarity to o in subspace i::

        S[o, c] = softmax over c of cos(p[o, i], p[c, i]),   p[o, j] = sum over c of S[o, c] p[c, j]

    A class scores ``cos(f_i, p[c, i]) + alpha / t * sum over j != i of cos(f_j, p[c, j])`` with t
    the number of the newest task from 0; in task 0 only the first term. The published factor sigma
    does not change the order of classes.

    Args:
        dim: feature width in one subspace.
        n_classes: columns of the logits.
        n_tasks: subspaces.
        alpha: weight of the other subspaces.

    Example:
        >>> head = SubspacePrototypes(4, 3, n_tasks=2)
        >>> head.observe(torch.randn(8, 1, 4), torch.tensor([0, 1] * 4), task=0)
        >>> head(torch.randn(5, 1, 4)).shape
        torch.Size([5, 3])
    """

    class_axes: ClassVar = {"prototypes": 0, "count": 0, "task_of": 0}
    task_axes: ClassVar = {"prototypes": 1}
    prototypes: Tensor
    count: Tensor
    task_of: Tensor

    def __init__(self, dim: int, n_classes: int, n_tasks: int, *, alpha: float = 0.1) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("prototypes", torch.zeros(n_classes, n_tasks, dim))
        self.register_buffer("count", torch.zeros(n_classes))
        self.register_buffer("task_of", torch.full((n_classes,), -1))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Assign new classes to no task."""
        rows.fill_(-1 if name == "task_of" else 0)

    @property
    def seen(self) -> Tensor:
        """(classes,) boolean: classes with prototypes."""
        return self.task_of >= 0

    @torch.no_grad()
    def observe(self, features: Tensor, labels: Tensor, task: int) -> None:
        """Add images of a task's classes, in one or several calls.

        Args:
            features: (batch, ``task`` + 1, dim), in every subspace so far.
            labels: (batch,) class ids.
            task: of these classes, from 0.
        """
        classes = torch.arange(len(self.count), device=labels.device)
        onehot = (labels[:, None] == classes).to(self.count.dtype)
        n = onehot.sum(dim=0)
        new = n > 0
        self.count += n
        total = torch.einsum("bc,bjd->cjd", onehot, features.to(onehot.dtype))
        # p[c, j] += (sum of the batch's f_j - n_c p[c, j]) / N_c
        known = self.prototypes[:, : task + 1]
        step = (total - n[:, None, None] * known) / self.count.clamp(min=1)[:, None, None]
        self.prototypes[:, : task + 1] = known + step
        self.task_of[new] = task

    @torch.no_grad()
    def complete(self) -> None:
        """Synthesise the prototypes of classes in later subspaces, at a task's end."""
        newest = int(self.task_of.max())
        for own in range(newest):
            old = (self.task_of == own).nonzero()[:, 0]
            for j in range(own + 1, newest + 1):
                known = (self.task_of >= j).nonzero()[:, 0]
                # S[o, c] = softmax over c of cos(p[o, i], p[c, i]); p[o, j] = sum S[o, c] p[c, j]
                likeness = cosine(self.prototypes[old, own], self.prototypes[known, own])
                self.prototypes[old, j] = likeness.softmax(dim=1) @ self.prototypes[known, j]

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, subspaces so far, dim) -> scores (batch, classes), unseen -inf."""
        n = features.shape[1]
        cosines = torch.stack(
            [cosine(features[:, j], self.prototypes[:, j]) for j in range(n)], dim=2
        )
        # 1 for a class's own subspace, alpha / t for the others
        own = F.one_hot(self.task_of.clamp(min=0), n).to(cosines.dtype)
        weight = own + (1 - own) * (self.alpha / max(n - 1, 1))
        return (cosines * weight).sum(dim=2).masked_fill(~self.seen, -torch.inf)


def cosine(rows: Tensor, others: Tensor) -> Tensor:
    """Cosines (n, m) between rows (n, dim) and (m, dim)."""
    return F.normalize(rows, dim=-1) @ F.normalize(others, dim=-1).T


#: Name of the subspace without adapters.
FROZEN = "frozen"


class AdaptedViT(ContinualModel):
    """Base of models that train adapters by a cosine head and predict by prototypes.

    Every set of adapters is a subspace: a separate pass through the ViT. Training runs the newest
    one, scored by the proxy ``head``. Evaluation runs all subspaces so far; features of finished
    ones are constant and cached by name. A seen class without a prototype, during its task, is
    scored by the cosine with its proxy row.

    Args:
        backbone: the frozen ViT.
        n_classes: classes of the data set.
        adapters: sets of adapters.

    Raises:
        InputError: a trainable backbone.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> model = AdaptedViT(vit, 3, TaskAdapters(2, vit.depth, vit.dim))
        >>> model.subspaces()
        ['adapters0']
    """

    head: CosineHead

    def __init__(self, backbone: FrozenViT, n_classes: int, adapters: TaskAdapters) -> None:
        need_frozen(backbone, "adapters")
        super().__init__(backbone, n_classes)
        self.adapters = adapters
        self.head = CosineHead(backbone.feature_dim, n_classes, tau=None)

    @property
    def adapts(self) -> bool:
        """Whether the current task trains adapters."""
        return self.adapters.task < len(self.adapters.sets)

    def subspaces(self) -> list[str]:
        """Names of the subspaces that predictions use, in order."""
        return [f"adapters{i}" for i in range(self.adapters.started)]

    def scores(self, features: Tensor) -> Tensor:
        """Features (batch, subspaces, dim) -> cosines with prototypes (batch, classes)."""
        raise NotImplementedError

    @property
    def learned(self) -> Tensor:
        """(classes,) boolean: classes with prototypes."""
        raise NotImplementedError

    def cache_keys(self) -> dict[str, Hashable]:
        """Subspace -> version; a frozen backbone is its own."""
        names = self.subspaces()
        return {
            n: self.backbone if n == FROZEN else self.adapters.version(_number(n)) for n in names
        }

    def needs_images(self, cached: Collection[str]) -> bool:
        """False if the features of all subspaces are cached."""
        return not set(self.subspaces()) <= set(cached)

    def encode(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> Encoding:
        """Compute the features of the subspace in training, or of all."""
        training = self.training and self.adapts
        names = self.subspaces()[-1:] if training else self.subspaces()
        parts = {name: cached[name] for name in names if name in cached}
        missing = [name for name in names if name not in parts]
        if missing:
            assert images is not None
            tokens = self.backbone.embed(images)
            # Several passes share the first projection.
            entry = self.backbone.enter(tokens) if len(missing) > 1 else None
            for name in missing:
                # Without adapters in the frozen subspace.
                plan = None if name == FROZEN else self.adapters.build(_number(name))
                parts[name] = self.backbone.class_features(tokens, plan, entry=entry)
        features = torch.stack([parts[name] for name in names], dim=1)
        return Encoding({} if training else parts, features=features)

    def decode(self, encoding: Encoding) -> Output:
        """Score by the proxy in training, by prototypes otherwise."""
        features = encoding.features
        assert features is not None
        newest = features[:, -1]
        if self.training and self.adapts:
            return Output(self.hide_unseen(self.head(newest)), newest)
        proxies = cosine(newest, self.head.weight)
        logits = torch.where(self.learned, self.scores(features), proxies)
        return Output(self.hide_unseen(logits), features.flatten(1))


def _number(name: str) -> int:
    return int(name.removeprefix("adapters"))


class AperViT(AdaptedViT):
    """APER (Zhou et al., IJCV 2024, arXiv 2303.07338).

    Class means in the concatenated frozen and adapted subspaces.

    Args:
        backbone: the frozen ViT.
        n_classes: classes of the data set.
        adapters: one set, of the first task.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> model = AperViT(vit, 3, TaskAdapters(1, vit.depth, vit.dim, spare=True))
        >>> model.learn(torch.randn(4, 2 * vit.dim), torch.tensor([0, 1, 0, 1]))
        >>> model.learned.tolist()
        [True, True, False]
    """

    def __init__(self, backbone: FrozenViT, n_classes: int, adapters: TaskAdapters) -> None:
        super().__init__(backbone, n_classes, adapters)
        self.means = NearestClassMean(2 * backbone.feature_dim, n_classes).float()

    def subspaces(self) -> list[str]:
        """The frozen and the adapted subspace."""
        return [FROZEN, *super().subspaces()]

    @property
    def learned(self) -> Tensor:
        """(classes,) boolean: classes with a mean."""
        return self.means.seen

    def fix_head(self) -> None:
        """Freeze the head once the adapters are frozen."""
        self.head.requires_grad_(self.adapts)

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Load a state of :meth:`learned_state`."""
        super().load_learned_state(state)
        self.fix_head()

    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Add features (batch, 2 dim) and classes (batch,) to the class means."""
        self.means.update(features, labels)

    def scores(self, features: Tensor) -> Tensor:
        """Features (batch, 2, dim) -> cosines of the concatenation with the class means."""
        return cosine(features.flatten(1), self.means.mean)


class EaseViT(AdaptedViT):
    """EASE (Zhou et al., CVPR 2024, arXiv 2403.12030).

    Prototypes in the subspaces of all tasks' adapters.

    Args:
        backbone: the frozen ViT.
        n_classes: classes of the data set.
        adapters: one set a task.
        alpha: weight of the subspaces of other tasks.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> model = EaseViT(vit, 3, TaskAdapters(2, vit.depth, vit.dim))
        >>> tuple(model.prototypes.prototypes.shape)  # classes, subspaces, width
        (3, 2, 128)
    """

    def __init__(
        self, backbone: FrozenViT, n_classes: int, adapters: TaskAdapters, *, alpha: float = 0.1
    ) -> None:
        super().__init__(backbone, n_classes, adapters)
        n_tasks = len(adapters.sets)
        self.prototypes = SubspacePrototypes(backbone.feature_dim, n_classes, n_tasks, alpha=alpha)

    @property
    def learned(self) -> Tensor:
        """(classes,) boolean: classes with prototypes."""
        return self.prototypes.seen

    def earlier(self) -> Tensor:
        """(classes,) boolean: classes of earlier tasks."""
        return self.learned & (self.prototypes.task_of < self.adapters.task)

    def scores(self, features: Tensor) -> Tensor:
        """Features (batch, subspaces so far, dim) -> scores of the prototypes."""
        return self.prototypes(features)
